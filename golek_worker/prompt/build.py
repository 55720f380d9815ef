"""What exact text does the engine continue for a request?

1. `raw`: the input as it is.
2. MODEL_FORMAT=harmony: as gpt-oss reads (harmony.py).
3. MODEL_FORMAT=template, and there are turn markers (turns.py): by them, as far as they can express the request.
4. The model's file has a chat template (templates.py), and MODEL_FORMAT is `template` or `gguf`: by it.
5. Else an input as it is, for base models are asked so. Messages are refused: no one knows how this model marks turns.
"""

from collections.abc import Sequence

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest
from golek_worker.output import Output
from golek_worker.prompt import capabilities, pictures, style, wishes
from golek_worker.prompt.base import Format, Prompt, as_dict, messages_of
from golek_worker.prompt.ending import finished
from golek_worker.prompt.guard import Guard, unpicked
from golek_worker.prompt.harmony import Harmony
from golek_worker.prompt.templates import ChatTemplate
from golek_worker.prompt.turns import TurnMarkers
from golek_worker.settings import Settings

NO_TEMPLATE = "this model has no chat template"
RAW_WAY = "send `input` with `raw: true` and write the turns as the model knows them"


_NO_NAMES = Guard(())


def build(request: InferenceRequest, form: Format, guard: Guard = _NO_NAMES) -> Prompt:
    """The prompt of `request` in this format. Raises BadRequestError."""
    if request.raw:
        wishes.check_raw(request)
        return Prompt(request.input or "", form.raw_output)
    _check_turns(request, form)
    sewn, seam = guard.sewn(pictures.bare(request))
    prompt = form.prompt(pictures.marked(sewn))
    if seam:
        text, cuts = unpicked(prompt.text, seam)
        prompt = msgspec.structs.replace(prompt, text=text, cuts=cuts)
    if images := pictures.count(request):
        pictures.check(prompt.text, prompt.cuts, images)
    return prompt


def check(request: InferenceRequest, form: Format) -> None:
    """Raise as `build` would for what this format can never express; nothing is rendered for that."""
    if request.raw:
        wishes.check_raw(request)
        return
    _check_turns(request, form)
    if isinstance(form, AsItIs | Broken):
        form.prompt(request)
    elif isinstance(form, ByTemplate):
        form.check(request)


def _check_turns(request: InferenceRequest, form: Format) -> None:
    """Raise BadRequestError for a session with a model that knows no turns: its second request would be refused."""
    if request.session_id is not None and isinstance(form, AsItIs):
        raise BadRequestError(f"session_id: {form.why}, so there are no turns to go on from", param="session_id")


def choose(chosen: Settings, markers: TurnMarkers | None, source: str | None, bos: str, eos: str) -> Format:
    """The format of a deployment whose model's file has the chat template `source`."""
    match chosen.model_format:
        case "harmony":
            return Harmony(
                chosen.harmony_model_identity,
                chosen.harmony_knowledge_cutoff,
                chosen.harmony_reasoning_level,
                chosen.harmony_extract_final,
            )
        case "raw":
            return AsItIs("MODEL_FORMAT=raw: this worker passes every input as it is")
    try:
        by_file: Format = ByTemplate(ChatTemplate(source, bos, eos)) if source else AsItIs(NO_TEMPLATE)
    except BadRequestError as error:
        by_file = Broken(error.message)
    if markers is None or chosen.model_format == "gguf":
        return by_file
    return ByMarkers(markers, by_file)


class AsItIs:
    """The input is the prompt."""

    capabilities: Sequence[str] = ()
    raw_output: Output = Output()

    def __init__(self, why: str) -> None:
        self.why = why

    def prompt(self, request: InferenceRequest) -> Prompt:
        """Raises BadRequestError for messages and tools."""
        wishes.check_thoughts(request, can_think=False)
        wishes.must_call(request)
        if request.messages is None and not wishes.offered(request):
            return Prompt(request.input or "")
        field = "messages" if request.messages is not None else "tools"
        raise BadRequestError(f"{field}: {self.why}; {RAW_WAY}", param=field)


class Broken:
    """The file's chat template cannot be compiled: only raw prompts can run."""

    capabilities: Sequence[str] = ()
    raw_output: Output = Output()

    def __init__(self, message: str) -> None:
        self._message = message

    def prompt(self, _request: InferenceRequest) -> Prompt:
        """Raises BadRequestError."""
        raise BadRequestError(f"{self._message}; {RAW_WAY}")


class ByTemplate:
    """By the chat template in the model's file."""

    raw_output: Output = Output()

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self.capabilities: Sequence[str] = capabilities.of(template)
        self.style = style.of(template)

    def prompt(self, request: InferenceRequest) -> Prompt:
        """Raises BadRequestError when the template refuses the conversation, shows no tools or knows no thoughts."""
        self.check(request)
        tools = wishes.offered(request)
        messages = [as_dict(message) for message in messages_of(request)]
        text = self._template.render(messages, tools, **wishes.effort_variables(request))
        return finished(text, request, tools, self.style)

    def check(self, request: InferenceRequest) -> None:
        """Raise BadRequestError for tools, and thoughts, that this template does not know."""
        if wishes.offered(request) and "tool-calling" not in self.capabilities:
            raise BadRequestError(
                "tools: this model's chat template shows no tools; ask a model with the capability `tool-calling`, "
                "or describe them in a message and read the calls from the text",
                param="tools",
            )
        can_think = "reasoning" in self.capabilities or self.style.is_harmony or self.style.think is not None
        wishes.check_thoughts(request, can_think=can_think)


class ByMarkers:
    """By turn markers; what they cannot express, such as tools, by the model's file."""

    raw_output: Output = Output()

    def __init__(self, markers: TurnMarkers, by_file: Format) -> None:
        self._markers = markers
        self._by_file = by_file
        self.capabilities: Sequence[str] = by_file.capabilities

    def prompt(self, request: InferenceRequest) -> Prompt:
        """Raises BadRequestError when neither can express the request."""
        tools = wishes.offered(request)
        text = None if tools else self._markers.render(messages_of(request))
        if text is not None:
            known = self._by_file.style if isinstance(self._by_file, ByTemplate) else style.Style()
            wishes.check_thoughts(request, can_think="reasoning" in self.capabilities)
            return msgspec.structs.replace(finished(text, request, (), known), stops=self._markers.stops)
        if isinstance(self._by_file, AsItIs):
            field = "tools" if tools else "messages"
            raise BadRequestError(
                f"{field}: the prompt template {self._markers.name!r} cannot express this (no tools, "
                f"tool calls and results, no system message after the last user turn), and {NO_TEMPLATE}; {RAW_WAY}",
                param=field,
            )
        return self._by_file.prompt(request)
