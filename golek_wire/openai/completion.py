"""How does a reply of the bus look as a chat completion of OpenAI's API?"""

from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType, structs

from golek_wire.openai import routed
from golek_wire.openai.routed import Orchestrated
from golek_wire.replies import Choice, FinishReason, FunctionCall, InferenceReply, TokenLogprob, ToolCall

FINGERPRINT: Final = "golek"
"""What `system_fingerprint` says: the seed and the model's file decide, not a release."""
Reason = FinishReason | Literal["function_call"]


class Shown(Struct, frozen=True, omit_defaults=True):
    """What an answer's form depends on besides the answer. Written down, another gateway can go on with a stream."""

    id: str
    """`chatcmpl-` or `cmpl-` and the job's id."""
    created: int
    """Seconds since 1970."""
    model: str
    """As the caller named it."""
    choices: int = 1
    """Texts of the request."""
    include_usage: bool = False
    """A stream says what it cost."""
    former: bool = False
    """Calls are shown as `function_call`."""
    echo: list[str] | None = None
    """Completions: the prompts that stand before the texts."""


class PromptDetails(Struct, frozen=True):
    """Of the prompt's tokens."""

    cached_tokens: int = 0
    """Found in the KV cache, not computed."""
    audio_tokens: int = 0


class CompletionDetails(Struct, frozen=True):
    """Of the answer's tokens."""

    reasoning_tokens: int | None = 0
    """Null where the model thought: how many tokens that took is not counted apart."""
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Struct, frozen=True):
    """What a request cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Said(Struct, frozen=True):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None
    """Null where there are calls and no text."""
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    """What the model thought before it answered."""


class Logprobs(Struct, frozen=True):
    """The log-probabilities of a text's tokens."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatChoice(Struct, frozen=True):
    """One text."""

    index: int
    message: Said
    finish_reason: Reason
    logprobs: Logprobs | None = None


class ChatCompletion(Orchestrated, frozen=True):
    """The answer to POST /v1/chat/completions."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"
    system_fingerprint: str = FINGERPRINT


def completion(reply: InferenceReply, shown: Shown) -> ChatCompletion:
    """The whole answer."""
    choices = [
        ChatChoice(
            choice.index,
            _message(choice, former=shown.former),
            reason(choice, former=shown.former),
            Logprobs(choice.logprobs) if choice.logprobs is not None else None,
        )
        for choice in reply.all_choices
    ]
    return ChatCompletion(shown.id, shown.created, shown.model, choices, usage([reply]), **routed.about([reply]))


def usage(replies: list[InferenceReply]) -> Usage:
    """What `replies` cost together."""
    tokens_in = sum(reply.tokens_in for reply in replies)
    tokens_out = sum(reply.tokens_out for reply in replies)
    thought = any(choice.reasoning_content for reply in replies for choice in reply.all_choices)
    return Usage(
        tokens_in,
        tokens_out,
        tokens_in + tokens_out,
        PromptDetails(sum(reply.tokens_cached for reply in replies)),
        CompletionDetails(None if thought else 0),
    )


def reason(choice: Choice, *, former: bool) -> Reason:
    """Why a text ended, in OpenAI's words."""
    return "function_call" if former and choice.finish_reason == "tool_calls" else choice.finish_reason


def strictly(reply: InferenceReply) -> InferenceReply:
    """`reply` with OpenAI's own reasons alone: a partial answer was cut off."""
    if reply.finish_reason != "partial":
        return reply
    choices = [
        structs.replace(one, finish_reason="length") if one.finish_reason == "partial" else one
        for one in reply.choices or ()
    ]
    return structs.replace(reply, finish_reason="length", choices=choices or None)


def _message(choice: Choice, *, former: bool) -> Said:
    calls = choice.tool_calls or []
    return Said(
        "assistant",
        choice.text or (None if calls else ""),
        tool_calls=calls if calls and not former else UNSET,
        function_call=calls[0].function if calls and former else UNSET,
        reasoning_content=UNSET if choice.reasoning_content is None else choice.reasoning_content,
    )
