"""What may a client ask?

`req_id`, `input`, `params` and `raw` are all a simple client needs; the rest is optional. Unknown fields are tolerated,
wrong types and values out of range are refused by `codec.decode_request`, which names the field.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from golek_wire.orchestration import Mode, OrchestrationWish
from golek_wire.routing import CacheWish, RouteWish

REQ_ID_LIMIT = 128
STOP_LIMIT = 16
CHOICES_LIMIT = 16
"""Texts of one request."""
TOP_LOGPROBS_LIMIT = 20
BIASES_LIMIT = 1024
INPUTS_LIMIT = 2048
"""Texts of one embedding request, as in OpenAI's API."""
DOCUMENTS_LIMIT = 2048
"""Documents of one rerank request."""
IMAGES_LIMIT = 64
"""Images of one vision request; a deployment may allow fewer."""
LABELS_LIMIT = 64
"""Labels of one vision request."""
TEXT_LIMIT = 4096
USER_LIMIT = 256
METADATA_LIMIT = 16 * 1024
"""Bytes of a resumable stream's metadata."""

Text = Annotated[str, Meta(max_length=TEXT_LIMIT)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 2)]
StopString = Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)]
EncodingFormat = Literal["float", "base64"]
Priority = Annotated[int, Meta(ge=1, le=3)]
TaskType = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
User = Annotated[str, Meta(max_length=USER_LIMIT)]
SessionId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
"""Printable ASCII without blanks."""


class Params(Struct, frozen=True, omit_defaults=True):
    """How the text is sampled. Absent values take the model's defaults."""

    max_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Most tokens to write; without it, until the model stops or its context is full. With 0 the prompt is only
    counted, in `tokens_in`, which takes no slot and no time of the model."""
    temperature: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.8
    """0 picks the likeliest token (greedy)."""
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 40
    """Sample among the k likeliest tokens; 0 is all."""
    top_p: Probability = 0.95
    """Sample among the likeliest tokens that together reach this probability; 1 is all."""
    min_p: Probability = 0.05
    """Drop tokens below this share of the likeliest one's probability; 0 is off."""
    typical_p: Probability = 1.0
    """Sample among the tokens whose surprise is nearest to the expected one, up to this probability; 1 is off."""
    top_n_sigma: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.0
    """Sample among tokens within so many standard deviations of the largest logit; 0 is off."""
    xtc_probability: Probability = 0.0
    """How often all tokens above `xtc_threshold` but the least likely of them are dropped; 0 is never."""
    xtc_threshold: Probability = 0.1
    repeat_penalty: Annotated[float, Meta(ge=0.001, le=10.0)] = 1.0
    """Divide the logits of recent tokens by this; 1 is off. Far below 0.001 they leave the range of 32-bit numbers."""
    frequency_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    presence_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    repeat_last_n: Annotated[int, Meta(ge=-1, le=1_000_000)] = 64
    """Tokens the three penalties look back at, the prompt's included; 0 is none, -1 the whole context."""
    dry_multiplier: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.0
    """Strength of the DRY penalty on repeating long runs of tokens; 0 is off."""
    dry_base: Annotated[float, Meta(ge=1.0, le=10.0)] = 1.75
    dry_allowed_length: Annotated[int, Meta(ge=0, le=1_000_000)] = 2
    """Runs up to this length are free."""
    dry_penalty_last_n: Annotated[int, Meta(ge=-1, le=1_000_000)] = -1
    """Tokens that DRY looks back at; -1 is the whole context."""
    dry_sequence_breakers: Annotated[list[Text], Meta(max_length=STOP_LIMIT)] | None = None
    """No run of tokens goes across one of these; without it a line's end, a colon, a double quote and a star."""
    mirostat: Annotated[int, Meta(ge=0, le=2)] = 0
    """1 or 2 keeps the text's surprise at `mirostat_tau` by Mirostat's algorithm of that version, which then takes the
    place of top_k, top_p, min_p, typical_p, top_n_sigma and XTC; 0 is off."""
    mirostat_tau: Annotated[float, Meta(ge=0.0, le=100.0)] = 5.0
    mirostat_eta: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    logit_bias: Annotated[dict[str, float], Meta(max_length=BIASES_LIMIT)] = field(default_factory=dict)
    """-100 to 100, added to a token's logit, by the token's number; -100 forbids it, as OpenAI's API says."""
    seed: Seed | None = None
    """Same seed, same draws. The job gets a random one without it."""
    stop: StopString | Annotated[list[StopString], Meta(max_length=STOP_LIMIT)] = field(default_factory=list)
    """Strings that end the text; they are not part of it."""
    stop_token_ids: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=STOP_LIMIT)] = field(
        default_factory=list
    )
    """Tokens that end the text; they are not part of it."""
    n: Annotated[int, Meta(ge=1, le=CHOICES_LIMIT)] = 1
    """How many texts; each draws with a seed of its own, made from the request's."""
    best_of: Annotated[int, Meta(ge=1, le=CHOICES_LIMIT)] | None = None
    """Write so many texts and give the `n` with the highest mean log-probability of their tokens."""
    logprobs: bool = False
    """Tell the log-probability of each token written."""
    top_logprobs: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_LIMIT)] = 0
    """With `logprobs`: also those of so many likeliest tokens at each place."""
    grammar: Annotated[str, Meta(max_length=256 * 1024)] | None = None
    """GBNF that the answer must follow, or the name of a stored grammar."""
    regex: Annotated[str, Meta(min_length=1, max_length=16 * 1024)] | None = None
    """Regular expression that the whole answer must match."""
    choice: Annotated[list[Text], Meta(min_length=1, max_length=1024)] | None = None
    """The answer is one of these."""
    ignore_eos: bool = False
    """Write until `max_tokens`, past the model's own end."""

    @property
    def stops(self) -> list[str]:
        """`stop` as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop


Role = Literal["system", "developer", "user", "assistant", "tool"]


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation, as in OpenAI's chat API."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    """What the assistant thought before it said this; formats that know thinking show it while a tool call is open."""
    parts: list[dict[str, Any]] | None = None
    """The content in OpenAI's parts, where one of them is no text, such as an image; `content` has their texts. Only
    targets with the capability `vision` read them."""


class JsonSchema(Struct, frozen=True, omit_defaults=True):
    """A JSON schema as OpenAI's API wraps it."""

    schema: dict[str, Any]
    name: str = ""
    description: str = ""
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, omit_defaults=True):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None
    """With the type `json_schema`: what the answer must be an instance of."""


class Resume(Struct, frozen=True, omit_defaults=True):
    """An answer that was cut off, to go on from."""

    text: Annotated[str, Meta(min_length=1)]
    """What the caller has of it. The model reads it after the prompt, and a grammar must allow it."""
    tokens_out: Annotated[int, Meta(ge=0)] = 0
    """How many tokens that was; 0 lets the engine count. They count against `max_tokens`, and in the reply."""
    job_id: str = ""
    """The job that was cut off: should it have added its turn to the session all the same, this one takes its place."""


class InferenceRequest(Struct, frozen=True, omit_defaults=True):
    """The payload of `inference.request.<model>`: `input` or `messages`, and how to answer."""

    req_id: str = ""
    """The caller's label, at most 128 printable characters; repeated in every reply, never a key."""
    input: str | None = None
    """A prompt: one user turn, or with `raw` the exact text the model continues."""
    messages: list[Message] | None = None
    """A conversation, instead of `input`."""
    params: Params = field(default_factory=Params)
    raw: bool = False
    """Pass `input` to the model without any template."""
    stream: bool = False
    """Send the text in chunks while it is written."""
    tools: list[dict[str, Any]] | None = None
    """Tools the model may call, in OpenAI's form; offered through the chat template."""
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    """Whether it may, must not or must call one; or `{"type": "function", "function": {"name": …}}`, that one."""
    parallel_tool_calls: bool | None = None
    """False for one call at most."""
    response_format: ResponseFormat | None = None
    """JSON, or JSON by a schema."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """How long a model that thinks may think; `none` is not at all, where its template can say so."""
    adapter: Annotated[str, Meta(max_length=128)] | None = None
    """Name of a LoRA adapter that this worker has loaded."""
    seed: Seed | None = None
    """The same as `params.seed`; this one wins."""
    deadline_ms: Annotated[int, Meta(ge=1, le=24 * 3600 * 1000)] | None = None
    """Milliseconds from acceptance until the answer is of no use."""
    priority: Priority | None = None
    """1 low, 2 normal, 3 high; used by a fleet that queues by priority."""
    reply_to: str | None = None
    """The answer is published to this subject as well."""
    resume: Resume | None = None
    """Go on where an answer was cut off: only what follows is streamed; the reply's `text` is the whole."""
    session_id: SessionId | None = None
    """A conversation that the fleet keeps for this caller: its turns come before this one, and the answer is added."""
    resumable: bool = False
    """With `stream`: keep the chunks for some minutes, to be read again, from anywhere, by the job's id."""
    metadata: dict[str, Any] | None = None
    task_type: TaskType | None = None
    """What kind of work it is: a router picks the model by it."""
    user: User | None = None
    """For whom the caller asks: such an answer is kept in no cache."""
    cache: CacheWish | None = None
    route: RouteWish | None = None
    extra: dict[str, Any] | None = None
    """Fields for a provider, passed on to a cloud as they are; no worker of the fleet reads them."""
    orchestration_mode: Mode | None = None
    """How several models answer together; a router has them do so."""
    orchestration: OrchestrationWish | None = None


class EmbeddingRequest(Struct, frozen=True, omit_defaults=True):
    """The payload of `embedding.request.<model>`, with the field names of OpenAI's embeddings API."""

    input: str | Annotated[list[str], Meta(min_length=1, max_length=INPUTS_LIMIT)]
    """One text, or several; each gets one vector."""
    req_id: str = ""
    """As in `InferenceRequest`."""
    model: str | None = None
    """Tolerated: the subject says who answers, the reply who did."""
    encoding_format: EncodingFormat = "float"
    """Vectors as lists of numbers, or as base64 of little-endian float32."""
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    """Keep only the first so many numbers of each vector and make it a unit vector again (Matryoshka)."""
    deadline_ms: Annotated[int, Meta(ge=1, le=24 * 3600 * 1000)] | None = None
    priority: Priority | None = None
    reply_to: str | None = None
    """The answer is published to this subject as well."""
    resume: Any = None
    """Refused: vectors are not written piece by piece."""
    metadata: dict[str, Any] | None = None
    user: User | None = None
    cache: CacheWish | None = None
    route: RouteWish | None = None

    @property
    def inputs(self) -> list[str]:
        """`input` as a list."""
        return [self.input] if isinstance(self.input, str) else self.input


class Document(Struct, frozen=True):
    """A document in the form that some clients send."""

    text: str


class RerankRequest(Struct, frozen=True, omit_defaults=True):
    """The payload of `rerank.request.<model>`, with the field names of Jina's and Cohere's rerank APIs."""

    query: str
    documents: Annotated[list[str | Document], Meta(min_length=1, max_length=DOCUMENTS_LIMIT)]
    """What is ranked; each is read together with the query."""
    top_n: Annotated[int, Meta(ge=1)] | None = None
    """Only so many results, the best ones."""
    return_documents: bool = False
    """Each result also has its document."""
    req_id: str = ""
    """As in `InferenceRequest`."""
    model: str | None = None
    """Tolerated: the subject says who answers, the reply who did."""
    deadline_ms: Annotated[int, Meta(ge=1, le=24 * 3600 * 1000)] | None = None
    priority: Priority | None = None
    reply_to: str | None = None
    """The answer is published to this subject as well."""
    resume: Any = None
    """Refused: scores are not written piece by piece."""
    metadata: dict[str, Any] | None = None
    route: RouteWish | None = None

    @property
    def texts(self) -> list[str]:
        """The documents as texts."""
        return [item if isinstance(item, str) else item.text for item in self.documents]


Label = Annotated[str, Meta(min_length=1, max_length=256)]
ImageSource = str | dict[str, Any]
"""Where an image is: `https://…`, `nats-object://<bucket>/<name>`, `data:image/png;base64,…`, base64 alone, or a part
as in a chat."""


class VisionRequest(Struct, frozen=True, omit_defaults=True):
    """The payload of `vision.request.<model>`: what do these images show?"""

    image: ImageSource | None = None
    """One image; or `images`."""
    images: Annotated[list[ImageSource], Meta(min_length=1, max_length=IMAGES_LIMIT)] | None = None
    """Several; each gets one result."""
    labels: Annotated[list[Label], Meta(min_length=1, max_length=LABELS_LIMIT)] | None = None
    """What may be said of an image. A classifier has labels of its own, and without this all of them count; a language
    model that sees says in its own words what it sees."""
    prompt: Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT)] | None = None
    """What a language model is asked of each image, instead of the usual question. Classifiers read none."""
    top_k: Annotated[int, Meta(ge=1)] | None = None
    """Only so many scores of each image, the best ones."""
    req_id: str = ""
    """As in `InferenceRequest`."""
    model: str | None = None
    """Tolerated: the subject says who answers, the reply who did."""
    deadline_ms: Annotated[int, Meta(ge=1, le=24 * 3600 * 1000)] | None = None
    priority: Priority | None = None
    reply_to: str | None = None
    """The answer is published to this subject as well."""
    resume: Any = None
    """Refused: results are not written piece by piece."""
    metadata: dict[str, Any] | None = None
    route: RouteWish | None = None

    @property
    def sources(self) -> list[ImageSource]:
        """The images, whether there is one or several."""
        return self.images if self.images is not None else [] if self.image is None else [self.image]


Request = InferenceRequest | EmbeddingRequest | RerankRequest | VisionRequest
