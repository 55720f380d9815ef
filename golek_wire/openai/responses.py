"""What does a request to OpenAI's Responses API ask of a model?

`read` names what is wrong in the body of `POST /v1/responses`; `to_wire` makes it the request that a fleet knows. What
the API has and a fleet cannot do (tools that OpenAI runs itself, files, background jobs) is refused by name;
hints without an effect here (`truncation`, `verbosity`, `service_tier`, cache keys) are tolerated.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw, Struct

from golek_wire import codec, elements
from golek_wire.errors import BadRequestError
from golek_wire.openai import sampling, tools
from golek_wire.openai.chat import Asked, Effort, MaxTokens
from golek_wire.openai.items import conversation
from golek_wire.requests import InferenceRequest, JsonSchema, Message, ResponseFormat

LOGPROBS: Final = "message.output_text.logprobs"
"""The member of `include` that asks for log-probabilities."""

NAMES: Final = {
    "messages": "input",
    "params.max_tokens": "max_output_tokens",
    "tool_choice.function.name": "tool_choice.name",
    "reasoning_effort": "reasoning.effort",
    elements.IMAGE: "image_url",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
"""Fields of the bus that have another name here."""


class Reasoning(Struct, frozen=True, omit_defaults=True):
    """How long the model may think."""

    effort: Effort | None = None
    summary: str | None = None
    """Tolerated: thoughts are told as they are, in the reasoning item's `content`."""


class Format(Struct, frozen=True, omit_defaults=True):
    """What form the text has."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(Struct, frozen=True, omit_defaults=True):
    """Wishes about the text."""

    format: Format | None = None
    verbosity: str | None = None


class ResponsesRequest(Asked, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/responses."""

    input: str | list[Raw] | None = None
    """The question, or the items of a conversation."""
    instructions: str | None = None
    """What a system message says; it does not carry over to the next turn."""
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    """`{"type": "function", "name": …}` and `{"type": "allowed_tools", …}` as well."""
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: MaxTokens | None = None
    include: list[str] | None = None
    """`message.output_text.logprobs` for log-probabilities."""
    store: bool | None = None
    """False: the conversation is not kept. Else it is for GOLEK_SESSION_TTL, to be gone on from by this one's id."""
    previous_response_id: Annotated[str, Meta(max_length=128)] | None = None
    """The response that this one goes on from: its conversation comes before `input`, without its instructions."""
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: int | None = None
    """Tolerated: it counts calls of tools that OpenAI runs."""
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    n: Literal[1] | None = None
    """One text; another number is refused."""
    best_of: Literal[1] | None = None

    @property
    def is_stored(self) -> bool:
        """Whether it can be gone on from: unless that is not wanted, or a session of the caller's is gone on with."""
        return self.store is not False and self.session_id is None


_decoder = sampling.reader(ResponsesRequest)
BODY: Any = _decoder.type
"""`ResponsesRequest` with the fields of `Params`: the whole body."""


def read(payload: bytes) -> ResponsesRequest:
    """The request in `payload`. Raises BadRequestError naming what is wrong, and what a fleet cannot do."""
    request = codec.decode_by(payload, _decoder, '{"input": "What is NATS?"}')
    if request.conversation is not None:
        raise BadRequestError(
            "conversation: is not kept here; send `previous_response_id`, or `session_id` for a conversation that the "
            "fleet keeps",
            param="conversation",
        )
    if request.background:
        raise BadRequestError("background: is not offered; leave it out, or ask for a stream", param="background")
    if request.previous_response_id is not None and request.session_id is not None:
        raise BadRequestError(
            "previous_response_id: the conversation of `session_id` is gone on with; leave one of them out",
            param="previous_response_id",
        )
    if request.prompt is not None:
        raise BadRequestError("prompt: none are stored here; send `instructions` and `input`", param="prompt")
    return request


def to_wire(
    request: ResponsesRequest, deadline_ms: int, before: Sequence[Message] = (), kept_as: str | None = None
) -> InferenceRequest:
    """The request on the bus, to be answered within `deadline_ms`; `before` are the turns that it goes on from.

    `kept_as` is the session under whose id the conversation is kept, where the request names none.
    Raises BadRequestError naming the field in the caller's words.
    """
    messages = [*before, *turns(request)]
    if request.instructions is not None:
        messages.insert(0, Message("system", request.instructions))
    offer = _offer(request)
    effort = request.reasoning.effort if request.reasoning is not None else None
    return InferenceRequest(
        messages=messages,
        params=sampling.drawn(
            request,
            max_tokens=request.max_output_tokens if request.max_output_tokens is not None else _also(request),
            seed=sampling.folded(request.seed),
            logprobs=wants_logprobs(request) or None,
        ),
        stream=bool(request.stream),
        tools=offer.tools,
        tool_choice=offer.choice,
        parallel_tool_calls=request.parallel_tool_calls if offer.tools else None,
        response_format=_format(request.text),
        reasoning_effort="high" if effort == "xhigh" or effort == "max" else effort,  # noqa: PLR1714 - mypy narrows by `==` alone
        adapter=request.adapter,
        deadline_ms=deadline_ms,
        priority=request.priority,
        session_id=request.session_id or kept_as,
        metadata=request.metadata,
        task_type=request.task_type,
        user=request.user,
        cache=request.cache,
        route=request.route,
        orchestration_mode=request.orchestration_mode,
        orchestration=request.orchestration,
    )


def turns(request: ResponsesRequest) -> list[Message]:
    """The turns in the request's `input`, without its instructions. Raises BadRequestError naming the item."""
    if request.input is None:
        raise BadRequestError("input: is missing; a text, or a list of items", param="input")
    if not request.input:
        raise BadRequestError("input: is empty; a text has at least one character, a list one item", param="input")
    if isinstance(request.input, str):
        return [Message("user", request.input)]
    return conversation(request.input)


def wants_logprobs(request: ResponsesRequest) -> bool:
    """Whether log-probabilities come with the text."""
    return bool(getattr(request, "top_logprobs", None)) or LOGPROBS in (request.include or ())


def _also(request: ResponsesRequest) -> int | None:
    """The limit under its name in `Params`, which all routes take."""
    said: int | None = getattr(request, "max_tokens", None)
    return said


def _format(text: Text | None) -> ResponseFormat | None:
    form = text.format if text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return ResponseFormat("json_object")
    if form.schema is None:
        raise BadRequestError(
            "text.format.schema: is missing; the type json_schema wants it", param="text.format.schema"
        )
    return ResponseFormat("json_schema", JsonSchema(form.schema, form.name or "", form.description or "", form.strict))


def _offer(request: ResponsesRequest) -> tools.Offer:
    """Tools and choice, brought from the flat form of this API into that of the chat API."""
    flat = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(request.tools or ())]
    choice = request.tool_choice
    return tools.offered(flat, _choice(choice) if isinstance(choice, dict) else choice)


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    match choice:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "tools": list(allowed)}:
            return {**choice, "tools": [{"function": one} for one in allowed]}
    raise BadRequestError(
        f"tool_choice: {str(choice.get('type'))[:60]!r} is not known so; auto, none, required, "
        '{"type": "function", "name": …} and {"type": "allowed_tools", "mode": …, "tools": […]} are',
        param="tool_choice",
    )


def _tool(tool: dict[str, Any], place: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind != "function":
        raise BadRequestError(
            f"{place}.type: {str(kind)[:60]!r} is no tool of this fleet; it knows `function`, which the caller runs "
            "itself",
            param=f"{place}.type",
        )
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequestError(f"{place}.name: is missing", param=f"{place}.name")
    kept = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: tool[key] for key in kept if tool.get(key) is not None}}
