"""How does a prompt end, and how is what follows read?

The conversation is text already. Behind it may come the mark that opens a call, where one must come, or what brings a
model past its thoughts, where it shall not think: because the caller said so, or because the answer must follow a
grammar and it is not known that the model would think before it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest
from golek_worker.output import Output
from golek_worker.prompt import wishes
from golek_worker.prompt.base import Prompt
from golek_worker.prompt.style import TO_FINAL, Style


def finished(
    text: str, request: InferenceRequest, tools: Sequence[Mapping[str, Any]], style: Style, *, show_all: bool = False
) -> Prompt:
    """The prompt whose conversation is `text`, with these tools offered.

    `show_all` passes on all that a harmony model writes. Raises BadRequestError for a call that cannot be forced.
    """
    wanted = wishes.must_call(request)
    if wanted:
        if not style.is_harmony:
            text += _opening(text, style, request)
        return _forced(text, tools, style, wanted)
    if wishes.has_form(request):
        return _formed(text, request, style)
    if style.is_harmony:
        return _harmony(text, request, tools, show_all=show_all)
    begun, opening = _begun(text, style), _opening(text, style, request)
    if request.reasoning_effort == "none":
        text, begun, opening = text + opening, "", ""
    calls = style.calls if tools else ""
    if style.think is None and not calls:
        return Prompt(text)
    kinds = wishes.kinds(tools) if calls == "function" else {}
    one_call = bool(calls) and request.parallel_tool_calls is False
    return Prompt(text, Output("marked", style.think, calls, one_call, kinds, begun, opening))


def _formed(text: str, request: InferenceRequest, style: Style) -> Prompt:
    """The answer must follow something. It may think before where its prompt opens thoughts, or the caller says so."""
    opening = _opening(text, style, request)
    begun = _begun(text, style)
    asked = bool(begun) or request.reasoning_effort is not None
    if style.think is None or not (opening and asked) or request.reasoning_effort == "none" or request.resume:
        return Prompt(text + opening)
    if not begun:
        begun = style.think[0]
        text += f"{begun}\n"
    return Prompt(text, Output("marked", style.think, begun=begun))


def _harmony(text: str, request: InferenceRequest, tools: Sequence[Mapping[str, Any]], *, show_all: bool) -> Prompt:
    """Without thoughts the final channel is opened here; with tools the model must still be able to choose."""
    if show_all:
        return Prompt(text, Output("special"))
    calls: Any = "harmony" if tools else ""
    if request.reasoning_effort == "none" and not tools:
        return Prompt(text + TO_FINAL, Output("harmony", begun=TO_FINAL))
    return Prompt(text, Output("harmony", calls=calls, opening=TO_FINAL))


def _forced(text: str, tools: Sequence[Mapping[str, Any]], style: Style, wanted: Sequence[wishes.Tool]) -> Prompt:
    forced = style.forced(wanted)
    if forced is None:
        raise BadRequestError(
            "tool_choice: the form in which this model calls tools is not known, so a call cannot be forced; leave it "
            "out, and read the call from the text",
            param="tool_choice",
        )
    form: Any = "harmony" if style.is_harmony else "marked"
    kinds = wishes.kinds(tools) if style.calls == "function" else {}
    output = Output(form, style.think, style.calls, one_call=True, kinds=kinds, begun=forced.begun)
    return Prompt(text + forced.begun, output, ways=forced.ways)


def _begun(text: str, style: Style) -> str:
    """The mark with which `text` lets the model begin to think."""
    return style.think[0] if style.think is not None and text.rstrip().endswith(style.think[0]) else ""


def _opening(text: str, style: Style, request: InferenceRequest) -> str:
    """What the model would write behind `text` to come to its answer without a thought."""
    if style.is_harmony:
        return TO_FINAL
    if style.think is None:
        return ""
    opens, closes = style.think
    end = text.rstrip()
    if end.endswith(closes):
        return ""
    if not end.endswith(opens):
        asked = request.reasoning_effort not in (None, "none")
        return f"{opens}\n\n{closes}\n\n" if style.thinks_unasked or asked else ""
    return ("\n" if text.endswith("\n") else "\n\n") + f"{closes}\n\n"
