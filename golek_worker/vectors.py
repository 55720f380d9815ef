"""How are texts turned into vectors in answer to a job?

The engine's child computes unit vectors; here they are cut to `dimensions`, encoded as the caller wants them, and put
into OpenAI's list. A list that cannot fit into one message is refused before anything is computed.
"""

import math

import msgspec

from golek_wire import codec, parts, semconv
from golek_wire.errors import BadRequestError, InternalError, PayloadTooLargeError
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.requests import EmbeddingRequest, EncodingFormat, Request
from golek_wire.subjects import Kind
from golek_wire.vectors import packed
from golek_worker.engine.base import Embed, Embedded, Made, Ready
from golek_worker.engine.host import EngineHost, Run
from golek_worker.executor import Answer, Work, never_ran
from golek_worker.job import Job

DECIMALS = 8
"""As many as the engine gives: more than a float32 holds of a number below 1."""
LEAST_PER_NUMBER = len("0.0,")
MOST_PER_NUMBER = len("-0.12345678,")
LARGEST = 10**9
"""Stands for counts and times in the largest reply there may be."""


class VectorExecutor:
    """Answers with the vectors of this worker's engine."""

    kind: Kind = "embedding"

    def __init__(self, host: EngineHost, model: str, largest_reply: int) -> None:
        """`largest_reply`: bytes that fit into one message, which is all that those get who join no parts."""
        self.host = host
        self.model = model
        self.largest_reply = largest_reply

    @property
    def capabilities(self) -> list[str]:
        return self.host.ready.capabilities if self.host.ready is not None else []

    def check(self, request: Request) -> None:
        ready = self.host.ready
        if ready is not None and isinstance(request, EmbeddingRequest):
            self.width(request, ready)

    def width(self, request: EmbeddingRequest, ready: Ready) -> int:
        """How many numbers the vectors have. Raises BadRequestError for more dimensions than there are."""
        most = ready.info.embedding_size
        if request.dimensions is not None and request.dimensions > most:
            raise BadRequestError(
                f"dimensions: {request.dimensions} were asked for; the vectors of {self.model} have {most}",
                param="dimensions",
                limit=most,
            )
        return request.dimensions or most

    def read(self, job: Job, payload: bytes) -> "VectorWork":
        return VectorWork(self, job, codec.decode_embedding(payload))

    def cancel(self, job_id: str) -> None:
        self.host.cancel(job_id)


class VectorWork(Work):
    """One request for vectors."""

    request: EmbeddingRequest
    operation = semconv.EMBEDDINGS

    def __init__(self, executor: VectorExecutor, job: Job, request: EmbeddingRequest) -> None:
        super().__init__(job, request)
        self._executor = executor
        self._width = 0
        self.missing: list[str] | None = None
        """The texts that are to be computed, the others being known; None for all."""

    @property
    def raw_input(self) -> str:
        """The text, or the list of texts as JSON."""
        texts = self.request.input
        return texts if isinstance(texts, str) else codec.encode(texts).decode()

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:  # noqa: ARG002 - stopped from outside
        """Raises BadRequestError for more dimensions than there are, PayloadTooLargeError for what cannot fit."""
        ready = self._executor.host.ready
        if ready is None:
            return never_ran()
        request = self.request
        self._width = self._executor.width(request, ready)
        least = len(request.inputs) * _item_size(self._width, request.encoding_format, LEAST_PER_NUMBER, 0)
        largest = parts.WHOLE_LIMIT if self._job.parts else self._executor.largest_reply
        if least > largest:
            raise self.too_large(least, largest)
        wanted = request.inputs if self.missing is None else self.missing
        if not wanted:
            run = Run()
            run.put(Embedded(self._job.job_id, [], 0))
            return run
        return self._executor.host.submit(Embed(self._job.job_id, wanted))

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Embedded):
            raise InternalError("The engine made no vectors where vectors were asked for")
        request = self.request
        data = [Embedding(self._shown(vector), index) for index, vector in enumerate(end.vectors)]
        usage = EmbeddingUsage(end.tokens_in, end.tokens_in)
        reply = EmbeddingReply(data, self._executor.model, usage, request.req_id, ms, ms)
        saved = self.saved
        if self.cache is not None:
            reply = msgspec.structs.replace(reply, cache=self.cache)
            saved = end.tokens_in if self.cache == "hit" or self.shared else saved
        return Answer(codec.encode(reply), end.tokens_in, cache=self.cache, saved=saved)

    def too_large(self, size: int, limit: int) -> PayloadTooLargeError:
        """Its detail `fits` says how many texts of this request's form surely fit."""
        texts, encoding = len(self.request.inputs), self.request.encoding_format
        ready = self._executor.host.ready
        width = self._width or (self._executor.width(self.request, ready) if ready is not None else 0)
        envelope = EmbeddingReply(
            [], self._executor.model, EmbeddingUsage(LARGEST, LARGEST), self.request.req_id, LARGEST, LARGEST
        )
        room = limit - len(codec.encode(envelope))
        fits = max(0, room // _item_size(width, encoding, MOST_PER_NUMBER, LARGEST))
        hint = "" if encoding == "base64" else ', or with "encoding_format": "base64" twice as many'
        return PayloadTooLargeError(
            f"The vectors of {texts} texts need {size} bytes or more; at most {limit} fit through this server. "
            f"Send {fits} texts at a time{hint}",
            size=size,
            limit=limit,
            fits=fits,
        )

    def _shown(self, vector: list[float]) -> list[float] | str:
        """`vector` as the caller wants it."""
        if self.request.dimensions is not None:
            vector = shortened(vector, self.request.dimensions)
        return vector if self.request.encoding_format == "float" else packed(vector)


def shortened(vector: list[float], dimensions: int) -> list[float]:
    """The first `dimensions` numbers, as a unit vector again (Matryoshka)."""
    kept = vector[:dimensions]
    norm = math.sqrt(math.fsum(number * number for number in kept))
    return [round(number / norm, DECIMALS) for number in kept] if norm else kept


def _item_size(width: int, encoding: EncodingFormat, per_number: int, index: int) -> int:
    """Bytes of one vector in the list, with a comma after it."""
    numbers = 4 * math.ceil(4 * width / 3) if encoding == "base64" else per_number * width
    return len(codec.encode(Embedding("", index))) + numbers + 1
