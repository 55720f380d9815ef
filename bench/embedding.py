"""What does asking for many vectors at once save?

all-MiniLM-L6-v2 on a CPU, in its child: one `Embed` of 64 texts beside 64 `Embed`s of one text, each sent when the one
before is answered. In turn, medians; with sentences of about 12 tokens, and with paragraphs of about 100.
"""

import os
import random
import time

from support import figure, median, note

from golek_worker.engine.base import Embed, EngineConfig
from tests.engine.driver import Child, running
from tests.support.minilm import model_file

BENCH = "embedding"
RUNS = int(os.environ.get("EMBEDDING_RUNS", "11"))
THREADS = int(os.environ.get("MODEL_THREADS", "0"))
TEXTS = 64
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


def measure(child: Child, words: int) -> tuple[float, float]:
    """Medians of (one job, one job a text)."""
    inputs = texts(words)
    together, apart = [], []
    for run in range(-1, RUNS):
        child.events.clear()
        one, many = [Embed("all", inputs)], [Embed(str(i), [text]) for i, text in enumerate(inputs)]
        times = seconds(child, one), seconds(child, many)
        note(f"{words} words, run {run + 1} of {RUNS}: {times[0] * 1e3:.0f} ms and {times[1] * 1e3:.0f} ms")
        if run >= 0:  # the first one warms up
            together.append(times[0])
            apart.append(times[1])
    return median(together), median(apart)


def main() -> None:
    config = EngineConfig("llamacpp", str(model_file()), 4, 0, THREADS, kind="embedding")
    with running(config) as child:
        for name, words in (("12_tokens", 10), ("100_tokens", 98)):
            together, apart = measure(child, words)
            figure(BENCH, f"vectors_per_s_{name}", TEXTS / together, TEXTS / apart, "1/s", RUNS)


if __name__ == "__main__":
    main()
