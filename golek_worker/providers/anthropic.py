"""How is a server asked that speaks Anthropic's API?

Anthropic itself, another fleet, llama-server. Texts are asked for as streams, for the reason that openai.py says.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from golek_wire.errors import BadRequestError, InferenceServiceError
from golek_wire.replies import Reply
from golek_wire.requests import InferenceRequest
from golek_worker.providers import anthropic_form, growing, listing, texts
from golek_worker.providers.anthropic_answer import Answer
from golek_worker.providers.base import Call, Piece
from golek_worker.providers.listing import Found
from golek_worker.providers.quirks import PLAIN, Quirks
from golek_worker.providers.transport import Server, Transport

VERSION: Final = "2023-06-01"
"""Of the API; there has been no later one."""


class AnthropicProvider:
    """A server that speaks Anthropic's API."""

    def __init__(
        self, server: Server, key: str, quirks: Quirks = PLAIN, of_models: Mapping[str, Quirks] | None = None
    ) -> None:
        """`key` is empty for a server that wants none; `of_models` are the quirks of those that have others."""
        self.name = server.name
        self._key = key
        self._quirks = quirks
        self._of_models = dict(of_models or {})
        headers = {"anthropic-version": VERSION} | ({"x-api-key": key} if key else {})
        self._transport = Transport(server, headers, key)

    async def answer(self, call: Call) -> AsyncGenerator[Piece | Reply, None]:
        """As `base.Provider` says."""
        request = call.request
        try:
            if not isinstance(request, InferenceRequest):
                raise BadRequestError(f"{self.name} writes texts alone")
            begun = request.resume.text if request.resume is not None else ""
            quirks = self._of_models.get(call.model, self._quirks)
            known = growing.known(begun, repeats=quirks.repeats)
            answer = Answer(self.name, call.job_id, self._key, known)
            body = anthropic_form.message(call, request, quirks)
            async with aclosing(texts.written(self._transport, "/messages", body, answer, call, request)) as pieces:
                async for piece in pieces:
                    yield piece
        except InferenceServiceError as error:
            error.details.setdefault("provider", self.name)
            raise

    async def models(self) -> list[Found]:
        """The models that it says it has. Raises as `answer` does."""
        return await listing.models(self._transport)

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"<AnthropicProvider {self.name}>"
