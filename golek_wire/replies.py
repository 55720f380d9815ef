"""What comes back?

One `InferenceReply`, or one `errors.ErrorReply`. With `stream`: `Chunk`s, then the `InferenceReply` with header
`Golek-Final: 1`, then one empty message without headers. `Accepted` is sent early, to those who ask for it.
"""

from typing import Literal

from msgspec import Struct

from golek_wire.subjects import ANONYMOUS
from golek_wire.vectors import unpacked

FinishReason = Literal["stop", "length"]
"""`stop`: the model or a stop string ended the text. `length`: `max_tokens` or the context did."""


class InferenceReply(Struct, frozen=True):
    """The whole answer. `ms` and `duration_ms` are the same figure under both names that clients read."""

    req_id: str
    text: str
    tokens_in: int
    tokens_out: int
    finish_reason: FinishReason
    duration_ms: int
    """Milliseconds from the lease of the job to its last token."""
    ms: int
    model: str = ""
    seed: int = 0
    """Sampling with this seed again gives the same draws."""


class Chunk(Struct, frozen=True):
    """A piece of a streamed text. Headers: `Golek-Attempt`."""

    req_id: str
    delta: str
    seq: int
    """Counted from 0 in each attempt."""


class Accepted(Struct, frozen=True, omit_defaults=True):
    """The request is stored and will be answered. Headers: `Golek-Status: accepted`, `Golek-Job`."""

    req_id: str
    job_id: str
    seq: int
    """Sequence in the model's job stream; that of the first copy when this one was a duplicate."""
    principal: str = ANONYMOUS
    """Who asked, as the fleet knows the caller: the result's key is `<principal>.<job_id>`."""


class Receipt(Struct, frozen=True):
    """The answer on `<kind>.submit.<model>`: the job is stored; its answer goes to `reply_to` and `GOLEK_RESULTS`."""

    req_id: str
    job_id: str
    seq: int
    position: int
    """Place in the model's queue when it was stored; 1 is next, 0 when a job with this key is answered already."""
    principal: str = ANONYMOUS
    """As in `Accepted`."""


class Queued(Struct, frozen=True, omit_defaults=True):
    """A stream waits for its turn. Headers: `Golek-Status: queued`."""

    req_id: str
    status: Literal["queued"]
    position: int
    """Place in the model's queue, 1 is next; it never rises."""
    eta_s: float | None = None
    """Seconds until the first token may come; absent while that is not known."""


class Embedding(Struct, frozen=True):
    """One vector of an embedding reply."""

    embedding: list[float] | str
    """Numbers, or base64 of little-endian float32."""
    index: int
    """Which input it belongs to, from 0."""
    object: Literal["embedding"] = "embedding"

    @property
    def numbers(self) -> list[float]:
        """The vector, whatever it travelled as. Raises ValueError for a text that is no vector."""
        return unpacked(self.embedding) if isinstance(self.embedding, str) else self.embedding


class EmbeddingUsage(Struct, frozen=True):
    """What an embedding request cost."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(Struct, frozen=True):
    """The answer on `embedding.request.<model>`: OpenAI's list, with our label and times beside it."""

    data: list[Embedding]
    model: str
    """Who answered."""
    usage: EmbeddingUsage
    req_id: str = ""
    duration_ms: int = 0
    ms: int = 0
    object: Literal["list"] = "list"

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors as numbers, in the order of the inputs. Raises as `Embedding.numbers` does."""
        return [item.numbers for item in self.data]
