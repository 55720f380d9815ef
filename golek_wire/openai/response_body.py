"""What is a response of OpenAI's Responses API, made of a reply?

`Echo` is what of the request stands in its response; with it, the id and the reply the response is the same on every
gateway.
"""

import math
from typing import Any, Final, Literal

from msgspec import Struct, field

from golek_wire.errors import STATUS, InferenceServiceError
from golek_wire.openai import routed
from golek_wire.openai.responses import ResponsesRequest
from golek_wire.replies import InferenceReply, TokenLogprob, ToolCall
from golek_wire.requests import Params
from golek_wire.subjects import is_job_id, job_id

ID_PREFIX: Final = "resp_"
Json = dict[str, Any]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
CUT: Final[dict[str, str]] = {"length": "max_output_tokens", "partial": "partial"}
"""Why a response is incomplete, by the reason why its reply ended."""
_DEFAULTS: Final = Params()
_SAMPLING: Final = ("temperature", "top_p", "top_logprobs", "frequency_penalty", "presence_penalty")
"""Fields of `Params` that a response repeats."""


class Echo(Struct, frozen=True, omit_defaults=True):
    """What a response repeats of its request."""

    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: Json = field(default_factory=dict[str, Any])
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: Json = field(default_factory=dict[str, Any])
    safety_identifier: str | None = None
    store: bool = True
    temperature: float = _DEFAULTS.temperature
    text: Json = field(default_factory=dict[str, Any])
    tool_choice: Any = "auto"
    tools: list[Json] = field(default_factory=list[Json])
    top_logprobs: int = 0
    top_p: float = _DEFAULTS.top_p
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    truncation: str = "disabled"
    user: str | None = None


def echo(request: ResponsesRequest) -> Echo:
    """What the response to `request` repeats; where nothing was said, what holds then."""
    reasoning, text = request.reasoning, request.text
    form = text.format if text is not None else None
    said: Json = {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata,
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary} if reasoning is not None else None,
        "safety_identifier": request.safety_identifier,
        "store": request.is_stored,
        "text": {"format": _form(form), "verbosity": text.verbosity} if text is not None else None,
        "tool_choice": request.tool_choice,
        "tools": [_tool(tool) for tool in request.tools or ()],
        "truncation": request.truncation,
        "user": request.user,
    } | {name: getattr(request, name, None) for name in _SAMPLING}
    return Echo(**{name: value for name, value in said.items() if value is not None})


def key_of(random: str) -> str:
    """What the ids of a response and of its items have in common, made of a text that nobody can guess."""
    return job_id(random)


def response_id(key: str) -> str:
    """The id of a response. Under it as a session's id the fleet keeps the conversation, where it is kept."""
    return ID_PREFIX + key


def is_response_id(identifier: str) -> bool:
    """Whether it may be the id of a response."""
    return identifier.startswith(ID_PREFIX) and is_job_id(identifier.removeprefix(ID_PREFIX))


def unfinished(asked: Echo, key: str, model: str, created: int, status: str = "in_progress") -> Json:
    """The response while it is written."""
    return {
        "id": response_id(key),
        "object": "response",
        "created_at": created,
        "completed_at": None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls,
        "previous_response_id": asked.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None} | asked.reasoning,
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": asked.store,
        "temperature": asked.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}
        | {name: value for name, value in asked.text.items() if value is not None},
        "tool_choice": asked.tool_choice,
        "tools": asked.tools,
        "top_logprobs": asked.top_logprobs,
        "top_p": asked.top_p,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "truncation": asked.truncation,
        "usage": None,
        "user": asked.user,
        "metadata": asked.metadata,
    }


def finished(asked: Echo, key: str, model: str, created: int, reply: InferenceReply, output: list[Json]) -> Json:
    """The response with its `output`, of a reply that came."""
    why = CUT.get(reply.finish_reason)
    return unfinished(asked, key, model, created) | {
        "completed_at": None if why else created + math.ceil(reply.duration_ms / 1000),
        "status": "incomplete" if why else "completed",
        "store": asked.store and reply.session is not None and reply.session.stored,
        "incomplete_details": {"reason": why} if why else None,
        "output": output,
        "usage": usage(reply),
        **routed.about([reply]),
    }


def whole(asked: Echo, key: str, model: str, created: int, reply: InferenceReply) -> Json:
    """The response of a request that was not streamed: thoughts, text, calls."""
    return finished(asked, key, model, created, reply, items(key, reply))


def failed(asked: Echo, key: str, model: str, created: int, error: InferenceServiceError, output: list[Json]) -> Json:
    """The response of a request that went wrong after its first event."""
    return unfinished(asked, key, model, created, "failed") | {"error": problem(error), "output": output}


def problem(error: InferenceServiceError) -> Json:
    """The `error` of a failed response, in the words that this field knows."""
    status = STATUS[error.code].http
    words = {429: "rate_limit_exceeded", 400: "invalid_prompt", 413: "invalid_prompt"}
    return {"code": words.get(status, "server_error"), "message": f"{error.code}: {error.message}"}


def usage(reply: InferenceReply) -> Json:
    """What the response cost. How many of the tokens were thoughts is not told by engines, hence 0."""
    return {
        "input_tokens": reply.tokens_in,
        "input_tokens_details": {"cached_tokens": reply.tokens_cached, "cache_write_tokens": 0},
        "output_tokens": reply.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.tokens_in + reply.tokens_out,
    }


def items(key: str, reply: InferenceReply) -> list[Json]:
    """The output of a reply: thoughts, then text, then calls; of one that has nothing an empty text."""
    status: ItemStatus = "incomplete" if reply.finish_reason in CUT else "completed"
    output: list[Json] = []
    if reply.reasoning_content:
        output.append(reasoning(item_id("rs", key, len(output)), reply.reasoning_content, status))
    if reply.text or not (output or reply.tool_calls):
        output.append(message(item_id("msg", key, len(output)), reply.text, reply.logprobs, status))
    for call in reply.tool_calls or ():
        output.append(function_call(item_id("fc", key, len(output)), call, status))
    if len(output) > 1:
        for item in output[:-1]:
            item["status"] = "completed"
    return output


def item_id(prefix: str, key: str, index: int) -> str:
    """The id of the item at `index` of a response's output."""
    return f"{prefix}_{key}_{index}"


def message(identifier: str, text: str, logprobs: list[TokenLogprob] | None, status: ItemStatus) -> Json:
    """A text as an item."""
    return {
        "id": identifier,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [text_part(text, logprobs)],
    }


def text_part(text: str, logprobs: list[TokenLogprob] | None = None) -> Json:
    """A text as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": likelihoods(logprobs)}


def likelihoods(logprobs: list[TokenLogprob] | None) -> list[Json]:
    """Log-probabilities as this API has them."""
    return [
        {
            "token": one.token,
            "logprob": one.logprob,
            "bytes": one.bytes,
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": top.bytes} for top in one.top_logprobs
            ],
        }
        for one in logprobs or ()
    ]


def reasoning(identifier: str, text: str, status: ItemStatus) -> Json:
    """Thoughts as an item. They are told as they are; nobody sums them up."""
    return {
        "id": identifier,
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
        "status": status,
    }


def function_call(identifier: str, call: ToolCall, status: ItemStatus) -> Json:
    """A call of a tool as an item."""
    return {
        "id": identifier,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.function.name,
        "arguments": call.function.arguments,
    }


def _form(form: Any) -> Json | None:
    if form is None:
        return None
    if form.type != "json_schema":
        return {"type": form.type}
    return {
        "type": "json_schema",
        "name": form.name or "",
        "description": form.description,
        "schema": form.schema,
        "strict": bool(form.strict),
    }


def _tool(tool: Json) -> Json:
    """A tool as it is repeated: with the fields that a reader expects."""
    return {"description": None, "parameters": None, "strict": True} | tool
