"""Ask a fleet over HTTP, from a program that has no way to its bus. Needs aiohttp: `golek[http]`.

    from golek_client.http import InferenceServiceProvider

    async with InferenceServiceProvider("http://localhost:8000", timeout=120.0) as provider:
        answer = await provider.chat("inference:qwen3-4b", [{"role": "user", "content": "What is NATS?"}])
        async for chunk in provider.stream("inference:qwen3-4b", "Tell me a story"):
            ...

Made to stand among the providers of another gateway: messages and options go through as they are, chunks come back as
they are, a model's name may have that gateway's prefix. Every error is one of golek_wire.errors. What was refused for
the moment is asked again, as long as nothing of an answer has come.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote

import msgspec

from golek_wire import codec
from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    ForbiddenError,
    InferenceServiceError,
    InternalError,
    NotFoundError,
    RateLimitedError,
    RetriableError,
    TemporaryResourceError,
    UnauthorizedError,
    from_body,
)
from golek_wire.openai.completion import ChatCompletion
from golek_wire.openai.models import Model, ModelList, plain
from golek_wire.requests import Message

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

CHAT: Final = "/v1/chat/completions"
DEADLINE: Final = "x-golek-deadline-ms"
LINE_LIMIT: Final = 16 * 2**20
"""Bytes of one event."""
BY_STATUS: Final[dict[int, type[InferenceServiceError]]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    408: DeadlineExceededError,
    429: RateLimitedError,
    503: TemporaryResourceError,
    504: DeadlineExceededError,
}
"""Of answers whose body is not ours: of a proxy, or in OpenAI's own words."""

Messages = str | Sequence[Message | Mapping[str, Any]]
"""A conversation; a plain string is one user turn."""
Form = TypeVar("Form")


class InferenceServiceProvider:
    """A fleet's gateway, or a worker, over HTTP."""

    def __init__(self, base_url: str, timeout: float = 120.0, *, api_key: str = "", retries: int = 2) -> None:
        """`base_url` without `/v1`; `timeout` in seconds is for a whole call, its repeats included."""
        if timeout <= 0:
            raise BadRequestError(f"timeout: more than 0 seconds; got {timeout:g}", param="timeout")
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.timeout = timeout
        self.retries = retries
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; what still runs is cancelled."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def chat(self, model: str, messages: Messages, **options: Any) -> ChatCompletion:
        """The whole answer; `options` are fields of OpenAI's API and ours. A call that is cancelled cancels the job."""
        return await self._json("POST", CHAT, ChatCompletion, _asked(model, messages, options | {"stream": False}))

    async def complete(self, model: str, prompt: Messages, **options: Any) -> str:
        """Only the text of the answer."""
        return (await self.chat(model, prompt, **options)).choices[0].message.content or ""

    async def stream(self, model: str, messages: Messages, **options: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks of an answer, as OpenAI's API has them. Who stops reading closes it, and that cancels the job."""
        asked, until = _asked(model, messages, options | {"stream": True}), self._until()
        async with self._answer("POST", CHAT, asked, until) as response, aclosing(_events(response)) as events:
            while True:
                async with asyncio.timeout_at(
                    until
                ):  # not around the yield: it would end what the reader does meanwhile
                    data = await anext(events, None)
                if data is None:
                    return
                yield data

    async def models(self) -> list[Model]:
        """The models that can be asked."""
        return (await self._json("GET", "/v1/models", ModelList)).data

    async def health(self) -> bool:
        """Whether the fleet can answer now."""
        try:
            await self._json("GET", "/health/ready", dict[str, Any], retries=0)
        except (RetriableError, DeadlineExceededError):
            return False
        return True

    async def load(self, model: str) -> dict[str, Any]:
        """Bring a model into memory, and wait until it is there."""
        return await self._json("POST", f"/v1/models/{quote(plain(model))}/load", dict[str, Any], {})

    async def unload(self, model: str) -> dict[str, Any]:
        """Take a model out of memory once its jobs have ended."""
        return await self._json("POST", f"/v1/models/{quote(plain(model))}/unload", dict[str, Any], {})

    async def _json(
        self,
        method: str,
        path: str,
        form: type[Form],
        body: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> Form:
        until = self._until()
        async with self._answer(method, path, body, until, retries) as response, asyncio.timeout_at(until):
            data = await response.read()
        try:
            return msgspec.json.decode(data, type=form)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InternalError(f"{self.base_url}{path} answered with something else: {error}") from None

    def _until(self) -> float:
        """When a call that begins now is to have ended, on the loop's clock."""
        return asyncio.get_running_loop().time() + self.timeout

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, until: float, retries: int | None = None
    ) -> AsyncGenerator["ClientResponse", None]:
        """The response once it is a good one. Raises InferenceServiceError, also for what happens while it is read;
        that it is read by `until` is up to who does.
        """
        import aiohttp

        try:
            async with asyncio.timeout_at(until):
                response = await self._good(method, path, body, until, self.retries if retries is None else retries)
            try:
                yield response
            finally:
                response.close()
        except TimeoutError:
            raise DeadlineExceededError(f"{self.base_url}{path} took longer than {self.timeout:g} s") from None
        except aiohttp.ClientError as error:
            raise TemporaryResourceError(f"{self.base_url}{path}: the connection was lost: {error}") from None

    async def _good(
        self, method: str, path: str, body: Mapping[str, Any] | None, until: float, retries: int
    ) -> "ClientResponse":
        """Ask, and ask again while that may help and there is time."""
        for again in range(retries + 1):
            try:
                return await self._once(method, path, body, until)
            except RetriableError as error:
                wait_s = error.retry_after_ms / 1000 * random.uniform(1.0, 1.2)
                hopeless = error.details.get("should_retry") is False or _left_s(until) < wait_s
                if again == retries or hopeless:
                    raise
                await asyncio.sleep(wait_s)
        raise AssertionError("the loop returns or raises")

    async def _once(self, method: str, path: str, body: Mapping[str, Any] | None, until: float) -> "ClientResponse":
        import aiohttp

        headers = {**self._headers, DEADLINE: str(max(1, round(_left_s(until) * 1000)))}
        data = None
        if body is not None:
            headers["content-type"], data = "application/json", codec.encode(body)
        try:
            response = await self._opened().request(method, self.base_url + path, headers=headers, data=data)
        except aiohttp.ClientConnectorError as error:
            raise TemporaryResourceError(f"{self.base_url} cannot be reached: {error.strerror or error}") from None
        if response.status < 400:
            return response
        try:
            raise error_of(response.status, response.headers, await response.read())
        finally:
            response.release()

    def _opened(self) -> "ClientSession":
        import aiohttp

        if self._session is None:
            forever = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
            self._session = aiohttp.ClientSession(timeout=forever, read_bufsize=2**20)
        return self._session


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> InferenceServiceError:
    """The error that a response tells of, also one in OpenAI's words or of a proxy."""
    told: dict[str, Any] = {}
    try:
        found = msgspec.json.decode(body)
        if isinstance(found, dict) and isinstance(found.get("error"), dict):
            told = found["error"]
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    details = told.get("details")
    details = dict(details) if isinstance(details, dict) else {}
    if isinstance(told.get("param"), str):
        details["param"] = told["param"]
    milliseconds = _retry_after_ms(headers)
    if milliseconds is not None:
        details["retry_after_ms"] = milliseconds
    if headers.get("x-should-retry") == "false":
        details["should_retry"] = False
    message = str(told.get("message") or f"the server answered with status {status}")
    code = str(told.get("code") or "")
    if not code.isupper():  # OpenAI's codes are lower case
        kind = BY_STATUS.get(status, TemporaryResourceError if status == 502 else InternalError)
        code = (kind if status >= 500 or status in BY_STATUS else BadRequestError).code
    return from_body(code, message, details, retriable=told.get("type") == "retriable")


def _left_s(until: float) -> float:
    return until - asyncio.get_running_loop().time()


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    for name, unit in (("retry-after-ms", 1), ("retry-after", 1000)):
        if headers.get(name, "").isdecimal():
            return int(headers[name]) * unit
    return None


def _asked(model: str, messages: Messages, options: Mapping[str, Any]) -> dict[str, Any]:
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return {**options, "model": plain(model), "messages": turns}


async def _events(response: "ClientResponse") -> AsyncGenerator[dict[str, Any], None]:
    """The JSON of each event. Raises the error that ends the stream, and one for a stream that ends without its end."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise InternalError(f"an event has more than {LINE_LIMIT} bytes", limit=LINE_LIMIT)
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            try:
                found = msgspec.json.decode(data, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InternalError(f"an event of the stream is no JSON object: {error}") from None
            if found.get("error") is not None:
                raise error_of(500, response.headers, data)
            yield found
    raise TemporaryResourceError("the stream broke off before its end")
