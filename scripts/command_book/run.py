"""How is a line run as a person would type it?

By bash, in the project's folder. One that listens for ever runs beside the others and is ended as by Ctrl-C.
"""

import contextlib
import os
import pty
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 90.0
LISTEN = ("sub", "dashboard", "tui", "-N")
"""A word of what a person would end with Ctrl-C."""
SHELL = ["bash", "--norc", "-c"]

Ended = tuple[int, str, str, float]
"""Exit status, standard output, standard error, seconds."""


def run_line(line: str, folder: Path, environment: dict[str, str], stdin: str = "") -> Ended:
    """Run `line` to its end, with `stdin` typed into it; -1 for one that does not end in time."""
    began = time.monotonic()
    # Files, not pipes: what `make NAME &` leaves running may hold them for longer than the line runs.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = _bash(line, folder, environment, stdin=subprocess.PIPE, stdout=out, stderr=err)
        try:
            process.communicate(stdin.encode(), PATIENCE_S)
        except subprocess.TimeoutExpired:
            _kill(process)
        status = process.returncode
        out.seek(0)
        err.seek(0)
        return (
            status,
            out.read().decode("utf-8", "replace"),
            err.read().decode("utf-8", "replace"),
            time.monotonic() - began,
        )


def _bash(line: str, folder: Path, environment: dict[str, str], **streams: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*SHELL, line], cwd=folder, env=environment, start_new_session=True, **streams)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the shell and what it runs; workers and broker have sessions of their own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_all(folder: Path) -> None:
    """End what still runs in `folder`, whatever the lines left: shells, workers, the broker."""
    while left := [process for process in psutil.process_iter() if _runs_in(process, folder.resolve())]:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(folder)
    return False


class Listener:
    """A line that prints what it hears until it is ended."""

    def __init__(self, line: str, folder: Path, environment: dict[str, str], *, terminal: bool) -> None:
        self._began = time.monotonic()
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._heard = bytearray()
        source, sink = pty.openpty() if terminal else os.pipe()
        typed, said = (sink, sink) if terminal else (subprocess.DEVNULL, self._err)
        self._process = _bash(line, folder, environment, stdin=typed, stdout=sink, stderr=said)
        os.close(sink)
        self._reader = threading.Thread(target=self._read, args=(source,))
        self._reader.start()

    def end(self) -> Ended:
        """Interrupt what listens; what follows it in a pipe ends by itself and writes what it still holds."""
        for child in [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if not set(LISTEN).isdisjoint(child.cmdline()):
                    child.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            _kill(self._process)
        self._reader.join(5)
        with self._err:
            self._err.seek(0)
            err = self._err.read().decode("utf-8", "replace")
        # Interrupted is how such a line ends.
        return 0, self._heard.decode("utf-8", "replace").replace("\r\n", "\n"), err, time.monotonic() - self._began

    def _read(self, source: int) -> None:
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while data := os.read(source, 65536):
                self._heard += data
        os.close(source)
