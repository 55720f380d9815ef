"""A real `golek serve` for tests, in a project folder of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import psutil

from golek_worker.bus import embedded
from golek_worker.machine import runfile
from tests.support.ports import free_port
from tests.support.workers import ROOT

PATIENCE_S = 30.0


class Project:
    """A folder with deployments, the catalogue that ships, and free ports for broker and gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "store"
        (folder / "envs").mkdir()
        (folder / "data").symlink_to(ROOT / "data")
        for name in ("echo", "golek-tiny"):
            (folder / "envs" / f"worker.{name}.env").symlink_to(ROOT / "envs" / f"worker.{name}.env")
        self.url = f"nats://127.0.0.1:{free_port()}"
        self.http = f"http://127.0.0.1:{free_port()}"
        self.monitor = f"http://127.0.0.1:{free_port()}"
        self.environment = os.environ | {
            "NATS_URL": self.url,
            "GOLEK_DATA": str(self.data),
            "INFERENCE_PORT": self.http.rpartition(":")[2],
            "GOLEK_HEALTH_PORT": str(free_port()),
            "MONITOR_ADDR": self.monitor.removeprefix("http://"),
            "MONITOR_DASHBOARD_ADDR": "off",
            "HTTP_ADDR": "",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def golek(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """One command, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "golek_worker.cli", *arguments], cwd=self.folder,
            env=self.environment | environment, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip

    def serve(self, *arguments: str, **environment: str) -> "Serving":
        return Serving(self, [sys.executable, "-m", "golek_worker.cli", "serve", *arguments], environment)

    def asked(self, path: str, body: dict[str, Any] | None = None, *, at: str = "") -> Any:
        """The answer of the gateway, or of who serves `at` another URL."""
        request = urllib.request.Request(
            f"{at or self.http}{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def pid(self, deployment: str) -> int:
        state = runfile.read(self.data, deployment, 1)
        assert state is not None
        return state.pid


class Serving:
    """One `golek serve`. Use as `with`; what is left of it at the end is killed."""

    def __init__(self, project: Project, command: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._project = project
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=project.folder, env=project.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ended = self.process.poll() is not None
        family = self.family() if not ended else []
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        for one in family:
            if one.is_running():
                one.kill()
        psutil.wait_procs(family, timeout=5)
        if not ended:
            embedded.stop(self._project.data)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, part: str, times: int = 1) -> str:
        """The line with `part`, once there are so many of them."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while len(found := [line for line in self.lines if part in line]) < times:
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no line with {part!r} came:\n{self.text}")
                self._changed.wait(min(left, 0.5))
        return found[-1]

    def family(self) -> list[psutil.Process]:
        """All processes below it, and its broker."""
        found = []
        if self.process.poll() is None:
            found = psutil.Process(self.process.pid).children(recursive=True)
        if (broker := embedded.running(self._project.data)) is not None and psutil.pid_exists(broker.process.pid):
            found.append(psutil.Process(broker.process.pid))
        return list(dict.fromkeys(found))

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(PATIENCE_S)
        self._reader.join(10)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
