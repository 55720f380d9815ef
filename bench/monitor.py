"""What does it cost to watch 1,000 busy workers, and how fresh is what people see?

A simulated fleet (simulated_fleet.py: MONITOR_WORKERS, 1,000, of 50 models) says what busy workers say: a report a
second and a heartbeat every 30 s each, 1,033 messages/s together, for MONITOR_SECONDS (60), then MONITOR_BURST (2,000)
reports/s for half of that. One monitor hears it; 20 readers of its events stand for browsers, and its REST is asked
five times a second. `cpu_share` is of one core; `rss_mb` the largest, `rss_slope` how it grew over the second half;
`sse_p95_s` from a worker's report to its row in a browser; `rest_p99_ms` of a whole answer. `tui_frame_ms` is the
median time in which the terminal shows a second's changes of all these workers, measured without a terminal.
"""

import asyncio
import http.client
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import IO, Final

import psutil
import uvloop
from simulated_fleet import PROBE, PROBE_ERA
from support import ROOT, broker, ended, figure, note

from golek_monitor.tui.app import Monitor
from golek_monitor.tui.messages import Look
from tests.support.desks import SampleDesk
from tests.support.fleets import Time, picture, say
from tests.support.ports import free_port

BENCH: Final = "monitor"
WORKERS: Final = int(os.environ.get("MONITOR_WORKERS", "1000"))
SECONDS: Final = float(os.environ.get("MONITOR_SECONDS", "60"))
BURST: Final = int(os.environ.get("MONITOR_BURST", "2000"))
BROWSERS: Final = 20
REST_EVERY_S: Final = 0.2
FRAMES: Final = 30
PATHS: Final = ("/api/services", "/api/overview", "/api/services/model-001", "/api/alerts", "/metrics", "/api/replicas")
_PROBE = re.compile(rb'"worker_id":"%s".*?"last_token_age_ms":(\d+)' % PROBE.encode())


class Readings:
    """What was measured of one load."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        """Seconds from the probe's report to a browser."""
        self.answers: list[float] = []
        """Seconds of REST answers."""
        self.rss: list[float] = []
        self.events = 0
        self.bytes = 0
        self.failed = 0


async def browse(port: int, readings: Readings) -> None:
    """Read events as a browser does, until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    writer.write(b"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: text/event-stream\r\n\r\n" % port)
    last = 0
    try:
        while True:
            event = await reader.readuntil(b"\n\n")
            now = time.time()
            readings.events += 1
            readings.bytes += len(event)
            if (found := _PROBE.search(event)) is not None and (spoken := int(found[1])) > last:
                if last:
                    readings.ages.append(now - PROBE_ERA - spoken / 1000)
                last = spoken
    finally:
        writer.close()


def ask(port: int, path: str) -> tuple[float, bool]:
    """Seconds of one answer, and whether it was a good one."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return time.perf_counter() - began, answer.status == 200
    finally:
        connection.close()


def inquire(port: int, seconds: float) -> None:
    """Ask REST in turns, in a process of its own: the readers of events must not hold up the answers' clock."""
    until, turn = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        print(json.dumps(ask(port, PATHS[turn % len(PATHS)])), flush=True)
        turn += 1
        time.sleep(REST_EVERY_S)


async def weigh(process: psutil.Process, readings: Readings) -> None:
    while True:
        readings.rss.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(0.5)


async def measure(name: str, port: int, process: psutil.Process, seconds: float) -> None:
    """The figures of one load, which goes on already."""
    readings = Readings()
    tasks = [asyncio.create_task(browse(port, readings)) for _ in range(BROWSERS)]
    tasks.append(asyncio.create_task(weigh(process, readings)))
    await asyncio.sleep(3.0)
    readings.ages.clear()
    command = [sys.executable, str(ROOT / "bench/monitor.py"), "ask", str(port), str(seconds)]
    asker = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    said, _ = await asker.communicate()
    asked = [json.loads(line) for line in said.splitlines()]
    readings.answers = [took for took, _ in asked]
    readings.failed = sum(not good for _, good in asked)
    share = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - began)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            note(f"a reader ended: {result!r}")
    half = len(readings.rss) // 2
    grown = statistics.mean(readings.rss[-5:]) - statistics.mean(readings.rss[half : half + 5])
    figure(BENCH, f"cpu_share_{name}", share, None, "cores", 1)
    figure(BENCH, f"rss_mb_{name}", max(readings.rss), None, "MB", len(readings.rss))
    figure(BENCH, f"rss_slope_{name}", grown / (seconds / 2) * 60, None, "MB/min", 1)
    figure(BENCH, f"sse_p95_s_{name}", _share(readings.ages, 95), None, "s", len(readings.ages))
    figure(BENCH, f"sse_p50_s_{name}", _share(readings.ages, 50), None, "s", len(readings.ages))
    figure(BENCH, f"sse_events_{name}", readings.events / BROWSERS / seconds, None, "1/s", readings.events)
    figure(BENCH, f"sse_mb_per_s_{name}", readings.bytes / seconds / 1e6, None, "MB/s", 1)
    figure(BENCH, f"rest_p99_ms_{name}", _share(readings.answers, 99) * 1000, None, "ms", len(readings.answers))
    figure(BENCH, f"rest_failed_{name}", readings.failed, None, "answers", len(readings.answers))


def _share(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else float("nan")


async def draw() -> None:
    """How long the terminal takes to show a second's changes of all workers: until its lines are drawn anew."""
    now = Time()
    seen, frames = picture(WORKERS, now), []
    app = Monitor(seen, SampleDesk(), every_s=0)
    async with app.run_test(size=(160, 50)) as pilot:
        for second in range(2, 2 + FRAMES):
            now.passed += 1
            drawn = random.Random(second)
            for number in range(WORKERS):
                say(seen, number, drawn, now, seq=second)
            seen.tick()
            began = time.perf_counter()
            app.post_message(Look())
            await pilot.pause()
            frames.append((time.perf_counter() - began) * 1000)
    figure(BENCH, f"tui_frame_ms_{WORKERS}", statistics.median(frames), None, "ms", FRAMES)
    figure(BENCH, f"tui_frame_p95_ms_{WORKERS}", _share(frames, 95), None, "ms", FRAMES)


@contextmanager
def fleet(nats: str, per_second: int) -> Iterator[None]:
    """The simulated workers, speaking."""
    command = [sys.executable, str(ROOT / "bench/simulated_fleet.py"), str(WORKERS), "50", str(per_second)]
    with ended(Popen(command, env=os.environ | {"NATS_URL": nats}, stdout=PIPE)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


@contextmanager
def monitor(nats: str, port: int, log: IO[bytes]) -> Iterator[psutil.Process]:
    """One monitor, serving."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data:
        given = {
            "NATS_URL": nats, "GOLEK_DATA": data, "MONITOR_ADDR": f"127.0.0.1:{port}", "GOLEK_LOG_LEVEL": "warning",
        }  # fmt: skip
        command = [sys.executable, "-m", "golek_monitor", "serve"]
        with ended(Popen(command, cwd=ROOT, env=os.environ | given, stdout=log, stderr=log)) as process:
            deadline = time.monotonic() + 30
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the monitor did not start; its log is {log.name}")
                time.sleep(0.1)
            yield psutil.Process(process.pid)


def _answers(port: int) -> bool:
    try:
        return ask(port, "/healthz")[1]
    except OSError:
        return False


def main() -> None:
    with tempfile.NamedTemporaryFile(prefix="golek-monitor-", suffix=".log", delete=False) as log, broker() as nats:
        port = free_port()
        with monitor(nats, port, log) as process:
            with fleet(nats, WORKERS):
                uvloop.run(measure(str(WORKERS), port, process, SECONDS))
            with fleet(nats, BURST):
                uvloop.run(measure("burst", port, process, SECONDS / 2))
    asyncio.run(draw())


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        inquire(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
