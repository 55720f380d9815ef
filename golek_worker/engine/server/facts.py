"""What does a server say of itself and its model?"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.server import commands
from golek_worker.engine.server.dialects import DIALECTS, OWNERS, Dialect
from golek_worker.engine.server.site import Site

LOAD_S: Final = 600.0
"""For Ollama to take a model into memory."""
UNKNOWN: Final = "unknown"
WORDS: Final = {"tools": "tool-calling", "thinking": "reasoning", "vision": "vision"}
"""Ollama's capabilities, as ours are called."""
Json = dict[str, Any]


class Facts(Struct, frozen=True):
    """A server with its model."""

    model: str
    """As the server calls it."""
    dialect: Dialect
    info: ModelInfo = ModelInfo()
    slots: int = 0
    """0 where it does not say."""
    capabilities: list[str] = []
    chat_template: str | None = None


async def gather(config: EngineConfig, dialect: Dialect, site: Site) -> Facts:
    """Raises EngineLoadError where the model is not there, InferenceServiceError where the server does not answer."""
    if dialect is DIALECTS["ollama"]:
        return await _ollama(config, dialect, site)
    models = [one for one in _list(await site.told("GET", "/v1/models"), "data") if isinstance(one.get("id"), str)]
    model = _model(config, models)
    dialect = dialect if config.engine != "openai" else OWNERS.get(str(model.get("owned_by")), dialect)
    if dialect is DIALECTS["ollama"]:
        return await _ollama(config, dialect, site)
    facts = Facts(model["id"], dialect, _info(model))
    return await _llama_server(config, facts, site) if dialect is DIALECTS["llama-server"] else facts


def _model(config: EngineConfig, models: list[Json]) -> Json:
    wanted = config.server.model
    if (not wanted and len(models) == 1) or (config.engine == "llama-server" and models):
        return models[0]
    named = [one for one in models if one["id"] == wanted]
    if wanted and (named or not models):  # some list nothing
        return named[0] if named else {"id": wanted}
    names = ", ".join(one["id"] for one in models[:20]) or "none"
    said = f"SERVER_MODEL={wanted}: the server has no model of this name" if wanted else "SERVER_MODEL is not given"
    raise EngineLoadError(f"{said}; it has {names}")


def _info(model: Json) -> ModelInfo:
    """As vLLM, llama-server and fleets tell it; which kind of model it is none of them does."""
    meta = model.get("meta")
    told = model | meta if isinstance(meta, dict) else model
    sizes = [_number(told, name) for name in ("max_model_len", "context_length", "n_ctx")]
    return ModelInfo(
        architecture=UNKNOWN,
        parameter_count=_shown(_number(told, "n_params")),
        context_size=next(filter(None, sizes), 0),
        embedding_size=_number(told, "n_embd"),
        quantization=str(told.get("ftype") or ""),
        vocab_size=_number(told, "n_vocab"),
        size_bytes=_number(told, "size"),
    )


async def _llama_server(config: EngineConfig, facts: Facts, site: Site) -> Facts:
    told = await site.told("GET", "/props")
    template = told.get("chat_template")
    info = facts.info
    if config.model_path:
        info = msgspec.structs.replace(info, architecture=commands.header_of(config).architecture)
    return Facts(
        facts.model, facts.dialect, info, _number(told, "total_slots"),
        ["grammar-constrained", *(["vision"] if _object(told, "modalities").get("vision") is True else [])],
        template if isinstance(template, str) and template else None,
    )  # fmt: skip


async def _ollama(config: EngineConfig, dialect: Dialect, site: Site) -> Facts:
    """It has many models: one must be named. It is loaded, since only then is its context known."""
    name = config.server.model
    if not name:
        have = ", ".join(str(one.get("name")) for one in _list(await site.told("GET", "/api/tags"), "models")[:20])
        raise EngineLoadError(f"SERVER_MODEL is not given: which of Ollama's models? It has {have or 'none'}")
    try:
        told = await site.told("POST", "/api/show", {"model": name})
    except InferenceServiceError as error:
        if error.details.get("status") == 404:
            raise EngineLoadError(f"SERVER_MODEL={name}: Ollama has no such model; `ollama pull {name}`") from None
        raise
    about, details = _object(told, "model_info"), _object(told, "details")
    family = str(about.get("general.architecture") or "")
    can = [str(one) for one in told.get("capabilities") or ()]
    if config.kind == "inference":
        await site.asked("POST", "/api/generate", {"model": name, "stream": False}, LOAD_S)
    loaded = [one for one in _list(await site.told("GET", "/api/ps"), "models") if one.get("name") == name]
    info = ModelInfo(
        architecture=family or UNKNOWN,
        parameter_count=str(details.get("parameter_size") or ""),
        context_size=_number(loaded[0], "context_length") if loaded else 0,
        embedding_size=_number(about, f"{family}.embedding_length"),
        quantization=str(details.get("quantization_level") or ""),
        model_family=str(details.get("family") or ""),
    )
    known = [WORDS[one] for one in can if one in WORDS]
    return Facts(name, dialect, info, capabilities=["grammar-constrained", *known])


def _shown(parameters: int) -> str:
    """`2M`, `4.0B`; empty for none."""
    if parameters >= 10**9:
        return f"{parameters / 10**9:.1f}B"
    return f"{round(parameters / 10**6)}M" if parameters else ""


def _object(told: Json, name: str) -> Json:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _list(told: Json, name: str) -> list[Json]:
    found = told.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _number(told: Json, name: str) -> int:
    found = told.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
