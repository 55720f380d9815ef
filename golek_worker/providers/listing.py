"""Which models does a server say it has?"""

import asyncio
from typing import Any, Final

from msgspec import Struct

from golek_worker.providers.openai_answer import decoded
from golek_worker.providers.transport import Transport

PATIENCE_S: Final = 10.0


class Found(Struct, frozen=True):
    """A model that a server has."""

    id: str
    context_size: int = 0
    """0 where it does not say."""


async def models(transport: Transport) -> list[Found]:
    """The answer to GET /models. Raises ProviderFailedError and its kin."""
    until = asyncio.get_running_loop().time() + PATIENCE_S
    async with transport.asked("GET", "/models", None, until) as answering:
        told = decoded(transport.server.name, await answering.whole())
    data = told.get("data")
    return [
        Found(one["id"].removeprefix("models/"), _context_size(one))
        for one in (data if isinstance(data, list) else ())
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    ]


def _context_size(model: dict[str, Any]) -> int:
    """As OpenRouter and fleets, vLLM, Anthropic and llama-server say it."""
    meta = model.get("meta")
    places = [(model, name) for name in ("context_length", "max_model_len", "max_input_tokens")]
    if isinstance(meta, dict):
        places += [(meta, name) for name in ("n_ctx", "n_ctx_train")]
    sizes = [place.get(name) for place, name in places]
    return next((size for size in sizes if isinstance(size, int) and size > 0), 0)
