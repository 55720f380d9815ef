"""How do we stand beside the figures that services like this one published?

Each figure of claims.py beside ours, measured on this machine through a real broker, worker and client, with models of
the same architecture and size (lookalikes.py). A figure that was taken on a GPU says so in `needs`; ours beside it is
that of the CPU. A model for which there is not enough free memory or disk is left out: `ours` is null, and `needs` says
how much.

- load: `golek worker start` until the worker is online, broker and Python included; the file is in the system's cache.
  Median of PUBLISHED_LOADS.
- memory: proportional set size of worker and engine after the requests, with the context and slots of the model's env
  file. The pages of the model's file that the engine has read are in it, though the system may take them back.
- request: the published example's prompt, as many tokens as its answer has. Median of PUBLISHED_REQUESTS.
- a token: between the first and the last piece of a stream, by the pieces between them.
- two callers: tokens per second of two at once, by those of one.
- authentication: what `key_cost.py` measures.

PUBLISHED_MODELS chooses some of gemma3-270m,qwen3-4b,gpt-oss-20b,7b,13b,30b.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import key_cost
import lookalikes
import psutil
from claims import CLAIMS, GPU, Claim
from support import ROOT, broker, median, note, worker

from golek_client import Golek
from golek_worker.machine import runfile
from tests.support.ports import free_port

BENCH = "published"
LOADS = int(os.environ.get("PUBLISHED_LOADS", "3"))
REQUESTS = int(os.environ.get("PUBLISHED_REQUESTS", "3"))
MODELS = os.environ.get("PUBLISHED_MODELS", ",".join(lookalikes.LOOKALIKES)).split(",")
GOLEK = [sys.executable, "-m", "golek_worker.cli"]
MARGIN = 2**30
"""Bytes of memory and disk that stay free."""
MB = 1e6


class Value(NamedTuple):
    """A figure of ours."""

    value: float | None
    how: str
    needs: str = ""


class Asked(NamedTuple):
    """A published example."""

    prompt: str
    tokens: int
    """That its answer has."""


EXAMPLES = {
    "gemma3-270m": Asked(lookalikes.text(4), 8),
    "qwen3-4b": Asked(lookalikes.text(5), 87),
    "gpt-oss-20b": Asked(lookalikes.text(5), 87),
}
"""As long as `Hello, world!` and `What is machine learning?` are for these models."""
PROMPT = 128
"""Tokens of the prompt that is read while somebody waits for the first token."""
NEW = {"7b": 32, "13b": 24, "30b": 12}
"""Tokens that are timed; with a context of so few tokens that weights are nearly all that is read."""
FEW = 1024
Values = dict[str, Value]


class Memory(NamedTuple):
    """Proportional set size of a process and what it started, in MB."""

    all: float
    of_files: float
    """Of it: pages of files that are mapped, which the system takes back when it needs them."""


def memory(process: psutil.Process) -> Memory:
    sums = {"Pss": 0, "Pss_File": 0}
    for one in (process, *process.children(recursive=True)):
        for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
            name, _, size = line.partition(":")
            if name in sums:
                sums[name] += int(size.split()[0]) * 1024
    return Memory(sums["Pss"] / MB, sums["Pss_File"] / MB)


class Service:
    """A worker that `golek worker start` started, and its broker, in a folder of their own."""

    def __init__(self, deployment: str, model: str, data: Path, **settings: object) -> None:
        self.model = model
        self.url = f"nats://127.0.0.1:{free_port()}"
        self._deployment, self._data = deployment, data
        own = {"GOLEK_DATA": data, "NATS_URL": self.url, "MODEL_NAME": model} | settings
        self._environment = os.environ | {name: str(value) for name, value in own.items()}

    def start(self) -> float:
        """Seconds until it is online."""
        began = time.perf_counter()
        self._run("start", self._deployment)
        return time.perf_counter() - began

    def stop(self) -> None:
        self._run("stop")

    def memory(self) -> "Memory":
        """Of worker and engine."""
        state = runfile.read(self._data, self._deployment, 1)
        assert state is not None
        return memory(psutil.Process(state.pid))

    def _run(self, *order: str) -> None:
        command = [*GOLEK, "worker", *order]
        subprocess.run(command, check=True, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL)


@contextmanager
def model_file(name: str) -> Iterator[Path]:
    """The model's file, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        note(f"writing {name}: {lookalikes.file_bytes(name) / 1e9:.1f} GB")
        path = Path(folder) / f"{name}.gguf"
        lookalikes.write(name, path)
        yield path


@contextmanager
def serving(deployment: str, model: str, **settings: object) -> Iterator[tuple[Service, float]]:
    """A service that is online, and the seconds that took."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data:
        service = Service(deployment, model, Path(data), **settings)
        try:
            yield service, service.start()
        finally:
            service.stop()


def lacking(name: str, tokens: int) -> str:
    """How much memory or disk is missing for a model with a cache of so many tokens; empty when all is there."""
    size = lookalikes.file_bytes(name)
    memory = size + lookalikes.kv_bytes(name, tokens) + MARGIN
    if psutil.virtual_memory().available < memory:
        return f"{memory / 2**30:.0f} GiB of free memory"
    if shutil.disk_usage(tempfile.gettempdir()).free < size + MARGIN:
        return f"{(size + MARGIN) / 2**30:.0f} GiB of free disk"
    return ""


# -- what is measured --------------------------------------------------------------------------------------------


async def request_ms(url: str, model: str, asked: Asked, count: int) -> tuple[float, int]:
    """Median of `count` requests, one after the other, after a short one; tokens of the prompt."""
    taken, read = [], 0
    async with Golek(url) as golek:
        await golek.ask(model, "warm", max_tokens=2, deadline=600.0)
        for _ in range(count):
            began = time.perf_counter()
            reply = await golek.ask(model, asked.prompt, max_tokens=asked.tokens, ignore_eos=True, deadline=600.0)
            taken.append((time.perf_counter() - began) * 1e3)
            read = reply.tokens_in
    return median(taken), read


async def side_by_side(url: str, model: str, asked: Asked, rounds: int) -> float:
    """What two callers get beside what one gets, of tokens per second; of whole requests."""

    async def caller(golek: Golek) -> None:
        await golek.ask(model, asked.prompt, max_tokens=asked.tokens, ignore_eos=True, deadline=600.0)

    times: dict[int, list[float]] = {1: [], 2: []}
    async with Golek(url) as golek:
        for _ in range(rounds):
            for callers, taken in times.items():
                began = time.perf_counter()
                await asyncio.gather(*[caller(golek) for _ in range(callers)])
                taken.append(time.perf_counter() - began)
    return 2 * median(times[1]) / median(times[2])


async def streamed_ms(url: str, model: str, tokens: int, count: int) -> tuple[float, float, int]:
    """Milliseconds to the first piece and from one to the next, and the tokens of the prompt; medians of `count`."""
    first, between, read = [], [], 0
    async with Golek(url) as golek:
        for number in range(count):
            began = time.perf_counter()
            prompt = f" {lookalikes.SYLLABLES[number]}{lookalikes.text(PROMPT - 2)}"
            async with golek.stream(
                model, prompt, raw=True, max_tokens=tokens, ignore_eos=True, deadline=600.0
            ) as stream:
                times = [time.perf_counter() async for _ in stream]
            first.append((times[0] - began) * 1e3)
            between.append((times[-1] - times[0]) * 1e3 / (tokens - 1))
            read = stream.reply.tokens_in
    return median(first), median(between), read


def of_service(name: str, base_mb: float) -> Values:
    """The figures of a model that the service in Go had, with its own env file: two slots of 8192 tokens."""
    asked = EXAMPLES[name]
    with model_file(name) as path:
        template = ROOT / "data" / "models" / name / "prompt_template.json"
        settings = {"MODEL_PATH": path} | ({"PROMPT_TEMPLATE": template} if template.exists() else {})
        loads = []
        for _ in range(LOADS - 1):
            with serving(name, name, **settings) as (_, load_s):
                loads.append(load_s)
        with serving(name, name, **settings) as (service, load_s):
            loads.append(load_s)
            note(f"{name}: loaded in {load_s:.1f} s")
            request, read = asyncio.run(request_ms(service.url, name, asked, REQUESTS))
            speedup = asyncio.run(side_by_side(service.url, name, asked, max(1, REQUESTS // 2)))
            taken = service.memory()
        size = path.stat().st_size
    tokens = f"{read} tokens read, {asked.tokens} written"
    return {
        f"{name}: file": Value(size / MB, "random weights"),
        f"{name}: load": Value(median(loads), f"`golek worker start {name}` until online"),
        f"{name}: request": Value(request, tokens),
        f"{name}: {asked.tokens} tokens": Value(request, tokens),
        f"{name}: memory": Value(
            taken.all - base_mb,
            f"worker and engine, less those without a model; 2 slots of 8192 tokens; {taken.of_files:.0f} MB of it are "
            "pages of files",
        ),
        f"{name}: two callers beside one": Value(speedup, f"tokens/s, {tokens}"),
    }


def of_shape(name: str) -> Values:
    """The speed of a model that the gateway in front of llama-server had figures of."""
    tokens = NEW[name]
    settings = {"WORKER_CONCURRENCY": 1, "CTX_SIZE": FEW, "MODEL_THREADS": 0}
    with model_file(name) as path:
        settings["MODEL_PATH"] = path  # type: ignore[assignment]
        with serving("golek-tiny", name, **settings) as (service, load_s):
            note(f"{name}: loaded in {load_s:.1f} s")
            first, between, read = asyncio.run(streamed_ms(service.url, name, tokens, max(1, REQUESTS // 2)))
        sizes = seven_b(path) if name == "7b" else {}
    timed = f"a stream of {tokens} tokens, one caller"
    return sizes | {
        f"{name}: prompt": Value(first, f"first token behind a prompt of {read} tokens"),
        f"{name}: tokens": Value(1e3 / between, timed),
        f"{name}: a token": Value(between, timed),
    }


def seven_b(path: Path) -> Values:
    """What a 7B takes of memory: with a context of 16K, and how much less with 8K."""
    sizes: dict[int, Memory] = {}
    for context in (16384, 8192):
        settings = {"MODEL_PATH": path, "WORKER_CONCURRENCY": 1, "CTX_SIZE": context, "MODEL_THREADS": 0}
        with serving("golek-tiny", "7b", **settings) as (service, _):
            asyncio.run(request_ms(service.url, "7b", Asked("Hello", 4), 1))
            sizes[context] = service.memory()
    weights, whole, cache = path.stat().st_size / MB, sizes[16384], sizes[16384].all - sizes[8192].all
    pages = f"{whole.of_files:.0f} MB of it are pages of files"
    return {
        "7b: model": Value(weights, "the file; random weights"),
        "7b: KV cache of 8K tokens": Value(cache, "CTX_SIZE=16384 less CTX_SIZE=8192; 16-bit numbers, 8 KV heads"),
        "7b: compute": Value(
            whole.all - weights - 2 * cache,
            "what else worker and engine have, weights that llama.cpp packs anew included",
        ),
        "7b: memory with 16K tokens": Value(whole.all, f"worker and engine, CTX_SIZE=16384, one slot; {pages}"),
    }


def of_keys() -> Values:
    """What stands between a caller and an engine that computes nothing."""
    bus, http = key_cost.measured()
    how = f"median of {key_cost.REQUESTS} requests with a key, less those without"
    return {
        "network overhead": Value(
            http.open, f"a whole request over HTTP, bus and engine included; {bus.open:.1f} ms on the bus alone"
        ),
        "authentication over HTTP": Value(http.keyed - http.open, how),
        "authentication on the bus": Value(bus.keyed - bus.open, how),
    }


def base_mb() -> float:
    """Worker and engine without a model."""
    with broker() as url, worker(url) as process:
        return memory(psutil.Process(process.pid)).all


def of_model(name: str, base: float) -> Values:
    """All figures of a model, or what they need."""
    tokens = 2 * 8192 if name in EXAMPLES else FEW
    missing = lacking(name, tokens) if name in MODELS else "a place in PUBLISHED_MODELS"
    if missing:
        note(f"{name} needs {missing}")
        return {claim.figure: Value(None, "", missing) for claim in CLAIMS if claim.figure.startswith(f"{name}:")}
    return of_service(name, base) if name in EXAMPLES else of_shape(name)


def tell(claim: Claim, ours: Value) -> None:
    """One line of JSON on stdout."""
    line = {
        "bench": BENCH,
        "figure": claim.figure,
        "ours": None if ours.value is None else rounded(ours.value),
        "published": claim.said,
        "ratio": None if ours.value is None else round(ours.value / claim.value, 3),
        "unit": claim.unit,
        "source": claim.source,
        "needs": ours.needs or (GPU if claim.gpu else ""),
        "how": ours.how,
    }
    print(json.dumps(line), flush=True)


def rounded(value: float) -> float:
    """To three digits that count."""
    return float(f"{value:.3g}") if value < 1000 else round(value)


def main() -> None:
    base = base_mb()
    found: Values = {"memory of the system without a model": Value(base, "worker and engine of the echo model")}
    found |= of_keys()
    for name in lookalikes.LOOKALIKES:
        found |= of_model(name, base)
    for claim in CLAIMS:
        tell(claim, found[claim.figure])


if __name__ == "__main__":
    main()
