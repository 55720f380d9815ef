"""Messages that nobody should send, and what a worker does with them: for tests/bus/test_fuzz.py and bench/fuzz.py.

`messages` makes them (hypothesis), `Volley` sends them over raw connections of their own and collects what comes back.
"""

import asyncio
import contextlib
import json
import random
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import hypothesis
from hypothesis import strategies as st

from tests.support.broker import NatsServer

INBOX = b"@inbox@"
"""Stands in a reply subject for an inbox of the volley."""
WRONG = {400, 401, 403, 404, 413}
"""What a malformed request may be answered with."""
BATCH = 50
PATIENCE_S = 5.0


class Message(NamedTuple):
    """One PUB or HPUB, as bytes: nothing of it need be text."""

    subject: bytes
    reply: bytes
    headers: bytes
    """Without the version line; empty for none."""
    body: bytes


_bytes = st.binary(max_size=200)
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from([10**400, -(2**63) - 1, 2**64, 1e308, "\x00", "x" * 5000, "💥" * 100, "a\r\nPUB b"])
)  # fmt: skip
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_FIELDS = (
    "req_id", "input", "messages", "params", "raw", "stream", "tools", "seed", "deadline_ms", "priority", "reply_to",
    "session_id", "metadata", "resume", "encoding_format", "dimensions", "model",
)  # fmt: skip
_PARAMS = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "stop", "grammar", "repeat_penalty")
_objects = st.dictionaries(st.sampled_from(_FIELDS), _values, max_size=5)
_params = st.dictionaries(st.sampled_from(_PARAMS), _values, max_size=3).map(lambda params: {"params": params})


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def _nested(depth: int, shape: str) -> bytes:
    opening, closing = {"list": ("[", "]"), "object": ('{"metadata":', "}")}[shape]
    return (opening * depth + ("1" if shape == "list" else '{"input":1}') + closing * depth).encode()


BODIES = st.one_of(
    _bytes,
    _bytes.map(lambda noise: b'{"input": "' + noise),
    _bytes.map(lambda noise: b'{"req_id": "' + noise + b'", "input": 7}'),
    st.builds(_written, _objects),
    st.builds(_written, _values),
    st.builds(lambda some, params: _written(some | params), _objects, _params),
    st.builds(lambda some: _written({"input": "fine"} | some), _params),
    st.builds(_nested, st.sampled_from([10, 900, 1100, 50_000]), st.sampled_from(["list", "object"])),
    st.sampled_from([
        b"", b"null", b"NaN", b'{"input": NaN}', b'{"input": "a"', b"\xff\xfe", b'"\xed\xa0\x80"',
        b'{"input":"\\ud800"}', b'{"stream": "yes", "req_id": "r"}',
        b'{"seed": 1e999, "input": "a"}', b'{"req_id": 7, "input": "a", "stream": true}',
        b'{"input": ""}', b'{"deadline_ms": -1, "input": "a"}', b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"reply_to": "golek.dlq.echo", "input": "a"}', b'{"reply_to": "_INBOX.x", "input": "a"}',
        b'{"input": "a", "params": {"grammar": "root ::= "}, "raw": "no"}',
    ]),
)  # fmt: skip
_NAMES = (
    "Golek-Accept", "golek-accept", "Golek-Deadline", "GOLEK-PRINCIPAL", "Golek-Principal", "Golek-Job", "Golek-Reply",
    "Golek-Seed", "Golek-Object", "Golek-Parts", "Golek-Keep", "Nats-Msg-Id", "Nats-TTL", "Nats-Rollup", "Status",
    "Nats-Expected-Stream", "Authorization", "Nats-Request-Info", "Idempotency-Key", "traceparent", "tracestate",
)  # fmt: skip
_line = st.one_of(
    st.builds(lambda name, value: name.encode() + b": " + value, st.sampled_from(_NAMES), st.binary(max_size=60)),
    st.builds(lambda name: name.encode() + b": " + b"x" * 3000, st.sampled_from(_NAMES)),
    st.builds(lambda name, value: name + b":" + value, st.binary(max_size=20), st.binary(max_size=20)),
    st.sampled_from(
        [b"Golek-Accept: 1", b"Golek-Deadline: 99999999999999999999", b"no colon", b": empty", b"\x00: \xff"]
    ),
)
HEADERS = st.one_of(
    st.just(b""),
    st.lists(_line, min_size=1, max_size=4).map(lambda lines: b"\r\n".join(lines) + b"\r\n\r\n"),
    st.just(b"".join(b"X-%d: y\r\n" % number for number in range(1500)) + b"\r\n"),
    st.just(b"Golek-Accept: 1\r\n" * 500 + b"\r\n"),
    _bytes,
)
_REPLIES = (
    b"", b"golek.dlq.echo", b"inference.job.echo.normal.any", b"$JS.API.STREAM.PURGE.GOLEK_DLQ", b"_INBOX",
    b"inference.request.echo", b"models.echo.health", b"_INBOX.>", b"_INBOX.*", b"_INBOX..x", b"_INBOX.\xff\xfe",
    b"\xff", b"_INBOX." + b"x" * 900, b"$KV.GOLEK_MODELS.echo",
)  # fmt: skip
_SUBJECTS = (
    b"embedding.request.echo", b"inference.submit.echo", b"inference.cancel.x", b"inference.cancel.\xff",
    b"models.echo.health", b"$SRV.PING", b"$SRV.INFO.golek", b"$SRV.STATS.golek.x",
)  # fmt: skip
REQUEST = b"inference.request.echo"


def messages(count: int, seed: int) -> Iterator[Message]:
    """`count` messages: bodies and headers that hypothesis makes, each several times, put together at random."""
    chance = random.Random(seed)
    bodies, blocks = _pool(BODIES, 600), _pool(HEADERS, 300)
    for _ in range(count):
        yield Message(
            REQUEST if chance.random() < 0.8 else chance.choice(_SUBJECTS),
            INBOX if chance.random() < 0.8 else chance.choice(_REPLIES),
            chance.choice(blocks) if chance.random() < 0.5 else b"",
            chance.choice(bodies)
            if chance.random() < 0.997
            else b'{"input": "a", "req_id": "%b"}' % (b"x" * 1_000_000),
        )


def of_every_size(limit: int, step: int) -> Iterator[Message]:
    """Bodies from 1,024 bytes below `limit` to 1,024 above, each with a `req_id` that is no text."""
    for size in range(limit - 1024, limit + 1025, step):
        start, end = b'{"req_id": 7, "input": "', b'"}'
        yield Message(REQUEST, INBOX, b"", start + b"x" * (size - len(start) - len(end)) + end)


def _pool(strategy: st.SearchStrategy[bytes], count: int) -> list[bytes]:
    """`count` examples of `strategy`, always the same."""
    found: list[bytes] = []

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(strategy)
    def collect(one: bytes) -> None:
        found.append(one)

    collect()
    return found


class Volley:
    """A connection that writes the protocol itself, so that anything can be sent, and hears its own inboxes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_payload: int) -> None:
        self._reader = reader
        self._writer = writer
        self.max_payload = max_payload
        self._prefix = b"_INBOX.volley%08x" % random.getrandbits(32)
        self._sent = 0
        self.asked: set[int] = set()
        """Requests to which an answer can come."""
        self.answers: dict[int, list[tuple[bytes, bytes]]] = {}
        """Header block and body of what came, by the request's number."""
        self._listening = asyncio.create_task(self._listen())
        self._pong = asyncio.Event()

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect and listen at its own inboxes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * 2**20)
        info = json.loads((await reader.readline()).partition(b" ")[2])
        volley = cls(reader, writer, info["max_payload"])
        writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":false}\r\n')
        writer.write(b"SUB %b.* 1\r\n" % volley._prefix)
        await volley.settle()
        return volley

    def send(self, message: Message) -> None:
        """Write one message; what the server itself would not take is cut to what it takes."""
        number = self._sent
        self._sent += 1
        reply = b"%b.%d" % (self._prefix, number) if message.reply == INBOX else message.reply
        if message.reply == INBOX and message.subject.split(b".")[1] in (b"request", b"submit"):
            self.asked.add(number)
        block = message.headers
        if block.endswith(b"\r\n\r\n"):  # else it is no block of headers at all
            block = b"NATS/1.0\r\n" + block
        body = message.body[: self.max_payload - len(block)]
        if block:
            self._writer.write(b"HPUB %b %b %d %d\r\n" % (message.subject, reply, len(block), len(block) + len(body)))
        else:
            self._writer.write(b"PUB %b %b %d\r\n" % (message.subject, reply, len(body)))
        self._writer.write(block + body + b"\r\n")

    async def settle(self) -> None:
        """Until the server has processed what was sent."""
        self._pong.clear()
        self._writer.write(b"PING\r\n")
        await self._writer.drain()
        await asyncio.wait_for(self._pong.wait(), 30)

    async def fire(self, volley: Iterable[Message]) -> None:
        """Send all, at most BATCH ahead of the worker: more than 64 MiB on their way would be the server's to end."""
        for number, message in enumerate(volley, 1):
            self.send(message)
            if number % BATCH == 0:
                await self.settle()
                await self.unanswered(PATIENCE_S)
        await self.settle()

    async def unanswered(self, patience_s: float) -> set[int]:
        """The requests that have no final message after `patience_s`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        while (open_ := {number for number in self.asked if not self._has_final(number)}) and loop.time() < until:
            await asyncio.sleep(0.02)
        return open_

    def classes(self) -> Counter[int]:
        """How many requests ended with which status; 200 is an answer."""
        return Counter(self._status(number) for number in self.asked if self._has_final(number))

    def repeated(self) -> int:
        """How many requests got more than one final message."""
        return sum(
            sum(_is_final(*one) for one in came) > 1 for number, came in self.answers.items() if number in self.asked
        )

    async def close(self) -> None:
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        self._writer.close()
        await self._writer.wait_closed()

    def _has_final(self, number: int) -> bool:
        return any(_is_final(*one) for one in self.answers.get(number, ()))

    def _status(self, number: int) -> int:
        for block, _ in self.answers[number]:
            if b"Nats-Service-Error-Code: " in block:
                return int(block.partition(b"Nats-Service-Error-Code: ")[2].split(b"\r\n")[0])
        return 200

    async def _listen(self) -> None:
        while True:
            line = await self._reader.readline()
            if not line:
                raise ConnectionError("the server hung up on the volley")
            verb, *words = line.split()
            if verb == b"PING":
                self._writer.write(b"PONG\r\n")
            elif verb == b"PONG":
                self._pong.set()
            elif verb in (b"MSG", b"HMSG"):
                size = int(words[-1])
                whole = (await self._reader.readexactly(size + 2))[:-2]
                cut = int(words[-2]) if verb == b"HMSG" else 0
                number = int(words[0].rpartition(b".")[2])
                self.answers.setdefault(number, []).append((whole[:cut], whole[cut:]))
            elif verb == b"-ERR" and b"Permissions" not in line and b"Invalid" not in line:
                raise ConnectionError(line.decode(errors="replace"))


def _is_final(block: bytes, body: bytes) -> bool:
    return bool(body) and b"Golek-Status" not in block and b"Golek-Attempt" not in block


def connection(server: NatsServer, name: str) -> int:
    """The server's number of the connection with this `name`; the server was started with `http: 127.0.0.1:-1`."""
    (ports,) = server.folder.glob("*.ports")
    at = json.loads(ports.read_text())["monitoring"][0]
    with urllib.request.urlopen(f"{at}/connz") as answer:
        (one,) = [found["cid"] for found in json.load(answer)["connections"] if found.get("name") == name]
    return int(one)
