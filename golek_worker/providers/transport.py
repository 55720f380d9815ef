"""How does a request reach a server over HTTP, and its answer come back?

One pool of connections for each provider. Everything has its time: the connection, the first byte, each byte after it,
and the whole. Nothing is believed that is too large; no redirect is followed, for the key would go with it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from golek_wire.errors import DeadlineExceededError, InferenceServiceError, ProviderRefusedError
from golek_worker.providers import failures
from golek_worker.providers.failures import broken
from golek_worker.providers.sse import Event, EventTooLargeError, Splitter

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one answer, streamed or whole."""
ERROR_LIMIT: Final = 64 * 1024
"""Bytes that are read of a refusal."""
STALE_LIMIT: Final = 3
"""Connections that were kept and are gone, which a request may find."""
LINGER_S: Final = 0.05
"""How long the end of a stream is waited for behind its last event, so that its connection can be used again."""


class Server(Struct, frozen=True):
    """Where a provider is, and how long it may take."""

    name: str
    """Of the provider."""
    base_url: str
    """Up to and with the version, without a slash behind it."""
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    """Until its headers are there, and until the first event of a stream."""
    silence_s: float = 60.0
    """Between two pieces of an answer."""


class Transport:
    """The connections to one server."""

    def __init__(self, server: Server, headers: Mapping[str, str], key: str = "") -> None:
        """`headers` go with each request; `key` is what must not be repeated in an error."""
        import aiohttp  # noqa: F401 - a tenth of a second, which the first request shall not wait for

        self.server = server
        self._headers = dict(headers)
        self._key = key
        self._session: ClientSession | None = None

    @asynccontextmanager
    async def asked(
        self, method: str, path: str, body: bytes | None, until: float, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator["Answering", None]:
        """The answer to a request once its headers are there, to be read in the block: leaving it early hangs up.

        `until` is the loop's time at which nobody waits any more. Raises InferenceServiceError, also for what happens
        in the block.
        """
        import aiohttp

        name = self.server.name
        try:
            response = await self._response(method, path, body, until, headers or {})
            try:
                if response.status >= 300:
                    raise await self._refusal(response, until)
                encoding = response.headers.get("content-encoding", "identity").lower()
                if encoding not in ("identity", ""):
                    raise broken(name, f"answers in the encoding {encoding[:32]}, which it was not offered")
                yield Answering(self.server, response, until, self._key)
            finally:
                response.close() if not response.content.at_eof() else response.release()
        except InferenceServiceError as error:
            failures.hide(self._key, error)
            raise
        except aiohttp.ClientConnectorError as error:
            why = error.strerror or type(error).__name__
            raise failures.UnreachableError(f"{name} cannot be reached: {why}", provider=name) from None
        except aiohttp.InvalidURL:
            raise ProviderRefusedError(f"{name}: base_url is no address", provider=name) from None
        except aiohttp.ClientError as error:
            raise broken(name, f"broke the connection off ({type(error).__name__})") from None

    async def close(self) -> None:
        """Hang up."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _response(
        self, method: str, path: str, body: bytes | None, until: float, headers: Mapping[str, str]
    ) -> "ClientResponse":
        """A connection that was kept may be gone already: a request that found one so is asked again."""
        import aiohttp

        for _ in range(STALE_LIMIT):
            was_kept: list[bool] = []
            try:
                return await self._once(method, path, body, until, headers, was_kept)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not was_kept or isinstance(error, aiohttp.ClientConnectorError):
                    raise
        name = self.server.name
        raise failures.UnreachableError(f"{name} broke off {STALE_LIMIT} connections that were kept", provider=name)

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        until: float,
        headers: Mapping[str, str],
        was_kept: list[bool],
    ) -> "ClientResponse":
        """`was_kept` gets an element where the connection had been used before."""
        server = self.server
        patience = _patience(server, server.first_byte_s + server.connect_s, until)
        try:
            async with asyncio.timeout(patience):
                return await self._opened().request(
                    method, server.base_url + path, data=body, headers={**self._headers, **headers},
                    allow_redirects=False, trace_request_ctx=was_kept,
                )  # fmt: skip
        except TimeoutError:
            raise _late(server, until, f"did not begin to answer in {patience:.3g} s") from None

    async def _refusal(self, response: "ClientResponse", until: float) -> InferenceServiceError:
        """The error that a response tells of, as far as it can be read."""
        import aiohttp

        body = b""
        try:
            async with asyncio.timeout(min(5.0, max(0.0, until - _now()))):
                while len(body) < ERROR_LIMIT and (piece := await response.content.readany()):
                    body += piece
        except (TimeoutError, aiohttp.ClientError):
            pass
        return failures.of_response(self.server.name, response.status, response.headers, body[:ERROR_LIMIT], self._key)

    def _opened(self) -> "ClientSession":
        if self._session is None:
            import aiohttp

            traced = aiohttp.TraceConfig()
            traced.on_connection_reuseconn.append(_kept)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.server.connect_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[traced],
                headers={"accept-encoding": "identity", "user-agent": "golek"},
                auto_decompress=False,
                read_bufsize=2**20,
            )
        return self._session

    def __repr__(self) -> str:
        return f"<Transport to {self.server.name}>"


class Answering:
    """An answer that is being read."""

    def __init__(self, server: Server, response: "ClientResponse", until: float, key: str = "") -> None:
        self._server = server
        self._key = key
        self._response = response
        self._until = until
        self._size = 0

    @property
    def is_stream(self) -> bool:
        """Whether it comes as events; some servers answer as a whole whatever they are asked."""
        return not self._response.content_type.endswith("json")

    async def whole(self) -> bytes:
        """The body. Raises ProviderFailedError for one that does not end, in time or at all."""
        pieces: list[bytes] = []
        while piece := await self._piece(self._server.first_byte_s):
            pieces.append(piece)
        return b"".join(pieces)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events until the server ends them. Raises as `whole` does."""
        splitter = Splitter()
        patience = self._server.first_byte_s
        try:
            while piece := await self._piece(patience):
                for event in splitter.feed(piece):
                    patience = self._server.silence_s
                    yield event
            for event in splitter.end():
                yield event
        except EventTooLargeError as error:
            raise broken(self._server.name, f"sent no events: {error}") from None

    def failure(self, data: bytes) -> InferenceServiceError:
        """The error that an event called `error` tells of, which some servers do not wrap."""
        return failures.of_data(self._server.name, data, self._key)

    async def ended(self) -> None:
        """The last event was read: wait a moment for the end, so that the connection can be used again."""
        import aiohttp

        try:
            async with asyncio.timeout(LINGER_S):
                while not self._response.content.at_eof() and await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError):
            pass

    async def _piece(self, patience_s: float) -> bytes:
        patience = _patience(self._server, patience_s, self._until)
        try:
            async with asyncio.timeout(patience):
                piece = await self._response.content.readany()
        except TimeoutError:
            raise _late(self._server, self._until, f"said nothing for {patience:.3g} s") from None
        self._size += len(piece)
        if self._size > BODY_LIMIT:
            raise broken(self._server.name, f"sent more than {BODY_LIMIT} bytes for one answer")
        return piece


async def _kept(_session: object, context: Any, _params: object) -> None:
    """Tell the request that its connection had been used before."""
    context.trace_request_ctx.append(True)


def elapsed_ms(since: float) -> int:
    """Milliseconds since a moment of `time.perf_counter`."""
    return max(0, round((time.perf_counter() - since) * 1000))


def _patience(server: Server, seconds: float, until: float) -> float:
    left = until - _now()
    if left <= 0:
        raise _too_late(server)
    return min(seconds, left)


def _late(server: Server, until: float, how: str) -> InferenceServiceError:
    return _too_late(server) if _now() >= until else broken(server.name, how)


def _too_late(server: Server) -> DeadlineExceededError:
    return DeadlineExceededError(f"{server.name} did not answer before the request's deadline", provider=server.name)


def _now() -> float:
    return asyncio.get_running_loop().time()
