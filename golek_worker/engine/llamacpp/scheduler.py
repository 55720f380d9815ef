"""Which rows does the next decode compute?

Pure. Every sequence has its own part of the cache (a stream, numbered like its slot). llama.cpp computes rows together
only when their slots follow each other without a hole, else in one pass over all weights for each run of slots.
"""

from collections.abc import Collection, Iterable, Mapping

from golek_worker.engine.llamacpp.adapters import Adapter
from golek_worker.engine.llamacpp.sequence import Sequence

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


def of_adapter(writing: Mapping[int, Sequence], adapter: Adapter | None) -> list[int]:
    """The slots that write with this LoRA adapter: one call of llama.cpp computes with one."""
    return [slot for slot, sequence in writing.items() if sequence.adapter is adapter]
