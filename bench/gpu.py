"""Is llama.cpp on a GPU as fast through the bus as llama-server is on the same one?

    make build-llama        # llama.cpp for the GPU that is here
    make bench NAME=gpu     # builds llama-server likewise, with CUDA's toolkit (nvcc)

Both load GPU_MODEL, one of lookalikes.py (7b), or `random` (143 million parameters), whole on the GPU, and are asked in
turn, as in engine.py: `tokens_per_s_cN` for GPU_CLIENTS callers (1,8,32), 64 tokens of prompt and 128 new ones, median
of GPU_ROUNDS rounds (3). `ttft_p50` is of 16 callers who come one after the other within two seconds. `how` names the
device.

Without a GPU the model is `random`, and each figure says that it is a processor's: a trial of the command, no more.
"""

import asyncio
import os
from pathlib import Path

import engine
import llama_cpp
import lookalikes
import peers
from support import figure, median, note

BENCH = "gpu"
GPU = bool(llama_cpp.llama_supports_gpu_offload())
MODEL = os.environ.get("GPU_MODEL", "7b" if GPU else "random")
CLIENTS = [int(number) for number in os.environ.get("GPU_CLIENTS", "1,8,32").split(",")]
ROUNDS = int(os.environ.get("GPU_ROUNDS", "3"))
THREADS = max(1, peers.cores() - 1)
CONTEXT = 512


def model_file() -> Path:
    """The model, written once."""
    if MODEL == "random":
        return peers.model_file("q8_0")
    path = peers.CACHE / f"lookalike-{MODEL}.gguf"
    if not path.exists():
        note(f"writing {path}: {lookalikes.file_bytes(MODEL) / 1e9:.1f} GB")
        peers.CACHE.mkdir(parents=True, exist_ok=True)
        lookalikes.write(MODEL, path)
    return path


async def device(ours: peers.Ours) -> str:
    """Where our worker has the model. Raises RuntimeError where that should be a GPU, and is none."""
    health = await ours.health()
    if GPU and health.device == "cpu":
        raise RuntimeError(f"the worker uses no GPU: {health.device_problem}")
    return health.device


def tell(name: str, results: engine.Results, unit: str, device: str) -> None:
    """The medians over all rounds of each round's median."""
    ours, theirs = (median([median(values) for values in rounds]) for rounds in (results.ours, results.theirs))
    figure(BENCH, name, ours, theirs, unit, ROUNDS, results.how | {"model": MODEL, "device": device})


async def main() -> None:
    shape = peers.Shape(model_file(), max(*CLIENTS, engine.ARRIVALS), CONTEXT, THREADS, gpu=GPU)
    async with engine.pair(shape) as servers:
        where = await device(servers[0])
        note(f"{MODEL} on {where}")
        make = engine.Prompts(await engine.words(servers[1]), 1)
        for clients in CLIENTS:
            count = max(clients, engine.FEWEST)
            prompts = [[make.make(engine.PROMPT) for _ in range(count)] for _ in range(ROUNDS)]

            async def speed(server: peers.Served, number: int) -> list[float]:
                return [await engine.throughput(server, prompts[number], clients)]  # noqa: B023 - awaited in this turn

            tell(f"tokens_per_s_c{clients}", await engine.in_turn(servers, ROUNDS, speed), "1/s", where)
        delays = [index * engine.WINDOW_S / engine.ARRIVALS for index in range(engine.ARRIVALS)]

        late = [[make.make(engine.PROMPT) for _ in delays] for _ in range(ROUNDS)]

        async def wait(server: peers.Served, number: int) -> list[float]:
            return await engine.first_tokens(server, late[number], delays)

        tell("ttft_p50", await engine.in_turn(servers, ROUNDS, wait), "s", where)


if __name__ == "__main__":
    asyncio.run(main())
