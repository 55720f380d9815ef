"""Which slot does a new sequence get, and what need not be computed again?

Each slot holds the tokens of the sequence that runs in it, or of the last one that did. A prompt that begins like one
of them goes on behind the common part: in that slot when it is idle and little else would be lost, else in another one
after its cells were copied. A prompt that another sequence is just reading is waited for.

Pure. What a slot holds is kept as bytes, four a token, and compared with those of every slot. No tree is needed for
that: among 256 slots with 2,000 tokens in common it takes less than a millisecond for a request.
"""

from array import array
from collections.abc import Sequence as Tokens
from typing import NamedTuple, Protocol

COPY_SHARE = 128
"""A copy moves all cells of a slot, and each costs about a 200th of computing a token (measured on a CPU; less on a
GPU): it must save more than a 128th of them."""
COPY_LEAST = 32
"""Tokens; for fewer no copy is made and nobody is waited for."""
COMPACT_FROM = 2
"""With so many sequences running, a new one is put beside them, so that llama.cpp computes them in one pass."""
_BYTES = 4


class Holder(Protocol):
    """Something that cells belong to."""

    @property
    def key(self) -> bytes: ...
    @property
    def position(self) -> int:
        """Tokens of the key that are in the cells."""
        ...

    @property
    def adapter(self) -> object: ...
    @property
    def end(self) -> int:
        """The position that follows in llama.cpp: of images it may be less than their tokens."""
        ...


class Kept(NamedTuple):
    """What an ended sequence left."""

    key: bytes
    position: int
    adapter: object
    end: int


class Place(NamedTuple):
    """Where a sequence goes on."""

    slot: int
    found: int
    """Tokens that need not be computed."""
    source: int | None = None
    """The slot whose cells are to be copied first."""
    leader: int | None = None
    """The slot of a sequence that reads more of the same prompt …"""
    shared: int = 0
    """… and how many tokens they have in common."""


NOTHING = Kept(b"", 0, None, 0)


class Cache:
    """What the slots hold."""

    def __init__(self, slots: int, cells: int, *, keeps: bool) -> None:
        """`cells` of each slot. `keeps` is False for a memory that cannot be cut: then nothing is used again."""
        self._holders: list[Holder] = [NOTHING] * slots
        self._used = [0] * slots
        self._clock = 0
        self._keeps = keeps
        self._copy_from = max(COPY_LEAST, cells // COPY_SHARE)
        self.idle = set(range(slots))
        """Slots in which no sequence runs."""

    @property
    def kept(self) -> int:
        """Cells that idle slots hold."""
        return sum(self._holders[slot].position for slot in self.idle)

    def held(self, slot: int) -> int:
        """Cells that `slot` holds."""
        return self._holders[slot].position

    def end(self, slot: int) -> int:
        """The position in llama.cpp behind them."""
        return self._holders[slot].end

    def find(self, key: bytes, adapter: object) -> Place:
        """Where a prompt with this key is best read; at least its last token is computed. A slot must be idle."""
        most = len(key) // _BYTES - 1
        best = leader = 0
        found = shared = 0
        for slot, holder in enumerate(self._holders):
            same = self._common(slot, key, adapter, most)
            if min(same, holder.position) > found:
                best, found = slot, min(same, holder.position)
            if same > shared and same > holder.position:
                leader, shared = slot, same
        place = self._place(key, adapter, best, found, most)
        waits = shared - place.found >= self._copy_from and leader not in self.idle
        return place._replace(leader=leader, shared=shared) if waits else place

    def better(self, slot: int, key: bytes, adapter: object, found: int) -> Place:
        """What a sequence in `slot` that has `found` tokens can have now from other slots."""
        most = len(key) // _BYTES - 1
        others = [s for s in range(len(self._holders)) if s != slot]
        there = {s: min(self._common(s, key, adapter, most), self.held(s)) for s in others}
        source = max(others, key=there.__getitem__, default=slot)
        if source == slot or there[source] - found < self._copy_from:
            return Place(slot, found)
        return Place(slot, there[source], source)

    def take(self, slot: int, holder: Holder) -> None:
        """A sequence runs in `slot`."""
        self.idle.remove(slot)
        self._holders[slot] = holder

    def release(self, slot: int, kept: Kept) -> bool:
        """It has ended; True when what it leaves is kept."""
        self._clock += 1
        self._used[slot] = self._clock
        self._holders[slot] = kept if self._keeps else NOTHING
        self.idle.add(slot)
        return self._keeps

    def _common(self, slot: int, key: bytes, adapter: object, most: int) -> int:
        """Tokens that the key has in common with that of `slot`, computed there already or not."""
        holder = self._holders[slot]
        if not self._keeps or holder.adapter is not adapter:
            return 0
        return min(common(key, holder.key), most)

    def _place(self, key: bytes, adapter: object, best: int, found: int, most: int) -> Place:
        """The slot for a prompt of which `best` holds `found` tokens."""
        if found and best in self.idle and (2 * found >= self.held(best) or len(self.idle) == 1):
            return Place(best, found)
        slot = self._oldest(best if found else -1)
        own = min(self._common(slot, key, adapter, most), self.held(slot))
        return Place(slot, found, best) if found - own >= self._copy_from else Place(slot, own)

    def _oldest(self, spared: int) -> int:
        """The idle slot that gives way: beside running sequences where there are some, and unused for longest."""
        choice = [slot for slot in self.idle if slot != spared] or [spared]
        slots = len(self._holders)
        if slots - len(self.idle) >= COMPACT_FROM:
            beside = [s for s in choice if (s and s - 1 not in self.idle) or (s + 1 < slots and s + 1 not in self.idle)]
            choice = beside or choice
        return min(choice, key=lambda slot: (self._used[slot], slot))


def key_of(tokens: Tokens[int]) -> bytes:
    """What tokens are compared by."""
    return array("i", tokens).tobytes()


def common(a: bytes, b: bytes) -> int:
    """How many tokens two keys have in common, from the first on."""
    equal, differ = 0, min(len(a), len(b)) // _BYTES + 1
    step = 16
    while differ - equal > 1:
        middle = min(equal + step, (equal + differ) // 2)
        start, end = equal * _BYTES, middle * _BYTES
        if a[start:end] == b[start:end]:
            equal, step = middle, 2 * step
        else:
            differ = middle
    return equal
