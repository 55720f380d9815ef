"""Is our engine as fast as what people would run instead?

golek over the bus and llama-server over HTTP, both on one file with random weights (see random_model.py), with the same
threads, context, slots and sampling, driven by one program in turn: what one does while the other is measured is wait.
`ours` is golek, `peer` the other.

- `tokens_per_s_cN`: new tokens per second of N callers in a closed loop, 64 tokens of prompt and 128 new ones, no two
  prompts alike; median of ENGINE_ROUNDS rounds.
- `decode_share`: of the time with at least one running sequence, the part that llama.cpp computes; in the child.
- `ttft_p50`, `ttft_p95`: time to the first token of 16 callers who come at random within ENGINE_WINDOW_S.
- `itl_p99`: gaps between the pieces of running streams while prompts of 4,000 tokens arrive.
- `prefix_ttft`: the second of two prompts with 1,000 tokens in common, beside the first; `prefix_ttft_peer`: beside
  llama-server's second.
- `llama_cpp_server_c8`: tokens per second of 8 callers beside `python -m llama_cpp.server`.

Each figure has the command lines of both as `how`: threads, slots, context.

ENGINE_THREADS is by default one less than there are cores: the callers, the broker and the servers' own threads need
one. ENGINE_PARTS chooses some of the parts: throughput,share,ttft,itl,prefix,python.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import peers
from peers import Served, Shape
from support import figure, median, note

from golek_client import Golek
from golek_wire.requests import Params
from golek_worker.engine.base import EngineConfig, Gauges, Step, Submit
from tests.engine.driver import Child, running

BENCH = "engine"
ROUNDS = int(os.environ.get("ENGINE_ROUNDS", "3"))
LATENCY_ROUNDS = int(os.environ.get("ENGINE_LATENCY_ROUNDS", "5"))
THREADS = int(os.environ.get("ENGINE_THREADS", "0")) or max(1, peers.cores() - 1)
WEIGHTS = os.environ.get("ENGINE_WEIGHTS", "q8_0")
MODEL = os.environ.get("ENGINE_MODEL", "")
WINDOW_S = float(os.environ.get("ENGINE_WINDOW_S", "2"))
CLIENTS = [int(number) for number in os.environ.get("ENGINE_CLIENTS", "1,4,16,32").split(",")]
PARTS = set(os.environ.get("ENGINE_PARTS", "throughput,share,ttft,itl,prefix,python").split(","))
PROMPT, NEW = 64, 128
FEWEST = 4
"""Requests of a round, however few callers there are."""
SHARE_CLIENTS = 16
ARRIVALS = 16
LONG_PROMPT, LONG_PROMPTS, STREAMS, PAUSE_S = 4000, 2, 4, 0.5
SHARED, OWN = 1000, 24
WORDS = 500


class Results(NamedTuple):
    """Of both servers, the values of each round."""

    ours: list[list[float]]
    theirs: list[list[float]]
    how: dict[str, str]
    """How each server was started."""


Measure = Callable[[Served, int], Awaitable[list[float]]]
"""Of a server, in a round."""


class Prompts:
    """Texts of an exact number of tokens, the beginning one included; no two alike."""

    def __init__(self, words: list[str], seed: int) -> None:
        self._words = words
        self._draw = random.Random(seed)

    def make(self, tokens: int) -> str:
        return " ".join(self._draw.choices(self._words, k=tokens - 1))


class Times(list[float]):
    """When pieces arrived."""

    def tick(self) -> None:
        self.append(time.perf_counter())


def ignore() -> None:
    """Pieces whose times nobody wants."""


async def words(server: peers.LlamaServer) -> list[str]:
    """Words of the vocabulary that are one token wherever they stand."""
    draw, found = random.Random(0), set[str]()
    while len(found) < WORDS:
        tokens = draw.choices(range(1000, 20000), k=200)
        text = (await server.post("/detokenize", tokens=tokens))["content"]
        for word in text.split():
            if word.isascii() and word.isalpha() and len(word) > 2:
                twice = (await server.post("/tokenize", content=f"{word} {word}"))["tokens"]
                found |= {word} if len(twice) == 2 else set()
    return sorted(found)


# -- one measurement of one server -------------------------------------------------------------------------------


async def throughput(server: Served, prompts: list[str], clients: int) -> float:
    """New tokens per second."""
    waiting = list(enumerate(prompts))

    async def caller() -> None:
        while waiting:
            seed, prompt = waiting.pop()
            if (read := await server.ask(prompt, NEW, seed, ignore)) not in (PROMPT, 0):
                raise RuntimeError(f"{server.name} read {read} tokens instead of {PROMPT}")

    start = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(clients)])
    return len(prompts) * NEW / (time.perf_counter() - start)


async def first_tokens(server: Served, prompts: list[str], delays: list[float]) -> list[float]:
    """Seconds to the first token of callers who come after `delays`."""

    async def caller(seed: int, prompt: str, delay: float) -> float:
        await asyncio.sleep(delay)
        return await first_token(server, prompt, NEW, seed)

    return await asyncio.gather(
        *[caller(seed, prompt, delay) for seed, (prompt, delay) in enumerate(zip(prompts, delays, strict=True))]
    )


async def first_token(server: Served, prompt: str, new: int, seed: int) -> float:
    """Seconds to the first token; its whole answer is read."""
    times = Times()
    start = time.perf_counter()
    await server.ask(prompt, new, seed, times.tick)
    return times[0] - start


async def gaps(server: Served, prompts: list[str], long_prompts: list[str]) -> list[float]:
    """Seconds between the pieces of running streams, from the first long prompt until the last one's answer."""
    arrived = [Times() for _ in prompts]
    streams = [
        asyncio.create_task(server.ask(prompt, 4096, seed, times.tick))
        for seed, (prompt, times) in enumerate(zip(prompts, arrived, strict=True))
    ]
    while not all(len(times) > 8 for times in arrived):
        await asyncio.sleep(0.01)
    start = time.perf_counter()
    for prompt in long_prompts:
        await asyncio.gather(server.ask(prompt, 1, 0, ignore), asyncio.sleep(PAUSE_S))
    end = time.perf_counter()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    inside = [[at for at in times if start <= at <= end] for times in arrived]
    return [later - earlier for times in inside for earlier, later in pairwise(times)]


def share(shape: Shape, clients: int) -> Gauges | None:
    """What the child says of itself after `clients` streams."""
    config = EngineConfig("llamacpp", str(shape.model), shape.slots, shape.ctx_size, shape.threads)
    with running(config) as child:
        params = Params(max_tokens=NEW, ignore_eos=True)
        jobs = [Submit(f"{seed}", f"{seed} is a number. " * 8, params, seed, stream=True) for seed in range(clients)]
        child.send(*jobs)
        child.until_ended(*[job.job_id for job in jobs])
        return idle_gauges(child)


def idle_gauges(child: Child) -> Gauges | None:
    """The next gauges of a child that has nothing to do."""
    step = child.until(lambda event: isinstance(event, Step) and event.running == 0)
    assert isinstance(step, Step)
    return step.gauges


# -- parts -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def pair(shape: Shape) -> AsyncIterator[tuple[peers.Ours, peers.LlamaServer]]:
    """Both servers, loaded and warm."""
    with ExitStack() as stack:
        url, _ = stack.enter_context(peers.ours(shape))
        theirs = stack.enter_context(peers.llama_server(shape))
        async with Golek(url) as golek:
            ours = peers.Ours(golek, "random", shape.our_command)
            for server in (ours, theirs):
                await asyncio.gather(*[server.ask(f"warm {i}", 8, i, ignore) for i in range(shape.slots)])
            yield ours, theirs


async def in_turn(servers: tuple[Served, Served], rounds: int, measure: Measure) -> Results:
    """What `measure` gave for each server in each round; who is first changes."""
    results: dict[str, list[list[float]]] = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else servers[::-1]:
            results[server.name].append(await measure(server, number))
        medians = [f"{name} {median(found[-1]):.4g}" for name, found in results.items()]
        note(f"round {number + 1}: {', '.join(medians)}")
    return Results(*results.values(), {server.name: server.command for server in servers})


def tell(name: str, results: Results, pick: Callable[[list[float]], float], unit: str) -> None:
    """The medians over all rounds of what `pick` takes of each."""
    ours, theirs = (median([pick(values) for values in rounds]) for rounds in (results.ours, results.theirs))
    figure(BENCH, name, ours, theirs, unit, len(results.ours), results.how)


def part_of(share: float) -> Callable[[list[float]], float]:
    """Takes the value below which `share` of all lie."""
    return lambda values: sorted(values)[round(share * (len(values) - 1))]


async def speeds(servers: tuple[Served, Served], make: Prompts, clients: int, name: str) -> None:
    """Tokens per second of `clients` callers."""
    prompts = [[make.make(PROMPT) for _ in range(max(clients, FEWEST))] for _ in range(ROUNDS)]

    async def measure(server: Served, number: int) -> list[float]:
        return [await throughput(server, prompts[number], clients)]

    note(f"{clients} callers, tokens/s")
    tell(name, await in_turn(servers, ROUNDS, measure), median, "1/s")


async def arrivals(servers: tuple[Served, Served], make: Prompts) -> None:
    """Time to the first token of callers who come at random."""
    draw = random.Random(ARRIVALS)
    delays = [[draw.uniform(0, WINDOW_S) for _ in range(ARRIVALS)] for _ in range(LATENCY_ROUNDS)]
    prompts = [[make.make(PROMPT) for _ in range(ARRIVALS)] for _ in range(LATENCY_ROUNDS)]

    async def measure(server: Served, number: int) -> list[float]:
        return await first_tokens(server, prompts[number], delays[number])

    note(f"{ARRIVALS} callers in {WINDOW_S} s, seconds to the first token")
    results = await in_turn(servers, LATENCY_ROUNDS, measure)
    tell("ttft_p50", results, median, "s")
    tell("ttft_p95", results, part_of(0.95), "s")


async def long_prompts(servers: tuple[Served, Served], make: Prompts) -> None:
    """Gaps of running streams beside long prompts."""
    short = [[make.make(PROMPT) for _ in range(STREAMS)] for _ in range(LATENCY_ROUNDS)]
    long = [[make.make(LONG_PROMPT) for _ in range(LONG_PROMPTS)] for _ in range(LATENCY_ROUNDS)]

    async def measure(server: Served, number: int) -> list[float]:
        return await gaps(server, short[number], long[number])

    note(f"gaps in {STREAMS} streams beside prompts of {LONG_PROMPT} tokens, s")
    results = await in_turn(servers, LATENCY_ROUNDS, measure)
    tell("itl_p99", results, part_of(0.99), "s")
    tell("itl_p50", results, median, "s")


async def prefixes(servers: tuple[Served, Served], make: Prompts) -> None:
    """The second prompt that begins like the first."""
    shared = [make.make(SHARED) for _ in range(LATENCY_ROUNDS)]
    own = [[make.make(OWN), make.make(OWN)] for _ in range(LATENCY_ROUNDS)]

    async def measure(server: Served, number: int) -> list[float]:
        prompts = [f"{shared[number]} {rest}" for rest in own[number]]
        return [await first_token(server, prompt, 8, 1) for prompt in prompts]

    note(f"prompts with {SHARED} tokens in common, seconds to the first token")
    results = await in_turn(servers, LATENCY_ROUNDS, measure)
    first, second = (median([values[i] for values in results.ours]) for i in (0, 1))
    figure(BENCH, "prefix_ttft", second, first, "s", LATENCY_ROUNDS, results.how)
    tell("prefix_ttft_peer", results, lambda values: values[1], "s")


async def measure_many(model: Path) -> None:
    """Short prompts, many callers."""
    shape = Shape(model, max(*CLIENTS, ARRIVALS), 512, THREADS)
    async with pair(shape) as servers:
        make = Prompts(await words(servers[1]), 1)
        for clients in CLIENTS if "throughput" in PARTS else []:
            await speeds(servers, make, clients, f"tokens_per_s_c{clients}")
        if "ttft" in PARTS:
            await arrivals(servers, make)


async def measure_long(model: Path) -> None:
    """Long prompts, few callers."""
    async with pair(Shape(model, 8, 5120, THREADS)) as servers:
        make = Prompts(await words(servers[1]), 2)
        if "itl" in PARTS:
            await long_prompts(servers, make)
        if "prefix" in PARTS:
            servers[1].reuse = True
            await prefixes(servers, make)


async def measure_python(model: Path) -> None:
    """llama-cpp-python's own server. Where its dependencies cannot be had, it says so."""
    shape = Shape(model, 8, 512, THREADS)
    try:
        peers.python_server()
    except RuntimeError as error:
        note(f"no llama_cpp_server_c8: {error}")
        return
    async with pair(shape) as (ours, theirs):
        make = Prompts(await words(theirs), 3)
        with peers.llama_cpp_server(shape) as python:
            await speeds((ours, python), make, shape.slots, "llama_cpp_server_c8")


def measure_share(model: Path) -> None:
    """How much of the child's busy time is llama.cpp's."""
    for clients in CLIENTS:
        shape = Shape(model, max(CLIENTS), 512, THREADS)
        gauges = share(shape, clients)
        if gauges is None:
            note("no decode_share: the engine does not measure itself")
            return
        name = "decode_share" if clients == SHARE_CLIENTS else f"decode_share_c{clients}"
        figure(BENCH, name, gauges.decode_s, gauges.busy_s, "s", 1, {peers.Ours.name: shape.our_command})


def main() -> None:
    model = Path(MODEL) if MODEL else peers.model_file(WEIGHTS)
    if {"throughput", "ttft"} & PARTS:
        asyncio.run(measure_many(model))
    if "share" in PARTS:
        measure_share(model)
    if {"itl", "prefix"} & PARTS:
        asyncio.run(measure_long(model))
    if "python" in PARTS:
        asyncio.run(measure_python(model))


if __name__ == "__main__":
    main()
