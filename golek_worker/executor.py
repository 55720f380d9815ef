"""What do serving and the kinds of work, texts, vectors, scores and what images show, ask of each other?

An executor reads a job's payload into `Work`: a run of the engine, and the answer that its end makes. There is one for
each kind, in text.py, vectors.py, ranking.py, classifying.py and labelling.py; a router's asks other workers
and clouds. Serving knows no difference.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from golek_wire.errors import PayloadTooLargeError
from golek_wire.images import Image, listed
from golek_wire.orchestration import Orchestration
from golek_wire.requests import Params, Request
from golek_wire.routing import CacheUse
from golek_wire.subjects import Kind
from golek_worker.engine.base import Finished, Made
from golek_worker.engine.host import EngineDied, Run
from golek_worker.job import Job
from golek_worker.sessions.conversation import Conversation

CAPABILITIES = (
    "text-generation", "embeddings", "rerank", "image-classification", "vision", "reasoning", "tool-calling",
    "grammar-constrained",
)  # fmt: skip
"""In the order in which they are told."""


class Answer(Struct, frozen=True):
    """The final message of a job that succeeded, and what the log keeps of it."""

    body: bytes
    tokens_in: int
    tokens_out: int = 0
    text: str | None = None
    """What the model wrote; None where it wrote nothing."""
    finish_reason: str | None = None
    measured: Finished | None = None
    """The engine's times and counts of it; None where it measured none."""
    itl_ms: float | None = None
    """Between two tokens, on average; None for several texts, and for one that went on with another."""
    target: str | None = None
    """Who answered, where a router chose."""
    cost_usd: float | None = None
    """What clouds took for it, for all its steps; None where nothing had a price. An error has it among its details."""
    cache: CacheUse | None = None
    """What part a cache had in it; None where nobody asked for one."""
    saved: int = 0
    """Of its tokens: those that were kept, and not computed for it. They cost its key nothing."""

    first_ms: float | None = None
    """From the lease to its first token, of an answer of several models."""
    orchestration: Orchestration | None = None
    """How several models came to it; None where one did."""

    def ttft_ms(self, ms: float) -> float | None:
        """From the lease to the first token of an answer that took `ms` from the lease; None where it is not known."""
        return None if self.measured is None else max(0.0, ms - self.measured.decode_ms)


class Work(ABC):
    """What one job asks, and how it is answered."""

    request: Request
    """What the job's payload says; each kind of work says which kind of request."""
    adapter: str | None = None
    """The LoRA adapter that it asks for."""
    conversation: Conversation | None = None
    """The session that it goes on with; None without one."""
    smaller: str = "Ask for less at a time"
    """What a caller can do whose answer is too large."""

    def __init__(self, job: Job, request: Request) -> None:
        self._job = job
        self.request = request
        self.reply_to = request.reply_to
        """A second subject for the answer."""
        self.cache: CacheUse | None = None
        """What part a cache had in it, for the reply; None where nobody asked for one."""
        self.asks_cache = False
        """Whether the request, its key or its model asks for a cache; without it no reply says anything of one."""
        self.shared = False
        """Whether the run of an equal request answers it."""
        self.saved = 0
        """Of its tokens: those that were kept, and not computed for it."""

    @property
    def costs(self) -> Mapping[str, float]:
        """What clouds took for it so far, by target."""
        return {}

    @property
    @abstractmethod
    def raw_input(self) -> str:
        """What the caller wrote, for the log."""

    @property
    def prompt(self) -> str | None:
        """What the model reads, for the log; None before the start, and where that is the input itself."""
        return None

    @property
    @abstractmethod
    def operation(self) -> str:
        """What kind of thing it asks for, as golek_wire/semconv.py names it."""

    @property
    def params(self) -> Params | None:
        """How a text is to be written; None where none is."""
        return None

    @property
    def texts(self) -> int:
        """How many texts the engine writes for it."""
        return 0

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """What `start` would do first, for a thread: a large request takes its time. Raises as `start` does.

        To be done again when the conversation was shortened.
        """

    @abstractmethod
    def start(self, *, watched: bool = False, until: float = math.inf) -> Run:
        """Begin. Raises InferenceServiceError when the request cannot run.

        Of a `watched` run the text is heard as it is written, where it writes any. `until` is the monotonic time after
        which its answer is of no use: whoever asks others tells them; a run here is stopped then.
        """

    @abstractmethod
    def answer(self, end: Made, ms: int) -> Answer:
        """The answer that the run's `end` makes, `ms` milliseconds after the lease."""

    def too_large(self, size: int, limit: int) -> PayloadTooLargeError:
        """What to tell the caller of an answer of `size` bytes where `limit` fit: also how to make it smaller."""
        return PayloadTooLargeError(
            f"The answer has {size} bytes; at most {limit} fit through this server. {self.smaller}",
            size=size,
            limit=limit,
        )


class Sighted(Work):
    """Work that begins with images: `seen` has them all before `prepare` and `start`."""

    def __init__(self, job: Job, request: Request) -> None:
        super().__init__(job, request)
        self.seen: dict[str, bytes] = {}
        """Image files, by what `wanted` calls them."""

    @property
    def wanted(self) -> list[Image]:
        """All images that the model is to see, in their order."""
        return listed(self.request)

    @property
    def images(self) -> list[bytes]:
        """The same, as files."""
        return [self.seen[image.url] for image in self.wanted]


class Executor(Protocol):
    """Does the jobs of one kind."""

    @property
    def kind(self) -> Kind: ...

    @property
    def capabilities(self) -> list[str]:
        """What model and prompt format can do together, of CAPABILITIES; nothing before the model is loaded."""
        ...

    def check(self, request: Request) -> None:
        """Raise BadRequestError for what the loaded model cannot do, as its run would; nothing before it is loaded."""
        ...

    def read(self, job: Job, payload: bytes) -> Work:
        """What `payload` asks. Raises BadRequestError."""
        ...

    def cancel(self, job_id: str) -> None:
        """End the run of this job early; it then hears `Stopped`."""
        ...


def never_ran() -> Run:
    """The run of a job whose engine is not there yet."""
    run = Run()
    run.put(EngineDied(ran=False))
    return run
