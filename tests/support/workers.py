"""Real worker processes for tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import psutil

from golek_worker.machine import runfile
from golek_worker.machine.runfile import RunState

ROOT = Path(__file__).resolve().parents[2]
ONLINE_S = 30.0


class WorkerProcess:
    """One replica in a process of its own. Settings override its env file."""

    module = "golek_worker.worker"

    def __init__(self, url: str, data: Path, deployment: str = "echo", replica: int = 1, **settings: object) -> None:
        self.data = data
        self.deployment = deployment
        self.replica = replica
        self.log = data / f"{deployment}-{replica}.log"
        self._environment = os.environ | {"NATS_URL": url, "GOLEK_DATA": str(data)}
        self._environment |= {key: str(value) for key, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it is online."""
        self.data.mkdir(parents=True, exist_ok=True)
        runfile.remove(self.data, self.deployment, self.replica)
        command = [sys.executable, "-m", self.module, self.deployment, "--replica", str(self.replica)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        if wait:
            self.wait_for("online")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def child(self) -> psutil.Process:
        """The engine's process."""
        (child,) = self.children
        return child

    @property
    def children(self) -> list[psutil.Process]:
        """The engine's process, when there is one."""
        return psutil.Process(self.pid).children()

    @property
    def worker_id(self) -> str:
        return runfile.worker_id(self.deployment, self.replica)

    def state(self) -> RunState | None:
        return runfile.read(self.data, self.deployment, self.replica)

    def wait_for(self, state: str, patience_s: float = ONLINE_S) -> None:
        """Wait until the worker says that it is in `state`."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            said = self.state()
            if said is not None and said.state == state:
                return
            assert self.process is not None
            if self.process.poll() is not None and state != "failed":
                break
            time.sleep(0.01)
        raise AssertionError(f"not {state}: {self.state()}\n{self.log.read_text()}")

    def start_failing(self) -> str:
        """Start a worker that cannot run; the problem it names."""
        self.start(wait=False)
        try:
            self.wait_for("failed")
            assert self.process is not None
            self.process.wait(5)
        finally:
            self.end()
        said = self.state()
        assert said is not None
        assert said.problem is not None
        return said.problem

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event in the worker's log."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait_for_line(self, event: str, patience_s: float = ONLINE_S) -> None:
        """Wait until its log has a line of this event."""
        deadline = time.monotonic() + patience_s
        while True:
            has_ended = self.process is not None and self.process.poll() is not None
            if self.log_lines(event):
                return
            if has_ended or time.monotonic() > deadline:
                raise AssertionError(f"no {event}\n{self.log.read_text()}")
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """SIGTERM, then SIGKILL; leaves no process behind."""
        if self.process is None or self.process.poll() is not None:
            return  # poll() has reaped it
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        psutil.wait_procs(family, timeout=2, callback=None)
