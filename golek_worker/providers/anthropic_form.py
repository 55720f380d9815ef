"""How is a request of the bus said as a message of Anthropic's API?

As in openai_form.py: what the caller did not say is not said, but for `max_tokens`, which the API wants.
"""

from typing import Any, Final

from golek_wire.anthropic import reply as blocks
from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message, Params
from golek_worker.providers import growing, openai_form
from golek_worker.providers.base import Call
from golek_worker.providers.quirks import OPENAI_HINTS, PLAIN, Quirks

Json = dict[str, Any]
MAX_TOKENS: Final = 8192
"""Most tokens to write where the caller does not say."""
BUDGETS: Final = {"low": 2048, "medium": 8192, "high": 16384}
"""Tokens of thoughts, by effort: those that golek_wire/anthropic/messages.py reads as the same effort."""
LEAST_BUDGET: Final = 1024
"""As the API has it."""
_DEFAULTS: Final = Params()
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def message(call: Call, request: InferenceRequest, quirks: Quirks = PLAIN) -> Json:
    """The body of POST /messages. Raises BadRequestError naming what the API cannot do."""
    check(request, quirks)
    turns = request.messages if request.messages is not None else [Message("user", request.input)]
    system = "\n\n".join(turn.content or "" for turn in turns if turn.role in ("system", "developer"))
    said = conversation([turn for turn in turns if turn.role not in ("system", "developer")])
    if request.resume is not None and (begun := growing.sent(request.resume.text)):
        said.append({"role": "assistant", "content": [{"type": "text", "text": begun}]})
    body: Json = dict(request.extra or {})
    body = {name: value for name, value in body.items() if name not in OPENAI_HINTS | openai_form.OURS}
    body |= {"model": call.model, "messages": said, "stream": True}
    if system:
        body["system"] = system
    body |= _tools(request)
    if request.response_format is not None and request.response_format.json_schema is not None:
        schema = request.response_format.json_schema.schema
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    body |= _drawn(request, thinks=bool(body.get("thinking")))
    body |= openai_form.own(request, quirks)
    if quirks.speaks_golek:
        body["deadline_ms"] = max(1, round(call.seconds * 1000))
    return body


def check(request: InferenceRequest, quirks: Quirks = PLAIN) -> None:
    """Raises BadRequestError for what the API cannot do, and would leave out or refuse."""
    openai_form.check(request, quirks)
    if request.params.n > 1:
        raise BadRequestError("params.n: the model's server writes one text for a request", param="params.n")
    if request.params.logprobs:
        raise BadRequestError("params.logprobs: the model's server tells none", param="params.logprobs")
    if request.response_format is not None and request.response_format.type == "json_object":
        raise BadRequestError(
            "response_format: the model's server knows JSON by a schema alone; send the type `json_schema`",
            param="response_format",
        )


def conversation(turns: list[Message]) -> list[Json]:
    """The turns in blocks; those of one side that follow each other are one, as results of tools must be."""
    said: list[Json] = []
    for number, turn in enumerate(turns):
        role = "assistant" if turn.role == "assistant" else "user"
        content = _assistant(turn) if role == "assistant" else _user(turn, f"messages[{number}].content")
        if not content:
            continue
        if said and said[-1]["role"] == role:
            said[-1]["content"] += content
        else:
            said.append({"role": role, "content": content})
    return said


def _user(turn: Message, place: str) -> list[Json]:
    content = [_part(part, f"{place}[{i}]") for i, part in enumerate(turn.parts or ())] or _text(turn.content)
    if turn.role != "tool":
        return content
    return [{"type": "tool_result", "tool_use_id": turn.tool_call_id or "", "content": content}]


def _assistant(turn: Message) -> list[Json]:
    """Thoughts are left out: they are not signed, so the API would not take them."""
    content = _text(turn.content)
    for call in turn.tool_calls or ():
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = blocks.arguments(str(function.get("arguments") or ""))
        content.append({"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": arguments})
    return content


def _text(content: str | None) -> list[Json]:
    """One block; the API takes no empty ones."""
    return [{"type": "text", "text": content}] if content and content.strip() else []


def _part(part: Json, place: str) -> Json:
    """A part of OpenAI's as a block. Raises BadRequestError for one that is neither text nor image."""
    kind, image = part.get("type"), part.get("image_url")
    if kind in ("text", "input_text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    url = image.get("url") if isinstance(image, dict) else image
    if kind != "image_url" or not isinstance(url, str):
        raise BadRequestError(f"{place}: {str(kind)[:32]!r} is neither text nor image", param=place)
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head, _, data = url[5:].partition(",")
    media, _, how = head.partition(";")
    if how != "base64" or not data:
        raise BadRequestError(f"{place}: an image's data are base64: data:image/png;base64,…", param=place)
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _tools(request: InferenceRequest) -> Json:
    if not request.tools:
        return {}
    tools: list[Json] = []
    for tool in request.tools:
        function = tool["function"]
        one = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        tools.append(one | {name: function[name] for name in ("description", "strict") if function.get(name)})
    choice = request.tool_choice or "auto"
    if isinstance(choice, dict):
        said: Json = {"type": "tool", "name": choice["function"]["name"]}
    else:
        said = {"type": _CHOICES[choice]}
    if request.parallel_tool_calls is False and said["type"] != "none":
        said["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": said}


def _drawn(request: InferenceRequest, *, thinks: bool) -> Json:
    """How the text is drawn. With thoughts the API wants its own temperature; else one of `temperature`, `top_p`."""
    params = request.params
    most = growing.room(params, request.resume, MAX_TOKENS) or MAX_TOKENS
    body: Json = {"max_tokens": most}
    if params.stops:
        body["stop_sequences"] = params.stops
    budget = _budget(request, most)
    if budget:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        body["max_tokens"] = most if params.max_tokens is not None else most + budget
    if budget or thinks:
        return body
    if params.temperature != _DEFAULTS.temperature:
        body["temperature"] = min(params.temperature, 1.0)
    elif params.top_p != _DEFAULTS.top_p:
        body["top_p"] = params.top_p
    if params.top_k != _DEFAULTS.top_k:
        body["top_k"] = params.top_k
    return body


def _budget(request: InferenceRequest, most: int) -> int:
    """Tokens of thoughts; 0 for none, also where the API refuses them.

    That is with a call that must be made, behind a text that was begun, in the middle of calls whose thoughts are gone,
    and where `max_tokens` leaves no room.
    """
    wanted = BUDGETS.get(request.reasoning_effort or "", 0)
    forced = request.tools and request.tool_choice not in (None, "auto", "none")
    calling = request.messages is not None and request.messages[-1].role == "tool"
    if not wanted or forced or calling or request.resume is not None:
        return 0
    budget = wanted if request.params.max_tokens is None else min(wanted, most // 2)
    return budget if budget >= LEAST_BUDGET else 0
