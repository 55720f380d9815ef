"""What does gpt-oss read?

OpenAI's harmony format: messages of a role, a channel and perhaps a recipient, between control tokens that llama.cpp
recognises in the text. The system message says who the model is and which channels there are, the developer message
what it shall do and which tools it has. The text is that of the openai-harmony library, which tests hold it equal to.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from msgspec import Struct

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.output import Output
from golek_worker.prompt import wishes
from golek_worker.prompt.base import Prompt, messages_of
from golek_worker.prompt.ending import finished
from golek_worker.prompt.style import Style
from golek_worker.prompt.typescript import type_of

TO_ASSISTANT = "<|start|>assistant"
STYLE = Style(is_harmony=True, calls="harmony")
_CHANNELS = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
_CALLS = "Calls to these tools must go to the commentary channel: 'functions'."
_INSTRUCTING = ("system", "developer")


class Harmony(Struct, frozen=True):
    """The format for one deployment."""

    identity: str
    """Who the model is told to be: it reads `You are <identity>.`"""
    knowledge_cutoff: str
    reasoning_level: str
    """low, medium or high."""
    extract_final: bool = True
    """Answer with the final channel alone; else with all channels and their control tokens."""
    today: Callable[[], date] = lambda: datetime.now().astimezone().date()
    """The worker's date, which the model is told."""
    capabilities: Sequence[str] = ("reasoning", "tool-calling")
    raw_output: Output = Output("special")
    """Who writes the prompt reads the answer: nothing of it is hidden."""

    def prompt(self, request: InferenceRequest) -> Prompt:
        """The prompt of a request that is not raw. Raises BadRequestError: a tool or a tool's result without a name."""
        tools = wishes.offered(request)
        effort = request.reasoning_effort
        level = self.reasoning_level if effort is None else wishes.level(effort)
        text = self.render(messages_of(request), tools, "low" if level == "none" else level)
        return finished(text, request, tools, STYLE, show_all=not self.extract_final)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), level: str | None = None
    ) -> str:
        """The text of `messages`, up to where the assistant names its channel. Raises BadRequestError.

        What the system and the developer say before anybody else is the developer message; later it stands where it
        was said. Thoughts are shown only after the last final answer: they belong to tool calls still under way.
        """
        first = next((i for i, m in enumerate(messages) if m.role not in _INSTRUCTING), len(messages))
        told = "\n\n".join([m.content or "" for m in messages[:first]])
        parts = [_message("system", self._system(level or self.reasoning_level, has_tools=bool(tools)))]
        sections = ["# Instructions", told] if told else []
        if tools:
            sections += ["# Tools", _namespace(tools)]
        if sections:
            parts.append(_message("developer", "\n\n".join(sections)))
        parts += _turns(messages[first:])
        return "".join([*parts, TO_ASSISTANT])

    def _system(self, level: str, *, has_tools: bool) -> str:
        who = [f"You are {self.identity}."]
        if self.knowledge_cutoff:
            who.append(f"Knowledge cutoff: {self.knowledge_cutoff}")
        who.append(f"Current date: {self.today().isoformat()}")
        channels = f"{_CHANNELS}\n{_CALLS}" if has_tools else _CHANNELS
        return "\n\n".join(["\n".join(who), f"Reasoning: {level}", channels])


def _turns(messages: Sequence[Message]) -> Iterator[str]:
    """What follows the developer message."""
    finals = [i for i, m in enumerate(messages) if m.role == "assistant" and not m.tool_calls and m.content]
    last_final = finals[-1] if finals else -1
    called: dict[str, str] = {}
    for i, message in enumerate(messages):
        content = message.content or ""
        match message.role:
            case "system" | "developer":
                yield _message("developer", f"# Instructions\n\n{content}")
            case "user":
                yield _message(f"user:{message.name}" if message.name else "user", content)
            case "assistant":
                if message.reasoning_content and i > last_final:
                    yield _message("assistant<|channel|>analysis", message.reasoning_content)
                yield from _said(message, called, i)
            case "tool":
                name = _result_name(message, called, i)
                yield _message(f"functions.{name} to=assistant<|channel|>commentary", content)


def _said(message: Message, called: dict[str, str], index: int) -> Iterator[str]:
    """What the assistant said and which tools it called; `called` learns their names."""
    if not message.tool_calls:
        if message.content is not None:
            yield _message("assistant<|channel|>final", message.content)
        return
    if message.content:
        yield _message("assistant<|channel|>commentary", message.content)
    for k, call in enumerate(message.tool_calls):
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            field = f"messages[{index}].tool_calls[{k}].function.name"
            raise BadRequestError(f"{field}: the name of the tool is missing", param=field)
        called[str(call.get("id", ""))] = name
        arguments = function.get("arguments", "{}")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        header = f"assistant to=functions.{name}<|channel|>commentary <|constrain|>json"
        yield f"<|start|>{header}<|message|>{text}<|call|>"


def _result_name(message: Message, called: Mapping[str, str], index: int) -> str:
    """Which tool a result is from: by the id of its call, else by its own name, else the last one called."""
    last = list(called.values())[-1] if called and message.tool_call_id is None else None
    name = called.get(message.tool_call_id or "") or message.name or last
    if name is None:
        field = f"messages[{index}].tool_call_id"
        raise BadRequestError(
            f"{field}={message.tool_call_id}: no tool call before it has this id; send the assistant's message with "
            "its `tool_calls`, or say the tool's `name`",
            param=field,
        )
    return name


def _message(header: str, content: str) -> str:
    return f"<|start|>{header}<|message|>{content}<|end|>"


def _namespace(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools as functions of the namespace `functions`."""
    lines = ["## functions", "", "namespace functions {", ""]
    for i, tool in enumerate(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            field = f"tools[{i}].function.name"
            raise BadRequestError(f"{field}: the name of the tool is missing", param=field)
        lines += [f"// {line}" for line in _lines(function.get("description"))]
        schema = function.get("parameters")
        takes = f"(_: {type_of(schema)})" if isinstance(schema, Mapping) else "()"
        lines += [f"type {name} = {takes} => any;", ""]
    return "\n".join([*lines, "} // namespace functions"])


def _lines(words: Any) -> list[str]:
    """The lines of a description; other than `str.splitlines` it knows no line ends but the usual."""
    lines = words.removesuffix("\n").split("\n") if isinstance(words, str) and words else []
    return [line.removesuffix("\r") for line in lines]
