"""What do all benchmarks share: a broker, workers, the medians, and one way to print a figure.

Broker and workers are those of the tests, so that a bench measures what the tests hold.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.broker import NatsServer  # noqa: E402 - found through the line above
from tests.support.workers import WorkerProcess  # noqa: E402


def figure(
    bench: str, name: str, ours: float, peer: float | None, unit: str, runs: int, how: dict[str, str] | None = None
) -> None:
    """Print one figure as one JSON line: the only thing a bench writes to stdout. Without a peer there is no ratio.

    `how` tells how each was started, where a reader must know it to believe the ratio.
    """
    line: dict[str, object] = {
        "bench": bench,
        "figure": name,
        "ours": round(ours, 4),
        "peer": None if peer is None else round(peer, 4),
        "ratio": round(ours / peer, 3) if peer else None,
        "unit": unit,
        "runs": runs,
    }
    if how:
        line["how"] = how
    print(json.dumps(line), flush=True)


def note(text: str) -> None:
    """Progress, for people: on stderr."""
    print(text, file=sys.stderr, flush=True)


def median(values: list[float]) -> float:
    return statistics.median(values)


@contextmanager
def broker(*options: str, sync_always: bool = False) -> Iterator[str]:
    """A nats-server with file storage in a temporary folder, and `options` in its configuration; yields its URL."""
    with server(*options, sync_always=sync_always) as running:
        yield running.url


@contextmanager
def server(*options: str, sync_always: bool = False) -> Iterator[NatsServer]:
    """The same; yields the server itself."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        sync = "sync_interval: always" if sync_always else ""
        running = NatsServer(Path(folder), *options, jetstream_options=sync).start()
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def worker(url: str, name: str = "echo", **settings: object) -> Iterator[WorkerProcess]:
    """A worker of deployment `name`, ready, logging into a temporary folder; `settings` override its env file."""
    with (
        tempfile.TemporaryDirectory(prefix="golek-bench-") as data,
        WorkerProcess(url, Path(data), name, GOLEK_LOG_LEVEL="warning", **settings) as process,
    ):
        yield process


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """`process`, ended when the block is left."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
