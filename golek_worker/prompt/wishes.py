"""Which tools may, must or must not be called, and how long may the model think?

A wish that a prompt's format cannot keep is refused with the way out, never forgotten.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest

Tool = tuple[str, Mapping[str, Any]]
"""A tool's name, and the schema of its arguments."""
_ANYTHING: Mapping[str, Any] = {"type": "object"}


def offered(request: InferenceRequest) -> list[dict[str, Any]]:
    """The tools that the model is shown; none with the choice `none`."""
    return [] if request.tool_choice == "none" else request.tools or []


def must_call(request: InferenceRequest) -> list[Tool]:
    """The tools of which the model must call one; empty where it is free.

    Raises BadRequestError: no tools, none of this name, a tool without a name, an answer that must follow something
    else at the same time.
    """
    choice = request.tool_choice
    if choice in (None, "auto", "none"):
        return []
    tools = [named(tool, i) for i, tool in enumerate(request.tools or [])]
    if not tools:
        raise BadRequestError("tool_choice: there are no `tools` to call; send them along", param="tool_choice")
    if has_form(request):
        raise BadRequestError(
            "tool_choice: a call must come, and the answer must follow a grammar, an expression, a choice or a "
            "response format; ask for one of the two",
            param="tool_choice",
        )
    if request.resume is not None:
        raise BadRequestError(
            "resume: a text cannot be gone on from where a tool must be called; leave `tool_choice` out", param="resume"
        )
    if choice == "required":
        return tools
    function = choice.get("function") if isinstance(choice, dict) else None
    wanted = function.get("name") if isinstance(function, dict) else None
    found = [tool for tool in tools if tool[0] == wanted]
    if not found:
        names = ", ".join(name for name, _ in tools)
        raise BadRequestError(f"tool_choice.function.name={wanted}: the tools are {names}", param="tool_choice")
    return found[:1]


def named(tool: Mapping[str, Any], index: int) -> Tool:
    """A tool's name and schema. Raises BadRequestError for one without a name."""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
        field = f"tools[{index}].function.name"
        raise BadRequestError(f"{field}: the name of the tool is missing", param=field)
    schema = function.get("parameters")
    return name, schema if isinstance(schema, Mapping) and schema else _ANYTHING


def kinds(tools: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The JSON types of each tool's parameters, as far as their schemas say one."""
    found: dict[str, dict[str, str]] = {}
    for i, tool in enumerate(tools):
        name, schema = named(tool, i)
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            types = {key: value.get("type") for key, value in properties.items() if isinstance(value, Mapping)}
            found[name] = {key: kind for key, kind in types.items() if isinstance(kind, str)}
    return found


def has_form(request: InferenceRequest) -> bool:
    """True where the answer must follow something from its first word on."""
    params, form = request.params, request.response_format
    return (
        params.grammar is not None
        or params.regex is not None
        or params.choice is not None
        or (form is not None and form.type != "text")
    )


def effort_variables(request: InferenceRequest) -> dict[str, Any]:
    """What templates read of `reasoning_effort`: those that know on and off, and those that know levels."""
    effort = request.reasoning_effort
    if effort is None:
        return {}
    if effort == "none":
        return {"enable_thinking": False, "thinking": False}
    return {"enable_thinking": True, "thinking": True, "reasoning_effort": level(effort)}


def level(effort: str) -> str:
    """The nearest level that models know: low, medium or high."""
    return "low" if effort == "minimal" else effort


def check_thoughts(request: InferenceRequest, *, can_think: bool) -> None:
    """Raise BadRequestError where a model that cannot think shall."""
    if not can_think and request.reasoning_effort in ("low", "medium", "high"):
        raise BadRequestError(
            f"reasoning_effort={request.reasoning_effort}: this model does not think, as far as its prompt format "
            "knows; leave it out, or ask a model with the capability `reasoning`",
            param="reasoning_effort",
        )


def check_raw(request: InferenceRequest) -> None:
    """Raise BadRequestError for what the text of a raw prompt must say itself."""
    for name, is_asked in (
        ("tools", bool(offered(request))),
        ("tool_choice", request.tool_choice not in (None, "auto", "none")),
        ("reasoning_effort", request.reasoning_effort not in (None, "none", "minimal")),
    ):
        if is_asked:
            raise BadRequestError(
                f"{name}: a raw prompt is passed as it is; write it into `input` as the model knows it, or leave `raw` "
                "out",
                param=name,
            )
