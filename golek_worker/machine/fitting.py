"""Which model goes where on a machine, and what does not fit?

By the memory that is free now. A model goes whole on the GPU with the most left, else on all GPUs together, else into
the machine's memory; the largest first. Pure: what models need and what is free are values.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

GB: Final = 10**9
Tier = Literal["Light", "Medium", "Full", "Server"]
TIERS: Final[tuple[tuple[float, Tier], ...]] = ((8, "Light"), (12, "Medium"), (15, "Full"))
"""Below so many GB; from the last of them on it is Server."""
MEMORY: Final = "memory"


class Load(Struct, frozen=True):
    """What a model takes."""

    model: str
    bytes: int
    may_use_gpu: bool = True
    on: tuple[str, ...] = ()
    """The only GPUs that its settings allow; all without."""


class Device(Struct, frozen=True):
    """A GPU, or the machine's memory."""

    name: str
    free: int


class Placed(Struct, frozen=True):
    """Where one model goes."""

    model: str
    where: str
    """`CUDA0`, `CUDA0+CUDA1`, `memory`; empty where it does not fit."""
    bytes: int
    short: int = 0
    """Bytes that are missing where most is free."""


def tier(size: int) -> Tier:
    """The tier of models whose files have so many bytes together."""
    return next((name for limit, name in TIERS if size < limit * GB), "Server")


def place(loads: Iterable[Load], gpus: Sequence[Device], memory: int) -> list[Placed]:
    """Where each goes, in the order in which they came; what does not fit takes nothing from the others."""
    left = {one.name: one.free for one in gpus}
    placed: dict[int, Placed] = {}
    order = sorted(enumerate(loads), key=lambda one: -one[1].bytes)
    for number, load in order:
        able = {name: free for name, free in left.items() if load.may_use_gpu and (not load.on or name in load.on)}
        best = max(able, key=lambda name: able[name], default="")
        if best and able[best] >= load.bytes:
            left[best] -= load.bytes
            placed[number] = Placed(load.model, best, load.bytes)
        elif len(able) > 1 and sum(able.values()) >= load.bytes:
            for name, free in able.items():
                left[name] -= load.bytes * free // sum(able.values())
            placed[number] = Placed(load.model, "+".join(able), load.bytes)
        elif memory >= load.bytes:
            memory -= load.bytes
            placed[number] = Placed(load.model, MEMORY, load.bytes)
        else:
            most = max(memory, sum(able.values()))
            placed[number] = Placed(load.model, "", load.bytes, load.bytes - most)
    return [placed[number] for number in sorted(placed)]
