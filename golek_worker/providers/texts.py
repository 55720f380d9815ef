"""How is a text read as it is written by a server, in whichever dialect?"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from golek_wire import codec
from golek_wire.replies import Reply
from golek_wire.requests import InferenceRequest
from golek_worker.providers import growing
from golek_worker.providers.base import Call, Piece
from golek_worker.providers.growing import Growing, Usage
from golek_worker.providers.sse import Splitter
from golek_worker.providers.transport import Answering, Transport, elapsed_ms


class Read(Protocol):
    """An answer that is being read: openai_answer.py and anthropic_answer.py have one each."""

    texts: list[Growing]
    is_done: bool
    """Whether the server said that there is no more."""

    @property
    def is_cut(self) -> bool:
        """Whether nothing more of it is wanted."""
        ...

    @property
    def usage(self) -> Usage: ...
    def chunk(self, data: bytes) -> list[Piece]: ...
    def whole(self, body: bytes) -> list[Piece]: ...
    def close(self) -> list[Piece]: ...


async def written(
    transport: Transport, path: str, body: dict[str, Any], answer: Read, call: Call, request: InferenceRequest
) -> AsyncGenerator[Piece | Reply, None]:
    """Pieces, then the reply. Raises as `base.Provider.answer` does."""
    began, ttft_ms = time.perf_counter(), 0
    until = asyncio.get_running_loop().time() + call.seconds
    async with transport.asked("POST", path, codec.encode(body), until, call.headers) as answering:
        async with aclosing(_pieces(answer, answering)) as pieces:
            async for piece in pieces:
                ttft_ms = ttft_ms or elapsed_ms(began)
                yield piece
        yield growing.reply(
            answer.texts, answer.usage, req_id=request.req_id, model=call.model, ms=elapsed_ms(began), ttft_ms=ttft_ms,
            seed=request.seed if request.seed is not None else request.params.seed or 0,
            before=request.resume.text if request.resume is not None else "",
        )  # fmt: skip


async def _pieces(answer: Read, answering: Answering) -> AsyncGenerator[Piece, None]:
    """The pieces of the answer until it ends. Raises where its end is missing."""
    if not answering.is_stream:
        for piece in _whole(answer, await answering.whole()):
            yield piece
    else:
        async with aclosing(answering.events()) as events:
            async for event in events:
                if event.name == "error":
                    raise answering.failure(event.data)
                for piece in answer.chunk(event.data):
                    yield piece
                if answer.is_cut:
                    break
                if answer.is_done:
                    await answering.ended()
                    break
    for piece in answer.close():
        yield piece


def _whole(answer: Read, body: bytes) -> list[Piece]:
    """What a body says that is called JSON: some servers call their streams so."""
    if not body.lstrip().startswith((b"data:", b"event:", b":")):
        return answer.whole(body)
    splitter = Splitter()
    events = [*splitter.feed(body), *splitter.end()]
    return [piece for event in events for piece in answer.chunk(event.data)]
