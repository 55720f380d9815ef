"""Every line that the first document printed for NATS, HTTP, make and sqlite3 runs, and comes back as printed there."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.workers import ROOT

SCRIPT = ROOT / "scripts" / "run_command_book.py"
PROGRAMS = ("bash", "curl", "jq", "make", "sqlite3")


@contextlib.contextmanager
def started(**variables: str) -> Iterator["subprocess.Popen[str]"]:
    """The script. One that still runs at the end is told to leave, so that what it started ends with it."""
    book = subprocess.Popen(
        [sys.executable, SCRIPT], env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield book
    finally:
        book.terminate()
        book.communicate(timeout=30)


@pytest.mark.timeout(240)  # heartbeats come every 30 s, load reports every ten
@pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason=f"the lines use {', '.join(PROGRAMS)}")
def test_every_line_comes_back_as_printed() -> None:
    """With golek-tiny and MiniLM under the names of the real models."""
    with started() as book:
        out, err = book.communicate(timeout=200)
    assert book.returncode == 0, out + err
    counts = json.loads(out.splitlines()[-1])
    assert counts["ran"] == counts["matched"] == 88


@pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason=f"the lines use {', '.join(PROGRAMS)}")
def test_told_to_leave_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the broker and the workers that its lines started, nor its folder. It needs no port of this machine that
    somebody has: where no network of one's own can be had, the lines are run with others.
    """
    folder = tmp_path / "books"
    folder.mkdir()
    told = []
    with occupied(4222), occupied(5770), started(TMPDIR=str(folder), PATH=path_without_unshare(tmp_path)) as book:
        assert book.stdout is not None
        for line in book.stdout:
            told.append(line)
            if "make test WORKER=name" in line:
                break
        assert [line[:7] for line in told[-2:]] == ["ok     "] * 2, told
        assert {"port 4222 is taken", "port 5770 is taken"} <= {line.partition(" on")[0] for line in told}
        assert below(folder)
        book.terminate()
        _, err = book.communicate(timeout=30)
    assert (book.returncode, err) == (143, "")
    assert below(folder) == list(folder.iterdir()) == []


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    """Somebody listens on `port`; that may be a stranger, too."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            held.bind(("127.0.0.1", port))
            held.listen()
        yield


def path_without_unshare(folder: Path) -> str:
    """PATH where the program that makes networks of one's own refuses, as some kernels do."""
    refusing = folder / "path" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    return f"{refusing.parent}{os.pathsep}{os.environ['PATH']}"


def below(folder: Path) -> list[str]:
    """The processes that run in `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
    return found


def test_the_lines_are_listed() -> None:
    """--list shows all, and of those that wait why they do."""
    done = subprocess.run([sys.executable, SCRIPT, "--list"], capture_output=True, text=True, timeout=30, check=True)
    assert "./bin/nats-embed -input" in done.stdout
    assert "# not yet: needs Docker" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == {"lines": 88, "later": 4}
