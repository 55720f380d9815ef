"""An OpenAI server that costs nothing: what stands behind a gateway while the gateway is measured.

`python bench/upstream.py PORT`: a unary request gets the same 8 tokens, a stream TOKENS distinct ones (128), each
written by itself as quickly as the connection takes them. A few microseconds a request.
"""

import asyncio
import json
import os
import sys
from typing import Any

import uvloop

TOKENS = int(os.environ.get("TOKENS", "128"))
HEAD = {"id": "chatcmpl-fake", "created": 1_700_000_000, "model": "fake"}


def _sized(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return _sized(b"data: %b\n\n" % json.dumps(HEAD | {"object": "chat.completion.chunk", "choices": choices}).encode())


def _unary() -> bytes:
    message = {"role": "assistant", "content": "Hello! How can I help you today?"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20}
    body = json.dumps(HEAD | {"object": "chat.completion", "choices": choices, "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


UNARY = _unary()
BEGIN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + _event({"role": "assistant", "content": ""})
)  # fmt: skip
PIECES = [_event({"content": f" tok{number:03}"}) for number in range(TOKENS)]
END = _event({}, "stop") + _sized(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            _, _, rest = head.partition(b"content-length:")
            size = int(rest.split(b"\r\n")[0] or 0)
            if len(self._unread) < end + 4 + size:
                return
            body, self._unread = self._unread[end + 4 : end + 4 + size], self._unread[end + 4 + size :]
            if b'"stream":true' in body.replace(b" ", b""):
                self._transport.write(BEGIN)
                asyncio.get_running_loop().call_soon(self._write, 0)
            else:
                self._transport.write(UNARY)

    def _write(self, number: int) -> None:
        if self._transport.is_closing():
            return
        if number == TOKENS:
            self._transport.write(END)
            return
        self._transport.write(PIECES[number])
        asyncio.get_running_loop().call_soon(self._write, number + 1)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(main())
