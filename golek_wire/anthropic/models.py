"""How are the models of a fleet shown as Anthropic's list of models?"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from golek_wire.openai import models as openai


class Model(Struct, frozen=True):
    """One model."""

    id: str
    display_name: str
    created_at: str
    """When it was last heard of: models have no other date here."""
    max_input_tokens: int | None = None
    """What its context holds; null while that is not known."""
    type: Literal["model"] = "model"
    lifecycle: Literal["active"] = "active"


class ModelList(Struct, frozen=True):
    """The answer to GET /v1/models of who speaks Anthropic's API: all of them on one page."""

    data: list[Model]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def shown(model: openai.Model) -> Model:
    """One model."""
    when = datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")
    return Model(model.id, model.id, when, model.context_length or None)


def listed(models: Iterable[openai.Model]) -> ModelList:
    """Those that write text."""
    data = [shown(model) for model in models if "inference" in model.kinds]
    return ModelList(data, data[0].id if data else None, data[-1].id if data else None)
