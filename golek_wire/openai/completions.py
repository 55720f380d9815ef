"""How does a completion of OpenAI's former API become requests on the bus, and how are replies shown in it?

The model goes on with `prompt` as it stands, without a template. A list of prompts is as many requests, answered as
one: text `i` of prompt `p` has the index `p * n + i`. The same route takes Golek's own requests (`input`, `params`,
`raw`, as on the bus); `is_native` tells which one it is.
"""

from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Struct

from golek_wire import codec
from golek_wire.codec import encode
from golek_wire.errors import BadRequestError
from golek_wire.openai import routed, sampling
from golek_wire.openai.chat import Asked, MaxTokensOrNought
from golek_wire.openai.completion import FINGERPRINT, Shown, Usage, usage
from golek_wire.openai.events import DONE, Envelope
from golek_wire.openai.routed import Orchestrated
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Choice, Delta, FinishReason, InferenceReply, TokenLogprob
from golek_wire.requests import TOP_LOGPROBS_LIMIT, InferenceRequest, ResponseFormat

PROMPTS_LIMIT: Final = 128
"""Prompts of one request; they run side by side."""


NAMES: Final = {"raw": "prompt"}
"""Fields of the bus that are called otherwise here."""


class CompletionRequest(Asked, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/completions with `prompt`; the fields of `Params` come in addition."""

    prompt: str | list[str | int | list[int]]
    """A text, or several."""
    max_tokens: MaxTokensOrNought | None = None
    echo: bool | None = None
    """Give the prompt back before each text."""
    suffix: str | None = None
    """Refused: no model here fills in."""
    logprobs: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_LIMIT)] | None = None
    """The log-probability of each token written, and of so many likeliest ones."""
    response_format: ResponseFormat | None = None


class _Which(Struct):
    """Any values: `read` and the native decoder say what is wrong with them."""

    prompt: Any = msgspec.UNSET
    input: Any = msgspec.UNSET
    messages: Any = msgspec.UNSET
    model: Any = None


_decoder = sampling.reader(CompletionRequest)
BODY: Any = _decoder.type
"""`CompletionRequest` with the fields of `Params`: the whole body."""
_which_decoder = msgspec.json.Decoder(_Which)
_EXAMPLE: Final = '{"prompt": "Once upon a time", "max_tokens": 50}'


def is_native(payload: bytes) -> bool:
    """Whether this is a request as on the bus. Raises BadRequestError where it is both, or JSON of another form."""
    which = codec.decode_by(payload, _which_decoder, _EXAMPLE)
    if which.prompt is msgspec.UNSET:
        return which.input is not msgspec.UNSET
    if which.input is not msgspec.UNSET:
        raise BadRequestError(
            "prompt: OpenAI's `prompt` and Golek's own `input` are both there; send one of them", param="prompt"
        )
    return False


def model_of(payload: bytes) -> str | None:
    """The model that a request as on the bus names beside its own fields."""
    model = codec.decode_by(payload, _which_decoder, _EXAMPLE).model
    return model if isinstance(model, str) and model else None


def read(payload: bytes) -> CompletionRequest:
    """The request in `payload`. Raises BadRequestError naming the field that is wrong."""
    request = codec.decode_by(payload, _decoder, _EXAMPLE)
    if request.suffix:
        raise BadRequestError("suffix: no model here fills in between two texts", param="suffix")
    if request.echo and request.logprobs is not None:
        raise BadRequestError("echo: the log-probabilities of a prompt's tokens are not known", param="echo")
    prompts(request)
    return request


def prompts(request: CompletionRequest) -> list[str]:
    """The prompts. Raises BadRequestError for an empty one, and for numbers of tokens."""
    given = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if not 1 <= len(given) <= PROMPTS_LIMIT:
        raise BadRequestError(f"prompt: 1 to {PROMPTS_LIMIT} texts; got {len(given)}", param="prompt")
    for number, prompt in enumerate(given):
        place = "prompt" if isinstance(request.prompt, str) else f"prompt[{number}]"
        if not isinstance(prompt, str):
            raise BadRequestError(
                f"{place}: numbers of tokens are those of one model's vocabulary; send the text", param=place
            )
        if not prompt:
            raise BadRequestError(f"{place}: is empty; a prompt has at least one character", param=place)
    return cast("list[str]", given)


def to_wire(request: CompletionRequest, deadline_ms: int) -> list[InferenceRequest]:
    """`request` on the bus: one for each prompt."""
    params = sampling.drawn(
        request,
        seed=sampling.folded(request.seed),
        logprobs=None if request.logprobs is None else True,
        top_logprobs=request.logprobs,
    )
    return [
        InferenceRequest(
            input=prompt,
            raw=True,
            params=params,
            stream=bool(request.stream),
            response_format=request.response_format,
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
        )
        for prompt in prompts(request)
    ]


class FormerLogprobs(Struct, frozen=True):
    """Log-probabilities in the former form: lists side by side."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]
    """Where each token begins in the text, in characters."""


class TextChoice(Struct, frozen=True):
    """One text."""

    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: FormerLogprobs | None = None


class TextCompletion(Orchestrated, frozen=True):
    """The answer to POST /v1/completions with `prompt`."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    object: Literal["text_completion"] = "text_completion"
    system_fingerprint: str = FINGERPRINT


def completion(replies: list[InferenceReply], shown: Shown) -> TextCompletion:
    """The answer to all prompts, whose replies stand in their order."""
    choices = []
    for number, reply in enumerate(replies):
        before = shown.echo[number] if shown.echo else ""
        for choice in reply.all_choices:
            index = number * shown.choices + choice.index
            logprobs = None if choice.logprobs is None else former_logprobs(choice.logprobs, 0)
            choices.append(TextChoice(index, before + choice.text, _ended(choice), logprobs))
    return TextCompletion(shown.id, shown.created, shown.model, choices, usage(replies), **routed.about(replies))


def former_logprobs(content: list[TokenLogprob], start: int) -> FormerLogprobs:
    """`content` in the former form; `start` is where its first token begins."""
    offsets = []
    for token in content:
        offsets.append(start)
        start += len(token.token)
    return FormerLogprobs(
        [token.token for token in content],
        [token.logprob for token in content],
        [{top.token: top.logprob for top in token.top_logprobs} for token in content],
        offsets,
    )


class TextEvents:
    """The server-sent events of one completion, which may have several prompts: `opening`, then `piece` and `ended`
    as they come, `closing`.
    """

    def __init__(self, shown: Shown, *, numbered: bool = False) -> None:
        """`numbered` as for `events.Envelope`."""
        self._shown = shown
        self._envelope = Envelope(shown, "text_completion", numbered=numbered)
        self._offsets: dict[int, int] = {}
        """By index, how long the tokens are whose log-probabilities were told."""

    def opening(self) -> list[bytes]:
        """The prompts, where they were asked for."""
        return [
            self._event(number * self._shown.choices + index, prompt)
            for number, prompt in enumerate(self._shown.echo or ())
            for index in range(self._shown.choices)
        ]

    def piece(self, piece: str | Delta, prompt: int = 0) -> bytes:
        """What `piece` adds to the answer to prompt number `prompt`; nothing where it is no text."""
        first = prompt * self._shown.choices
        if isinstance(piece, str):
            return self._event(first, piece)
        if not piece.text and not piece.logprobs:
            return b""
        index = first + piece.index
        return self._event(index, piece.text, self._logprobs(index, piece.logprobs))

    def step(self, step: StepEvent) -> bytes:
        """As `ChatEvents.step`."""
        return self._envelope.step(step)

    def ended(self, reply: InferenceReply, prompt: int = 0) -> list[bytes]:
        """Why the texts of one prompt ended."""
        first = prompt * self._shown.choices
        ends = [TextChoice(first + choice.index, "", _ended(choice)) for choice in reply.all_choices]
        return self._envelope.ends(ends, reply)

    def closing(self, replies: list[InferenceReply]) -> list[bytes]:
        """What all of it cost, where that was asked, and the end."""
        return [*self._envelope.usage(replies), DONE]

    def _logprobs(self, index: int, content: list[TokenLogprob] | None) -> FormerLogprobs | None:
        if not content:
            return None
        start = self._offsets.get(index, 0)
        self._offsets[index] = start + sum(len(token.token) for token in content)
        return former_logprobs(content, start)

    def _event(self, index: int, text: str, logprobs: FormerLogprobs | None = None) -> bytes:
        return self._envelope.around(TextChoice(index, text, None, logprobs))


def _ended(choice: Choice) -> FinishReason:
    """Without calls of tools, which this form does not know."""
    return "stop" if choice.finish_reason == "tool_calls" else choice.finish_reason


def native_event(piece: str | Delta, req_id: str, seq: int) -> bytes:
    """The event of one piece of the answer to a request as on the bus: its chunk."""
    if isinstance(piece, str):
        return b"data: " + encode({"req_id": req_id, "delta": piece, "seq": seq}) + b"\n\n"
    rest = {"reasoning_content": piece.reasoning_content, "tool_calls": piece.tool_calls, "logprobs": piece.logprobs}
    said = {name: value for name, value in rest.items() if value}
    index = {"index": piece.index} if piece.index else {}
    chunk = {"req_id": req_id, "delta": piece.text, "seq": seq, **said, **index}
    return b"data: " + encode(chunk) + b"\n\n"
