"""What comes back?

One `InferenceReply`, or one `errors.ErrorReply`. With `stream`: `Chunk`s, then the `InferenceReply` with header
`Golek-Final: 1`, then one empty message without headers. `Accepted` is sent early, to those who ask for it.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from golek_wire.keys import Unit
from golek_wire.orchestration import InferenceMetadata, Orchestration
from golek_wire.requests import Document
from golek_wire.routing import CacheUse, Route
from golek_wire.subjects import ANONYMOUS, Kind
from golek_wire.vectors import unpacked
from golek_wire.vision import VisionReply

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "partial"]
"""`stop`: the model or a stop string ended the text. `length`: `max_tokens` or the context did. `tool_calls`: the model
ended, and asks for the results of tools. `content_filter`: a cloud held back the rest. `partial`: models that answer
together did not come to their end, and this is the last usable text."""


class FunctionCall(Struct, frozen=True):
    """What a model asks of a tool."""

    name: str
    arguments: str
    """JSON as the model wrote it."""


class ToolCall(Struct, frozen=True):
    """A call of a tool, in OpenAI's form."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ToolCallDelta(Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call: the first one of each `index` has id and name, the others more of the arguments."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class TopLogprob(Struct, frozen=True, omit_defaults=True):
    """A token that might have been written."""

    token: str
    logprob: float
    bytes: list[int]
    id: int | None = None
    """Its number in the model's vocabulary, as `logit_bias` and `stop_token_ids` take it."""


class TokenLogprob(Struct, frozen=True, omit_defaults=True):
    """A token that was written, in OpenAI's form, with its number."""

    token: str
    logprob: float
    """Natural logarithm of its probability before sampling: of the softmax of the model's own logits."""
    bytes: list[int]
    """Its UTF-8 bytes, which may be a part of a character."""
    top_logprobs: list[TopLogprob]
    """The likeliest tokens at this place, likeliest first."""
    id: int | None = None
    """As in `TopLogprob`."""


class Choice(Struct, frozen=True, omit_defaults=True):
    """One of several texts of a request."""

    index: int
    text: str
    finish_reason: FinishReason
    tokens_out: int
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None


class Delta(Struct, frozen=True, omit_defaults=True):
    """A piece of an answer that is more than text: thoughts, calls of tools, log-probabilities, another choice."""

    text: str = ""
    reasoning_content: str = ""
    tool_calls: list[ToolCallDelta] | None = None
    logprobs: list[TokenLogprob] | None = None
    index: int = 0
    """Of the choice."""


class SessionUse(Struct, frozen=True, omit_defaults=True):
    """What a request with a `session_id` had of its conversation."""

    turns: int
    """Turns before this one that the model read."""
    left_out: int = 0
    """Older ones that it did not read: they did not fit into its context, or are kept no more."""
    stored: bool = True
    """False where this turn could not be added: the next request will not know of it."""


class InferenceReply(Struct, frozen=True, omit_defaults=True):
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
    reasoning_content: str | None = None
    """What the model thought before it answered; None when it did not, or its format does not tell."""
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    """Of the tokens written, where they were asked for."""
    choices: list[Choice] | None = None
    """All texts where several were asked for; the first one's parts also stand above, the figures are of all."""
    tokens_cached: int = 0
    """Of `tokens_in`: found in the KV cache, not computed."""
    ttft_ms: int = 0
    """From the lease of the job to its first token."""
    session: SessionUse | None = None
    """Of a request with a `session_id`."""
    stopped_by: str | None = None
    """Which of the request's stop strings ended the text; None where none did, and of several texts."""
    route: Route | None = None
    """Of a request that a router answered."""
    cost_usd: float | None = None
    """What clouds take for it; None where nothing has a price."""
    cache: CacheUse | None = None
    """Where somebody asked for a cache."""
    orchestration: Orchestration | None = None
    """Of a request that several models answered together, as is the next."""
    inference_metadata: InferenceMetadata | None = None

    @property
    def all_choices(self) -> list[Choice]:
        """All texts; of a reply that tells no choices, its own."""
        return self.choices or [
            Choice(
                0, self.text, self.finish_reason, self.tokens_out,
                self.reasoning_content, self.tool_calls, self.logprobs,
            )
        ]  # fmt: skip


class Chunk(Struct, frozen=True, omit_defaults=True):
    """A piece of a streamed answer. Headers: `Golek-Attempt`."""

    req_id: str
    delta: str
    seq: int
    """Counted from 0 in each attempt."""
    reasoning_content: str = ""
    """A piece of what the model thinks, not of its text."""
    tool_calls: list[ToolCallDelta] | None = None
    logprobs: list[TokenLogprob] | None = None
    index: int = 0
    """Of the choice, where several were asked for."""


class Allowance(Struct, frozen=True, omit_defaults=True):
    """What a key may spend of one thing, as it is once this request is counted."""

    limit: int
    remaining: int
    reset_s: float
    """Seconds until all of it is there again."""


class Allowances(Struct, frozen=True, omit_defaults=True):
    """The limits of the caller's key; absent ones do not limit it."""

    requests: Allowance | None = None
    """In a minute."""
    tokens: Allowance | None = None
    """In a minute."""
    budget: Allowance | None = None
    """In the budget's own window."""
    budget_unit: Unit = "tokens"
    """What the budget counts; of `usd` limit and remaining are millionths of a dollar."""


class Accepted(Struct, frozen=True, omit_defaults=True):
    """The request is stored and will be answered. Headers: `Golek-Status: accepted`, `Golek-Job`."""

    req_id: str
    job_id: str
    seq: int
    """Sequence in the model's job stream; that of the first copy when this one was a duplicate."""
    principal: str = ANONYMOUS
    """Who asked, as the fleet knows the caller: the result's key is `<principal>.<job_id>`."""
    allowances: Allowances | None = None
    """Where the caller's key has limits."""


class Receipt(Struct, frozen=True):
    """The answer on `<kind>.submit.<model>`: the job is stored; its answer goes to `reply_to` and `GOLEK_RESULTS`."""

    req_id: str
    job_id: str
    seq: int
    position: int
    """Place in the model's queue when it was stored; 1 is next, 0 when a job with this key is answered already."""
    principal: str = ANONYMOUS
    """As in `Accepted`."""


class Opened(Struct, frozen=True, omit_defaults=True):
    """The first message in the log of a resumable stream, before its chunks. Headers: `Golek-Status: opened`."""

    job_id: str
    model: str
    created: int
    """When the request was taken, in epoch seconds."""
    deadline_ms: int
    """The job's time from then on."""
    kind: Kind = "inference"
    principal: str = ANONYMOUS
    """Who asked, and alone may read it again."""
    metadata: dict[str, Any] | None = None
    """The request's own."""


class Started(Struct, frozen=True):
    """A step of a router runs. Headers: `Golek-Status: started`, `Golek-Worker`."""

    req_id: str
    job_id: str
    status: Literal["started"] = "started"


class Queued(Struct, frozen=True, omit_defaults=True):
    """A stream waits for its turn. Headers: `Golek-Status: queued`."""

    req_id: str
    status: Literal["queued"]
    position: int
    """Place in the model's queue, 1 is next; it never rises."""
    eta_s: float | None = None
    """Seconds until the first token may come; absent while that is not known."""
    loading: float | None = None
    """The share of the model's load that is done, 0 to 1; absent unless the replica that took the request loads it."""


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
    """What a request for vectors or scores cost."""

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
    route: Route | UnsetType = UNSET
    """As in `InferenceReply`, as are the next two."""
    cost_usd: float | UnsetType = UNSET
    cache: CacheUse | UnsetType = UNSET

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors as numbers, in the order of the inputs. Raises as `Embedding.numbers` does."""
        return [item.numbers for item in self.data]


class Ranking(Struct, frozen=True, omit_defaults=True):
    """One document of a rerank reply."""

    index: int
    """Its place among the documents of the request, from 0."""
    relevance_score: float
    """As the model's classifier gives it, the higher the better: of most models a logit, of some a probability."""
    document: Document | None = None
    """Where `return_documents` asked for it."""


class RerankReply(Struct, frozen=True):
    """The answer on `rerank.request.<model>`."""

    results: list[Ranking]
    """The best document first; of equal ones the one that was named first."""
    model: str
    """Who answered."""
    usage: EmbeddingUsage
    req_id: str = ""
    duration_ms: int = 0
    ms: int = 0
    object: Literal["list"] = "list"
    route: Route | UnsetType = UNSET
    """As in `InferenceReply`, as is the next."""
    cost_usd: float | UnsetType = UNSET


Reply = InferenceReply | EmbeddingReply | RerankReply | VisionReply
"""The final message of a job that succeeded."""
