"""What is a cache of answers, for those that use one?

Values are bytes and keys say nothing of what was asked (`keys`), so that a cache cannot give one caller what is
another's by mistake. All calls return at once; what must be waited for, the broker, is `SharedCache`.
"""

from typing import Protocol

from msgspec import Struct

from golek_wire.requests import Request
from golek_wire.subjects import Kind


class CacheKey(Struct, frozen=True):
    """Where an answer is kept."""

    model: str
    """As clients name it: all entries of a model are removed together."""
    digest: str
    """SHA-256, in hex, of all that decides on the answer, and of who asked."""


class Asked(Struct, frozen=True):
    """A request, with all that decides on its answer beside what stands in it."""

    principal: str
    """Who asks. Nobody gets what was kept for another one."""
    kind: Kind
    model: str
    """As clients name it."""
    deployment: str
    """What is loaded and how it is set up: the fingerprint of the model's file and of the settings that shape answers.
    """
    request: Request
    adapter: str = ""
    """Which LoRA adapter answers: file and scale, not the name alone; empty for none."""
    prompt: str = ""
    """What the model reads, where it is known: by it a template counts that has today's date in it."""
    grammar: str = ""
    """What the named grammar of the request says just now; empty for none."""
    allowed: str = ""
    """The models that may answer, with commas, where the key of who asks names some: two keys may have one holder."""


class Cache(Protocol):
    """Keeps answers for some time."""

    def get(self, key: CacheKey) -> bytes | None:
        """What is kept; None where nothing is, or its time is over."""
        ...

    def store(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        """Keep `value` for at most `ttl_s` seconds; it may go earlier."""
        ...

    def invalidate_by_model(self, model: str) -> int:
        """Forget all answers of a model; how many."""
        ...

    def clear(self) -> int:
        """Forget all; how many."""
        ...

    def size(self) -> int:
        """How many answers are kept."""
        ...


class SharedCache(Protocol):
    """What all replicas share, behind the cache in memory. It never fails, and is never waited for for long."""

    async def get(self, model: str, digest: str) -> bytes | None:
        """What is kept; None where nothing is, and where that cannot be told in time."""
        ...

    def store(self, model: str, digest: str, value: bytes, ttl_s: float) -> None:
        """Have it kept, soon; it may be lost."""
        ...

    async def invalidate_by_model(self, model: str) -> None:
        """Forget all answers of a model. Raises what the bus raises."""
        ...

    async def clear(self) -> None:
        """Forget all, of whichever model. Raises what the bus raises."""
        ...


class Second(Protocol):
    """Looks once more where the exact look found nothing: questions that mean the same. It never fails."""

    async def look(self, asked: Asked) -> bytes | None:
        """The value that was kept for an alike question; None where there is none, or it cannot be told in time."""
        ...

    def keep(self, asked: Asked, value: bytes, ttl_s: float) -> None:
        """Have the value found for alike questions, soon."""
        ...

    @property
    def held(self) -> "list[Held]":
        """What it keeps."""
        ...


class Held(Protocol):
    """What a cache in memory holds."""

    max_bytes: int
    """What all entries may take together."""
    held_bytes: int
    """What they take."""

    def size(self) -> int: ...
    def invalidate_by_model(self, model: str) -> int: ...
    def clear(self) -> int: ...
