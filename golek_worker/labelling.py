"""How is said what images show, by a model that writes text and sees?

With `labels` each of them is written below each image, as the only answer that is allowed there: the sum of the
log-probabilities of its tokens is how likely the model finds it. A label's score is its share of what all labels of
the request have together (softmax). Without labels the model answers in its own words, greedily; the score is the
probability of just these words, the product of its tokens'.

The labels are sequences of their own, AT_ONCE at a time, so that others have their turn; an engine that keeps prompts
reads an image once.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec

from golek_wire import codec, images
from golek_wire.errors import BadRequestError, InferenceServiceError, InternalError
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Delta
from golek_wire.requests import InferenceRequest, Message, Params, Request, VisionRequest
from golek_wire.vision import LabelScore, VisionReply, VisionUsage
from golek_worker.classifying import VisionWork, classification, said
from golek_worker.engine.base import Finished, Made, Refused, Stopped, Submit, refusal
from golek_worker.engine.host import EngineDied, EngineHost, Run, RunEvent
from golek_worker.executor import Answer, never_ran
from golek_worker.job import Job

AT_ONCE: Final = 4
"""Sequences of one request in the engine."""
RUNS_LIMIT: Final = 512
"""Sequences of one request: images times labels."""
WORDS_TOKENS: Final = 48
"""Most tokens of an answer without labels."""
QUESTION: Final = "What does this image show? Answer with one or a few words."
CHOICE: Final = "What does this image show? Answer with one of these and nothing else: {labels}"


class Labelled(Finished, frozen=True, tag="labelled"):
    """The end of all sequences of a request, in the order in which they were asked for."""

    ends: list[Finished] = msgspec.field(default_factory=list[Finished])


def questions(request: VisionRequest) -> list[InferenceRequest]:
    """What the model is asked: of each image once, with labels once for each. Raises BadRequestError for too much."""
    found, labels = images.listed(request), request.labels
    count = len(found) * _each(request)
    if count > RUNS_LIMIT:
        raise BadRequestError(
            f"labels: {_each(request)} labels of {len(found)} images are {count} questions; at most {RUNS_LIMIT} of "
            "one request: send fewer images at a time",
            param="labels",
            limit=RUNS_LIMIT,
        )
    text = request.prompt or (QUESTION if labels is None else CHOICE.format(labels=", ".join(labels)))
    asked: list[InferenceRequest] = []
    for image in found:
        parts = [{"type": "image_url", "image_url": {"url": image.url}}, images.text(text)]
        turn = Message("user", text, parts=parts)
        asked += [_question(turn)] if labels is None else [_question(turn, label) for label in labels]
    return asked


def _each(request: VisionRequest) -> int:
    """Questions about each image."""
    return 1 if request.labels is None else len(request.labels)


def _question(turn: Message, label: str | None = None) -> InferenceRequest:
    most = WORDS_TOKENS if label is None else len(label.encode()) + 8  # no token is shorter than a byte
    params = Params(most, temperature=0.0, logprobs=True, choice=None if label is None else [label])
    return InferenceRequest(messages=[turn], params=params, seed=0, reasoning_effort="none")


class Writes(Protocol):
    """What this needs of whoever has texts written."""

    host: EngineHost
    model: str
    labelling: dict[str, "LabelRun"]
    """What runs, by its job."""

    def check_eyes(self, request: Request) -> None:
        """Raise BadRequestError where the model sees no images."""
        ...

    def submission(self, job: Job, request: InferenceRequest, seen: Mapping[str, bytes]) -> Submit | None:
        """The sequence of a text; None without an engine. Raises BadRequestError."""
        ...


class LabelWork(VisionWork):
    """One that a model answers which writes and sees."""

    def __init__(self, executor: Writes, job: Job, request: VisionRequest) -> None:
        super().__init__(job, request)
        self._executor = executor
        self._questions: list[InferenceRequest] = []
        self._places: list[str] = []
        """The field of each question's image."""
        self._first: Submit | None = None

    @property
    def prompt(self) -> str | None:
        """That of the first question."""
        return self._first.prompt if self._first is not None else None

    @property
    def texts(self) -> int:
        return len(self._questions)

    def prepare(self) -> None:
        """Of the first question alone: the others are like it, and each may hold a copy of its image."""
        self._executor.check_eyes(self.request)
        self._questions = questions(self.request)
        self._places = [image.place for image in self.wanted for _ in range(_each(self.request))]
        self._first = self._submission(0)

    def _submission(self, number: int) -> Submit | None:
        found = self._executor.submission(self._job, self._questions[number], self.seen)
        fields = [self._places[number]] if found is not None and found.images else []
        return found and msgspec.structs.replace(found, job_id=f"{self._job.job_id}#{number}", image_fields=fields)

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:  # noqa: ARG002 - stopped from outside
        if self._first is None:
            self.prepare()
        if self._first is None:
            return never_ran()
        running, job_id = self._executor.labelling, self._job.job_id
        run = running[job_id] = LabelRun(
            job_id, self._places, self._submission, self._executor.host, lambda: running.__delitem__(job_id)
        )
        run.begin()
        return run

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Labelled):
            raise InternalError("The engine wrote something else where it was asked what images show")
        request, labels, each = self.request, self.request.labels, _each(self.request)
        parts = [end.ends[start : start + each] for start in range(0, len(end.ends), each)]
        scores = [_shares(labels, ends) if labels is not None else [_words(ends[0])] for ends in parts]
        results = [classification(index, found, request.top_k) for index, found in enumerate(scores)]
        usage = VisionUsage(end.tokens_in, end.tokens_out, end.tokens_in + end.tokens_out)
        reply = VisionReply(results, self._executor.model, usage, request.req_id, ms, ms)
        return Answer(codec.encode(reply), end.tokens_in, end.tokens_out, said(results))


def _shares(labels: Sequence[str], ends: Sequence[Finished]) -> list[LabelScore]:
    """Each label with its share of the probability that all of them have."""
    sums = [_logprob(end) for end in ends]
    most = max(sums)
    weights = [math.exp(one - most) for one in sums]
    whole = math.fsum(weights)
    return [LabelScore(label, weight / whole) for label, weight in zip(labels, weights, strict=True)]


def _words(end: Finished) -> LabelScore:
    """What the model says by itself, and how likely it finds that."""
    return LabelScore(end.text.strip(), math.exp(_logprob(end)))


def _logprob(end: Finished) -> float:
    """Of all tokens together. Raises InternalError where the engine does not tell it: no score is made up."""
    if end.logprobs is None:
        raise InternalError("This engine tells no log-probabilities, of which scores are made")
    return math.fsum(token.logprob for token in end.logprobs)


class LabelRun(Run):
    """The sequences of one request; of them one end when all have ended."""

    def __init__(
        self,
        job_id: str,
        places: Sequence[str],
        submission: Callable[[int], Submit | None],
        host: EngineHost,
        over: Callable[[], None],
    ) -> None:
        """`submission` makes each of the sequences when its turn comes; an error names which of `places` it is about.
        `over` is called once, at the end.
        """
        super().__init__()
        self._job_id = job_id
        self._host = host
        self._over = over
        self._submission = submission
        self._places = places
        self._waiting = deque(range(len(places)))
        self._running: dict[int, str] = {}
        self._ends: list[Finished | Stopped | None] = [None] * len(places)
        self._is_over = False

    def begin(self) -> None:
        """Begin with one: what it has read of an image the others may find in the engine's cache."""
        self._fill(1)

    def stop(self) -> None:
        """End all that runs; then `Stopped` is heard."""
        self._waiting.clear()
        for job_id in list(self._running.values()):
            self._host.cancel(job_id)

    def take(self, number: int, event: RunEvent) -> None:
        """Something happened to one of them. What ends otherwise than by itself or by a cancel, ends all."""
        if self._is_over or isinstance(event, str | Delta | StepEvent):
            return
        del self._running[number]
        match event:
            case Finished() | Stopped():
                self._ends[number] = event
                self._fill(AT_ONCE)
                if not self._running:
                    self._end(self._whole())
            case Refused():
                self._fail(self._refused(number, event))
            case _:
                self._fail(event)

    def _fill(self, most: int) -> None:
        while self._waiting and len(self._running) < most and not self._is_over:
            number = self._waiting.popleft()
            try:
                submit = self._submission(number)
            except InferenceServiceError as error:
                self._fail(self._refused(number, refusal(self._job_id, error)))
                return
            if submit is None:
                self._fail(EngineDied(ran=False))
                return
            self._running[number] = submit.job_id
            run = Run()
            run.redirect(partial(self.take, number))
            self._host.submit(submit, run)

    def _refused(self, number: int, event: Refused) -> Refused:
        place = self._places[number]
        message = event.message if event.message.startswith(place) else f"{place}: {event.message}"
        details = event.details | {"param": place}
        return msgspec.structs.replace(event, job_id=self._job_id, message=message, details=details)

    def _fail(self, event: RunEvent) -> None:
        self._is_over = True
        self.stop()
        self._end(event)

    def _end(self, event: RunEvent) -> None:
        self._is_over = True
        self._over()
        self.put(event)

    def _whole(self) -> Labelled | Stopped:
        ends = [end for end in self._ends if end is not None]
        tokens_in, tokens_out = sum(end.tokens_in for end in ends), sum(end.tokens_out for end in ends)
        finished = [end for end in ends if isinstance(end, Finished)]
        if len(finished) < len(self._ends):
            return Stopped(self._job_id, tokens_in, tokens_out)
        text = finished[0].text
        return Labelled(self._job_id, text, "stop", tokens_in, tokens_out, ends=finished)
