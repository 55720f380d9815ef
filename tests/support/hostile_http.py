"""Requests that nobody should send, and what a gateway does with them: for tests/gateway/test_fuzz.py and
bench/http_fuzz.py.

`Shots` makes them of one seed: valid requests of every route that takes a body, with something about them changed.
`Range` sends them over raw connections that stay open as long as the server lets them, and judges what comes back by
the server's own OpenAPI document.
"""

import asyncio
import json
import random
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import jsonschema_rs

from tests.support.pictures import png, url

PATIENCE_S: Final = 40.0
"""More than the server has for who dribbles."""
CONNECTION_LEVEL: Final = {400, 404, 405, 408, 413, 431}
"""Statuses that any request may end in, whichever route it meant."""
COMMON: Final = "POST /v1/chat/completions"
"""An operation whose errors look like those of the server itself."""
STREAM: Final = "text/event-stream"

ODD_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 1e-320, float("inf"),
    float("nan"), "", "x", "nobody", "a/b", "../..", "\x00", "\ud800", "💥" * 50, "x" * 5000, "a\r\nb: c", "{}", [],
    [[]],
    [None], {}, {"a": {"b": [1, {"c": None}]}}, [0] * 3000, ["x"] * 300, {"type": "json_schema"}, {"type": "nobody"},
    {"role": "user", "content": "x"}, [{"role": "nobody", "content": []}], [{"type": "image_url", "image_url": {}}],
)  # fmt: skip
FIELDS: Final = (
    "model", "messages", "prompt", "input", "params", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "min_p", "n", "best_of", "stop", "seed", "logprobs", "top_logprobs", "logit_bias",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "user", "metadata", "session_id", "priority",
    "deadline_ms", "reply_to", "req_id", "resumable", "resume", "adapter", "grammar", "encoding_format", "dimensions",
    "documents", "query", "top_n", "echo", "suffix", "name", "content", "raw", "task_type", "reasoning_effort", "room",
    "functions", "function_call", "presence_penalty", "frequency_penalty", "ignore_eos", "return_documents",
    "service_tier",
)  # fmt: skip
HEADERS: Final = (
    "authorization", "x-api-key", "content-type", "content-encoding", "accept", "accept-encoding", "x-request-id",
    "x-golek-deadline-ms", "x-request-timeout", "x-golek-resumable", "idempotency-key", "last-event-id", "traceparent",
    "tracestate", "origin", "cookie", "range", "upgrade", "connection", "te", "host", "referer", "forwarded",
    "x-forwarded-for", "x-stainless-retry-count", "expect", "if-none-match", "user-agent", "x-odd", "anthropic-version",
)  # fmt: skip
ODD_HEADERS: Final = (
    b"", b"x", b"0", b"-1", b"1", b"nan", b"inf", b"1e99", b"9" * 400, b"\xff\xfe", b"\xc3\xa4", b"\t x \t",
    b"a" * 9000,
    b"Bearer", b"Bearer ", b"Bearer \xff", b"Basic eDp5", b"gzip", b"br, deflate", b"text/plain", b"application/xml",
    b"multipart/form-data; boundary=x", b"application/json; charset=utf-16", b"websocket", b"upgrade",
    b"close, upgrade",
    b"100-continue", b"bytes=0-1", b"*/*;q=nan", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"trailers",
    b"'\"\\;--",
)  # fmt: skip
_PARAMETER: Final = re.compile(r"\{\w+\}")


class Shot(NamedTuple):
    """One request as it stands on the line."""

    kind: str
    """What is wrong with it."""
    operation: str
    """`POST /v1/chat/completions`, as the document names it; empty where it means none."""
    raw: bytes
    answered: bool = True
    """Whether an answer has to come; who leaves or never ends gets none."""
    last: bool = False
    """Whether what it leaves on the connection is no request's beginning."""


class Shots:
    """Shots at the operations that take a body, of which `bodies` has one valid body each."""

    def __init__(self, bodies: dict[str, dict[str, Any]], seed: int) -> None:
        self._bodies = bodies
        self._draw = random.Random(seed)
        self._ways: list[Callable[[str, dict[str, Any]], Shot]] = [
            *[self._field] * 8, self._nested, *[self._text] * 4, *[self._header] * 5, self._duplicate, self._length,
            self._chunks, self._line, self._leaves, self._deep, self._large, self._valid,
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Shot]:
        """Without end."""
        operations = sorted(self._bodies)
        while True:
            operation = self._draw.choice(operations)
            body = json.loads(json.dumps(self._bodies[operation]))
            yield self._draw.choice(self._ways)(operation, body)

    # -- the body ----------------------------------------------------------------------------------------------

    def _valid(self, operation: str, body: dict[str, Any]) -> Shot:
        return self._shot("valid", operation, _json(body))

    def _field(self, operation: str, body: dict[str, Any]) -> Shot:
        """Fields of another type, size or word; some missing, some too many."""
        draw = self._draw
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            name = draw.choice((*body, *FIELDS))
            if draw.random() < 0.15:
                body.pop(name, None)
            else:
                body[name] = draw.choice(ODD_VALUES)
        return self._shot("field", operation, _json(body))

    def _nested(self, operation: str, body: dict[str, Any]) -> Shot:
        """Something deep in the body is another thing."""
        place: Any = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = self._draw.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or self._draw.random() < 0.2:
                place[key] = self._draw.choice(ODD_VALUES)
                return self._shot("nested", operation, _json(body))
            place = place[key]

    def _text(self, operation: str, body: dict[str, Any]) -> Shot:
        """No JSON, or none in UTF-8, or JSON of another kind."""
        draw, text = self._draw, bytearray(_json(body))
        match draw.randrange(8):
            case 0:
                del text[draw.randrange(len(text)) :]
            case 1:
                for _ in range(draw.randrange(1, 6)):
                    text[draw.randrange(len(text))] = draw.randrange(256)
            case 2:
                text[draw.randrange(len(text)) : 0] = draw.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"\xc0\xaf"))
            case 3:
                text = bytearray(
                    draw.choice((b"", b" ", b"null", b"[]", b'"x"', b"1", b"NaN", b"{}", b"{", b"\xef\xbb\xbf{}"))
                )
            case 4:
                text += draw.choice((b"}", b"{}", b"\x00", b",", b"//x"))
            case 5:
                text = bytearray(draw.randbytes(draw.randrange(2000)))
            case 6:
                text = bytearray(text.decode().encode(draw.choice(("utf-16", "utf-32", "utf-8-sig"))))
            case _:
                name = draw.choice(list(body))
                text[1:1] = _json({name: draw.choice(ODD_VALUES)})[1:-1] + b","  # a field twice
        return self._shot("text", operation, bytes(text))

    def _deep(self, operation: str, body: dict[str, Any]) -> Shot:
        depth = self._draw.choice((100, 1000, 100_000))
        left, right = self._draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
        deep = left * depth + b"1" + right * depth
        name = self._draw.choice((*body, "metadata", "tools", "odd"))
        return self._shot("deep", operation, _json(body)[:-1] + b',"%b":%b}' % (name.encode(), deep))

    def _large(self, operation: str, body: dict[str, Any]) -> Shot:
        """Larger than a message of the bus."""
        name = self._draw.choice((*body, "odd"))
        values: list[Any] = ["x " * 700_000, "1" * 1_200_000, {"x" * 1_100_000: "x"}]
        if name not in ("input", "documents"):  # that many texts would be work, and not wrong
            values.append(["x"] * 300_000)
        body[name] = self._draw.choice(values)
        return self._shot("large", operation, _json(body))

    # -- the head ----------------------------------------------------------------------------------------------

    def _header(self, operation: str, body: dict[str, Any]) -> Shot:
        draw = self._draw
        lines = [
            b"%b: %b" % (draw.choice(HEADERS).encode(), draw.choice(ODD_HEADERS)) for _ in range(draw.randrange(1, 5))
        ]
        if draw.random() < 0.15:
            lines.append(
                draw.choice((b"odd\xff: x", b"od d: x", b": x", b"odd", b"odd:\x00x", b"odd: a\rb", b" folded: x"))
            )
        return self._shot("header", operation, _json(body), *lines, last=True)

    def _duplicate(self, operation: str, body: dict[str, Any]) -> Shot:
        name = self._draw.choice((*HEADERS, "content-length", "transfer-encoding")).encode()
        lines = [b"%b: %b" % (name, self._draw.choice(ODD_HEADERS)) for _ in range(2)]
        return self._shot("duplicate", operation, _json(body), *lines, last=True)

    def _length(self, operation: str, body: dict[str, Any]) -> Shot:
        """What the head says of the body's length is not so."""
        text = _json(body)
        said = self._draw.choice(
            (b"-1", b"x", b"", b"+5", b"0x10", b"9" * 30, b"%d" % 2**63, b"1, 1", b"0", b"%d" % (len(text) // 2))
        )
        raw = b"%b\r\nhost: x\r\ncontent-length: %b\r\n\r\n%b" % (self._first(operation), said, text)
        return Shot("length", operation, raw, last=True)

    def _chunks(self, operation: str, body: dict[str, Any]) -> Shot:
        draw, text = self._draw, _json(body)
        begun = b"%x\r\n%b\r\n" % (len(text), text)
        broken = draw.choice((
            b"x\r\n" + text, b"-1\r\n" + text, b"%x\r\n%bxx" % (len(text), text), b"f" * 40 + b"\r\n" + text,
            b"\r\n\r\n",
            begun + b"0\r\nodd: x\r\n\r\n", begun + b"0;a=b\r\n\r\n", b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(text),
            b"e" * 500, text),
        ))  # fmt: skip
        raw = b"%b\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%b" % (self._first(operation), broken)
        return Shot("chunks", operation, raw, last=True)

    def _line(self, operation: str, body: dict[str, Any]) -> Shot:
        """Another method, path or version."""
        draw = self._draw
        method, path = self._first(operation).split(b" ")[:2]
        line = draw.choice((
            b"FOO %b HTTP/1.1" % path, b"post %b HTTP/1.1" % path, b"DELETE %b HTTP/1.1" % path,
            b"TRACE %b HTTP/1.1" % path,
            b"CONNECT x:1 HTTP/1.1", b"%b %b" % (method, path), b"%b %b HTTP/3.7" % (method, path), b"PRI * HTTP/2.0",
            b"%b %b/ HTTP/1.1" % (method, path), b"%b /%b HTTP/1.1" % (method, path), b"OPTIONS * HTTP/1.1",
            b"%b %b%%00%%ff%%2f HTTP/1.1" % (method, path), b"%b %b?%b HTTP/1.1" % (method, path, b"a=%ff&" * 500),
            b"%b /../..%b HTTP/1.1" % (method, path), b"%b http://a.b:99999%b HTTP/1.1" % (method, path),
            b"%b \xff HTTP/1.1" % method,
            b"PUT /grammars/%2e%2e HTTP/1.1", b"DELETE /v1/requests/%00 HTTP/1.1",
            b"GET /v1/stream/%ff?from=1e9 HTTP/1.1",
            b"GET /v1/sessions/%0d%0a HTTP/1.1", b"GET /static/..%2fapp.py HTTP/1.1",
            b"GET /v1/models/%F0%9F%92%A5 HTTP/1.1",
        ))  # fmt: skip
        text = _json(body)
        return Shot("line", "", line + b"\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(text) + text, last=True)

    def _leaves(self, operation: str, body: dict[str, Any]) -> Shot:
        """The client is gone before there is an answer."""
        whole = self._shot("leaves", operation, _json(body | {"stream": self._draw.random() < 0.5})).raw
        cut = self._draw.choice((len(whole), self._draw.randrange(1, len(whole))))
        return Shot("leaves", operation, whole[:cut], answered=False, last=True)

    def _shot(self, kind: str, operation: str, text: bytes, *lines: bytes, last: bool = False) -> Shot:
        head = [self._first(operation), b"host: x", b"content-length: %d" % len(text), *lines]
        return Shot(kind, operation, b"\r\n".join(head) + b"\r\n\r\n" + text, last=last)

    def _first(self, operation: str) -> bytes:
        method, _, path = operation.partition(" ")
        filled = _PARAMETER.sub(self._draw.choice(("x", "nobody", "a%2Fb", "%20", "a.b")), path)
        return f"{method} {filled} HTTP/1.1".encode()


class Answer(NamedTuple):
    """What came back."""

    status: int
    media: str
    body: bytes
    closes: bool


class Range:
    """Where shots are fired, and what is wrong with the answers."""

    def __init__(self, url: str, document: dict[str, Any]) -> None:
        self._where = urlsplit(url)
        self._document = document
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        self.fired = 0
        self.statuses: Counter[int] = Counter()
        self.late: list[str] = []
        """Status 502 and above: nothing is wrong with these but that something had to be waited for."""
        self.unanswered: list[str] = []
        self.failed: list[str] = []
        """Status 500."""
        self.undocumented: list[str] = []
        self.invalid: list[str] = []
        """Bodies that are not what the document says of their status."""

    async def fire(self, shots: Iterator[Shot], count: int, connections: int = 12) -> None:
        """Send `count` of them over so many connections at once."""
        left = iter(range(count))

        async def use() -> None:
            line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
            while next(left, None) is not None:
                line = await self._send(next(shots), line)
            if line is not None:
                line[1].close()

        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(use())

    async def _send(
        self, shot: Shot, line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection, where it can be used again."""
        self.fired += 1
        reader, writer = line or await asyncio.open_connection(self._where.hostname, self._where.port, limit=2**20)
        answer: Answer | None = None
        try:
            writer.write(shot.raw)
            if not shot.answered:
                await writer.drain()
                writer.close()
                return None
            async with asyncio.timeout(PATIENCE_S):
                answer = await read_answer(reader)
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            self._tell(self.unanswered, shot, f"{type(error).__name__} {error}")
        if answer is not None:
            self.statuses[answer.status] += 1
            self._judge(shot, answer)
        if answer is None or answer.closes or shot.last:
            writer.close()
            return None
        return reader, writer

    def _judge(self, shot: Shot, answer: Answer) -> None:
        said = f"{answer.status} {answer.media} {answer.body[:300]!r}"
        if answer.status > 500:
            self._tell(self.late, shot, said)
        if answer.status == 500:
            self._tell(self.failed, shot, said)
        responses = self._responses(shot.operation)
        known = responses.get(str(answer.status))
        if known is None and answer.status not in CONNECTION_LEVEL and shot.operation:
            self._tell(self.undocumented, shot, said)
        if answer.media == STREAM and (known or not shot.operation):
            return
        if not self._is_valid(shot.operation, answer):
            self._tell(self.invalid, shot, said)

    def _is_valid(self, operation: str, answer: Answer) -> bool:
        """By the schema of its status; errors that no operation made look like those of most."""
        known = self._responses(operation).get(str(answer.status), {})
        schema = known.get("content", {}).get(answer.media, {}).get("schema")
        if answer.status < 400 and schema is None:
            return not operation or not known.get("content")
        common = self._responses(COMMON)["400"]["content"]["application/json"]["schema"]
        schemas = [schema or common, *([common] if answer.closes and answer.status in CONNECTION_LEVEL else [])]
        try:
            body = json.loads(answer.body)
        except ValueError:
            return False
        return answer.media == "application/json" and any(self._validator(one).is_valid(body) for one in schemas)

    def _validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.validator_for(schema | {"components": self._document["components"]})
        return self._validators[key]

    def _responses(self, operation: str) -> dict[str, Any]:
        method, _, path = operation.partition(" ")
        found: dict[str, Any] = self._document["paths"].get(path, {}).get(method.lower(), {}).get("responses", {})
        return found

    def _tell(self, where: list[str], shot: Shot, said: str) -> None:
        where.append(f"{shot.kind} {shot.raw[:400]!r}… : {said}")


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next response, interim ones left out. Raises EOFError where the connection ends before or in it."""
    status = 100
    while status < 200:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in headers:
        body = bytearray(await reader.readexactly(int(headers["content-length"])))
    else:
        body = bytearray(await reader.read())
    closes = "close" in headers.get("connection", "") or not headers.keys() & {"content-length", "transfer-encoding"}
    return Answer(status, headers.get("content-type", "").partition(";")[0], bytes(body), closes)


def document(url: str) -> dict[str, Any]:
    """The OpenAPI document of who serves `url`."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def bodies(document: dict[str, Any], text: str, vectors: str, judge: str) -> dict[str, dict[str, Any]]:
    """A valid body for every operation that takes one; of what is the same by other paths the first path alone.

    The models are for text, for vectors and for ranking. Nothing is unloaded: what asks for that names nobody.
    """
    chat = {"model": text, "messages": [{"role": "user", "content": "What is NATS?"}], "max_tokens": 8}
    special: dict[str, dict[str, Any]] = {
        "POST /v1/completions": {"model": text, "prompt": "What is NATS?", "max_tokens": 8},
        "POST /v1/embeddings": {"model": vectors, "input": ["one", "two"]},
        "POST /v1/rerank": {"model": judge, "query": "one", "documents": ["one", "two"]},
        "POST /v1/vision/classify": {"model": text, "image": url(png()), "labels": ["a", "b"]},
        "POST /v1/vision/classify/batch": {"model": text, "images": [url(png())], "top_k": 1},
        "POST /v1/vision/load": {"model": "nobody"},
        "POST /v1/vision/unload": {"model": "nobody"},
        "POST /v1/tokenize": {"model": text, "prompt": "What is NATS?"},
        "POST /v1/models/load": {"model": text},
        "POST /v1/models/unload": {"model": "nobody"},
        "POST /grammars": {"name": "fuzzed", "content": 'root ::= "a"'},
        "PUT /grammars/{name}": {"content": 'root ::= "a"'},
        "POST /v1/inference_sse": {"prompt": "What is NATS?", "model": text},
        "POST /v1/responses": {"model": text, "input": "What is NATS?", "max_output_tokens": 16},
    }
    found: dict[str, dict[str, Any]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            if "requestBody" in operation and "x-same-as" not in operation:
                found[name] = special.get(name, chat)
    return found


def _json(body: object) -> bytes:
    """As JSON, also what is none: NaN, and halves of pairs."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
