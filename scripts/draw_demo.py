"""Draw what `make demo` shows as docs/demo.svg: `python scripts/draw_demo.py`. Needs the dev requirements."""

import io
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
SHOWN_LINES = 46


def main() -> None:
    """Run the demo with a broker and a folder of its own, and keep its first screenful."""
    with tempfile.TemporaryDirectory(prefix="golek-demo-") as data:
        fresh = os.environ | {"GOLEK_DATA": data}
        golek = [sys.executable, "-m", "golek_worker.cli"]
        shown = subprocess.run([*golek, "demo"], cwd=ROOT, env=fresh, check=True, capture_output=True, text=True).stdout
        subprocess.run([*golek, "worker", "stop"], cwd=ROOT, env=fresh, check=True, capture_output=True)
    shown = shown.replace(data, "data").replace(f"-{socket.gethostname()}-", "-host-")
    console = Console(record=True, width=110, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    for line in shown.splitlines()[:SHOWN_LINES]:
        is_title = line[:1].isalpha() and not line.startswith(("broker", "golek-", "Backpressure"))
        console.print(Text(line, style="bold cyan" if is_title else ""))
    svg = console.export_svg(title="golek demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from elsewhere: the reader's own will do
    (ROOT / "docs" / "demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
