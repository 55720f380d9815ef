"""A stand-in for clouds out of their minds: raw bytes on a real socket, whatever HTTP or the dialect would say.

It is no cloud. Which way it misbehaves is the name of the model that it is asked for; WILD has them all. What ordinary
clouds get wrong is in tests/support/clouds.py.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

KEY: Final = "tok-wild-77f1c2e9aa00"
"""The key that it is asked with, of a form that nobody would take for one."""
Writer = asyncio.StreamWriter
MEGABYTE: Final = b"x" * 1_000_000


class WildCloud:
    """One server, for as long as its context."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        """Requests by model."""
        self.open = 0
        """Requests that are being answered just now."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        body = json.loads(await reader.readexactly(int(fields.get("content-length", "0"))))
        model = str(body["model"])
        self.asked[model] += 1
        self.open += 1
        gone = asyncio.ensure_future(reader.read(1))
        answer = asyncio.ensure_future(WILD[model](writer, fields, bool(body.get("stream"))))
        try:
            await asyncio.wait((gone, answer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            for one in (gone, answer):
                one.cancel()
            await asyncio.gather(gone, answer, return_exceptions=True)


def chunk(text: str, finish: str | None = None, **delta: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": finish}
    return (
        b"data: " + json.dumps({"id": "w", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


def _whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "w", "object": "chat.completion", "choices": [choice]}).encode()


def _start(kind: str = "text/event-stream", status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _send(writer: Writer, *pieces: bytes) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()


GOOD: Final = (chunk("fine"), chunk("", "stop"), b"data: [DONE]\n\n")
Wild = Callable[[Writer, dict[str, str], bool], Coroutine[Any, Any, None]]


def _says(*pieces: bytes) -> Wild:
    async def say(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
        await _send(writer, *pieces)

    return say


async def _forever() -> None:
    await asyncio.Event().wait()


async def _drips(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """A byte a second, the headers too."""
    for byte in _start() + b"".join(GOOD):
        await _send(writer, bytes((byte,)))
        await asyncio.sleep(1)


async def _drips_comments(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """It says ten times a second that it is still there, and never anything else."""
    await _send(writer, _start())
    while True:
        await _send(writer, b": keep-alive\n\n")
        await asyncio.sleep(0.1)


async def _endless(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """A text without an end."""
    await _send(writer, _start())
    while True:
        await _send(writer, chunk("again "))
        await asyncio.sleep(0)


async def _huge(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """100 MB of one JSON body."""
    await _send(writer, _start("application/json"), b'{"choices":[{"message":{"content":"')
    await _send(writer, *[MEGABYTE] * 100, b'"}}]}')


async def _huge_event(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """100 MB of one event."""
    await _send(writer, _start(), b"data: ", *[MEGABYTE] * 100)


async def _huge_headers(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    """Headers without an end."""
    await _send(writer, b"HTTP/1.1 200 OK\r\n")
    while True:
        await _send(writer, b"x-more: " + b"y" * 4000 + b"\r\n")


async def _wait(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    await _forever()


async def _wait_in_headers(writer: Writer, _fields: dict[str, str], _stream: bool) -> None:
    await _send(writer, b"HTTP/1.1 200 OK\r\ncontent-type: text/ev")
    await _forever()


async def _echo(writer: Writer, fields: dict[str, str], _stream: bool) -> None:
    """It repeats the header with the key in its error."""
    words = json.dumps({"error": {"message": f"You sent Authorization: {fields.get('authorization')}"}}).encode()
    await _send(writer, _start("application/json", "400 Bad Request"), words)


async def _echo_in_stream(writer: Writer, fields: dict[str, str], _stream: bool) -> None:
    words = json.dumps({"error": {"message": f"You sent {fields.get('authorization')}", "code": 500}}).encode()
    await _send(writer, _start(), b"data: " + words + b"\n\n")


async def _echo_as_text(writer: Writer, fields: dict[str, str], _stream: bool) -> None:
    await _send(writer, _start("text/plain", "500 No"), f"oops {fields.get('authorization')}".encode())


async def _echo_in_type(writer: Writer, fields: dict[str, str], _stream: bool) -> None:
    """The key stands where a field's name does, and in a header."""
    key = fields.get("authorization", "").removeprefix("Bearer ")
    words = json.dumps({"error": {"message": "no", "param": key, "type": key, "code": key}}).encode()
    await _send(writer, _start("application/json", "400 Bad Request", x_key=key), words)


async def _echo_in_encoding(writer: Writer, fields: dict[str, str], _stream: bool) -> None:
    key = fields.get("authorization", "").removeprefix("Bearer ")
    await _send(writer, _start(content_encoding=key))


WILD: Final[dict[str, Wild]] = {
    "good": _says(_start(), *GOOD),
    "mute": _wait,
    "mute-in-headers": _wait_in_headers,
    "drips": _drips,
    "comments": _drips_comments,
    "endless": _endless,
    "huge": _huge,
    "huge-event": _huge_event,
    "huge-headers": _huge_headers,
    "cut-headers": _says(b"HTTP/1.1 200 OK\r\ncontent-ty"),
    "cut-at-once": _says(),
    "cut-midway": _says(_start(), chunk("half ")),
    "cut-short-length": _says(_start("application/json", content_length=5000), _whole("short")),
    "long-length": _says(_start("application/json", content_length=20), _whole("longer than it says")),
    "bad-length": _says(_start("application/json", content_length="many"), _whole("x")),
    "bad-chunk": _says(_start(transfer_encoding="chunked"), b"zz\r\n" + GOOD[0] + b"\r\n0\r\n\r\n"),
    "html": _says(_start("text/html"), b"<html><body>Please log in</body></html>"),
    "html-500": _says(_start("text/html", "500 Oh"), b"<html><body>nginx</body></html>"),
    "empty": _says(_start("application/json", content_length=0)),
    "empty-stream": _says(_start()),
    "no-content": _says(_start(status="204 No Content")),
    "status-999": _says(_start(status="999 What")),
    "status-100": _says(b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
    "not-http": _says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "error-in-200": _says(_start("application/json"), b'{"error":{"message":"not today","code":500}}'),
    "error-null": _says(_start("application/json"), b'{"error":null,"choices":[]}'),
    "array": _says(_start("application/json"), b"[1,2,3]"),
    "null": _says(_start("application/json"), b"null"),
    "number-chunk": _says(_start(), b"data: 42\n\n", *GOOD),
    "null-choices": _says(_start(), b'data: {"choices":null}\n\n', *GOOD),
    "text-in-number": _says(_start("application/json"), b'{"choices":[{"index":"0","message":{"content":7}}]}'),
    "deep": _says(_start("application/json"), b'{"choices":' + b"[" * 100_000),
    "redirect": _says(_start(status="307 Go", location="http://127.0.0.1:9/elsewhere")),
    "redirect-loop": _says(_start(status="302 Go", location="/v1/chat/completions")),
    "five-megabytes": _says(_start(), chunk("y" * 3_000_000), *GOOD[1:]),
    "event-too-large": _says(_start(), chunk("y" * 5_000_000), *GOOD[1:]),
    "bad-utf8": _says(_start(), b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n', *GOOD),
    "lone-surrogate": _says(_start(), b'data: {"choices":[{"index":0,"delta":{"content":"\\ud800"}}]}\n\n', *GOOD),
    "nul": _says(_start(), chunk("a\x00b"), *GOOD[1:]),
    "index-huge": _says(_start(), b'data: {"choices":[{"index":1000000,"delta":{"content":"x"}}]}\n\n', *GOOD),
    "index-negative": _says(_start(), b'data: {"choices":[{"index":-1,"delta":{"content":"x"}}]}\n\n', *GOOD),
    "tool-index-huge": _says(
        _start(),
        chunk("", tool_calls=[{"index": 10**9, "id": "a", "function": {"name": "f", "arguments": "{}"}}]),
        chunk("", "tool_calls"),
        GOOD[2],
    ),
    "usage-huge": _says(
        _start(), *GOOD[:2],
        b'data: {"choices":[],"usage":{"prompt_tokens":99999999999999999999,"completion_tokens":-5}}\n\n', GOOD[2],
    ),
    "retry-huge": _says(_start("application/json", "429 No", retry_after="99999999999"), b"{}"),
    "retry-nan": _says(_start("application/json", "429 No", retry_after="nan"), b"{}"),
    "retry-negative": _says(_start("application/json", "429 No", retry_after="-5"), b"{}"),
    "echo": _echo,
    "echo-stream": _echo_in_stream,
    "echo-text": _echo_as_text,
    "echo-type": _echo_in_type,
    "echo-encoding": _echo_in_encoding,
    "gzip": _says(_start(content_encoding="gzip"), b"\x1f\x8b" + b"\0" * 64),
}  # fmt: skip
