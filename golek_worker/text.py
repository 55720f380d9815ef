"""How is a text written in answer to a job?

The request becomes a prompt, the engine's child continues it, and its end becomes an `InferenceReply`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from golek_wire import codec
from golek_wire.errors import InternalError, PayloadTooLargeError
from golek_wire.replies import InferenceReply
from golek_wire.requests import STOP_LIMIT, InferenceRequest, Params, Request
from golek_wire.subjects import Kind
from golek_worker import choices
from golek_worker.engine.base import Constraint, Embedded, Finished, Ready, Submit
from golek_worker.engine.host import EngineHost, Run
from golek_worker.executor import CAPABILITIES, Answer, never_ran
from golek_worker.job import Job
from golek_worker.prompt import turns
from golek_worker.prompt.base import Format, Prompt
from golek_worker.prompt.build import build, check, choose
from golek_worker.prompt.guard import Guard
from golek_worker.prompt.style import Way
from golek_worker.settings import Settings


class TextExecutor:
    """Answers with the texts of this worker's engine."""

    kind: Kind = "inference"

    def __init__(self, host: EngineHost, chosen: Settings, model_file: Path | None) -> None:
        """`model_file` is None for an engine without files. Raises TurnMarkersError for a wrong prompt template."""
        self.host = host
        self.model = chosen.model_name
        self._chosen = chosen
        self._markers = turns.find(chosen, model_file)
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
        ready = self.host.ready
        if ready is not None and isinstance(request, InferenceRequest):
            check(request, self.format(ready))

    def read(self, job: Job, payload: bytes) -> "TextWork":
        return TextWork(self, job, codec.decode_request(payload))

    def cancel(self, job_id: str) -> None:
        choices.cancel(self.host, job_id)

    def format(self, ready: Ready) -> Format:
        """The model's prompt format, compiled once for each load."""
        if self._format is None or self._format_for is not ready:
            self._format = choose(self._chosen, self._markers, ready.chat_template, ready.bos_token, ready.eos_token)
            self._format_for = ready
            self.guard = Guard(ready.control_names)
        return self._format


class TextWork:
    """One request for a text."""

    def __init__(self, executor: TextExecutor, job: Job, request: InferenceRequest) -> None:
        self._executor = executor
        self._job = job
        self._request = request
        self._prompt: Prompt | None = None
        self.reply_to = request.reply_to

    @property
    def raw_input(self) -> str:
        """The input, or the conversation as JSON."""
        request = self._request
        return request.input if request.input is not None else codec.encode(request.messages).decode()

    @property
    def prompt(self) -> str | None:
        return self._prompt.text if self._prompt is not None else None

    def prepare(self) -> None:
        ready = self._executor.host.ready
        if ready is not None:
            self._prompt = build(self._request, self._executor.format(ready), self._executor.guard)

    def start(self, *, watched: bool = False) -> Run:
        if self._prompt is None:
            self.prepare()
        if self._prompt is None:
            return never_ran()
        job, request, prompt = self._job, self._request, self._prompt
        params = with_stops(request.params, prompt.stops)
        streamed = job.stream or watched
        constraint = None if params.grammar is None else Constraint("gbnf", params.grammar)
        if prompt.ways:
            constraint = call_constraint(prompt.ways)
        submit = Submit(
            job.job_id, prompt.text, params, job.seed, streamed, prompt.output, request.resume, constraint,
            cuts=prompt.cuts,
        )  # fmt: skip
        return choices.start(self._executor.host, submit)

    def answer(self, end: Finished | Embedded, ms: int) -> Answer:
        if isinstance(end, Embedded):
            raise InternalError("The engine made vectors where text was asked for")
        reply = InferenceReply(
            self._job.req_id, end.text, end.tokens_in, end.tokens_out, end.finish_reason, ms, ms,
            self._executor.model, self._job.seed, end.reasoning_content, end.tool_calls, end.logprobs,
            end.choices if isinstance(end, choices.Several) else None,
        )  # fmt: skip
        return Answer(codec.encode(reply), end.tokens_in, end.tokens_out, end.text, end.finish_reason)

    def too_large(self, size: int, limit: int) -> PayloadTooLargeError:
        return PayloadTooLargeError(
            f"The answer has {size} bytes; at most {limit} fit through this server. Ask for fewer tokens (max_tokens)",
            size=size,
            limit=limit,
        )


def call_constraint(ways: Sequence[Way]) -> Constraint:
    """A grammar of llguidance's: one of the ways, with arguments by its schema."""
    heads = [
        f"{json.dumps(way.before)} arguments{i} {json.dumps(way.after)}" if way.before else f"arguments{i}"
        for i, way in enumerate(ways)
    ]
    rules = [f"arguments{i}: %json {json.dumps(way.schema)}" for i, way in enumerate(ways)]
    return Constraint("lark", "\n".join([f"start: {' | '.join(heads)}", *rules]), "tool_choice")


def with_stops(params: Params, stops: list[str]) -> Params:
    """`params` with the stop strings of the prompt format, as far as there is room beside the caller's own.

    They stand for the model's own end, which `ignore_eos` writes past.
    """
    if not stops or params.ignore_eos:
        return params
    return msgspec.structs.replace(params, stop=list(dict.fromkeys([*params.stops, *stops]))[:STOP_LIMIT])
