"""What does nonsense do to a worker?

FUZZ_N malformed messages, and bodies of every size around the limit (every FUZZ_STEP bytes), over raw connections at a
real worker. `unanswered` are requests with an inbox and without a final message; `wrong_class` those whose error is not
of the 400 class; `connection_changed` tells whether the worker's connection broke; `rss_growth` is its memory after all
compared with after a tenth.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import psutil
from support import NatsServer, WorkerProcess, figure, note

from tests.support.hostile import WRONG, Volley, connection, messages, of_every_size

BENCH = "fuzz"
N = int(os.environ.get("FUZZ_N", "10000"))
STEP = int(os.environ.get("FUZZ_STEP", "1"))
PATIENCE_S = 30.0


async def fire(server: NatsServer, worker: WorkerProcess) -> None:
    """Everything, and the figures."""
    name = f"echo-{os.uname().nodename}-1"
    before = connection(server, name)
    unanswered = wrong = repeated = asked = 0
    rss: list[float] = []
    began = time.monotonic()
    limit = 1024 * 1024 - 16 * 1024
    parts = (of_every_size(limit, STEP), messages(N // 10, seed=1), messages(N - N // 10, seed=2))
    for part in parts:
        volley = await Volley.open(server.port)
        await volley.fire(part)
        unanswered += len(await volley.unanswered(PATIENCE_S))
        classes = volley.classes()
        wrong += sum(count for status, count in classes.items() if status not in WRONG | {200})
        repeated += volley.repeated()
        asked += len(volley.asked)
        await volley.close()
        rss.append(psutil.Process(worker.pid).memory_info().rss / 2**20)
        note(f"{len(volley.asked)} asked, {dict(classes)}, worker {rss[-1]:.1f} MiB")
    for name_, value in (("unanswered", unanswered), ("wrong_class", wrong), ("answered_twice", repeated)):
        figure(BENCH, name_, value, None, "requests", asked)
    figure(BENCH, "connection_changed", connection(server, name) != before, None, "times", 1)
    figure(BENCH, "rss_growth", rss[2] - rss[1], None, "MiB", N)
    figure(BENCH, "seconds", time.monotonic() - began, None, "s", 1)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        server = NatsServer(Path(folder), "http: 127.0.0.1:-1").start()
        try:
            with WorkerProcess(server.url, Path(folder) / "data", GOLEK_LOG_LEVEL="error") as worker:
                asyncio.run(fire(server, worker))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
