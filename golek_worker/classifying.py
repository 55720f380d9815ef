"""How is said what images show, by a model that classifies them?

The engine's child scores each image by the model's own labels; here those that were asked for are put in order.
"""

import math
from collections.abc import Sequence

from golek_wire import codec, images, semconv
from golek_wire.errors import BadRequestError, InternalError
from golek_wire.requests import Request, VisionRequest
from golek_wire.subjects import Kind
from golek_wire.vision import Classification, LabelScore, VisionReply, VisionUsage
from golek_worker.engine.base import Classified, Classify, Made
from golek_worker.engine.host import EngineHost, Run
from golek_worker.executor import Answer, Sighted, never_ran
from golek_worker.job import Job
from golek_worker.vision import reading
from golek_worker.vision.limits import Limits

SHOWN = 16
"""Labels that an error names; its details have all."""


class ClassifyExecutor:
    """Answers with the scores of this worker's engine."""

    kind: Kind = "vision"

    def __init__(self, host: EngineHost, model: str, limits: Limits) -> None:
        self.host = host
        self.model = model
        self._limits = limits

    @property
    def capabilities(self) -> list[str]:
        return self.host.ready.capabilities if self.host.ready is not None else []

    def check(self, request: Request) -> None:
        if not isinstance(request, VisionRequest):
            return
        if request.prompt is not None:
            raise BadRequestError(
                f"prompt: {self.model} classifies images and reads no text; leave it out", param="prompt"
            )
        reading.check(images.listed(request), self._limits)
        if self.host.ready is not None:
            self.places(request, self.host.ready.labels)

    def places(self, request: VisionRequest, own: Sequence[str]) -> list[int]:
        """Which of the model's `own` labels are asked for. Raises BadRequestError naming those that are none."""
        if request.labels is None:
            return list(range(len(own)))
        known = {label: place for place, label in enumerate(own)}
        missing = [label for label in request.labels if label not in known]
        if missing:
            shown = ", ".join(own[:SHOWN]) + (f" and {len(own) - SHOWN} more" if len(own) > SHOWN else "")
            raise BadRequestError(
                f"labels: {self.model} has no label {', '.join(map(repr, missing[:SHOWN]))}; it has {shown}. Without "
                "`labels` all count",
                param="labels",
                unknown=missing,
                available=list(own),
            )
        return [known[label] for label in request.labels]

    def read(self, job: Job, payload: bytes) -> "ClassifyWork":
        return ClassifyWork(self, job, codec.decode_vision(payload))

    def cancel(self, job_id: str) -> None:
        self.host.cancel(job_id)


class VisionWork(Sighted):
    """One request for what images show, whoever says it."""

    request: VisionRequest
    operation = semconv.VISION
    smaller = "Ask for fewer scores (top_k), or of fewer images"

    @property
    def raw_input(self) -> str:
        return looked_at(self.request)


class ClassifyWork(VisionWork):
    """One that the model's own labels answer."""

    def __init__(self, executor: ClassifyExecutor, job: Job, request: VisionRequest) -> None:
        super().__init__(job, request)
        self._executor = executor
        self._places: list[int] = []
        self._labels: list[str] = []

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:  # noqa: ARG002 - stopped from outside
        ready = self._executor.host.ready
        if ready is None:
            return never_ran()
        self._executor.check(self.request)
        self._places, self._labels = self._executor.places(self.request, ready.labels), ready.labels
        return self._executor.host.submit(Classify(self._job.job_id, self.images))

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Classified):
            raise InternalError("The engine gave no scores where it was asked what images show")
        request = self.request
        results = [
            classification(index, [LabelScore(self._labels[i], scores[i]) for i in self._places], request.top_k)
            for index, scores in enumerate(end.scores)
        ]
        reply = VisionReply(results, self._executor.model, VisionUsage(0, 0, 0), request.req_id, ms, ms)
        return Answer(codec.encode(reply), 0, text=said(results))


def classification(index: int, scores: list[LabelScore], top_k: int | None) -> Classification:
    """What the image at `index` shows: the best label first, of equal ones the one that was named first."""
    best = sorted(scores, key=lambda one: -one.score)
    return Classification(index, best[0].label, best[0].score, best[:top_k])


def said(results: Sequence[Classification]) -> str:
    """The answer in words, for the log."""
    return ", ".join(f"{one.label} ({one.score:.3f})" for one in results)


def looked_at(request: VisionRequest) -> str:
    """What the caller wrote, for the log: JSON, in which of an image's data only their size stands."""
    asked = {"images": [images.shown(image.url) for image in images.listed(request)]}
    return codec.encode(asked | {"labels": request.labels, "prompt": request.prompt}).decode()
