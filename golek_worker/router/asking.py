"""What of a request decides on its route?

Whoever runs a request and whoever explains how it would be run ask here, so that both get the same.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from golek_wire.images import STORED, listed
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request, RerankRequest, VisionRequest
from golek_wire.subjects import Kind
from golek_worker.router.affinity import affinity
from golek_worker.router.ordering import hash_of
from golek_worker.router.targets import Ask, Need

BYTES_PER_TOKEN: Final = 4
"""Of text, about; the target's own tokenizer has the last word."""
TURN_TOKENS: Final = 8
"""Beside the text of each turn, and of what goes before the answer: the marks and roles of the model's template."""
PART_TOKENS: Final = 1024
"""Of what is no text, such as an image."""


def ask_of(
    request: Request,
    model: str,
    kind: Kind,
    *,
    job_id: str = "",
    draw: float | None = None,
    turn: int = 0,
    deadline_s: float = math.inf,
    allowed: Iterable[str] | None = None,
    excluded: Iterable[str] = (),
    has_text: bool = False,
) -> Ask:
    """What to decide on. `draw` is made of the job's id unless it is given."""
    wish = request.route
    return Ask(
        model,
        kind,
        task_type=_task_type(request),
        policy=wish.policy if wish is not None else None,
        strategy=wish.strategy if wish is not None else None,
        needs=needs(request),
        tokens_in=tokens(request),
        max_tokens=_max_tokens(request),
        choices=_choices(request),
        deadline_s=deadline_s,
        affinity=affinity(request),
        draw=draw_of(job_id) if draw is None else draw,
        turn=turn,
        allowed=None if allowed is None else frozenset(allowed),
        max_cost_usd=wish.max_cost_usd if wish is not None else None,
        excluded=frozenset(excluded),
        has_text=has_text,
    )


def needs(request: Request) -> frozenset[Need]:
    """What not every target can."""
    if not isinstance(request, InferenceRequest):
        return frozenset()
    params, form = request.params, request.response_format
    wanted: dict[Need, bool] = {
        "tools": bool(request.tools) and request.tool_choice != "none",
        "json_schema": form is not None and form.type != "text",
        "vision": any(_is_no_text(part) for turn in request.messages or [] for part in turn.parts or []),
        "stored_image": any(image.url.startswith(STORED) for image in listed(request)),
        "grammar": params.grammar is not None or params.regex is not None or params.choice is not None,
        "logprobs": params.logprobs,
        "adapter": bool(request.adapter),
        "raw": request.raw,
    }
    return frozenset(need for need, is_wanted in wanted.items() if is_wanted)


def tokens(request: Request) -> int:
    """About how many tokens are read."""
    match request:
        case EmbeddingRequest():
            return max(map(_tokens, request.inputs), default=0)  # each text is read for itself
        case RerankRequest():
            return _tokens(request.query) + max(map(_tokens, request.texts), default=0)
        case VisionRequest():
            return PART_TOKENS + TURN_TOKENS * 2 + _tokens(request.prompt or "")  # each image for itself
        case _:
            return _conversation(request)


def draw_of(job_id: str) -> float:
    """In [0, 1), the same for the same job."""
    return (hash_of(job_id) >> 11) / 2**53


def _conversation(request: InferenceRequest) -> int:
    turns = request.messages or []
    counted = _tokens(request.input or "") + (0 if request.raw else TURN_TOKENS * (1 + (len(turns) or 1)))
    for turn in turns:
        counted += _tokens(turn.content or "") + _tokens(_json(turn.tool_calls))
        counted += PART_TOKENS * sum(_is_no_text(part) for part in turn.parts or [])
    return counted + _tokens(_json(request.tools))


def _is_no_text(part: dict[str, Any]) -> bool:
    return part.get("type") not in ("text", "input_text", "output_text", "refusal")


def _tokens(text: str) -> int:
    return math.ceil(len(text if text.isascii() else text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


def _json(said: list[dict[str, Any]] | None) -> str:
    return json.dumps(said) if said else ""


def _task_type(request: Request) -> str:
    return (request.task_type or "") if isinstance(request, InferenceRequest) else ""


def _max_tokens(request: Request) -> int | None:
    """Most tokens to be written of a text; none by who writes none."""
    return request.params.max_tokens if isinstance(request, InferenceRequest) else 0


def _choices(request: Request) -> int:
    if not isinstance(request, InferenceRequest):
        return 1
    return max(request.params.n, request.params.best_of or 1)
