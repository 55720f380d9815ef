"""What does the bus cost where vLLM computes?

A worker with ENGINE=vllm, over the bus, and vLLM's own OpenAI server, of the same environment, on one folder with
random weights (random_folder.py, 135 million parameters), with the same arguments and threads. Both are loaded, and one
program asks them in turn: what one does while the other is measured is wait. `ours` is golek, `peer` the server.

- `tokens_per_s_cN`: new tokens per second of N streaming callers in a closed loop, VLLM_PROMPT tokens of prompt (512)
  and VLLM_NEW new ones (64), no two prompts alike; VLLM_REQUESTS requests for each caller (1). Median of VLLM_ROUNDS
  rounds.
- `ttft_p50_cN`: of the same requests, the time to the first piece; the median over the rounds of each round's median.
- `processor_s_cN`: processor time of all processes of a side for such a round, broker included.

The environment with vLLM is VLLM_PYTHON's, else `.venv-vllm`. VLLM_THREADS is by default one less than there are cores:
the callers, the broker and the servers' own threads need one. VLLM_CLIENTS chooses the callers (8,32).
"""

import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import peers
import psutil
import random_folder
from engine import Times
from gateway import started, tree
from peers import Served
from support import ROOT, WorkerProcess, figure, median, note, server

from golek_client import Golek
from golek_worker.engine import spins
from tests.support.ports import free_port

BENCH = "vllm"
PYTHON = os.environ.get("VLLM_PYTHON", "") or str(ROOT / ".venv-vllm/bin/python")
ROUNDS = int(os.environ.get("VLLM_ROUNDS", "3"))
THREADS = int(os.environ.get("VLLM_THREADS", "0")) or max(1, peers.cores() - 1)
PROMPT, NEW = int(os.environ.get("VLLM_PROMPT", "512")), int(os.environ.get("VLLM_NEW", "64"))
REQUESTS = int(os.environ.get("VLLM_REQUESTS", "1"))
CLIENTS = [int(number) for number in os.environ.get("VLLM_CLIENTS", "8,32").split(",")]
SLOTS, CONTEXT = max(CLIENTS), 1024
KV_BYTES = SLOTS * CONTEXT * random_folder.KV_BYTES
ARGUMENTS: dict[str, Any] = {
    "enforce_eager": True,
    "max_num_batched_tokens": 2048,
    "block_size": 32,
    "enable_prefix_caching": False,
}
"""Of both; what this leaves out is vLLM's own choice, where its own server's may be another than its library's."""
SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": str(THREADS),
    **spins(THREADS),
}
"""What a worker tells its vLLM; the server is told the same."""
SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
START_S = 240.0
WARM = 4
"""Requests before the first round."""


class Round(NamedTuple):
    """What one round of one side gave."""

    tokens_per_s: float
    ttft_s: float
    processor_s: float


class OpenAIServer:
    """vLLM's `/v1/completions`. Without a seed: with one, vLLM 0.32 for CPUs ends where it reads a prompt in parts."""

    name = "vllm"

    def __init__(self, port: int, command: str) -> None:
        self._port = port
        self.command = command

    async def ask(self, prompt: str, tokens: int, seed: int, arrived: Callable[[], object]) -> int:  # noqa: ARG002
        body = {"model": "random", "prompt": prompt, "max_tokens": tokens, "stream": True}
        body |= {"ignore_eos": True, "stream_options": {"include_usage": True}} | SAMPLING
        usage: dict[str, Any] = {}
        async with aclosing(peers.events(self._port, "/v1/completions", body)) as received:
            async for event in received:
                if event == b"[DONE]":
                    break
                chunk = json.loads(event)
                if "choices" not in chunk:
                    raise RuntimeError(f"{self.name}: {chunk}")
                usage = chunk.get("usage") or usage
                if chunk["choices"]:
                    arrived()
        if usage.get("completion_tokens") != tokens:
            raise RuntimeError(f"not {tokens} tokens: {usage}")
        return int(usage["prompt_tokens"])


class Side(NamedTuple):
    """One that is measured, and its processes."""

    served: Served
    processes: list[psutil.Process]

    @property
    def processor_s(self) -> float:
        times = [process.cpu_times() for process in self.processes if process.is_running()]
        return sum(one.user + one.system for one in times)


class Prompts:
    """Texts of exactly PROMPT tokens; no two alike."""

    def __init__(self) -> None:
        self._words = random_folder.words(2000)
        self._draw = random.Random(1)

    def make(self) -> str:
        return "".join(f" {word}" for word in self._draw.choices(self._words, k=PROMPT))


# -- what runs ---------------------------------------------------------------------------------------------------


def folder() -> Path:
    """The model, written once."""
    path = peers.CACHE / "random-llama-135m"
    if not path.exists():
        note(f"writing {path}")
        random_folder.write(path)
    return path


@asynccontextmanager
async def ours(model: Path) -> AsyncIterator[Side]:
    """A worker and its broker."""
    settings = {
        "ENGINE": "vllm",
        "VLLM_PYTHON": PYTHON,
        "MODEL_PATH": model,
        "MODEL_NAME": "random",
        "MODEL_THREADS": THREADS,
        "WORKER_CONCURRENCY": SLOTS,
        "CTX_SIZE": CONTEXT,
        "VLLM_KV_CACHE_MEMORY_BYTES": KV_BYTES,
        "VLLM_ARGS": json.dumps(ARGUMENTS),
    }
    command = peers.command_line(
        *[f"{key}={value}" for key, value in settings.items() if key != "VLLM_PYTHON"],
        f"python -m golek_worker.worker {peers.DEPLOYMENT}",
    )
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as data, server() as broker:
        process = WorkerProcess(broker.url, Path(data), peers.DEPLOYMENT, GOLEK_LOG_LEVEL="warning", **settings)
        try:
            process.start(wait=False).wait_for("online", START_S)
            async with Golek(broker.url) as golek:
                served = peers.Ours(golek, "random", command, SAMPLING)
                yield Side(served, tree(broker.pid, process.pid))
        finally:
            process.end()


@contextmanager
def theirs(model: Path) -> Iterator[Side]:
    """vLLM's server, ready."""
    port = free_port()
    arguments = {"max_model_len": CONTEXT, "max_num_seqs": SLOTS, "kv_cache_memory_bytes": KV_BYTES} | ARGUMENTS
    options = ["--served-model-name", "random", "--disable-log-stats", "--disable-uvicorn-access-log"]
    for name, value in arguments.items():
        option = name.replace("_", "-")
        options += [f"--{'' if value else 'no-'}{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
    command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *options]
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        own = [PYTHON, *command, "--host", "127.0.0.1", "--port", str(port)]
        with started(own, SURROUNDINGS | {"VLLM_RPC_BASE_PATH": folder}, Path(folder)) as process:
            until = time.monotonic() + START_S
            while not peers.answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{' '.join(own)}: {(Path(folder) / 'log').read_text()[-3000:]}")
                time.sleep(0.2)
            how = peers.command_line(f"OMP_NUM_THREADS={THREADS} python", *command)
            yield Side(OpenAIServer(port, how), tree(process.pid))


# -- what is measured --------------------------------------------------------------------------------------------


async def measured(side: Side, prompts: list[str], clients: int) -> Round:
    """One closed loop of callers."""
    waiting, first = list(enumerate(prompts)), []

    async def caller() -> None:
        while waiting:
            seed, prompt = waiting.pop()
            times = Times()
            began = time.perf_counter()
            read = await side.served.ask(prompt, NEW, seed, times.tick)
            if read != PROMPT:
                raise RuntimeError(f"{side.served.name} read {read} tokens instead of {PROMPT}")
            first.append(times[0] - began)

    before, began = side.processor_s, time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(clients)])
    took = time.perf_counter() - began
    return Round(len(prompts) * NEW / took, median(first), side.processor_s - before)


async def compare(sides: tuple[Side, Side], make: Prompts, clients: int) -> None:
    """ROUNDS rounds of each side in turn; who is first changes."""
    found: dict[str, list[Round]] = {side.served.name: [] for side in sides}
    for number in range(ROUNDS):
        prompts = [make.make() for _ in range(clients * REQUESTS)]
        for side in sides if number % 2 == 0 else sides[::-1]:
            found[side.served.name].append(await measured(side, prompts, clients))
        said = [f"{name} {now[-1].tokens_per_s:.0f}/s {now[-1].ttft_s:.2f} s" for name, now in found.items()]
        note(f"{clients} callers, round {number + 1}: {', '.join(said)}")
    how = {side.served.name: side.served.command for side in sides}
    units = {"tokens_per_s": "1/s", "ttft_s": "s", "processor_s": "s"}
    names = {"ttft_s": "ttft_p50"}
    for field, unit in units.items():
        values = [median([getattr(one, field) for one in rounds]) for rounds in found.values()]
        figure(BENCH, f"{names.get(field, field)}_c{clients}", *values, unit, ROUNDS, how)


async def main() -> None:
    model = folder()
    async with AsyncExitStack() as stack:
        note("starting both: a minute")
        sides = await stack.enter_async_context(ours(model)), stack.enter_context(theirs(model))
        make = Prompts()
        for side in sides:
            await measured(side, [make.make() for _ in range(WARM)], WARM)
        for clients in CLIENTS:
            await compare(sides, make, clients)


if __name__ == "__main__":
    asyncio.run(main())
