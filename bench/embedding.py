"""What does asking for many vectors at once save?

all-MiniLM-L6-v2 on a CPU, 64 texts in one request beside 64 requests of one text, each sent when the one before is
answered; in turn, medians. `bus` is what a caller sees: `golek.embed` through broker and worker; `engine` the child
alone. With sentences of about 12 tokens, and with paragraphs of about 100, which keep all cores busy one by one.
"""

import asyncio
import os
import random
import time

from support import broker, figure, median, note, worker

from golek_client import Golek
from golek_worker.engine.base import Embed, EngineConfig
from tests.engine.driver import Child, running
from tests.support.minilm import model_file

BENCH = "embedding"
NAME = "all-minilm-l6-v2"
RUNS = int(os.environ.get("EMBEDDING_RUNS", "11"))
THREADS = int(os.environ.get("MODEL_THREADS", "0"))
TEXTS = 64
LENGTHS = ((12, 10), (100, 98))
"""Tokens of a text, and words."""
SENTENCE = (
    "the worker answers a question about queues while another machine reads its next message and keeps the last one"
)


def texts(words: int) -> list[str]:
    """Different texts of `words` common words: a token each."""
    draw = random.Random(words)
    return [" ".join(draw.choices(SENTENCE.split(), k=words)) for _ in range(TEXTS)]


def seconds(child: Child, jobs: list[Embed]) -> float:
    """Until the last of `jobs` is answered, one after the other."""
    start = time.perf_counter()
    for job in jobs:
        child.send(job)
        child.until_ended(job.job_id)
    return time.perf_counter() - start


def engine(child: Child, inputs: list[str]) -> tuple[float, float]:
    """Seconds for (one job, one job a text)."""
    child.events.clear()
    one, many = [Embed("all", inputs)], [Embed(str(i), [text]) for i, text in enumerate(inputs)]
    return seconds(child, one), seconds(child, many)


async def bus(golek: Golek, inputs: list[str]) -> tuple[float, float]:
    """Seconds for (one request, one request a text)."""
    start = time.perf_counter()
    await golek.embed(NAME, inputs)
    middle = time.perf_counter()
    for text in inputs:
        await golek.embed(NAME, text)
    return middle - start, time.perf_counter() - middle


def tell(name: str, times: list[tuple[float, float]]) -> None:
    """The medians of all runs but the first, which warms up."""
    together, apart = (median(list(one)) for one in zip(*times[1:], strict=True))
    note(f"{name}: together {together * 1e3:.0f} ms, one by one {apart * 1e3:.0f} ms")
    figure(BENCH, f"vectors_per_s_{name}", TEXTS / together, TEXTS / apart, "1/s", RUNS)


async def on_the_bus() -> None:
    with broker() as url, worker(url, NAME, MODEL_PATH=model_file(), MODEL_THREADS=THREADS):
        async with Golek(url) as golek:
            for tokens, words in LENGTHS:
                tell(f"bus_{tokens}_tokens", [await bus(golek, texts(words)) for _ in range(RUNS + 1)])


def main() -> None:
    asyncio.run(on_the_bus())
    config = EngineConfig("llamacpp", str(model_file()), 4, 0, THREADS, kind="embedding")
    with running(config) as child:
        for tokens, words in LENGTHS:
            tell(f"engine_{tokens}_tokens", [engine(child, texts(words)) for _ in range(RUNS + 1)])


if __name__ == "__main__":
    main()
