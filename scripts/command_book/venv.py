"""How does a project folder use this checkout's Python, and leave it as it is?

By links, in a `.venv` of its own: make would install anew into one that was made from other lock files, and what it
installs would lead to that folder, which is removed.
"""

import re
import subprocess
from pathlib import Path


def place(checkout: Path, folder: Path) -> None:
    """Give `folder`, which has its Makefile already, a `.venv` that make takes for up to date."""
    own = folder / ".venv"
    own.mkdir()
    for file in (checkout / ".venv").resolve().iterdir():
        if not file.name.startswith(".golek-"):
            (own / file.name).symlink_to(file)
    shown = subprocess.run(["make", "-pn", "help"], cwd=folder, capture_output=True, text=True, check=True).stdout
    stamps = re.findall(r"^\w+_STAMP := (\.venv/\S+)$", shown, re.MULTILINE)
    if len(stamps) < 2:
        raise ValueError(f"the Makefile has the stamps {stamps}; one of the worker and one of all were expected")
    for stamp in stamps:
        (folder / stamp).touch()
