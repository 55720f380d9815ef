"""What is lost when the broker dies under load?

CLIENTS callers, each with a connection of its own, ask a paced echo without pause, texts and streams in turn. First one
broker (R1) is killed and started again, KILLS times. Then, of three brokers (R3), the one that leads the model's queue
is killed, LEADERS times, and started again once the two others have answered for a while. All store with
`sync_interval: always`.

Lost is a request that was accepted and got no final message by its deadline; hung is a call that did not even end then;
a duplicate is a second final message for one request (an answer whose ack died with the broker is given again, and its
caller drops it). A gap is the longest time after a kill in which no caller was answered, or none was told `accepted`.
"""

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from support import WorkerProcess, figure, median, note

from golek_client import Golek
from golek_client.connection import close, connect
from golek_client.inbox import ReplyMux
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import DeadlineExceededError, InferenceServiceError
from tests.support.broker import NatsServer
from tests.support.cluster import NatsCluster

BENCH = "broker"
KILLS = int(os.environ.get("BROKER_KILLS", "5"))
LEADERS = int(os.environ.get("BROKER_LEADERS", "3"))
CLIENTS = int(os.environ.get("BROKER_CLIENTS", "16"))
DEADLINE_S = 60.0
HANG_S = 10.0
"""A call that has not ended so long after its deadline never will."""
QUIET_S = 4.0
"""Load before the first kill and between two."""
AWAY_S = 2.0
"""The broker is started again within this time."""
RECOVERED_S = 2.0
"""Answers for this long: the fleet has recovered."""
MODEL = "echo"
TOKENS = 30
SETTINGS = {"ENGINE_STEP_MIN_MS": 10, "WORKER_CONCURRENCY": 16, "GOLEK_LOG_LEVEL": "warning"}
SYNC = "sync_interval: always"


class Watch:
    """What arrived at the callers' inboxes, and when."""

    def __init__(self) -> None:
        self.accepted: dict[str, float] = {}
        """Job ids, and when their callers were told."""
        self.finals: Counter[str] = Counter()
        self.answers: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    def saw(self, subject: str, about: dict[str, str], data: bytes) -> None:
        """A message at an inbox; those of an exchange are counted, and chunks and end marks are not."""
        job = subjects.job_id(subject)
        if about.get(h.STATUS) == "accepted":
            self.accepted.setdefault(job, time.monotonic())
        elif data and h.STATUS not in about and (h.ATTEMPT not in about or h.FINAL in about):
            self.finals[job] += 1

    @property
    def duplicates(self) -> int:
        return sum(self.finals[job] - 1 for job in self.accepted if self.finals[job] > 1)


@contextmanager
def watching() -> Iterator[Watch]:
    """Look at each message that comes to an inbox of this process."""
    watch, deliver = Watch(), ReplyMux._deliver

    async def seen(self: ReplyMux, message: Any) -> None:
        watch.saw(message.subject, message.headers or {}, message.data)
        await deliver(self, message)

    ReplyMux._deliver = seen  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        ReplyMux._deliver = deliver  # type: ignore[method-assign]


async def call(golek: Golek, number: int, watch: Watch) -> None:
    """One request, and how it ended. An answer that is not whole raises RuntimeError."""
    prompt = f"q{number}"
    options: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True, "deadline": DEADLINE_S}
    try:
        async with asyncio.timeout(DEADLINE_S + HANG_S):
            if number % 2:
                text = (await golek.ask(MODEL, prompt, **options)).text
            else:
                text = await golek.stream(MODEL, prompt, **options).text()
    except DeadlineExceededError as error:
        job = str(error.details.get("job_id"))
        watch.outcomes["lost" if job in watch.accepted else "never accepted"] += 1
        watch.failures.append(f"{prompt} {job}: no final message, {watch.finals[job]} seen at its inbox")
    except TimeoutError:
        watch.outcomes["hung"] += 1
    except InferenceServiceError as error:
        watch.outcomes[error.code] += 1
        watch.failures.append(f"{prompt}: {error!r}")
    else:
        if not text.startswith(f"{prompt} #") or not text.endswith(f"#{TOKENS - 1}"):
            raise RuntimeError(f"the answer to {prompt} is {text!r}")
        watch.answers.append(time.monotonic())
        watch.outcomes["answered"] += 1


async def loaded(url: str, watch: Watch, disturb: Callable[[], Awaitable[None]]) -> None:
    """All callers ask until `disturb` is through; then each waits for its last answer."""
    numbers = iter(range(10**9))
    done = asyncio.Event()

    async def caller() -> None:
        async with Golek(url) as golek:
            while not done.is_set():
                await call(golek, next(numbers), watch)

    callers = [asyncio.create_task(caller()) for _ in range(CLIENTS)]
    await asyncio.sleep(QUIET_S)
    await disturb()
    done.set()
    await asyncio.gather(*callers)


async def recovered(watch: Watch, since: float) -> None:
    """Wait until answers come again, and have come for a while; at most until the callers' deadline."""
    while time.monotonic() < since + DEADLINE_S:
        later = [answer for answer in watch.answers if answer > since]
        if later and later[-1] - later[0] > RECOVERED_S:
            return
        await asyncio.sleep(0.05)


def gap(times: list[float], since: float, until: float) -> float:
    """The longest time between two of `times` that ended after `since`, in seconds."""
    inside = sorted(moment for moment in times if moment <= until)
    pairs = ((earlier, later) for earlier, later in pairwise(inside) if later > since)
    return max((later - max(earlier, since) for earlier, later in pairs), default=until - since)


async def kill_broker(server: NatsServer, url: str, watch: Watch) -> list[float]:
    """Kill the only broker KILLS times; seconds from each restart to the next answer."""
    waits: list[float] = []

    async def disturb() -> None:
        for kill in range(KILLS):
            killed_at = time.monotonic()
            server.kill()
            await asyncio.sleep(random.uniform(0, AWAY_S))
            await asyncio.to_thread(server.start)
            back_at = time.monotonic()
            await recovered(watch, back_at)
            first = min((answer for answer in watch.answers if answer > back_at), default=float("inf"))
            waits.append(first - back_at)
            silent = gap(watch.answers, killed_at, time.monotonic())
            note(f"broker killed {kill + 1} of {KILLS}: away {back_at - killed_at:.2f} s, gap {silent:.2f} s")
            await asyncio.sleep(QUIET_S)

    await loaded(url, watch, disturb)
    return waits


async def kill_leaders(cluster: NatsCluster, watch: Watch) -> tuple[list[float], list[float]]:
    """Kill the leader of the queue LEADERS times; the gaps in answers, and in `accepted`."""
    gaps: tuple[list[float], list[float]] = ([], [])
    client = await connect(cluster.url, "bench")

    async def disturb() -> None:
        for kill in range(LEADERS):
            leader = await cluster.leader(client, subjects.job_stream(MODEL))
            killed_at = time.monotonic()
            leader.kill()
            await recovered(watch, killed_at + 1.0)  # what was being written is still answered at first
            until = time.monotonic()
            for found, times in zip(gaps, (watch.answers, list(watch.accepted.values())), strict=True):
                found.append(gap(times, killed_at, until))
            await asyncio.to_thread(leader.start)
            await cluster.leader(client, subjects.job_stream(MODEL))
            said = f"gap {gaps[0][-1]:.2f} s in answers, {gaps[1][-1]:.2f} s in accepted"
            note(f"leader killed {kill + 1} of {LEADERS}: {said}; whole again after {time.monotonic() - until:.1f} s")
            await asyncio.sleep(QUIET_S)

    await loaded(cluster.url, watch, disturb)
    await close(client)
    return gaps


def told(name: str, watch: Watch, kills: int) -> None:
    """The figures that both parts have."""
    for line in watch.failures:
        note(f"  {line}")
    note(f"  {dict(watch.outcomes)}")
    figure(BENCH, f"{name}_accepted", len(watch.accepted), None, "requests", kills)
    figure(BENCH, f"{name}_lost", watch.outcomes["lost"], None, "requests", kills)
    figure(BENCH, f"{name}_hung", watch.outcomes["hung"], None, "calls", kills)
    others = watch.outcomes.total() - sum(watch.outcomes[known] for known in ("answered", "lost", "hung"))
    figure(BENCH, f"{name}_errors", others, None, "calls", kills)
    figure(BENCH, f"{name}_duplicate_finals", watch.duplicates, None, "messages", kills)


def workers(stack: ExitStack, url: str, folder: Path) -> None:
    for replica in (1, 2):
        stack.enter_context(WorkerProcess(url, folder / "data", MODEL, replica, **SETTINGS))


def main() -> None:
    """One broker, then three."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as name, ExitStack() as stack:
        folder = Path(name) / "one"
        folder.mkdir()
        server = NatsServer(folder, jetstream_options=SYNC).start()
        stack.callback(server.kill)
        workers(stack, server.url, folder)
        with watching() as watch:
            waits = asyncio.run(kill_broker(server, server.url, watch))
        told("r1", watch, KILLS)
        figure(BENCH, "r1_answer_after_restart", median(waits), None, "s", KILLS)
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as name, ExitStack() as stack:
        cluster = NatsCluster(Path(name) / "three", jetstream_options=SYNC).start()
        stack.callback(cluster.kill)
        workers(stack, cluster.url, Path(name))
        with watching() as watch:
            answers, accepted = asyncio.run(kill_leaders(cluster, watch))
        told("r3", watch, LEADERS)
        figure(BENCH, "r3_gap_in_answers_max", max(answers, default=0.0), None, "s", LEADERS)
        figure(BENCH, "r3_gap_in_accepted_max", max(accepted, default=0.0), None, "s", LEADERS)


if __name__ == "__main__":
    main()
