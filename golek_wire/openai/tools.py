"""Which tools does a request in OpenAI's form offer, and which of them may or must be called?

`allowed_tools` leaves some of those offered, the former `functions` and `function_call` are tools by another name.
"""

from typing import Any, Literal, NamedTuple

from golek_wire.errors import BadRequestError

Tools = list[dict[str, Any]]
Choice = Literal["auto", "none", "required"] | dict[str, Any]


class Offer(NamedTuple):
    """Tools as the bus knows them."""

    tools: Tools | None
    choice: Choice | None
    former: bool = False
    """Whether the answer speaks of `function_call` instead of `tool_calls`."""


def offered(
    tools: Tools | None,
    choice: Choice | None,
    functions: Tools | None = None,
    function_call: Literal["auto", "none"] | dict[str, Any] | None = None,
) -> Offer:
    """What a request offers. Raises BadRequestError naming the field that is wrong."""
    if functions and not tools:
        return Offer([{"type": "function", "function": one} for one in functions], _former(function_call), former=True)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return _allowed(tools or [], choice)
    if not tools and (choice == "required" or isinstance(choice, dict)):
        raise BadRequestError("tool_choice: asks for a call, but there are no `tools` to call", param="tool_choice")
    return Offer(tools or None, choice if tools else None)


def _former(call: Literal["auto", "none"] | dict[str, Any] | None) -> Choice | None:
    if isinstance(call, dict):
        return {"type": "function", "function": {"name": call.get("name")}}
    return call


def _allowed(tools: Tools, choice: dict[str, Any]) -> Offer:
    """Of `tools` those that `choice` names, in the order of the request."""
    allowed = choice.get("allowed_tools", choice)
    named = allowed.get("tools") if isinstance(allowed, dict) else None
    mode = allowed.get("mode", "auto") if isinstance(allowed, dict) else None
    if not isinstance(named, list) or mode not in ("auto", "required"):
        raise BadRequestError(
            'tool_choice: is not of the form {"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", '
            '"tools": […]}}',
            param="tool_choice",
        )
    names = {_name(one) for one in named}
    if unknown := names - {_name(tool) for tool in tools}:
        raise BadRequestError(
            f"tool_choice: allows tools that are not offered: {', '.join(sorted(unknown))}", param="tool_choice"
        )
    return Offer([tool for tool in tools if _name(tool) in names] or None, mode if names else None)


def _name(tool: object) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else ""
