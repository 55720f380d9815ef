"""Which grammars are there without anybody storing them?

`data/grammars/<name>.gbnf`; what one describes stands in its first comment.
"""

from pathlib import Path

FOLDER = Path("data/grammars")


def read(folder: Path = FOLDER) -> dict[str, str]:
    """The built-in grammars by name."""
    return {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.gbnf"))}


def description(text: str) -> str:
    """What its first line says behind the name."""
    return text.partition("\n")[0].partition(": ")[2]
