"""What do the models of a `FakeFleet` say?

Texts as they were given, and vectors made of the text alone. A word counts as a token.
"""

import math
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence

from msgspec import structs

from golek_wire.errors import BadRequestError, InferenceServiceError
from golek_wire.images import listed
from golek_wire.orchestration import InferenceMetadata, Orchestration, StepEvent
from golek_wire.replies import (
    Choice,
    Embedding,
    EmbeddingReply,
    EmbeddingUsage,
    FinishReason,
    InferenceReply,
    Ranking,
    RerankReply,
)
from golek_wire.requests import Document, EmbeddingRequest, InferenceRequest, RerankRequest, Resume, VisionRequest
from golek_wire.vectors import packed
from golek_wire.vision import Classification, LabelScore, VisionReply, VisionUsage

Answer = str | InferenceServiceError | Callable[[InferenceRequest], "str | Awaitable[str]"]
"""What a model says: a text, an error to raise, or a function of the request that gives a text (or awaits one)."""


async def text(answer: Answer, request: InferenceRequest) -> str:
    """What `answer` says to `request`. Raises the error that it is."""
    if isinstance(answer, InferenceServiceError):
        raise answer
    if isinstance(answer, str):
        return answer
    said = answer(request)
    return said if isinstance(said, str) else await said


def behind(said: str, resume: Resume | None) -> str:
    """What of `said` is still to be streamed. Raises BadRequestError where the model says another text."""
    if resume is None:
        return said
    if not said.startswith(resume.text):
        raise BadRequestError("resume.text: is not the beginning of what this model says", param="resume.text")
    return said[len(resume.text) :]


def reply(model: str, request: InferenceRequest, said: str) -> InferenceReply:
    """The reply to `request`: `n` times the same text. Log-probabilities it has none."""
    params, tokens = request.params, len(said.split())
    several = [Choice(index, said, "stop", tokens) for index in range(params.n)] if params.n > 1 else None
    asked = request.input or " ".join(turn.content or "" for turn in request.messages or [])
    return InferenceReply(
        request.req_id,
        said,
        tokens_in=len(asked.split()),
        tokens_out=tokens * max(params.n, params.best_of or 1),
        finish_reason="stop",
        duration_ms=0,
        ms=0,
        model=model,
        seed=request.seed or params.seed or 0,
        choices=several,
    )


def together(reply: InferenceReply, how: Orchestration) -> InferenceReply:
    """`reply` as one that several models came to like this."""
    metadata = InferenceMetadata(
        reply.model, how.mode, how.models_used, max(0, len(how.steps) - 1), compression_applied=False,
        context_utilization=0.0,
    )  # fmt: skip
    reason: FinishReason = "partial" if how.partial else reply.finish_reason
    return structs.replace(reply, finish_reason=reason, orchestration=how, inference_metadata=metadata)


def steps(request: InferenceRequest, how: Orchestration) -> Iterator[StepEvent]:
    """What a stream is told of its steps: that each began and ended; nothing where it asks for nothing."""
    if request.orchestration is None or request.orchestration.progress == "off":
        return
    for number, one in enumerate(how.steps, 1):
        said = StepEvent(
            request.req_id, one.name, one.model, one.duty, one.round, number, len(how.steps), state="began"
        )
        yield said
        yield structs.replace(said, state="ended", outcome=one.outcome, ms=one.ms)


def vectors(model: str, request: EmbeddingRequest, width: int) -> EmbeddingReply:
    """The reply to `request`. Raises BadRequestError for more dimensions than `width`."""
    dimensions = request.dimensions or width
    if dimensions > width:
        raise BadRequestError(f"dimensions: {dimensions} were asked for; the vectors have {width}", param="dimensions")
    units = [_unit(text, width, dimensions) for text in request.inputs]
    shown = [packed(vector) if request.encoding_format == "base64" else vector for vector in units]
    tokens = sum(len(text.split()) for text in request.inputs)
    data = [Embedding(vector, index) for index, vector in enumerate(shown)]
    return EmbeddingReply(data, model, EmbeddingUsage(tokens, tokens), request.req_id)


def scores(model: str, request: RerankRequest) -> RerankReply:
    """The reply to `request`: a document's score is the share of the query's words that it has."""
    words = set(request.query.lower().split())
    texts = request.texts
    found = [len(words & set(text.lower().split())) / max(1, len(words)) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: (-found[i], i))[: request.top_n]
    results = [Ranking(i, found[i], Document(texts[i]) if request.return_documents else None) for i in order]
    tokens = sum(len(text.split()) + len(request.query.split()) for text in texts)
    return RerankReply(results, model, EmbeddingUsage(tokens, tokens), request.req_id)


def labels(model: str, request: VisionRequest, own: Sequence[str]) -> VisionReply:
    """The reply to `request`. Raises BadRequestError for labels that are not among the model's `own`."""
    unknown = sorted(set(request.labels or ()) - set(own))
    if unknown:
        raise BadRequestError(
            f"labels: {model} has no label {', '.join(unknown)}; it has {', '.join(own)}", param="labels"
        )
    results = []
    for index, image in enumerate(listed(request)):
        weights = {label: random.Random(f"{label}\n{image.url}").random() for label in own}
        scores = [LabelScore(label, weights[label] / sum(weights.values())) for label in request.labels or own]
        best = sorted(scores, key=lambda one: -one.score)
        results.append(Classification(index, best[0].label, best[0].score, best[: request.top_k]))
    return VisionReply(results, model, VisionUsage(0, 0, 0), request.req_id)


def _unit(text: str, width: int, dimensions: int) -> list[float]:
    """A unit vector that depends on `text` alone."""
    chance = random.Random(text)
    vector = [chance.gauss() for _ in range(width)][:dimensions]
    norm = math.hypot(*vector)
    return [number / norm for number in vector]
