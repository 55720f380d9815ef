"""What does a request to Anthropic's Messages API ask of a model?

`read` names what is wrong in the body of `POST /v1/messages`; `to_wire` makes it the request that a fleet knows. Tools
that Anthropic runs itself, and documents, are refused by name; hints without an effect here (`cache_control`,
`service_tier`, `container`) are tolerated, for the cache needs none.

`thinking` of the type `enabled` becomes an effort by its budget, which a model that does not think refuses; `adaptive`
leaves it to the model, and `disabled` asks for none.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from golek_wire import codec, elements
from golek_wire.anthropic.turns import Turn, conversation
from golek_wire.errors import BadRequestError
from golek_wire.openai import sampling
from golek_wire.openai.chat import DeadlineMs, MaxTokens, Model
from golek_wire.orchestration import Mode, OrchestrationWish
from golek_wire.requests import (
    STOP_LIMIT,
    USER_LIMIT,
    InferenceRequest,
    JsonSchema,
    Params,
    Priority,
    ResponseFormat,
    SessionId,
    StopString,
    TaskType,
)
from golek_wire.routing import CacheWish, RouteWish

NAMES: Final = {
    "params.max_tokens": "max_tokens",
    "params.stop": "stop_sequences",
    "tool_choice.function.name": "tool_choice.name",
    "reasoning_effort": "thinking",
    elements.IMAGE: "source",
    "response_format": "output_config.format",
    "response_format.json_schema": "output_config.format",
    "response_format.json_schema.schema": "output_config.format.schema",
}
"""Fields of the bus that have another name here."""
LOW: Final = 4096
MEDIUM: Final = 16384
"""Budgets of thoughts, in tokens, below which the effort is low, or medium."""


class Thinking(Struct, frozen=True):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None


class ToolChoice(Struct, frozen=True):
    """Whether a tool may, must or must not be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    """With the type `tool`: which."""
    disable_parallel_tool_use: bool | None = None


class Tool(Struct, frozen=True):
    """A tool that the caller runs."""

    name: Annotated[str, Meta(min_length=1)]
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    """`custom`, or nothing."""
    strict: bool | None = None


class Form(Struct, frozen=True):
    """What form the text has."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, frozen=True):
    """Wishes about the answer."""

    format: Form | None = None
    effort: str | None = None
    """Tolerated: how much is thought is said by `thinking`."""


class Metadata(Struct, frozen=True):
    """About the request."""

    user_id: str | None = None


class Counted(Struct, frozen=True, kw_only=True):
    """What a request says of which the tokens are counted; the body of POST /v1/messages/count_tokens."""

    messages: list[Turn]
    model: Model = ""
    """Whom to ask; the only one that there is, without it."""
    system: str | list[Raw] | None = None
    """What stands before the conversation: a text, or blocks of text."""
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(Counted, frozen=True, kw_only=True):
    """The body of POST /v1/messages."""

    max_tokens: MaxTokens
    """Most tokens to write."""
    stop_sequences: Annotated[list[StopString], Meta(max_length=STOP_LIMIT)] | None = None
    """Strings that end the text; they are not part of it."""
    stream: bool | None = None
    metadata: Metadata | None = None
    deadline_ms: DeadlineMs | None = None
    """Ours, as on the other routes: milliseconds until the answer is of no use."""
    priority: Priority | None = None
    session_id: SessionId | None = None
    adapter: Annotated[str, Meta(max_length=128)] | None = None
    task_type: TaskType | None = None
    cache: CacheWish | None = None
    route: RouteWish | None = None
    orchestration_mode: Mode | None = None
    orchestration: OrchestrationWish | None = None
    resumable: bool | None = None
    """Refused: the events of this API cannot be read again."""
    n: Literal[1] | None = None


_decoder = sampling.reader(MessagesRequest)
BODY: Any = _decoder.type
"""`MessagesRequest` with the fields of `Params`: the whole body."""
_counted = msgspec.json.Decoder(Counted)
_EXAMPLE: Final = '{"max_tokens": 100, "messages": [{"role": "user", "content": "What is NATS?"}]}'


def read(payload: bytes) -> MessagesRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    return codec.decode_by(payload, _decoder, _EXAMPLE)


def read_counted(payload: bytes) -> MessagesRequest:
    """The request in `payload` of which the tokens are counted: one that writes nothing. Raises as `read` does."""
    counted = codec.decode_by(payload, _counted, _EXAMPLE)
    request: MessagesRequest = BODY(max_tokens=0, **msgspec.structs.asdict(counted))
    return request


def to_wire(request: MessagesRequest, deadline_ms: int) -> InferenceRequest:
    """`request` on the bus, to be answered within `deadline_ms`. Raises BadRequestError naming what cannot be."""
    tools = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools or ())]
    choice = request.tool_choice
    return InferenceRequest(
        messages=conversation(request.system, request.messages),
        params=_params(request),
        stream=bool(request.stream),
        tools=tools or None,
        tool_choice=_choice(choice, has_tools=bool(tools)),
        parallel_tool_calls=False if tools and choice is not None and choice.disable_parallel_tool_use else None,
        response_format=_form(request.output_config),
        reasoning_effort=_effort(request.thinking),
        adapter=request.adapter,
        deadline_ms=deadline_ms,
        priority=request.priority,
        session_id=request.session_id,
        metadata={"user_id": request.metadata.user_id} if request.metadata and request.metadata.user_id else None,
        task_type=request.task_type,
        user=request.metadata.user_id[:USER_LIMIT] if request.metadata and request.metadata.user_id else None,
        cache=request.cache,
        route=request.route,
        orchestration_mode=request.orchestration_mode,
        orchestration=request.orchestration,
    )


def _params(request: MessagesRequest) -> Params:
    stops: dict[str, Any] = {} if request.stop_sequences is None else {"stop": request.stop_sequences}
    return sampling.drawn(request, max_tokens=request.max_tokens, **stops)


def _tool(tool: Tool, place: str) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise BadRequestError(
            f"{place}.type: {tool.type[:60]!r} is no tool of this fleet; it knows those with an `input_schema`, which "
            "the caller runs itself",
            param=f"{place}.type",
        )
    said = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema, "strict": tool.strict}
    return {"type": "function", "function": {name: value for name, value in said.items() if value is not None}}


def _choice(choice: ToolChoice | None, *, has_tools: bool) -> Any:
    """In the form of the chat API. Raises BadRequestError where there is nothing to choose."""
    if choice is None or (not has_tools and choice.type in ("auto", "none")):
        return None
    if not has_tools:
        raise BadRequestError("tool_choice: asks for a call, but there are no `tools` to call", param="tool_choice")
    if choice.type != "tool":
        return {"auto": "auto", "any": "required", "none": "none"}[choice.type]
    if not choice.name:
        raise BadRequestError("tool_choice.name: is missing; the type `tool` wants it", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _form(config: OutputConfig | None) -> ResponseFormat | None:
    if config is None or config.format is None:
        return None
    return ResponseFormat("json_schema", JsonSchema(config.format.schema))


def _effort(thinking: Thinking | None) -> Literal["none", "low", "medium", "high"] | None:
    """The nearest effort that the bus knows; None leaves it to the model."""
    if thinking is None or thinking.type in ("adaptive", "between_tools"):
        return None
    if thinking.type == "disabled":
        return "none"
    budget = thinking.budget_tokens
    if budget is None:
        raise BadRequestError(
            "thinking.budget_tokens: is missing; the type `enabled` wants it", param="thinking.budget_tokens"
        )
    return "low" if budget < LOW else "medium" if budget < MEDIUM else "high"
