"""Which rows does the next decode compute, and how is a prompt cut?

Pure. Every sequence has its own part of the cache (a stream, numbered like its slot). llama.cpp computes rows together
only when their slots follow each other without a hole, else in one pass over all weights for each run of slots.
"""

from collections.abc import Collection, Iterable, Iterator

FILL_LIMIT = 4
"""Idle slots that may be computed along to join two runs: a few needless rows cost less than one more pass."""


def decode_rows(decoding: Iterable[int], idle: Collection[int]) -> list[int]:
    """The slots to compute, ascending: those `decoding`, and the `idle` ones that fill small holes between them."""
    rows: list[int] = []
    for slot in sorted(decoding):
        if rows:
            hole = range(rows[-1] + 1, slot)
            if len(hole) <= FILL_LIMIT and all(s in idle for s in hole):
                rows += hole
        rows.append(slot)
    return rows


def lone_rows(rows: list[int]) -> set[int]:
    """Those of the ascending `rows` that have no neighbour, so llama.cpp computes them alone."""
    present = set(rows)
    return {slot for slot in rows if slot - 1 not in present and slot + 1 not in present}


def chunks(tokens: int, size: int) -> Iterator[range]:
    """The parts of a prompt, each computed by one call.

    They depend on the prompt alone: with other cuts its last bits would depend on what else runs.
    """
    for start in range(0, tokens, size):
        yield range(start, min(start + size, tokens))


def thread_count(wanted: int, physical_cores: int, model_bytes: int) -> int:
    """CPU threads of a decode step: `wanted`, or with 0 one per physical core.

    A small model gets fewer, one per 8 MiB. Its threads meet every few microseconds and wait by spinning:
    where other processes want the cores too, more threads are many times slower (4 MB model, 4 busy cores, 8 slots:
    2,200 tokens/s with one thread, 4,300 with two, 200 to 700 with three).
    """
    return wanted or min(physical_cores, 1 + model_bytes // (8 * 1024 * 1024))
