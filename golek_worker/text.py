"""How is a text written in answer to a job?

The request becomes a prompt, the engine's child continues it, and its end becomes an `InferenceReply`. An engine that
makes prompts itself gets the request.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from golek_wire import codec, semconv
from golek_wire.drawing import check_tokens
from golek_wire.errors import BadRequestError, InternalError
from golek_wire.images import Image, listed, without_data
from golek_wire.replies import InferenceReply
from golek_wire.requests import STOP_LIMIT, InferenceRequest, Params, Request, VisionRequest
from golek_wire.subjects import Kind
from golek_worker import choices
from golek_worker.engine.base import Constraint, Finished, Made, Ready, Submit
from golek_worker.engine.host import EngineHost, Run
from golek_worker.executor import CAPABILITIES, Answer, Sighted, never_ran
from golek_worker.grammars import lark, schemas
from golek_worker.image_marks import IMAGE_MARK
from golek_worker.job import Job
from golek_worker.labelling import LabelRun, LabelWork, questions
from golek_worker.prompt import turns
from golek_worker.prompt.base import Format, Prompt
from golek_worker.prompt.build import build, check, choose
from golek_worker.prompt.guard import Guard
from golek_worker.prompt.style import Way
from golek_worker.sessions.conversation import Conversation
from golek_worker.settings import Settings
from golek_worker.structure import Stored, constraint
from golek_worker.structure import check as check_structure
from golek_worker.vision import reading
from golek_worker.vision.inlining import inlined

SEES = "vision"
"""The capability of a model that reads images."""


class TextExecutor:
    """Answers with the texts of this worker's engine."""

    kind: Kind = "inference"

    def __init__(self, host: EngineHost, chosen: Settings, model_file: Path | None, stored: Stored) -> None:
        """`model_file` is None for an engine without files; `stored` knows the named grammars.

        Raises TurnMarkersError for a wrong prompt template.
        """
        self.host = host
        self.stored = stored
        self.model = chosen.model_name
        self._chosen = chosen
        self._markers = turns.find(chosen, model_file)
        self.labelling: dict[str, LabelRun] = {}
        self._format: Format | None = None
        self._format_for: Ready | None = None
        self.guard = Guard(())
        """Of the model that `format` was asked for last."""

    @property
    def capabilities(self) -> list[str]:
        ready = self.host.ready
        if ready is None:
            return []
        found = {*ready.capabilities, *self.format(ready).capabilities}
        return [name for name in CAPABILITIES if name in found]

    def check(self, request: Request) -> None:
        self.check_images(request)
        if not isinstance(request, InferenceRequest):
            return
        check_structure(request, self.stored)
        ready = self.host.ready
        if ready is not None:
            if request.adapter:
                self.host.adapters.check(request.adapter)
            if not ready.own_prompts:
                check(request, self.format(ready))
            if ready.info.vocab_size:
                check_tokens(request.params, ready.info.vocab_size)

    def check_images(self, request: Request) -> None:
        """Raise BadRequestError for images that are none, and where the model sees none."""
        self.check_eyes(request)
        reading.check(listed(request), self._chosen.image_limits)
        if isinstance(request, VisionRequest):
            questions(request)

    def check_eyes(self, request: Request) -> None:
        """Raise BadRequestError for images where the model sees none."""
        ready = self.host.ready
        if ready is not None and SEES not in ready.capabilities and (found := listed(request)):
            raise blind(self.model, found[0].place, "vision" if isinstance(request, VisionRequest) else "inference")

    def read(self, job: Job, payload: bytes) -> "TextWork | LabelWork":
        if job.asked_kind == "vision":
            return LabelWork(self, job, codec.decode_vision(payload))
        return TextWork(self, job, codec.decode_request(payload))

    def submission(self, job: Job, request: InferenceRequest, seen: Mapping[str, bytes]) -> Submit | None:
        """The sequence that answers `request`, whose images are `seen`; None without an engine. Raises as its run."""
        work = TextWork(self, job, request)
        work.seen.update(seen)
        return work.submission()

    def cancel(self, job_id: str) -> None:
        if (labelling := self.labelling.get(job_id)) is not None:
            labelling.stop()
        choices.cancel(self.host, job_id)

    def format(self, ready: Ready) -> Format:
        """The model's prompt format, compiled once for each load."""
        if self._format is None or self._format_for is not ready:
            self._format = choose(self._chosen, self._markers, ready.chat_template, ready.bos_token, ready.eos_token)
            self.guard = Guard(
                [*ready.control_names, IMAGE_MARK] if SEES in ready.capabilities else ready.control_names
            )
            self._format_for = ready  # last: large prompts are made in threads beside this one
        return self._format


class TextWork(Sighted):
    """One request for a text."""

    request: InferenceRequest
    smaller = "Ask for fewer tokens (max_tokens)"

    def __init__(self, executor: TextExecutor, job: Job, request: InferenceRequest) -> None:
        super().__init__(job, request)
        self._executor = executor
        self._prompt: Prompt | None = None
        self._asked: InferenceRequest | None = None
        """What an engine gets that makes the prompt itself."""
        self._constraint: Constraint | None = None
        self.adapter = request.adapter or None
        if request.session_id is not None:
            ready = executor.host.ready
            self.conversation = Conversation(request, ready.ctx_size if ready is not None else 0)

    @property
    def wanted(self) -> list[Image]:
        """Those of the whole conversation."""
        return listed(self._whole)

    @property
    def _whole(self) -> InferenceRequest:
        return self.request if self.conversation is None else self.conversation.request

    @property
    def raw_input(self) -> str:
        """The input, or the conversation as JSON, in which of an image's data only their size stands."""
        request = self.request
        return request.input if request.input is not None else codec.encode(without_data(request.messages)).decode()

    @property
    def operation(self) -> str:
        return semconv.TEXT_COMPLETION if self.request.messages is None else semconv.CHAT

    @property
    def params(self) -> Params:
        return self.request.params

    @property
    def prompt(self) -> str | None:
        return self._prompt.text if self._prompt is not None else None

    @property
    def texts(self) -> int:
        return choices.count(self.request.params)

    def prepare(self) -> None:
        ready = self._executor.host.ready
        if ready is not None:
            asked = self._whole
            self._constraint = constraint(asked, self._executor.stored)
            self._executor.check_eyes(asked)
            if ready.own_prompts:
                self._asked = inlined(asked, self.seen)
                return
            self._prompt = build(asked, self._executor.format(ready), self._executor.guard)
            if self._prompt.ways:
                self._constraint = call_constraint(self._prompt.ways)

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:  # noqa: ARG002 - stopped from outside
        submit = self.submission(streamed=self._job.stream or watched)
        return never_ran() if submit is None else choices.start(self._executor.host, submit)

    def submission(self, *, streamed: bool = False) -> Submit | None:
        """The sequence that answers; None without an engine. Raises as `start` does."""
        if self._prompt is None and self._asked is None:
            self.prepare()
        prompt = self._prompt or (Prompt("") if self._asked is not None else None)
        if prompt is None:
            return None
        job, request = self._job, self.request
        params = with_stops(request.params, prompt.stops)
        return Submit(
            job.job_id, prompt.text, params, job.seed, streamed, prompt.output, request.resume, self._constraint,
            request.adapter or "", prompt.cuts, self.conversation.least_room if self.conversation is not None else 0,
            [] if self._asked is not None else self.images, self._asked, job.priority,
            [] if self._asked is not None else [image.place for image in self.wanted],
        )  # fmt: skip

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Finished):
            raise InternalError("The engine made no text where text was asked for")
        measured = end if end.prefill_ms else None
        reply = InferenceReply(
            self._job.req_id, end.text, end.tokens_in, end.tokens_out, end.finish_reason, ms, ms,
            self._executor.model, self._job.seed, end.reasoning_content, end.tool_calls, end.logprobs,
            end.choices if isinstance(end, choices.Several) else None, end.tokens_cached,
            max(0, ms - round(end.decode_ms)) if measured is not None else 0,
            self.conversation.use if self.conversation is not None else None,
            end.stopped_by if end.stopped_by in self.request.params.stops else None,
            cache=self.cache,
        )  # fmt: skip
        if self.conversation is not None:
            self.conversation.answered(self._job.job_id, reply)
        body = codec.encode(reply)
        itl_ms = self._itl_ms(end) if measured is not None else None
        saved = end.tokens_in + end.tokens_out if self.cache == "hit" or self.shared else 0
        return Answer(
            body,
            end.tokens_in,
            end.tokens_out,
            end.text,
            end.finish_reason,
            measured,
            itl_ms,
            cache=self.cache,
            saved=saved,
        )

    def _itl_ms(self, end: Finished) -> float | None:
        """Between two tokens of one text that was written here as a whole."""
        if end.tokens_out < 2 or self.request.resume is not None or isinstance(end, choices.Several):
            return None
        return end.decode_ms / (end.tokens_out - 1)


def blind(model: str, place: str, kind: Kind) -> BadRequestError:
    """What to tell of an image that a model without eyes was sent in a request of this kind."""
    return BadRequestError(
        f"{place}: {model} reads no images; ask a model that has the capability `{SEES}`, or send text alone",
        param=place,
        needs=SEES,
        kind=kind,
    )


def call_constraint(ways: Sequence[Way]) -> Constraint:
    """A grammar of llguidance's: one of the ways, with arguments by its schema."""
    rules = {f"arguments{i}": lark.schema(schemas.compiled(dict(way.schema), "tools")) for i, way in enumerate(ways)}
    heads = [_around(rule, way) for rule, way in zip(rules, ways, strict=True)]
    return Constraint("lark", lark.grammar(start=" | ".join(heads), **rules), "tool_choice")


def _around(rule: str, way: Way) -> str:
    before, after = ([lark.literal(text)] if text else [] for text in (way.before, way.after))
    return " ".join([*before, rule, *after])


def with_stops(params: Params, stops: list[str]) -> Params:
    """`params` with the stop strings of the prompt format, as far as there is room beside the caller's own.

    They stand for the model's own end, which `ignore_eos` writes past.
    """
    if not stops or params.ignore_eos:
        return params
    return msgspec.structs.replace(params, stop=list(dict.fromkeys([*params.stops, *stops]))[:STOP_LIMIT])
