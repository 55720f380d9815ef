"""How are documents ranked in answer to a job?

The engine's child scores each document together with the query; here they are put in order, the best first.
"""

import math

from golek_wire import codec, semconv
from golek_wire.errors import InternalError
from golek_wire.replies import EmbeddingUsage, Ranking, RerankReply
from golek_wire.requests import Document, Request, RerankRequest
from golek_wire.subjects import Kind
from golek_worker.engine.base import Made, Rank, Ranked
from golek_worker.engine.host import EngineHost, Run
from golek_worker.executor import Answer, Work, never_ran
from golek_worker.job import Job


class RankExecutor:
    """Answers with the scores of this worker's engine."""

    kind: Kind = "rerank"

    def __init__(self, host: EngineHost, model: str) -> None:
        self.host = host
        self.model = model

    @property
    def capabilities(self) -> list[str]:
        return self.host.ready.capabilities if self.host.ready is not None else []

    def check(self, request: Request) -> None:
        """A reranker can do all that may be asked of one."""

    def read(self, job: Job, payload: bytes) -> "RankWork":
        return RankWork(self, job, codec.decode_rerank(payload))

    def cancel(self, job_id: str) -> None:
        self.host.cancel(job_id)


class RankWork(Work):
    """One request for scores."""

    request: RerankRequest
    operation = semconv.RERANK
    smaller = "Leave `return_documents` out, or ask for fewer results (top_n)"

    def __init__(self, executor: RankExecutor, job: Job, request: RerankRequest) -> None:
        super().__init__(job, request)
        self._executor = executor

    @property
    def raw_input(self) -> str:
        """Query and documents as JSON."""
        return codec.encode({"query": self.request.query, "documents": self.request.texts}).decode()

    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:  # noqa: ARG002 - stopped from outside
        if self._executor.host.ready is None:
            return never_ran()
        return self._executor.host.submit(Rank(self._job.job_id, self.request.query, self.request.texts))

    def answer(self, end: Made, ms: int) -> Answer:
        if not isinstance(end, Ranked):
            raise InternalError("The engine made no scores where scores were asked for")
        request = self.request
        order = sorted(range(len(end.scores)), key=lambda i: (-end.scores[i], i))
        texts = request.texts if request.return_documents else None
        results = [
            Ranking(i, end.scores[i], Document(texts[i]) if texts is not None else None) for i in order[: request.top_n]
        ]
        usage = EmbeddingUsage(end.tokens_in, end.tokens_in)
        reply = RerankReply(results, self._executor.model, usage, request.req_id, ms, ms)
        saved = end.tokens_in if self.cache == "hit" or self.shared else 0
        return Answer(codec.encode(reply), end.tokens_in, cache=self.cache, saved=saved)
