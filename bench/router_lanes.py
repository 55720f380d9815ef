"""What does it gain that a router sends a conversation where its beginning is, and what does a frozen replica cost?

Eight echo replicas whose simulated KV caches (ECHO_CACHE_TOKENS) hold as much as four slots of 8,192 tokens would, and
a router. 200 conversations with one system prompt of 300 words have ten turns each, in ten rounds, each round in an
order of its own, 16 at a time.

`prefix_hit_rate`: tokens of prompts that were found in a replica's cache, by the sum of `tokens_cached` in the replies,
divided by those that could have been: the tokens at the beginning of each prompt, in whole blocks, that any request
sent before had as well, or its answer; so one replica with endless room would have 1. Ours is `prefix_affinity`, the
peer is `least_busy`. What is missing to 1 is mostly conversations whose replica had all of its slots taken.

`frozen_added_max_s`: one replica is stopped (SIGSTOP, the worker and its engine); the longest wait of the 400 requests
that follow at once, less the median of those before. Ours is `prefix_affinity`, the peer is `least_busy`.

`frozen_running_added_max_s`: the same for the requests that were on their way when the replica stopped, and those after
them: it is stopped in the middle of a round, in a fleet that takes 10 ms for a token, so that some run there. What was
computed there is lost and computed again; that is part of the figure.
"""

import asyncio
import random
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import uvloop
from support import broker, figure, median, note

from golek_client import Golek
from golek_worker.engine.echo_cache import EchoCache
from tests.support.workers import WorkerProcess

BENCH = "router"
REPLICAS = 8
CONVERSATIONS = 200
TURNS = 10
CALLERS = 16
SYSTEM_WORDS, USER_WORDS, ANSWER_WORDS = 300, 40, 20
SLOTS, CTX_SIZE = 4, 8192
FROZEN_REQUESTS = 400
FROZEN_TIMES = 5
TOKEN_MS = 10
ROUTES = """
routes:
  together: {strategy: prefix_affinity, targets: [local:echo]}
  apart: {strategy: least_busy, targets: [local:echo]}
"""
_words = re.compile(r"\s*\S+\s*|\s+").findall

Message = dict[str, str]


class Conversations:
    """What was said, and what could have been found of it in a cache."""

    def __init__(self, name: str, count: int) -> None:
        rng = random.Random(name)
        self._rng = rng
        system = {"role": "system", "content": self._said(f"{name}-system", SYSTEM_WORDS)}
        self.said: list[list[Message]] = [[system] for _ in range(count)]
        self._ideal = EchoCache(2**40)
        self.cached = self.could = 0
        self.took: list[float] = []

    @staticmethod
    def _said(name: str, words: int) -> str:
        return " ".join(f"{name}-{number}" for number in range(words))

    async def turn(self, golek: Golek, model: str, number: int) -> None:
        """One more question of a conversation, and its answer."""
        said = self.said[number]
        said.append({"role": "user", "content": self._said(f"{number}-{len(said)}", USER_WORDS)})
        prompt = _words("".join(f"{message['content']} " for message in said))
        could = self._ideal.find(prompt)
        self._ideal.keep(prompt)
        began = time.perf_counter()
        reply = await golek.chat(model, said, max_tokens=ANSWER_WORDS)
        self.took.append(time.perf_counter() - began)
        if reply.tokens_in != len(prompt):
            raise RuntimeError(f"the engine read {reply.tokens_in} tokens of {len(prompt)}")
        self._ideal.keep(prompt + _words(reply.text))
        self.could += could
        self.cached += reply.tokens_cached
        said.append({"role": "assistant", "content": reply.text})

    async def round(self, golek: Golek, model: str, limit: int | None = None) -> None:
        """A turn of each conversation, or of so many, in a random order, CALLERS at a time."""
        order = iter(self._rng.sample(range(len(self.said)), limit or len(self.said)))

        async def caller() -> None:
            for number in order:
                await self.turn(golek, model, number)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def hit_rate(golek: Golek, model: str) -> float:
    conversations = Conversations(model, CONVERSATIONS)
    for number in range(TURNS):
        await conversations.round(golek, model)
        note(f"{model}: round {number + 1}, {conversations.cached} of {conversations.could} tokens were there")
    return conversations.cached / conversations.could


@contextmanager
def frozen(replica: WorkerProcess) -> Iterator[None]:
    """The worker and its engine stand still."""
    family = [psutil.Process(replica.pid), *psutil.Process(replica.pid).children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(family):
            process.send_signal(signal.SIGCONT)


async def frozen_added_s(golek: Golek, model: str, replica: WorkerProcess) -> float:
    """The longest wait with one replica frozen, less the median without."""
    conversations = Conversations(f"{model}-frozen", CONVERSATIONS)
    for _ in range(2):
        await conversations.round(golek, model)
    before, conversations.took = conversations.took, []
    with frozen(replica):
        for _ in range(FROZEN_REQUESTS // CONVERSATIONS):
            await conversations.round(golek, model)
    return await _added(model, before, conversations.took)


async def frozen_running_added_s(golek: Golek, model: str, replica: WorkerProcess) -> float:
    """The longest wait of those that were on their way when a replica froze, less the median without."""
    conversations = Conversations(f"{model}-running", CONVERSATIONS)
    await conversations.round(golek, model)
    before, conversations.took = conversations.took, []
    going = asyncio.create_task(conversations.round(golek, model))
    while len(conversations.took) < CONVERSATIONS // 3:
        await asyncio.sleep(0.01)
    with frozen(replica):
        await going
    return await _added(model, before, conversations.took)


async def _added(model: str, before: list[float], took: list[float]) -> float:
    after = sorted(took)
    slow = [f"{one:.2f}" for one in after[-5:]]
    note(f"{model}: before {median(before):.3f} s, at most {max(before):.3f} s; frozen at most {', '.join(slow)} s")
    await asyncio.sleep(8)  # until what it held is with others, and it is back
    return after[-1] - median(before)


@contextmanager
def fleet(url: str, **settings: object) -> Iterator[list[WorkerProcess]]:
    """The replicas, and a router in front of them."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, ExitStack() as stack:
        data = Path(folder)
        routes = data / "routes.yaml"
        routes.write_text(ROUTES)
        settings = {
            "GOLEK_LOG_LEVEL": "warning",
            "WORKER_CONCURRENCY": SLOTS,
            "CTX_SIZE": CTX_SIZE,
            "ECHO_CACHE_TOKENS": SLOTS * CTX_SIZE,
            **settings,
        }
        replicas = [
            stack.enter_context(WorkerProcess(url, data / "echo", replica=number + 1, **settings))
            for number in range(REPLICAS)
        ]
        router = WorkerProcess(url, data / "router", "router", ROUTES_FILE=str(routes), GOLEK_LOG_LEVEL="warning")
        stack.enter_context(router)
        yield replicas


async def measure(url: str, replicas: list[WorkerProcess]) -> None:
    async with Golek(url, deadline=60) as golek:
        rates = {model: await hit_rate(golek, model) for model in ("apart", "together")}
        figure(BENCH, "prefix_hit_rate", rates["together"], rates["apart"], "share", CONVERSATIONS * TURNS)
        added = {model: await frozen_added_s(golek, model, replicas[3]) for model in ("together", "apart")}
        figure(BENCH, "frozen_added_max_s", added["together"], added["apart"], "s", FROZEN_REQUESTS)


async def measure_running(url: str, replicas: list[WorkerProcess]) -> None:
    async with Golek(url, deadline=60) as golek:
        added: dict[str, list[float]] = {"together": [], "apart": []}
        for replica in replicas[:FROZEN_TIMES]:
            for model, found in added.items():
                found.append(await frozen_running_added_s(golek, model, replica))
        figure(BENCH, "frozen_running_added_max_s", max(added["together"]), max(added["apart"]), "s", FROZEN_TIMES)


def lanes() -> None:
    """Print the figures."""
    with broker() as url, fleet(url) as replicas:
        uvloop.run(measure(url, replicas))
    with broker() as url, fleet(url, ENGINE_STEP_MIN_MS=TOKEN_MS) as replicas:
        uvloop.run(measure_running(url, replicas))


if __name__ == "__main__":
    lanes()
