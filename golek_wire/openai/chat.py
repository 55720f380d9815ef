"""How does a chat completion of OpenAI's API become a request on the bus?

Fields that mean nothing here (`store`, `service_tier`, and whatever a later API has) are tolerated, and told to a cloud
where one answers. Absent sampling values take the model's defaults, not OpenAI's: `temperature` is 0.8 and `max_tokens`
has no limit, as for all other callers.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, structs

from golek_wire import codec
from golek_wire.openai import sampling, tools, unknown
from golek_wire.openai.turns import ChatMessage, conversation
from golek_wire.orchestration import Mode, OrchestrationWish
from golek_wire.requests import InferenceRequest, Priority, ResponseFormat, SessionId, TaskType, User
from golek_wire.routing import CacheWish, RouteWish

MODEL_LIMIT: Final = 256
DEADLINE_LIMIT_MS: Final = 24 * 3600 * 1000

Model = Annotated[str, Meta(max_length=MODEL_LIMIT)]
MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000)]
MaxTokensOrNought = Annotated[int, Meta(ge=0, le=1_000_000)]
"""0 writes nothing: the prompt is only counted."""
DeadlineMs = Annotated[int, Meta(ge=1, le=DEADLINE_LIMIT_MS)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(Struct, frozen=True, omit_defaults=True):
    """What a stream has besides its text."""

    include_usage: bool | None = None
    """A last chunk with the tokens it cost."""


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What chat completions and completions may say alike; the fields of `Params` come in addition."""

    model: Model | None = None
    """Whom to ask; the only one that there is, without it."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    seed: int | None = None
    """Any 64-bit number."""
    adapter: Annotated[str, Meta(max_length=128)] | None = None
    """LoRA adapter that the worker has loaded."""
    deadline_ms: DeadlineMs | None = None
    """Milliseconds until the answer is of no use."""
    priority: Priority | None = None
    """1 low, 2 normal, 3 high."""
    session_id: SessionId | None = None
    """A conversation that the fleet keeps."""
    resumable: bool | None = None
    """A stream whose chunks are kept for some minutes."""
    task_type: TaskType | None = None
    """What kind of work it is; a router picks the model by it."""
    orchestration_mode: Mode | None = None
    """How several models answer together; a router has them do so."""
    orchestration: OrchestrationWish | None = None
    metadata: dict[str, Any] | None = None
    user: User | None = None
    """For whom the caller asks: such an answer is kept in no cache."""
    cache: CacheWish | None = None
    """Whether the answer may come from a cache."""
    route: RouteWish | None = None
    """How a router may choose."""

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what it cost."""
        return self.stream_options is not None and self.stream_options.include_usage is True


class ChatRequest(Asked, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_tokens: MaxTokensOrNought | None = None
    max_completion_tokens: MaxTokensOrNought | None = None
    """The same as `max_tokens`; this one wins."""
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    """`{"type": "allowed_tools", …}` as well."""
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    """OpenAI's former form of `tools`."""
    function_call: Literal["auto", "none"] | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    extra: dict[str, Any] | None = None
    """Fields for a cloud, passed on as they are; so are those of the body that are not known here."""


_decoder = sampling.reader(ChatRequest)
BODY: Any = _decoder.type
"""`ChatRequest` with the fields of `Params`: the whole body."""


def read(payload: bytes) -> ChatRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    request = codec.decode_by(payload, _decoder, '{"messages": [{"role": "user", "content": "What is NATS?"}]}')
    more = unknown.fields(payload, BODY)
    return request if more is None else structs.replace(request, extra={**more, **(request.extra or {})})


def to_wire(request: ChatRequest, deadline_ms: int) -> InferenceRequest:
    """`request` on the bus, to be answered within `deadline_ms`. Raises BadRequestError naming what cannot be."""
    offer = tools.offered(request.tools, request.tool_choice, request.functions, request.function_call)
    most = request.max_completion_tokens
    return InferenceRequest(
        messages=conversation(request.messages),
        params=sampling.drawn(
            request, max_tokens=request.max_tokens if most is None else most, seed=sampling.folded(request.seed)
        ),
        stream=bool(request.stream),
        tools=offer.tools,
        tool_choice=offer.choice,
        parallel_tool_calls=False if offer.former else request.parallel_tool_calls if offer.tools else None,
        response_format=request.response_format,
        reasoning_effort=_effort(request.reasoning_effort),
        adapter=request.adapter,
        deadline_ms=deadline_ms,
        priority=request.priority,
        session_id=request.session_id,
        resumable=bool(request.resumable),
        metadata=request.metadata,
        task_type=request.task_type,
        user=request.user,
        cache=request.cache,
        route=request.route,
        orchestration_mode=request.orchestration_mode,
        orchestration=request.orchestration,
        extra=request.extra,
    )


def texts(request: Asked) -> int:
    """How many texts a request that was read asks for, for each prompt."""
    n: int | None = getattr(request, "n", None)
    return n or 1


def speaks_of_functions(request: ChatRequest) -> bool:
    """Whether the caller knows calls in their former form alone."""
    return bool(request.functions) and not request.tools


def _effort(effort: Effort | None) -> Literal["none", "minimal", "low", "medium", "high"] | None:
    """The nearest one that the bus knows."""
    return "high" if effort == "xhigh" or effort == "max" else effort  # noqa: PLR1714 - mypy narrows by `==` alone
