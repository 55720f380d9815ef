"""What can a chat template express?

Asked by rendering, never by names: a template offers tools if a tool's name comes out in the text, and knows thinking
if it shows thoughts, hides them, can be told not to think, or lets the model begin with a thought.
"""

from collections.abc import Mapping
from typing import Any

from golek_wire.errors import BadRequestError
from golek_worker.prompt.templates import ChatTemplate

_USER = {"role": "user", "content": "Question"}
_NEEDLE = "needle8731"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NEEDLE,
        "description": "Does it.",
        "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": "It."}}},
    },
}
_CALL = {"id": "call00000", "type": "function", "function": {"name": "find", "arguments": "{}"}}
_RESULT = {"role": "tool", "name": "find", "tool_call_id": "call00000", "content": "found"}


def of(template: ChatTemplate) -> list[str]:
    """`reasoning` and `tool-calling`, as far as the template knows them."""
    found = []
    if _reasons(template):
        found.append("reasoning")
    if offers_tools(template):
        found.append("tool-calling")
    return found


def offers_tools(template: ChatTemplate) -> bool:
    """True where a tool reaches the prompt."""
    return _NEEDLE in _text(template, _USER, tools=[_TOOL]) and _NEEDLE not in _text(template, _USER)


def opened_thoughts(template: ChatTemplate) -> str | None:
    """The mark with which a prompt lets the model begin to think; None where it does not."""
    plain = _text(template, _USER).rstrip()
    return next((mark for mark in ("<think>", "[THINK]", "<thought>") if plain.endswith(mark)), None)


def thinks_unasked(template: ChatTemplate) -> bool:
    """True where a prompt is the same for a model that shall think."""
    return _text(template, _USER) == _text(template, _USER, enable_thinking=True, thinking=True)


def _reasons(template: ChatTemplate) -> bool:
    if opened_thoughts(template) is not None:
        return True
    asked, unasked = ({"enable_thinking": wish, "thinking": wish} for wish in (True, False))
    if _text(template, _USER, **asked) != _text(template, _USER, **unasked):
        return True
    thought = {"role": "assistant", "reasoning_content": _NEEDLE, "thinking": _NEEDLE}
    if _NEEDLE in _text(template, _USER, {**thought, "content": "Answer"}, add_generation_prompt=False):
        return True
    if _NEEDLE in _text(template, _USER, {**thought, "content": "", "tool_calls": [_CALL]}, _RESULT):
        return True
    aloud = _text(template, _USER, {"role": "assistant", "content": f"<think>{_NEEDLE}</think>Answer"}, _USER)
    return "Answer" in aloud and _NEEDLE not in aloud


def _text(template: ChatTemplate, *messages: Mapping[str, Any], tools: Any = None, **more: Any) -> str:
    """What the template makes of `messages`; nothing when it refuses them."""
    try:
        return template.render(messages, tools, **more)
    except BadRequestError:
        return ""
