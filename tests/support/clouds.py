"""A stand-in for clouds that cost money: it speaks their protocols on a real socket, and does what a test tells it.

It is no cloud: its answers are made of the request. That it speaks the real protocols is held by the official clients
of OpenAI and Anthropic in tests/router/test_clouds.py. What can go wrong with a cloud has a name in FAULTS; what
servers of OpenAI's dialect get wrong in their answers has one in tests/support/defects.py.
"""

import asyncio
import email.utils
import json
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.defects import DEFECTS

Json = dict[str, Any]
KEY: Final = "sk-test-0123456789abcdef"
"""The only key that it takes."""
TEXT: Final = "A lease is a job that a worker has taken but not yet finished, with a deadline."
REFUSALS: Final[dict[str, tuple[int, Json, dict[str, str]]]] = {
    "429": (429, {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"},
            {"retry-after": "7"}),
    "429-ms": (429, {"message": "Rate limit reached", "type": "tokens"}, {"retry-after-ms": "250", "retry-after": "1"}),
    "429-bare": (429, {"message": "Slow down"}, {}),
    "429-quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, {}),
    "400": (400, {"message": "Invalid value", "type": "invalid_request_error", "param": "temperature"},
            {}),
    "401": (401, {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}, {}),
    "403": (403, {"message": "Your project has no access to this model"}, {}),
    "404": (404, {"message": "The model `m` does not exist", "code": "model_not_found"}, {}),
    "408": (408, {"message": "Timed out"}, {}),
    "409": (409, {"message": "Conflict"}, {}),
    "413": (413, {"message": "Request too large"}, {}),
    "422": (422, {"message": "Unprocessable"}, {}),
    "500": (500, {"message": "The server had an error", "type": "server_error"}, {}),
    "502": (502, {"message": "Bad gateway"}, {}),
    "503": (503, {"message": "Overloaded"}, {"retry-after": "2.5"}),
    "529": (529, {"message": "Overloaded", "type": "overloaded_error"}, {}),
    "context": (400, {"message": "This model's maximum context length is 8192 tokens. However, you requested 9006.",
                      "code": "context_length_exceeded", "param": "messages"}, {}),
    "repeats-key": (400, {"message": f"The header 'Bearer {KEY}' and sk-proj-abcdefghijk are wrong"}, {}),
}  # fmt: skip
"""Faults that are an answer with a status: its status, the error's object, and headers."""
FAULTS: Final = (
    *REFUSALS, "429-date", "html", "detail", "error-text", "gemini-429", "gemini-key", "redirect",
    "whole", "mistyped", "hang", "hang-midway", "cut-before", "cut", "no-end", "malformed", "error-event", "error-bare",
    "error-data", "huge-line",
    "gzip", "slow", "stale",
)  # fmt: skip
"""`whole` is a completion where a stream was asked for, `mistyped` a stream that is said to be JSON. `hang` says
nothing at all, `stale` hangs up on connections that had been used before, `cut` breaks off in the middle of a stream,
`no-end` ends there in good order."""


class Asked:
    """A request that came; of its headers `x-peer` is added here, the connection's other end."""

    def __init__(self, path: str, headers: dict[str, str], body: Json) -> None:
        self.path = path
        self.headers = headers
        self.body = body


class Cloud:
    """One server, for as long as its context. `base_url` is for both dialects."""

    def __init__(self, *, gemini: bool = False) -> None:
        """As `gemini` it refuses fields that it does not know, in a list, and numbers no calls."""
        self.gemini = gemini
        self.always: str | None = None
        """The fault or defect of every request that `then` says nothing of."""
        self.asked: list[Asked] = []
        self.text = TEXT
        self.pause_s = 0.0
        """Before each piece of a stream; with `slow` before the first one, five seconds without it."""
        self.left = asyncio.Event()
        """Somebody hung up before the end."""
        self._next: deque[str | None] = deque()
        self._closing = asyncio.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ACK
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            Route("/v1/messages", self._messages, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def then(self, *faults: str | None) -> None:
        """What the next requests meet, in order; None is a good answer."""
        self._next.extend(faults)

    async def __aenter__(self) -> Self:
        """Uvicorn without its own loop, which would look ten times a second whether it shall end."""
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup([self._socket])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        for listening in self._server.servers:
            listening.close()
        state = self._server.server_state
        while state.connections or state.tasks:
            for connection in list(state.connections):
                connection.transport.abort()  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        self._socket.close()

    # -- the routes ------------------------------------------------------------------------------------------------

    async def _chat(self, request: Request) -> Response:
        body, fault, refusal = await self._taken(request)
        if refusal is not None:
            return refusal
        if self.gemini and (unknown := sorted(set(body) - _GEMINI_FIELDS)):
            return _refused(400, {"message": f'Unknown name "{unknown[0]}": Cannot find field.'}, listed=True)
        if not body.get("stream") or fault == "whole":
            return JSONResponse(_whole(body, self.text))
        defect = DEFECTS.get(fault or "", _same)
        chunks = defect(_numberless(_chunks(body, self.text)) if self.gemini else _chunks(body, self.text))
        return self._streamed([_event(chunk) for chunk in chunks], fault, b"data: [DONE]\n\n")

    async def _messages(self, request: Request) -> Response:
        body, fault, refusal = await self._taken(request)
        if refusal is not None:
            return refusal
        if body["messages"][-1]["role"] == "assistant" and body["messages"][-1]["content"][-1]["text"].endswith(" "):
            return _refused(400, {"message": "final assistant content cannot end with trailing whitespace"})
        if not body.get("stream"):
            return JSONResponse(_message(body, self.text))
        events = [b"event: %b\ndata: %b\n\n" % (e["type"].encode(), _json(e)) for e in _events(body, self.text)]
        return self._streamed(events, fault, b"")

    async def _embeddings(self, request: Request) -> Response:
        body, _, refusal = await self._taken(request)
        if refusal is not None:
            return refusal
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0, 0.5][: body.get("dimensions")]}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 2 * len(texts), "total_tokens": 2 * len(texts)}
        return JSONResponse({"object": "list", "model": body["model"], "data": data[::-1], "usage": usage})

    async def _models(self, request: Request) -> Response:
        self.asked.append(Asked(request.url.path, {**request.headers, "x-peer": str(request.client)}, {}))
        names = [("models/gemini-x", None)] if self.gemini else [("large", 131072), ("text-embed-small", None)]
        data = [
            {"id": name, "object": "model", "created": 1, "owned_by": "test"} | ({"context_length": n} if n else {})
            for name, n in names
        ]
        return JSONResponse({"object": "list", "data": data})

    # -- what goes wrong -------------------------------------------------------------------------------------------

    async def _taken(self, request: Request) -> tuple[Json, str | None, Response | None]:
        """The body, the fault that this request meets, and the answer that the fault is, where it is one."""
        body = json.loads(await request.body())
        peer = {"x-peer": str(request.client)}
        self.asked.append(Asked(request.url.path, {**request.headers, **peer}, body))
        peers = [one.headers["x-peer"] for one in self.asked]
        fault = self._next.popleft() if self._next else self.always
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
        if given != KEY:
            fault = "401"
        if fault == "hang":
            await self._hang(request)
        if fault == "cut-before" or (fault == "stale" and peers.count(str(request.client)) > 1):
            self._drop(request)
        return body, fault, self._refusal(fault)

    def _refusal(self, fault: str | None) -> Response | None:
        if fault in REFUSALS:
            return _refused(*REFUSALS[fault], listed=self.gemini)
        when = email.utils.formatdate(time.time() + 30, usegmt=True)
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        known: dict[str | None, Callable[[], Response]] = {
            "429-date": lambda: _refused(429, {"message": "Slow down"}, {"retry-after": when}),
            "html": lambda: PlainTextResponse("<html>502 Bad Gateway</html>", 502),
            "detail": lambda: JSONResponse({"detail": "not today"}, 500),
            "error-text": lambda: JSONResponse({"error": "not today"}, 500),
            "gemini-429": lambda: _refused(
                429, {"message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": [delay]}, listed=True
            ),
            "gemini-key": lambda: _refused(
                400, {"message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [info]}, listed=True
            ),
            "redirect": lambda: Response(status_code=307, headers={"location": self.base_url + "/elsewhere"}),
            "gzip": lambda: Response(b"\x1f\x8b" + b"\0" * 64, headers={"content-encoding": "gzip"}),
        }
        return known[fault]() if fault in known else None

    def _streamed(self, events: list[bytes], fault: str | None, end: bytes) -> Response:
        async def body() -> AsyncIterator[bytes]:
            finished = False
            try:
                for number, event in enumerate(events):
                    if number == len(events) // 2:
                        async for last in self._midway(fault):
                            yield last
                            finished = True
                            return
                    pause = (self.pause_s or 5.0) if fault == "slow" and number == 0 else self.pause_s
                    if pause:
                        await asyncio.sleep(pause)
                    yield event
                if end and fault != "no-done":
                    yield end
                finished = True
            finally:
                if not finished:
                    self.left.set()

        return StreamingResponse(body(), media_type="application/json" if fault == "mistyped" else "text/event-stream")

    async def _midway(self, fault: str | None) -> AsyncIterator[bytes]:
        """What a stream ends with in its middle; nothing where it goes on."""
        match fault:
            case "hang-midway":
                await self._closing.wait()
            case "cut":
                raise ConnectionAbortedError
            case "no-end":
                yield b": that was all\n\n"
            case "malformed":
                yield b'data: {"choices": [{"index"\n\n'
            case "huge-line":
                for _ in range(8):
                    yield b"data: " + b"x" * (1024 * 1024)
            case "error-event":
                error = {"type": "overloaded_error", "message": "Overloaded"}
                yield b'event: error\ndata: {"type":"error","error":%b}\n\n' % _json(error)
            case "error-bare":
                yield b'event: error\ndata: {"code":500,"type":"server_error","message":"as llama-server says it"}\n\n'
            case "error-data":
                yield b'data: {"error":{"code":429,"message":"as OpenAI says it"}}\n\n'

    def _drop(self, request: Request) -> None:
        """Hang up without a word."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == tuple(request.client or ()):
                connection.transport.abort()  # type: ignore[union-attr]

    async def _hang(self, request: Request) -> None:
        """Say nothing until the caller has left."""
        gone = asyncio.ensure_future(_disconnected(request))
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((gone, closing), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left.set()
        for waiting in (gone, closing):
            waiting.cancel()


# -- what is answered ------------------------------------------------------------------------------------------------

_GEMINI_FIELDS: Final = frozenset(
    ("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "n", "stop", "tools",
     "tool_choice", "response_format", "reasoning_effort", "seed", "frequency_penalty", "presence_penalty",
     "logprobs", "top_logprobs", "extra_body")
)  # fmt: skip


def _said(body: Json, text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text that answers a request of either dialect, and its calls: names and arguments."""
    tools = [tool.get("function", tool) for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    mode = choice.get("type") if isinstance(choice, dict) else choice
    last = body["messages"][-1]
    if tools and mode != "none" and last["role"] == "user" and not _results(last):
        named = choice.get("name") or (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
        called = [tool for tool in tools if named in (None, tool["name"])]
        return "", [(tool["name"], '{"city": "Paris"}') for tool in called]
    form = body.get("response_format") or (body.get("output_config") or {}).get("format") or {}
    if form.get("type") in ("json_schema", "json_object"):
        return '{"city": "Paris"}', []
    parts = [part for turn in body["messages"] if isinstance(turn["content"], list) for part in turn["content"]]
    images = [part for part in parts if part["type"] in ("image_url", "image")]
    if images:
        return f"I see {len(images)} image.", []
    if last["role"] == "assistant":
        begun = last["content"] if isinstance(last["content"], str) else last["content"][-1]["text"]
        return (text.removeprefix(begun)), []
    return text, []


def _results(turn: Json) -> bool:
    return isinstance(turn["content"], list) and any(part["type"] == "tool_result" for part in turn["content"])


def _pieces(text: str) -> Iterator[str]:
    """Words with the blank before them."""
    for number, word in enumerate(text.split(" ")):
        yield f" {word}" if number else word


def _usage(body: Json, text: str) -> Json:
    written = body.get("n", 1) * max(1, len(text.split()))
    return {
        "prompt_tokens": 11, "completion_tokens": written, "total_tokens": 11 + written,
        "prompt_tokens_details": {"cached_tokens": 3},
    }  # fmt: skip


def _logprobs(body: Json, text: str) -> Json | None:
    if not body.get("logprobs"):
        return None
    tokens = [
        {"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": []} for word in _pieces(text)
    ]
    return {"content": tokens, "refusal": None}


def _chunks(body: Json, text: str) -> list[Json]:
    """A chat completion as OpenAI streams it."""
    words, calls = _said(body, text)
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    chunks: list[Json] = []

    def add(index: int, delta: Json, logprobs: Json | None = None, finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunks.append({**head, "choices": [choice]})

    for index in range(body.get("n", 1)):
        add(index, {"role": "assistant", "content": None if calls else "", "refusal": None})
        for word in _pieces(words) if words else ():
            add(index, {"content": word}, _logprobs(body, word))
        for place, (name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": ""}
            add(
                index,
                {"tool_calls": [{"index": place, "id": f"call_{place}", "type": "function", "function": function}]},
            )
            for half in (arguments[:7], arguments[7:]):
                add(index, {"tool_calls": [{"index": place, "function": {"arguments": half}}]})
        add(index, {}, None, "tool_calls" if calls else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**head, "choices": [], "usage": _usage(body, words)})
    return chunks


def _whole(body: Json, text: str) -> Json:
    """A chat completion as OpenAI gives it at once."""
    words, calls = _said(body, text)
    called = [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(calls)
    ]
    message: Json = {"role": "assistant", "content": words or None, "refusal": None}
    message |= {"tool_calls": called} if called else {}
    choices = [
        {"index": i, "message": message, "logprobs": _logprobs(body, words),
         "finish_reason": "tool_calls" if calls else "stop"}
        for i in range(body.get("n", 1))
    ]  # fmt: skip
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices,
        "usage": _usage(body, words),
    }  # fmt: skip


def _numberless(chunks: list[Json]) -> list[Json]:
    """Calls as Gemini streams them: each one whole, without a number or an id, and the answer ends with `stop`."""
    kept: list[Json] = []
    calls: list[Json] = []
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                calls.append({"function": dict(call["function"]), "type": "function", "id": ""})
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
        if chunk["choices"] and chunk["choices"][0]["finish_reason"]:
            kept += [{**chunk, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in calls]
            kept.append({**chunk, "choices": [{**chunk["choices"][0], "finish_reason": "stop"}]})
        elif "tool_calls" not in delta:
            kept.append(chunk)
    return kept


def _blocks(body: Json, text: str) -> list[Json]:
    words, calls = _said(body, text)
    blocks: list[Json] = []
    if body.get("thinking"):
        blocks.append({"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"})
    if words:
        blocks.append({"type": "text", "text": words, "citations": None})
    return blocks + [
        {"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": json.loads(arguments)}
        for place, (name, arguments) in enumerate(calls)
    ]


def _message(body: Json, text: str) -> Json:
    """A message as Anthropic gives it at once."""
    blocks = _blocks(body, text)
    usage = {"input_tokens": 8, "output_tokens": 17, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": blocks,
        "stop_reason": "tool_use" if blocks and blocks[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _events(body: Json, text: str) -> Iterator[Json]:
    """A message as Anthropic streams it."""
    whole = _message(body, text)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(whole["content"]):
        field, deltas = {
            "text": ("text", [{"type": "text_delta", "text": word} for word in _pieces(block.get("text", ""))]),
            "thinking": ("thinking", [{"type": "thinking_delta", "thinking": block.get("thinking")},
                                      {"type": "signature_delta", "signature": "c2ln"}]),
            "tool_use": ("input", [{"type": "input_json_delta", "partial_json": piece}
                                   for piece in ("", *_halves(json.dumps(block.get("input"))))]),
        }[block["type"]]  # fmt: skip
        empty = {**block, field: {} if field == "input" else ""}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 17}}
    yield {"type": "message_stop"}


def _halves(text: str) -> tuple[str, str]:
    return text[:5], text[5:]


def _refused(status: int, error: Json, headers: dict[str, str] | None = None, *, listed: bool = False) -> Response:
    body: Any = {"type": "error", "error": {"type": "invalid_request_error", "param": None, **error}}
    return JSONResponse([body] if listed else body, status, headers)


def _event(chunk: Json | bytes) -> bytes:
    """Defects may give bytes of their own."""
    return chunk if isinstance(chunk, bytes) else b"data: " + _json(chunk) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _same(chunks: list[Json]) -> list[Any]:
    return list(chunks)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
