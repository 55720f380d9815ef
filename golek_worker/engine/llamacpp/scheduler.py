"""Which rows does the next step compute?

Pure. First one row of every sequence that writes, then as many tokens of prompts as the step's budget has room for.

Every sequence has its own part of the cache (a stream, numbered like its slot). llama.cpp computes rows together only
when their slots follow each other without a hole, else in one pass over all weights for each run of slots. Rows of
prompts would be computed in passes of their own too, so each chunk of a prompt is one call.
"""

from collections.abc import Callable, Iterable, Mapping

from golek_worker.engine.llamacpp.adapters import Adapter
from golek_worker.engine.llamacpp.sequence import Sequence

FILL_LIMIT = 4
"""Idle slots that may be computed along to join two runs: a few needless rows cost less than one more pass."""
FILL_LIMIT_LONE = 1
"""To join a run and a single row: that is computed alone in a third of the time that two take together."""
READ_LEAST = 64
"""Tokens of a prompt in one call, when it has so many: with fewer flash attention takes half as long again for each."""
READ_MOST = 448
READ_BATCH = READ_MOST + READ_LEAST
"""The most tokens of one call: what would be left behind a chunk, if too little for a call of its own, comes along."""
ALONE_S = 0.25
"""Time for prompts in a step when no sequence writes: until then no command is read."""
BESIDE_S = 0.1
"""Beside sequences that write, for each prompt: so much longer is the pause between two of their tokens …"""
PROMPTS = 5
"""… for so many prompts at most."""


def decode_rows(decoding: Iterable[int], may_fill: Callable[[int], bool]) -> list[int]:
    """The slots to compute, ascending: those `decoding`, and others that fill small holes between them."""
    slots = sorted(decoding)
    if not slots or slots[-1] - slots[0] + 1 == len(slots):
        return slots
    present = set(slots)
    rows = [slots[0]]
    run = 1
    for slot in slots[1:]:
        hole = range(rows[-1] + 1, slot)
        joins = (run > 1) + (slot + 1 in present)
        limit = (0, FILL_LIMIT_LONE, FILL_LIMIT)[joins]
        if len(hole) <= limit and all(map(may_fill, hole)):
            rows += hole
            run += len(hole) + 1
        else:
            run = 1
        rows.append(slot)
    return rows


def of_adapter(writing: Mapping[int, Sequence], adapter: Adapter | None) -> list[int]:
    """The slots that write with this LoRA adapter: one call of llama.cpp computes with one."""
    return [slot for slot, sequence in writing.items() if sequence.adapter is adapter]


def read_seconds(readers: int, writers: int) -> float:
    """How long a step may read prompts: for each of them as long as those who write may wait for one."""
    return BESIDE_S * min(PROMPTS, readers) if writers else ALONE_S


def read_chunks(rests: list[int], budget: int) -> list[tuple[int, int]]:
    """What a step reads: (index, tokens) for each call, given what is left of each prompt in the order of arrival.

    The oldest prompt has at least half of the budget, so that it comes to its end; then come the shortest, so that none
    of them waits for a long one.
    """
    chunks: list[tuple[int, int]] = []
    left = list(rests)
    order = [0, *sorted(range(1, len(rests)), key=rests.__getitem__), 0]
    for turn, index in enumerate(order):
        room = budget if turn or len(rests) == 1 else max(READ_LEAST, budget // 2)
        while left[index] and (room >= READ_LEAST or left[index] <= room or not chunks):
            tokens = _chunk(left[index], room)
            chunks.append((index, tokens))
            left[index] -= tokens
            room -= tokens
            budget -= tokens
    return chunks


def _chunk(rest: int, room: int) -> int:
    """The tokens of one call."""
    most = max(READ_LEAST, min(room, READ_MOST) // READ_LEAST * READ_LEAST)
    return rest if rest < most + READ_LEAST else most
