"""Do concurrent streams share the engine fairly, and what does a cancel cost the others?

Eight streams of golek-tiny, 200 tokens each, 20 ms a step, gathering off. Then the same with one of them cancelled at
its 20th token, 20 times: the tokens it still gets, and the texts of the other seven beside the undisturbed run.
"""

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from support import broker, figure, note, worker

from golek_client import Golek
from golek_client.stream import Stream
from golek_wire.errors import JobCancelledError

BENCH = "fairness"
RUNS = int(os.environ.get("FAIRNESS_RUNS", "20"))
MODEL = "golek-tiny"
STREAMS = 8
TOKENS = 200
CANCEL_AT = 20
PROMPTS = [
    f"What is {word}?" for word in ("NATS", "a lease", "a slot", "JetStream", "GGUF", "a token", "Golek", "a worker")
]

Log = list[int]


async def read(golek: Golek, number: int, stream: Stream, log: Log, cancel_at: int | None = None) -> str:
    """The text of one stream; each piece leaves its number in the merged log."""
    pieces = []
    try:
        async for piece in stream:
            log.append(number)
            pieces.append(piece)
            if len(pieces) == cancel_at:
                await golek.cancel(stream.job_id)
    except JobCancelledError:
        if cancel_at is None:
            raise
    return "".join(pieces)


async def eight(golek: Golek, cancelled: int | None = None) -> tuple[list[str], Log]:
    """The eight texts, and in which order their pieces came."""
    log: Log = []
    streams = [
        golek.stream(MODEL, prompt, max_tokens=TOKENS, ignore_eos=True, temperature=0, deadline=60, req_id=f"s{n}")
        for n, prompt in enumerate(PROMPTS)
    ]
    texts = await asyncio.gather(
        *(read(golek, n, s, log, CANCEL_AT if n == cancelled else None) for n, s in enumerate(streams))
    )
    return list(texts), log


def longest_row(log: Log) -> int:
    """The most pieces of one stream in a row, before the first stream has ended."""
    shortest_end = min(max(i for i, n in enumerate(log) if n == number) for number in set(log))
    longest = row = 0
    for i in range(1, shortest_end + 1):
        row = row + 1 if log[i] == log[i - 1] else 1
        longest = max(longest, row)
    return longest


async def measure(url: str) -> tuple[int, int]:
    """(longest row, texts that a cancel changed)."""
    changed = 0
    async with Golek(url) as golek:
        undisturbed, log = await eight(golek)
        for run in range(RUNS):
            cancelled = run % STREAMS
            texts, _ = await eight(golek, cancelled)
            differing = [n for n in range(STREAMS) if n != cancelled and texts[n] != undisturbed[n]]
            changed += len(differing)
            note(f"cancel {run + 1} of {RUNS}: {len(differing)} other texts changed")
    return longest_row(log), changed


def tokens_after_cancel(log_file: Path) -> int:
    """The most tokens the engine wrote for a cancelled stream beyond the one at which it was cancelled."""
    with closing(sqlite3.connect(log_file)) as log:
        rows = log.execute("SELECT tokens_out FROM requests WHERE status = 'CANCELLED'").fetchall()
    if len(rows) != RUNS:
        raise RuntimeError(f"{len(rows)} of {RUNS} cancelled streams are in the log")
    return max(tokens - CANCEL_AT for (tokens,) in rows)


def main() -> None:
    settings = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": STREAMS}
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, broker() as url:
        log_file = Path(folder) / "log.sqlite"
        with worker(url, MODEL, DB_PATH=log_file, **settings):
            row, changed = asyncio.run(measure(url))
        figure(BENCH, "longest_row", row, None, "messages", 1)
        figure(BENCH, "tokens_after_cancel", tokens_after_cancel(log_file), None, "tokens", RUNS)
        figure(BENCH, "texts_changed_by_cancel", changed, None, "texts", RUNS)


if __name__ == "__main__":
    main()
