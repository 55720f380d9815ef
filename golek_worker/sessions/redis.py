"""How are conversations kept in Redis?

Under `golek:session:<key>`, or another prefix for what is no conversation, with Redis's own expiry. A change is a
transaction that Redis refuses when another one came between (WATCH); then it is made anew. Needs the extra `redis`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from golek_wire.errors import TemporaryResourceError
from golek_worker.sessions.store import Edit

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX: Final = "golek:session:"
PATIENCE_S: Final = 2.0
RETRY_MS: Final = 1000
T = TypeVar("T")


class RedisStore:
    """A Redis server."""

    name = "redis"

    def __init__(self, client: "Redis", ttl_s: float, shown: str, prefix: str = PREFIX) -> None:
        """`shown` is the server's URL as it may be shown; all keys begin with `prefix`."""
        self._client = client
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._shown = shown
        self._prefix = prefix

    @classmethod
    async def open(cls, url: str, ttl_s: float, shown: str, prefix: str = PREFIX) -> "RedisStore":
        """Connect. Raises RuntimeError when the package is missing, the URL is none, or the server does not answer."""
        try:
            from redis import asyncio as redis
        except ModuleNotFoundError:
            raise RuntimeError(
                f"GOLEK_SESSION_STORE={shown}: the Python package redis is missing; install `golek[redis]`"
            ) from None
        try:
            client = redis.from_url(url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
        except ValueError as error:
            raise RuntimeError(f"GOLEK_SESSION_STORE={shown}: {error}") from None
        store = cls(client, ttl_s, shown, prefix)
        try:
            await store._ask(client.ping)
        except TemporaryResourceError as error:
            await client.aclose()
            raise RuntimeError(f"GOLEK_SESSION_STORE={error.message}") from None
        return store

    async def read(self, key: str) -> bytes | None:
        found: bytes | None = await self._ask(lambda: self._client.get(self._prefix + key))
        return found

    async def change(self, key: str, edit: Edit) -> None:
        from redis.exceptions import WatchError

        while True:
            try:
                await self._ask(lambda: self._once(self._prefix + key, edit))
            except WatchError:
                continue
            return

    async def delete(self, key: str) -> bool:
        return bool(await self._ask(lambda: self._client.delete(self._prefix + key)))

    async def close(self) -> None:
        await self._client.aclose()

    async def _once(self, name: str, edit: Edit) -> None:
        """One try of a change. Raises WatchError when another one came between."""
        made: Any = self._client.pipeline(transaction=True)  # its methods are typed for two clients at once
        async with made as pipe:
            await pipe.watch(name)
            new = edit(await pipe.get(name))
            if new is None:
                return
            pipe.multi()
            pipe.set(name, new, px=self._ttl_ms)
            await pipe.execute()

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What the server answers to `call`. Raises TemporaryResourceError, and WatchError for who listens to that."""
        from redis.exceptions import RedisError, WatchError

        try:
            async with asyncio.timeout(PATIENCE_S):
                return await call()
        except WatchError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
            raise TemporaryResourceError(f"{self._shown}: Redis does not answer: {problem}", RETRY_MS) from error
