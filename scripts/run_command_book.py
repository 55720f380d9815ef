"""Does every line that the first document printed still work? `python scripts/run_command_book.py [--list] [--keep]`.

The lines lie in `tests/acceptance/commands` and run as they are printed, in a project folder of their own: this
checkout by links, with golek-tiny under the names of the models and a MiniLM under those of the embedding models.
A printed port that is taken on this machine is another one then, everywhere, and that is said.
Prints a table of what came back, and last a line of JSON with the counts; exit status 1 when a line failed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from command_book import namespace, venv
from command_book.expect import mismatch
from command_book.forward import forward
from command_book.ports import BROKER, Ports
from command_book.run import Ended, Listener, kill_all, run_line

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "tests" / "acceptance" / "commands"
OTHER_BROKER = 5700
"""Where the document's broker listens for lines with `--server`."""
PRINTED = (BROKER, OTHER_BROKER, 5770, 5771, 5772, 5778, 5779, 5780, 8080)
LINKED = (
    "Makefile", "README.md", "pyproject.toml", "requirements", "scripts",
    "golek_wire", "golek_client", "golek_program", "golek_worker", "golek_monitor",
)  # fmt: skip
TEXT_MODELS = ("gemma3-270m", "qwen3-4b", "gpt-oss-20b", "model-name")
EMBEDDING_MODELS = ("nomic-embed-v1.5", "nomic-embed-v2-moe")
ENVIRONMENT = {
    "TERM": "xterm-256color",  # what some lines draw on is ours, wherever this runs
    "DRY_RUN": "1",  # compiling llama.cpp takes minutes; what would be run is shown
    "GOLEK_OFFLINE": "1",
    "CTX_SIZE": "0",  # the env files are for the real models; these have shorter contexts
    "MODEL_THREADS": "1",
    "ENGINE_STEP_MIN_MS": "3",  # a model this small answers before anything can be told apart
}
LINE_WIDTH = 72


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the lines and run nothing")
    parser.add_argument("--keep", action="store_true", help="leave the project folder, and say where it is")
    options = parser.parse_args()
    book = tomllib.loads((COMMANDS / "book.toml").read_text("utf-8"))
    later: dict[str, list[str]] = tomllib.loads((COMMANDS / "later.toml").read_text("utf-8"))["later"]
    if options.list:
        show_list(book["line"], later)
        return
    namespace.enter()
    ports = Ports.free(PRINTED)
    for printed, used in ports.instead.items():
        print(f"port {printed} is taken on this machine: {used} stands for it below", flush=True)
    # Set even where the shell that started this ignores Ctrl-C: lines inherit it, and some are ended by it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    folder = Path(tempfile.mkdtemp(prefix="golek-book-"))
    try:
        make_project(folder, book["files"], ports)
        ran, matched = run_all(book, folder, ports)
    finally:
        kill_all(folder)
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    skipped = sum(map(len, later.values()))
    print(json.dumps({"ran": ran, "matched": matched, "later": skipped}))
    sys.exit(0 if ran == matched else 1)


def leave(number: int, _: object) -> NoReturn:
    """End as a program does that was told to by signal `number`, once all that it started has ended."""
    sys.exit(128 + number)


def show_list(lines: list[dict[str, Any]], later: dict[str, list[str]]) -> None:
    for line in lines:
        print(line["run"].strip())
    for reason, commands in later.items():
        for command in commands:
            print(f"{command.strip()}\n    # not yet: needs {reason}")
    print(json.dumps({"lines": len(lines), "later": sum(map(len, later.values()))}))


def run_all(book: dict[str, Any], folder: Path, ports: Ports) -> tuple[int, int]:
    """Run the lines in order; how many ran, and how many of them came back as expected."""
    around, replies = environment(folder) | ports.environment(), book["replies"]
    lines = [_with(ports, line) for line in book["line"]]
    failed = 0
    with forward(ports.used(OTHER_BROKER), ports.used(BROKER)):
        listening: list[tuple[dict[str, Any], Listener]] = []
        for line in lines:
            if line.get("listens"):
                listener = Listener(line["run"], folder, around, terminal=line.get("terminal", False))
                listening.append((line, listener))
                continue
            if line is lines[-1]:  # the one that stops everything
                failed += sum(tell(told, listener.end(), replies) for told, listener in listening)
            failed += tell(line, run_line(line["run"], folder, around, line.get("stdin", "")), replies)
    return len(lines), len(lines) - failed


def _with(ports: Ports, line: dict[str, Any]) -> dict[str, Any]:
    """`line` and what is expected of it, with the ports that are used."""
    return {key: ports.rewrite(said) if isinstance(said, str) else said for key, said in line.items()}


def tell(line: dict[str, Any], ended: Ended, replies: dict[str, str]) -> bool:
    """Print the line and what came of it. True when that is not what was expected."""
    status, out, err, seconds = ended
    wrong = mismatch(line, status, out, replies)
    text = next(row for row in line["run"].splitlines() if row.strip() and not row.startswith("#"))
    short = text if len(text) <= LINE_WIDTH else f"{text[: LINE_WIDTH - 1]}…"
    print(f"{'FAILED' if wrong else 'ok':<7} {seconds:6.2f} s  {short}", flush=True)
    if wrong:
        print(f"        {wrong}\n  out: {out[-2000:]}\n  err: {err[-2000:]}", flush=True)
    return bool(wrong)


def make_project(folder: Path, files: dict[str, str], ports: Ports) -> None:
    """This checkout by links, its deployments and examples, and the models' files."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    venv.place(ROOT, folder)
    for name in ("envs", "examples"):
        (folder / name).mkdir()
        for file in (ROOT / name).glob("*.*"):
            ports.place(file, folder / name / file.name)
    (folder / "data").mkdir()
    for name in ("catalog", "grammars"):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)
    tiny = ROOT / "data" / "models" / "golek-tiny" / "model.gguf"
    minilm = folder / "minilm.gguf"
    subprocess.run([sys.executable, ROOT / "scripts" / "convert_minilm.py", "--output", minilm], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    for model in (*TEXT_MODELS, *EMBEDDING_MODELS):
        (folder / "data" / "models" / model).mkdir(parents=True)
        (folder / "data" / "models" / model / "model.gguf").symlink_to(tiny if model in TEXT_MODELS else minilm)
    for name, text in files.items():
        (folder / name).write_text(ports.rewrite(text.lstrip("\n")), "utf-8")
    if shutil.which("nats") is None:
        shim = folder / "path" / "nats"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {folder}/.venv/bin/golek "$@"\n')
        shim.chmod(0o755)


def environment(folder: Path) -> dict[str, str]:
    """What a line runs with: no settings of the shell, golek under the name `nats` where that is not installed."""
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "USER", "LD_LIBRARY_PATH") if key in os.environ}
    path = f"{folder / 'path'}{os.pathsep}{os.environ['PATH']}"
    return kept | ENVIRONMENT | {"PATH": path, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    main()
