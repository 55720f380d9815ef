"""llama.cpp's own server, for tests of those that have one: LLAMA_SERVER, on the PATH, or as built here."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

PROGRAM = (
    os.environ.get("LLAMA_SERVER")
    or shutil.which("llama-server")
    or (str(Path("bin/llama-server").resolve()) if Path("bin/llama-server").is_file() else None)
)
MISSING = "no llama-server: `make build-llama-server` builds one"
PATIENCE_S = 20.0


class LlamaServer:
    """A server that somebody else runs: it may go away and come back."""

    def __init__(self, model: Path, *args: str) -> None:
        assert PROGRAM is not None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        usual = ["-np", "4", "-c", "8192", "-t", "1", "--metrics"]
        self._command = [PROGRAM, "-m", str(model), "--host", "127.0.0.1", "--port", str(self.port), *usual, *args]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "LlamaServer":
        """Start it, and wait until it is well."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        self.kill()
        raise TimeoutError(f"llama-server is not well within {PATIENCE_S:.0f} s")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(model: Path, *args: str) -> Iterator[str]:
    """Where one answers."""
    server = LlamaServer(model, *args).start()
    try:
        yield server.url
    finally:
        server.kill()
