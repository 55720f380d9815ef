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
    if _NEEDLE in _text(template, _USER, tools=[_TOOL]) and _NEEDLE not in _text(template, _USER):
        found.append("tool-calling")
    return found


def _reasons(template: ChatTemplate) -> bool:
    plain = _text(template, _USER)
    if plain.rstrip().endswith(("<think>", "[THINK]", "<thought>")):
        return True
    if _text(template, _USER, enable_thinking=False) != _text(template, _USER, enable_thinking=True):
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
