"""How are the models of a fleet shown as OpenAI's list of models?

OpenAI's four fields, and beside them what a person choosing a model wants to know: whether it is in memory, how large
it is, what it can do.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from golek_wire.hosts import Startable
from golek_wire.orchestration import Mode
from golek_wire.routing import Offer
from golek_wire.signals import ModelRecord, WorkerStatus

Loaded = Literal["loaded", "available", "loading", "stalled", "draining", "offline", "failed"]
"""`loaded`: in memory, or a name that a router serves. `available`: known, and in memory with the next request or
order. `offline`: no worker of it was seen lately."""
STATUS: Final[dict[WorkerStatus, Loaded]] = {
    "starting": "loading",
    "loading": "loading",
    "online": "loaded",
    "unloaded": "available",
    "stalled": "stalled",
    "draining": "draining",
    "offline": "offline",
    "failed": "failed",
}
PREFIXES: Final = ("inference:", "local:")
"""What a gateway in front may leave before a model's name."""


class Model(Struct, frozen=True):
    """One model."""

    id: str
    created: int
    """When it was last heard of: models have no other date here."""
    status: Loaded
    memory_mb: int = 0
    context_length: int = 0
    roles: list[str] = field(default_factory=list[str])
    """What the catalogues of the fleet say that it is good for; at a worker empty."""
    capabilities: list[str] = field(default_factory=list[str])
    kinds: list[str] = field(default_factory=list[str])
    """Which requests it takes: inference, embedding, rerank, vision."""
    object: Literal["model"] = "model"
    owned_by: str = "golek"
    orchestration_mode: Mode | UnsetType = UNSET
    """Of a preset: how its models answer together."""
    models: list[str] | UnsetType = UNSET
    """Of a preset: which these are."""


class ModelList(Struct, frozen=True):
    """The answer to GET /v1/models."""

    data: list[Model]
    config: str = ""
    """The preset; empty where none is configured."""
    orchestration_mode: str = "single"
    object: Literal["list"] = "list"


def plain(name: str) -> str:
    """A model's name without the prefix of a gateway."""
    for prefix in PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return name.removeprefix(prefix)
    return name


def shown(record: ModelRecord, *, gone: bool, roles: Sequence[str] = ()) -> Model:
    """One model; `gone` is one that no request is kept for, whatever was its last word."""
    status = STATUS.get(record.state, "offline")
    return Model(
        record.name,
        _seconds(record.last_seen),
        "offline" if gone and status != "failed" else status,
        record.memory_mb,
        record.context_size,
        list(roles),
        capabilities=record.capabilities,
        kinds=record.kinds,
    )


def offered(one: Startable) -> Model:
    """A model that no worker serves and a machine could start."""
    megabytes = one.size_bytes // 2**20
    return Model(one.name, 0, "available", megabytes, one.context_size, one.roles, kinds=[one.kind])


def virtual(one: Offer) -> Model:
    """A name that a router serves: there is nothing to load."""
    return Model(
        one.name, 0, "loaded", 0, one.context_size, one.roles, one.capabilities, one.kinds, owned_by=one.owned_by,
        orchestration_mode=UNSET if one.mode is None else one.mode, models=UNSET if one.mode is None else one.targets,
    )  # fmt: skip


def listed(models: Iterable[Model], config: str = "", orchestration_mode: str = "single") -> ModelList:
    """The list: of what can be asked, or will be once it is loaded. Who picks from it wants an answer. With what `auto`
    stands for.
    """
    there = [model for model in models if model.status not in ("offline", "failed", "draining")]
    return ModelList(there, config, orchestration_mode)


def _seconds(when: str) -> int:
    """RFC 3339 in seconds since 1970; 0 for what is none."""
    try:
        return int(datetime.fromisoformat(when).timestamp())
    except ValueError:
        return 0
