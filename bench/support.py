"""What do all benchmarks share: a broker, a worker, the medians, and one way to print a figure."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golek_worker.bus.embedded import binary

ROOT = Path(__file__).resolve().parent.parent


def figure(
    bench: str, name: str, ours: float, peer: float, unit: str, runs: int, *, ratio: float | None = None
) -> None:
    """Print one figure as one JSON line: the only thing a bench writes to stdout."""
    shown = ratio if ratio is not None else ours / peer if peer else None
    line = {
        "bench": bench, "figure": name, "ours": round(ours, 4), "peer": round(peer, 4),
        "ratio": None if shown is None else round(shown, 3), "unit": unit, "runs": runs,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def note(text: str) -> None:
    """Progress, for people: on stderr."""
    print(text, file=sys.stderr, flush=True)


def median(values: list[float]) -> float:
    return statistics.median(values)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def broker(*, sync_always: bool) -> Iterator[str]:
    """A nats-server with file storage in a temporary folder; yields its URL."""
    program = binary()
    assert program is not None, "nats-server is missing: make setup"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        conf = Path(folder) / "server.conf"
        sync = "sync_interval: always" if sync_always else ""
        conf.write_text(
            f'listen: "127.0.0.1:{port}"\nmax_payload: 1MB\njetstream {{\n store_dir: "{folder}/js"\n {sync}\n}}\n'
        )
        with ended(subprocess.Popen([program, "-c", conf], stderr=subprocess.DEVNULL)):
            wait_for_port(port)
            yield f"nats://127.0.0.1:{port}"


@contextmanager
def worker(url: str, name: str = "echo", replica: int = 1, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of deployment `name` at `url`, ready; `settings` override its env file."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data:
        environment = os.environ | {"NATS_URL": url, "GOLEK_DATA": data, "GOLEK_LOG_LEVEL": "warning", **settings}
        command = [sys.executable, "-m", "golek_worker.worker", name, "--replica", str(replica)]
        with ended(subprocess.Popen(command, cwd=ROOT, env=environment)) as process:
            wait_until_online(Path(data), name, replica, process)
            yield process


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """`process`, ended when the block is left."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port: int, patience_s: float = 10.0) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")


def wait_until_online(data: Path, name: str, replica: int, process: "subprocess.Popen[bytes]") -> None:
    from golek_worker import runfile

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = runfile.read(data, name, replica)
        if state is not None and state.state == "online":
            return
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
        time.sleep(0.02)
    raise TimeoutError(f"worker {name} is not online after 60 s")
