"""A real terminal for tests: tmux, on a server of its own."""

import os
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

PATIENCE_S = 20.0
LOOK_S = 0.05


def is_there() -> bool:
    """Whether this machine has tmux."""
    return shutil.which("tmux") is not None


class Terminal:
    """A program in a terminal of `size`; what stands there, and keys for it."""

    def __init__(
        self, command: list[str], folder: Path, size: tuple[int, int] = (80, 24), term: str = "", **settings: object
    ) -> None:
        """`term` replaces the TERM that tmux gives; settings are the program's environment."""
        self._socket = f"golek-{uuid.uuid4().hex[:8]}"
        self._status = folder / f"{self._socket}.status"
        said = {key: str(value) for key, value in settings.items()} | ({"TERM": term} if term else {})
        given = " ".join(f"{key}={shlex.quote(value)}" for key, value in said.items())
        self._command = f"env {given} {shlex.join(command)}; echo $? > {shlex.quote(str(self._status))}; sleep 600"
        self._size = size

    def __enter__(self) -> Self:
        width, height = self._size
        environment = os.environ | {"LC_ALL": "C.UTF-8"}
        self._tmux(
            "-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", str(height), self._command,
            environment=environment,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def text(self, *, colours: bool = False) -> str:
        """What stands there; with the codes of its colours, if asked."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def press(self, *keys: str) -> None:
        """Type keys, by tmux's names."""
        self._tmux("send-keys", *keys)

    def write(self, text: str) -> None:
        """Type letters."""
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        """Another size, as by pulling at the window."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        (shell,) = self._tmux("list-panes", "-F", "#{pane_pid}").split()
        for child in psutil.Process(int(shell)).children(recursive=True):
            child.send_signal(number)

    def modes(self) -> str:
        """Whether the alternate screen is shown, the mouse is reported, and there is a cursor: each 0 or 1."""
        return self._tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").strip()

    def wait_for(self, wanted: str | Callable[[str], bool], patience_s: float = PATIENCE_S) -> str:
        """What stands there once `wanted` does. Raises TimeoutError with what stood there instead."""
        until = time.monotonic() + patience_s
        while True:
            text = self.text()
            if wanted in text if isinstance(wanted, str) else wanted(text):
                return text
            if time.monotonic() > until:
                raise TimeoutError(f"waited {patience_s:g} s for {wanted!r}, there is:\n{text}")
            time.sleep(LOOK_S)

    def status(self, patience_s: float = PATIENCE_S) -> int:
        """The program's exit status, once it has one."""
        until = time.monotonic() + patience_s
        while not self._status.exists() or not self._status.read_text().strip():
            if time.monotonic() > until:
                raise TimeoutError(f"still running after {patience_s:g} s:\n{self.text()}")
            time.sleep(LOOK_S)
        return int(self._status.read_text())

    def _tmux(self, *words: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *words], check=True, capture_output=True, text=True, env=environment
        )
        return done.stdout
