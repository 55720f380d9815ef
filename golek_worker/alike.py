"""Who says which questions are alike, and when is that asked?

The second look of `caching`, for GOLEK_CACHE=semantic and requests that want it. Vectors come from the fleet's model
GOLEK_SEMANTIC_MODEL, over a connection that is opened when the first one is needed; in a locked fleet with the worker's
login, and GOLEK_API_KEY where keys are asked for.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from golek_client import Golek
from golek_worker.cache.base import Asked, Held
from golek_worker.cache.questions import KEEP_S, Question, question
from golek_worker.free_memory import memory_is_short
from golek_worker.settings import Settings

if TYPE_CHECKING:
    from golek_worker.cache.semantic import SemanticCache

MOST_KEEPING: Final = 64
"""Answers that wait for their vectors; more are not kept."""


class Alike:
    """Finds what was kept for a question that means the same. Nothing here raises."""

    def __init__(self, chosen: Settings, golek: Golek | None = None) -> None:
        """`golek` asks for vectors; one of its own without it. It is closed here."""
        self._chosen = chosen
        self._golek = golek or Golek(chosen.nats_url, login=chosen.login, deadline=KEEP_S)
        self._keeping: set[asyncio.Task[None]] = set()
        self._cache: SemanticCache | None = None
        """None until there is something to keep: it brings numpy, 13 MB and 0.1 s, which few workers need."""

    @property
    def held(self) -> list[Held]:
        """What is kept."""
        return [] if self._cache is None else [self._cache]

    async def look(self, asked: Asked) -> bytes | None:
        """The value that was kept for an alike question; None where there is none, or it cannot be told in time."""
        if self._cache is None:
            return None
        found = question(asked)
        return await self._cache.get(found) if isinstance(found, Question) else None

    def keep(self, asked: Asked, value: bytes, ttl_s: float) -> None:
        """Have the value found for alike questions, soon."""
        found = question(asked)
        if isinstance(found, str) or len(self._keeping) >= MOST_KEEPING:
            return
        task = asyncio.get_running_loop().create_task(self._store(found, value, ttl_s))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    @property
    def keeping(self) -> int:
        """Answers that wait for their vectors."""
        return len(self._keeping)

    async def close(self) -> None:
        """Keep nothing more, and hang up."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._cache is not None:
            await self._cache.close()
        await self._golek.close()

    async def _embed(self, text: str) -> Sequence[float]:
        return (await self._golek.embed(self._chosen.golek_semantic_model, text)).vectors[0]

    async def _store(self, asked: Question, value: bytes, ttl_s: float) -> None:
        made = await asyncio.to_thread(self._made) if self._cache is None else self._cache
        self._cache = self._cache or made  # another one may have come first
        await self._cache.store(asked, value, ttl_s)

    def _made(self) -> "SemanticCache":
        from golek_worker.cache.semantic import SemanticCache

        return SemanticCache(
            self._embed,
            threshold=self._chosen.golek_semantic_threshold,
            max_bytes=self._chosen.golek_cache_mb * 2**20,
            is_short=memory_is_short,
        )
