"""How does the model of a chat template mark its thoughts and its calls of tools?

Found in the template: in its source, and in what it makes of a conversation with a call. No model is known by name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from golek_worker.output import Calls
from golek_worker.prompt import capabilities
from golek_worker.prompt.templates import ChatTemplate

TO_FINAL = "<|channel|>final<|message|>"
"""What opens the text in OpenAI's harmony format."""
_THINK = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<thought>", "</thought>"))
_BAR = "\uff5c"
_DEEPSEEK = f"<{_BAR}tool▁calls▁begin{_BAR}><{_BAR}tool▁call▁begin{_BAR}>"
_SEP = f"<{_BAR}tool▁sep{_BAR}>"
_MARKS: tuple[tuple[str, Calls], ...] = (
    (_SEP, "deepseek"),
    ("[TOOL_CALLS]", "mistral"),
    ("<function=", "function"),
    ("<|tool_call|>", "list"),
    ("<tool_call>", "tool_call"),
    ("<|python_tag|>", "llama"),
    ('{"name": "find", "parameters": ', "llama"),
    ('{"name": "find", "arguments": ', "object"),
)
"""The first of these that stands in a call, or else in the template, tells the form."""
_OBJECTS: dict[Calls, str] = {
    "mistral": "[TOOL_CALLS][", "list": "<|tool_call|>[", "tool_call": "<tool_call>\n", "function": "<tool_call>\n",
    "llama": "", "object": "",
}  # fmt: skip
"""What opens a call that is an object."""


class Way(Struct, frozen=True):
    """How a model writes one call: what it is, around the arguments' schema."""

    before: str
    schema: Mapping[str, Any]
    after: str = ""


class Forced(Struct, frozen=True):
    """A call that must come."""

    begun: str
    """What opens it, to stand at the prompt's end."""
    ways: Sequence[Way]
    """What may follow."""


class Style(Struct, frozen=True):
    """What a template's model writes beside its text."""

    is_harmony: bool = False
    think: tuple[str, str] | None = None
    thinks_unasked: bool = False
    """Whether it may think though its prompt neither opens thoughts nor was told to."""
    calls: Calls = ""
    shown: str = ""
    """The template's own form of a call, of the tool `find`."""

    def forced(self, tools: Sequence[tuple[str, Mapping[str, Any]]]) -> Forced | None:
        """A call of one of `tools`, which are names with schemas; None where the form of calls is not known."""
        calls, one = self.calls, len(tools) == 1
        if calls == "harmony":
            return _named("<|channel|>commentary to=functions.", tools, " <|constrain|>json<|message|>")
        if calls == "deepseek":
            if f"function{_SEP}find" in self.shown:
                return _named(f"{_DEEPSEEK}function{_SEP}", tools, "\n```json\n")
            return _named(_DEEPSEEK, tools, _SEP)
        if calls == "mistral" and one and "find[ARGS]" in self.shown:
            return _named("[TOOL_CALLS]", tools, "[ARGS]")
        opened = _OBJECTS.get(calls)
        return None if opened is None else _objects(opened, tools, "parameters" if calls == "llama" else "arguments")


def of(template: ChatTemplate) -> Style:
    """The style of this template's model."""
    source = template.source
    if "<|channel|>" in source and "<|message|>" in source:
        return Style(is_harmony=True, calls="harmony")
    think = next((marks for marks in _THINK if marks[0] in source or marks[1] in source), None)
    if think is None and (opened := capabilities.opened_thoughts(template)) is not None:
        think = (opened, f"{opened[0]}/{opened[1:]}")
    unasked = think is not None and capabilities.thinks_unasked(template)
    if not capabilities.offers_tools(template):
        return Style(think=think, thinks_unasked=unasked)
    shown = template.shown_call()
    calls: Calls = next((form for mark, form in _MARKS if mark in shown), "")
    if not calls:
        calls = next((form for mark, form in _MARKS if mark in source), "")
    return Style(think=think, thinks_unasked=unasked, calls=calls, shown=shown)


def _named(begun: str, tools: Sequence[tuple[str, Mapping[str, Any]]], middle: str) -> Forced:
    """The name behind `begun`, and the arguments behind `middle`."""
    if len(tools) == 1:
        name, schema = tools[0]
        return Forced(f"{begun}{name}{middle}", [Way("", schema)])
    return Forced(begun, [Way(f"{name}{middle}", schema) for name, schema in tools])


def _objects(begun: str, tools: Sequence[tuple[str, Mapping[str, Any]]], key: str) -> Forced:
    """An object with name and arguments."""
    ways = [Way(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{key}": ', schema, "}") for name, schema in tools]
    return Forced(begun, ways)
