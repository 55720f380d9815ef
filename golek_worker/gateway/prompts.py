"""What may be asked at /v1/inference_sse and over Socket.IO?

A prompt and a handful of wishes, all at one level, and what becomes of them: a request of the bus. What answers with it
is told alike at both doors.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.openai.chat import DeadlineMs
from golek_wire.orchestration import InferenceMetadata, Mode, Orchestration, StepEvent
from golek_wire.replies import Delta, InferenceReply
from golek_wire.requests import Params

_PARAMS: Final = frozenset(Params.__struct_fields__)
_DOORS_OWN: Final = frozenset({"model", "prompt", "room", "request_id", "idempotency_key"})


class Prompt(Struct, frozen=True, omit_defaults=True):
    """A prompt. Other fields of a request on the bus may stand beside these."""

    prompt: str | None = None
    """One turn of a user; or `messages`, as in a chat."""
    messages: list[dict[str, Any]] | None = None
    model: str = ""
    """Who is asked; a worker's own model, or the only one of the fleet, without it."""
    session_id: str | None = None
    """A conversation to go on with."""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    grammar: str | None = None
    raw: bool | None = None
    """Pass the prompt to the model without any template."""
    priority: int | None = None
    deadline_ms: DeadlineMs | None = None
    """Milliseconds until the answer is of no use."""
    orchestration_mode: Mode | None = None
    """How several models answer together."""


class Written(Struct, frozen=True, omit_defaults=True):
    """`inference_token`: a piece of the answer."""

    token: str
    request_id: str
    job_id: str = ""
    session_id: str | None = None
    reasoning_content: str = ""
    """A piece of what the model thinks, not of its answer."""


class Complete(Struct, frozen=True, omit_defaults=True):
    """`inference_complete`: the whole answer."""

    text: str
    request_id: str
    job_id: str
    model: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    duration_ms: int
    ttft_ms: int = 0
    session_id: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None
    worker: str = ""
    orchestration: Orchestration | None = None
    """How several models came to it, as is the next."""
    inference_metadata: InferenceMetadata | None = None


def read(given: bytes | dict[str, Any], *, strict: bool = True) -> tuple[Prompt, dict[str, Any]]:
    """The prompt, and all that was given with it. From a query nothing is `strict`: there `8` is a number.

    Raises BadRequestError naming what is wrong.
    """
    fields = codec.decode_body(given, dict[str, Any]) if isinstance(given, bytes) else given
    try:
        prompt = msgspec.convert(fields, Prompt, strict=strict)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`")
        raise BadRequestError(f"{name or 'prompt'}: {what}", param=name or "prompt") from None
    if (prompt.prompt is None) == (prompt.messages is None):
        raise BadRequestError("prompt: either `prompt` or `messages` is what the model is asked", param="prompt")
    known = {name: value for name, value in msgspec.structs.asdict(prompt).items() if value is not None}
    return prompt, fields | known if strict else known


def request(fields: dict[str, Any], deadline_ms: int) -> bytes:
    """The request of the bus, as a stream. A worker answers what is wrong with it."""
    params = {name: value for name, value in fields.items() if name in _PARAMS and value is not None}
    rest = {name: value for name, value in fields.items() if name not in _PARAMS | _DOORS_OWN and value is not None}
    if fields.get("prompt") is not None:
        rest["input"] = fields["prompt"]
    given = rest.pop("params", None)
    asked = rest | {"params": (given if isinstance(given, dict) else {}) | params}
    return codec.encode(asked | {"stream": True, "deadline_ms": deadline_ms})


def written(piece: Delta, asked: Prompt, request_id: str, job_id: str) -> Written:
    """What is told of a piece of the answer."""
    return Written(piece.text, request_id, job_id, asked.session_id, piece.reasoning_content)


def step(told: StepEvent, asked: Prompt, request_id: str, job_id: str) -> dict[str, Any]:
    """`inference_step`: a step of several models began or ended, for who asked for `orchestration.progress`."""
    fields: dict[str, Any] = msgspec.to_builtins(told)
    fields.pop("req_id")
    session = {"session_id": asked.session_id} if asked.session_id is not None else {}
    return fields | {"request_id": request_id, "job_id": job_id} | session


def complete(reply: InferenceReply, asked: Prompt, model: str, request_id: str, job_id: str, worker: str) -> Complete:
    """What is told at its end."""
    return Complete(
        reply.text,
        request_id,
        job_id,
        reply.model or model,
        reply.finish_reason,
        reply.tokens_in,
        reply.tokens_out,
        reply.duration_ms,
        reply.ttft_ms,
        asked.session_id,
        reply.reasoning_content,
        list(reply.tool_calls) if reply.tool_calls else None,
        worker,
        reply.orchestration,
        reply.inference_metadata,
    )
