"""How may an answer be asked for?

The keyword arguments that `ask`, `stream` and `chat` share, and the request they become.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, cast, runtime_checkable

import msgspec
from msgspec import structs

from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.orchestration import OrchestrationWish
from golek_wire.requests import Message, Params, ResponseFormat, Resume
from golek_wire.routing import CacheWish, RouteWish

Messages = str | Sequence[Message | Mapping[str, Any]]
"""A conversation; a plain string is one user turn."""


@runtime_checkable
class HasSchema(Protocol):
    """A class or an object that tells its JSON schema, as Pydantic's models do."""

    @property
    def model_json_schema(self) -> Callable[[], dict[str, Any]]:
        """What gives the schema."""
        ...


class Options(TypedDict, total=False):
    """Keyword arguments of `ask`, `stream` and `chat`. What is left out, or None, takes the model's default."""

    max_tokens: int | None
    """Most tokens to write; without it, until the model stops or its context is full."""
    temperature: float | None
    """0 picks the likeliest token each time; the default is 0.8."""
    top_k: int | None
    """Sample among the k likeliest tokens; 0 is all."""
    top_p: float | None
    """Sample among the likeliest tokens that together reach this probability; 1 is all."""
    min_p: float | None
    """Drop tokens below this share of the likeliest one's probability; 0 is off."""
    typical_p: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: list[str] | None
    repeat_last_n: int | None
    """Tokens the penalties look back at."""
    repeat_penalty: float | None
    """Divide the logits of recent tokens by this; 1 is off."""
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    """Same seed, same draws."""
    stop: str | list[str] | None
    """Strings that end the text; they are not part of it."""
    stop_token_ids: list[int] | None
    """Tokens that end the text, by their numbers."""
    logit_bias: dict[str, float] | None
    """Added to the logits of tokens, by their numbers; -100 forbids one."""
    n: int | None
    """How many texts; the reply has them as `choices`."""
    best_of: int | None
    """Write so many and give the likeliest `n`."""
    logprobs: bool | None
    """Tell the log-probability of each token written."""
    top_logprobs: int | None
    """With `logprobs`: those of so many likeliest tokens at each place, too."""
    grammar: str | None
    """GBNF that the answer must follow, or the name of a stored grammar."""
    regex: str | None
    """Regular expression that the whole answer must match."""
    choice: list[str] | None
    """The answer is one of these."""
    response_format: ResponseFormat | dict[str, Any] | HasSchema | None
    """JSON, or JSON by a schema, in OpenAI's form; a Pydantic model stands for its schema."""
    ignore_eos: bool | None
    """Write until `max_tokens`, past the model's own end."""
    raw: bool | None
    """Pass `input` to the model without any template."""
    tools: list[dict[str, Any]] | None
    """Tools the model may call, in OpenAI's form."""
    tool_choice: str | dict[str, Any] | None
    """`auto`, `none`, `required`, or one tool in OpenAI's form."""
    parallel_tool_calls: bool | None
    """False for one call at most."""
    reasoning_effort: str | None
    """How long a model that thinks may think: none, minimal, low, medium or high."""
    adapter: str | None
    """LoRA adapter that the worker has loaded."""
    req_id: str | None
    """A label of at most 128 printable characters, repeated in the reply and the logs."""
    priority: int | None
    """1 low, 2 normal, 3 high; used by a fleet that queues by priority."""
    reply_to: str | None
    """A subject where the answer is published as well."""
    resume: Resume | None
    """Go on where an answer was cut off, as after StreamInterruptedError; streams do so by themselves."""
    session_id: str | None
    """A conversation that the fleet keeps for this caller, as `InferenceRequest` says."""
    resumable: bool | None
    """Keep the chunks of a stream for some minutes: `Golek.reopen` reads them again, by its job's id."""
    metadata: dict[str, Any] | None
    task_type: str | None
    """What kind of work it is, such as `code` or `summarize_long`: a router picks the model by it."""
    user: str | None
    """For whom you ask: such an answer is kept in no cache."""
    cache: CacheWish | dict[str, Any] | None
    """Whether the answer may come from a cache: `{"mode": "exact"}`, `"semantic"`, `"refresh"` or `"off"`."""
    route: RouteWish | dict[str, Any] | None
    """How a router may choose: `{"policy": "never_cloud", "strategy": "cheapest", "max_cost_usd": 0.01}`."""
    orchestration_mode: str | None
    """How several models answer together: single, critique, debate, ensemble or pipeline. Needs a router."""
    orchestration: OrchestrationWish | dict[str, Any] | None
    """Which models, and when it is enough: `{"models": ["phi-4", "qwen2.5-7b"], "max_rounds": 2}`."""
    extra: dict[str, Any] | None
    """Fields for a cloud's API, passed on as they are; no worker of the fleet reads them."""


_PARAMS = frozenset(Params.__struct_fields__)


def build(
    options: Options, *, prompt: str | None = None, messages: Messages | None = None, stream: bool, deadline: float
) -> bytes:
    """The request's bytes.

    Raises TypeError for a keyword that does not exist, and BadRequestError naming the field for a wrong value: what a
    worker would refuse is refused here, before anything is sent.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unexpected keyword {', '.join(sorted(unknown))}; there is {', '.join(Options.__annotations__)}"
        )
    given = {name: value for name, value in cast("dict[str, Any]", options).items() if value is not None}
    params = {name: value for name, value in given.items() if name in _PARAMS}
    fields = {name: value for name, value in given.items() if name not in _PARAMS}
    if stream:
        fields["stream"] = True
    if prompt is not None:
        fields["input"] = prompt
    if messages is not None:
        fields["messages"] = _conversation(messages)
    if isinstance(form := fields.get("response_format"), HasSchema):
        wrapped = {"name": getattr(form, "__name__", ""), "schema": form.model_json_schema()}
        fields["response_format"] = {"type": "json_schema", "json_schema": wrapped}
    if params:
        fields["params"] = params
    fields["deadline_ms"] = max(1, round(deadline * 1000))
    try:
        payload = codec.encode(fields)
    except (TypeError, UnicodeEncodeError, msgspec.EncodeError) as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}") from None
    codec.decode_request(payload)
    return payload


def with_progress(options: Options) -> Options:
    """The same for who wants to hear of steps: they are told, unless the caller said of them what it wants."""
    wish = options.get("orchestration")
    if not isinstance(wish, OrchestrationWish | Mapping | None):
        return options  # which is refused by name when the request is written
    said = structs.asdict(wish) if isinstance(wish, OrchestrationWish) else dict(wish or {})
    if said.get("progress", "off") != "off":
        return options
    told = {name: value for name, value in said.items() if value is not None}
    return cast("Options", {**options, "orchestration": told | {"progress": "steps"}})


def _conversation(messages: Messages) -> list[Message | Mapping[str, Any]]:
    return [Message(role="user", content=messages)] if isinstance(messages, str) else list(messages)
