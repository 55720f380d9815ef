"""How is a server asked that speaks OpenAI's API?

OpenAI itself, Gemini, Ollama, vLLM, llama-server, OpenRouter, another fleet, and others. A text is always asked for as
a stream: so a server that works can be told from one that hangs, and what it wrote is not lost with it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from golek_wire import codec
from golek_wire.errors import BadRequestError, InferenceServiceError
from golek_wire.replies import EmbeddingReply, Reply
from golek_wire.requests import EmbeddingRequest, InferenceRequest
from golek_worker.providers import growing, listing, openai_answer, openai_form, texts
from golek_worker.providers.base import Call, Piece
from golek_worker.providers.listing import Found
from golek_worker.providers.openai_answer import Answer
from golek_worker.providers.quirks import PLAIN, Quirks
from golek_worker.providers.transport import Server, Transport, elapsed_ms


class OpenAIProvider:
    """A server that speaks OpenAI's API."""

    def __init__(
        self, server: Server, key: str, quirks: Quirks = PLAIN, of_models: Mapping[str, Quirks] | None = None
    ) -> None:
        """`key` is empty for a server that wants none; `of_models` are the quirks of those that have others."""
        self.name = server.name
        self._key = key
        self._quirks = quirks
        self._of_models = dict(of_models or {})
        self._transport = Transport(server, {"authorization": f"Bearer {key}"} if key else {}, key)

    async def answer(self, call: Call) -> AsyncGenerator[Piece | Reply, None]:
        """As `base.Provider` says."""
        request = call.request
        try:
            if isinstance(request, EmbeddingRequest):
                yield await self._vectors(call, request)
            elif isinstance(request, InferenceRequest):
                async with aclosing(self._text(call, request)) as pieces:
                    async for piece in pieces:
                        yield piece
            else:
                raise BadRequestError(f"{self.name} ranks no documents")
        except InferenceServiceError as error:
            error.details.setdefault("provider", self.name)
            raise

    async def models(self) -> list[Found]:
        """The models that it says it has. Raises as `answer` does."""
        return await listing.models(self._transport)

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()

    def _text(self, call: Call, request: InferenceRequest) -> AsyncGenerator[Piece | Reply, None]:
        quirks = self._of_models.get(call.model, self._quirks)
        begun = request.resume.text if request.resume is not None else ""
        known = "" if request.raw else growing.known(begun, repeats=quirks.repeats)
        stops = request.params.stops if quirks.hides_stop else ()
        answer = Answer(self.name, call.job_id, request.params.n, self._key, known, stops, begun)
        if request.raw:
            body, path = openai_form.completion(call, request, quirks), "/completions"
        else:
            body, path = openai_form.chat(call, request, quirks), "/chat/completions"
        return texts.written(self._transport, path, body, answer, call, request)

    async def _vectors(self, call: Call, request: EmbeddingRequest) -> EmbeddingReply:
        began = time.perf_counter()
        until = asyncio.get_running_loop().time() + call.seconds
        body = codec.encode(openai_form.embeddings(call, request))
        async with self._transport.asked("POST", "/embeddings", body, until, call.headers) as answering:
            told = await answering.whole()
        return openai_answer.vectors(self.name, told, request, call.model, elapsed_ms(began))

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.name}>"
