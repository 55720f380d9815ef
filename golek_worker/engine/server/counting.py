"""How many tokens has a text, and does a request fit into the context?

A server refuses a prompt that is too long, but cuts an answer that does not fit: so it is asked first how long the
prompt is, where that could matter and the server can say it.
"""

from typing import Any

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest
from golek_worker.engine.base import Submit
from golek_worker.engine.budget import token_limit
from golek_worker.engine.server.facts import Facts
from golek_worker.engine.server.site import Site
from golek_worker.providers import openai_form

COUNT_S = 60.0
"""For megabytes, on a machine that computes something else."""
AROUND = 64
"""Bytes that a template puts around a turn, as a guess."""


class Counter:
    """Counts with the server's own tokenizer."""

    def __init__(self, facts: Facts, site: Site, ctx_size: int) -> None:
        """`ctx_size` is 0 where nobody knows it."""
        self._facts = facts
        self._site = site
        self._ctx_size = ctx_size

    async def with_room(self, command: Submit, request: InferenceRequest) -> InferenceRequest:
        """`request`, which says how long its answer may be where the server would write 16 tokens without a word.

        Raises ContextBudgetExceededError where prompt and answer do not fit together.
        """
        params, counts = request.params, self._facts.dialect.counts
        unsaid = request.raw and params.max_tokens is None and counts == "vllm"
        wanted = params.max_tokens if params.max_tokens is not None else command.least_room
        if not (self._ctx_size and counts and (unsaid or wanted)):
            return request
        if not unsaid and _most(request) + wanted <= self._ctx_size:
            return request
        limit = token_limit(await self.prompt(request), params.max_tokens, self._ctx_size, command.least_room)
        if not unsaid:
            return request
        return msgspec.structs.replace(request, params=msgspec.structs.replace(params, max_tokens=limit))

    async def prompt(self, request: InferenceRequest) -> int:
        """Tokens of the prompt, without a text that is gone on with. Raises BadRequestError where nobody can say it."""
        match self._facts.dialect.counts:
            case "llama":
                return await self._by_llama(request)
            case "vllm":
                return await self._by_vllm(request)
        raise BadRequestError(
            "params.max_tokens: the model's server does not count a prompt alone; ask for 1 at least",
            param="params.max_tokens",
        )

    async def text(self, text: str) -> int:
        """Tokens of `text` by itself; 0 where nobody can say it."""
        match self._facts.dialect.counts:
            case "llama":
                told = await self._site.told("POST", "/tokenize", {"content": text}, COUNT_S)
                return len(told.get("tokens") or ())
            case "vllm":
                body = {"model": self._facts.model, "prompt": text, "add_special_tokens": False}
                return int((await self._site.told("POST", "/tokenize", body, COUNT_S)).get("count", 0))
        return 0

    async def _by_llama(self, request: InferenceRequest) -> int:
        text = request.input or ""
        if not request.raw:
            body: dict[str, Any] = {"messages": openai_form.messages(_begin(request), self._facts.dialect.quirks)}
            if request.tools:
                body["tools"] = request.tools
            text = str((await self._site.told("POST", "/apply-template", body, COUNT_S)).get("prompt", ""))
        body = {"content": text, "add_special": True, "parse_special": True}
        told = await self._site.told("POST", "/tokenize", body, COUNT_S)
        return len(told.get("tokens") or ())

    async def _by_vllm(self, request: InferenceRequest) -> int:
        body: dict[str, Any] = {"model": self._facts.model}
        if request.raw:
            body["prompt"] = request.input or ""
        else:
            body["messages"] = openai_form.messages(_begin(request), self._facts.dialect.quirks)
            if request.tools:
                body["tools"] = request.tools
        return int((await self._site.told("POST", "/tokenize", body, COUNT_S)).get("count", 0))


def _begin(request: InferenceRequest) -> InferenceRequest:
    return msgspec.structs.replace(request, resume=None)


def _most(request: InferenceRequest) -> int:
    """More tokens than the prompt can have: a token has a byte at least."""
    turns = request.messages or ()
    said = sum(len((turn.content or "").encode()) + AROUND for turn in turns)
    return said + len((request.input or "").encode()) + AROUND + 4 * len(repr(request.tools or ""))
