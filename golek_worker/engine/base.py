"""What does an engine promise, and what do a worker and its engine's child say to each other?

An engine runs in a child process of its worker. Commands and events cross one socket as frames: four bytes of length
(big-endian), then one msgpack union. The step loop is the child's main thread; an engine is called by it alone.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from golek_wire.errors import InferenceServiceError
from golek_wire.replies import Delta, FinishReason, Reply, TokenLogprob, ToolCall
from golek_wire.requests import InferenceRequest, Params, Resume
from golek_wire.signals import ModelInfo
from golek_wire.subjects import Kind
from golek_worker.engine.names import EngineName
from golek_worker.engine.outside import ServerConfig
from golek_worker.engine.vllm.config import VLLMConfig
from golek_worker.output import Output

FRAME_LIMIT = 256 * 1024 * 1024
"""Bytes; twice the largest body that GOLEK_MAX_BODY allows, because a template adds to what it is given."""
ASIDE = "[info] "
"""A line on the child's stderr that begins like this is for the engine's log file alone, not for a crash report."""
STATUS_LOAD_FAILED = 1
STATUS_BUG = 70
STATUS_ENGINE_DIED = 71
"""How a child ends that does not end well; the last where the runtime behind its engine is gone."""
_LENGTH = struct.Struct(">I")
T = TypeVar("T")


class EngineConfig(Struct, frozen=True):
    """What a child needs to build its engine. First frame of the parent."""

    engine: EngineName
    model_path: str
    """The model's file or folder, as `names.FORMATS` says; empty for an engine without."""
    slots: int
    """Sequences decoded together. More may be submitted: they wait inside, first come, first served."""
    ctx_size: int
    """Tokens of one sequence, prompt and answer together; 0 takes the model's own."""
    threads: int
    """CPU threads of a decode step; 0 lets the engine choose."""
    gpu_layers: int = -1
    """Layers on a GPU where there is one; -1 is all."""
    gpu_devices: list[str] = field(default_factory=list[str])
    """GPUs to use, by name or number; none named is all."""
    main_gpu: int = -1
    """Of those, the one that the whole model is put on; -1 spreads it over all."""
    tensor_split: list[float] = field(default_factory=list[float])
    """Shares of the model, one for each of those; without any by free memory."""
    gpu_required: bool = False
    """Fail where no GPU can be used, instead of taking the CPU."""
    step_min_ms: float = 0.0
    """Stretches each decode step to at least this long."""
    kind: Kind = "inference"
    """`inference` writes text (`Submit`), `embedding` turns texts into vectors (`Embed`), `rerank` ranks documents
    (`Rank`)."""
    cache_tokens: int = 0
    """Of `echo`: tokens of prompts that it keeps, as a model's KV cache would; 0 is none."""
    projector_path: str = ""
    """Of `llamacpp`: GGUF file of the model's eyes (mmproj); empty for a model that reads text alone."""
    vllm: VLLMConfig = VLLMConfig()
    server: ServerConfig = ServerConfig()
    """Of engines that are servers of their own."""
    pixel_range: list[float] = field(default_factory=list[float])
    """Of `litert`: what the darkest and the brightest pixel become; empty where the model says it."""

    @property
    def asks_for_gpu(self) -> str:
        """What the settings say more than holds for every machine, as `KEY=value, …`; empty for nothing."""
        said = {
            "GPU_LAYERS": str(self.gpu_layers) if self.gpu_layers > 0 else "",
            "GPU_DEVICES": ",".join(self.gpu_devices),
            "MAIN_GPU": str(self.main_gpu) if self.main_gpu >= 0 else "",
            "TENSOR_SPLIT": ",".join(f"{share:g}" for share in self.tensor_split),
        }
        return ", ".join(f"{key}={value}" for key, value in said.items() if value)


# -- commands: parent to child ---------------------------------------------------------------------------------


class Constraint(Struct, frozen=True):
    """What the answer must follow, token by token."""

    kind: Literal["gbnf", "lark", "json_schema", "regex"]
    """`gbnf` is llama.cpp's, the others are llguidance's languages."""
    text: str
    param: str = "params.grammar"
    """The request's field that it comes from, for errors."""


class Submit(Struct, frozen=True, tag="submit", omit_defaults=True):
    """Run one sequence."""

    job_id: str
    prompt: str
    """The exact text the model continues, template already applied. Names of control tokens in it are these tokens."""
    params: Params
    seed: int
    stream: bool = False
    """Send `Tokens` while writing; else only `Finished`."""
    output: Output = Output()
    """How tokens become an answer."""
    resume: Resume | None = None
    """The answer begins with this text, which is not streamed again. Deltas, limits, grammar, penalties and stop
    strings go on behind it; `Finished` covers the whole."""
    constraint: Constraint | None = None
    """What the text must follow; `params.grammar`, `regex` and `choice` are not looked at by engines."""
    adapter: str = ""
    """LoRA adapter by the name it was loaded under; empty for none."""
    cuts: list[int] = field(default_factory=list[int])
    """Characters of the prompt before which it is cut before it becomes tokens: names that a caller wrote are cut so,
    and are plain text."""
    least_room: int = 0
    """Without `max_tokens`: tokens that the prompt must leave for the answer, or it is refused."""
    images: list[bytes] = field(default_factory=list[bytes])
    """Image files, one for each mark of the prompt (golek_worker/image_marks.py), in its order."""
    asked: InferenceRequest | None = None
    """The request itself with its images as data, for an engine that makes prompts of its own (`Ready.own_prompts`):
    `prompt` and `images` are empty then."""
    priority: int = 2
    """1 low, 2 normal, 3 high: which of the waiting is admitted first, where the engine orders them."""
    image_fields: list[str] = field(default_factory=list[str])
    """Of the request, one for each of `images`, for errors; empty where there is no request."""


class Embed(Struct, frozen=True, tag="embed"):
    """Turn texts into vectors. Ends with `Embedded`, `Stopped` or `Refused`."""

    job_id: str
    inputs: list[str]


class Rank(Struct, frozen=True, tag="rank"):
    """Score documents by a query. Ends with `Ranked`, `Stopped` or `Refused`."""

    job_id: str
    query: str
    documents: list[str]


class Classify(Struct, frozen=True, tag="classify"):
    """Say what images show. Ends with `Classified`, `Stopped` or `Refused`."""

    job_id: str
    images: list[bytes]
    """Image files."""


class LoadAdapter(Struct, frozen=True, tag="load_adapter"):
    """Load a LoRA adapter; ends with `AdapterChanged`. A loaded one of this name is replaced."""

    name: str
    path: str
    """GGUF file; for vLLM a folder of PEFT's."""
    scale: float = 1.0


class UnloadAdapter(Struct, frozen=True, tag="unload_adapter"):
    """Free a LoRA adapter once no sequence uses it; ends with `AdapterChanged`."""

    name: str


class Cancel(Struct, frozen=True, tag="cancel"):
    """Stop a sequence; it ends with `Stopped`. An unknown one is ignored."""

    job_id: str


class Exit(Struct, frozen=True, tag="exit"):
    """Leave the step loop and end the process with status 0."""


SequenceStart = Submit | Embed | Rank | Classify
"""What a sequence is made of."""
EngineCommand = Submit | Embed | Rank | Classify | LoadAdapter | UnloadAdapter | Cancel | Exit


# -- events: child to parent -----------------------------------------------------------------------------------


class Phase(Struct, frozen=True, tag="phase"):
    """Progress of long work."""

    name: Literal["loading", "prefill"]
    done: int
    total: int


class Ready(Struct, frozen=True, tag="ready"):
    """The engine is loaded and takes sequences."""

    info: ModelInfo
    capabilities: list[str]
    device: str
    """`cpu`, or the GPUs with layers on them, such as `CUDA0 (NVIDIA H100)`."""
    slots: int
    ctx_size: int
    chat_template: str | None = None
    """Jinja source from the model's file; None when it has none."""
    bos_token: str = ""
    eos_token: str = ""
    control_names: list[str] = field(default_factory=list[str])
    """What stands for a control token wherever it is written in a prompt."""
    own_prompts: bool = False
    """The engine makes prompts of requests itself: it is given `Submit.asked`."""
    labels: list[str] = field(default_factory=list[str])
    """Of a classifier: what its scores are of, in their order."""
    offloaded_layers: int = 0
    """Layers on a GPU."""
    layers: int = 0
    device_problem: str = ""
    """Why no GPU is used though one was expected; empty when nobody wonders."""

    @property
    def placement(self) -> str:
        """Where the layers lie, for people; empty for an engine without any."""
        if not self.layers:
            return ""
        if self.offloaded_layers:
            return f"{self.offloaded_layers}/{self.layers} layers on {self.device}"
        return f"{self.layers} layers on the CPU"


class Gauges(Struct, frozen=True):
    """What an engine measures of itself since it was loaded; counters only grow."""

    running: int = 0
    """Sequences that have a slot."""
    waiting: int = 0
    """Sequences that have none yet."""
    kv_cells: int = 0
    """Cells of the KV cache that running sequences hold, each one token."""
    kv_capacity: int = 0
    kv_kept: int = 0
    """Cells kept of ended sequences, for prompts that begin alike; freed when needed."""
    prompt_tokens: int = 0
    """Of all prompts read to their end."""
    prefix_tokens: int = 0
    """Of these: found in the cache."""
    prefix_hits: int = 0
    """Sequences that found a part of their prompt."""
    tokens_out: int = 0
    decode_steps: int = 0
    batch_rows: int = 0
    """Rows of all decode steps: divided by steps and slots it is the occupancy."""
    busy_s: float = 0.0
    """Seconds with at least one running sequence."""
    decode_s: float = 0.0
    """Of these: in llama_decode and waiting for its result."""


class Step(Struct, frozen=True, tag="step"):
    """The loop turns: sent at most 1 s apart, idle or not. Its absence is a stall."""

    n: int
    running: int
    longest_ms: float = 0.0
    """Longest decode step since the last `Step`."""
    paused: int = 0
    """How often, in its life, the loop waited because the parent read too slowly."""
    gauges: Gauges | None = None
    """Where the engine measures itself."""


class Tokens(Struct, frozen=True, tag="tokens"):
    """New text of streaming sequences, one frame per decode step; steps of microseconds share one."""

    n: int
    """The latest decode step."""
    deltas: list[tuple[str, str | Delta]]
    """(job_id, text) with text not empty: only whole UTF-8 characters, never part of a stop string. A `Delta` where
    there is more than text."""


class Finished(Struct, frozen=True, tag="finished", omit_defaults=True):
    """A sequence ended by itself."""

    job_id: str
    text: str
    """The whole text: equal to the deltas joined."""
    finish_reason: FinishReason
    tokens_in: int
    tokens_out: int
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    tokens_cached: int = 0
    """Of `tokens_in`: found in the KV cache."""
    waited_ms: float = 0.0
    """From `Submit` to a slot."""
    prefill_ms: float = 0.0
    """From the slot to the first token."""
    decode_ms: float = 0.0
    """From the first token to the last."""
    logprob_sum: float = 0.0
    """Of the tokens written, where `logprobs` or `best_of` were asked for."""
    stopped_by: str | None = None
    """The stop string that ended the text."""


class Embedded(Struct, frozen=True, tag="embedded"):
    """The vectors of an `Embed`, in the order of its inputs."""

    job_id: str
    vectors: list[list[float]]
    """Unit vectors, all of the same width; numbers rounded to 8 decimals."""
    tokens_in: int
    tokens: list[int] = field(default_factory=list[int])
    """Of them: those of each input; empty where the engine does not count them apart."""


class Ranked(Struct, frozen=True, tag="ranked"):
    """The scores of a `Rank`, in the order of its documents."""

    job_id: str
    scores: list[float]
    """As the model gives them: the higher, the better the document."""
    tokens_in: int


class Classified(Struct, frozen=True, tag="classified"):
    """The scores of a `Classify`: for each image one for each of `Ready.labels`."""

    job_id: str
    scores: list[list[float]]
    """Probabilities, or what the model gives for them."""


class Stopped(Struct, frozen=True, omit_defaults=True, tag="stopped"):
    """A sequence ended by `Cancel`."""

    job_id: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None = None
    """What clouds took for it until then, where others wrote it. Made in the worker."""


class Refused(Struct, frozen=True, tag="refused", omit_defaults=True):
    """A sequence that cannot run: the request's fault. `code` is one of golek_wire.errors."""

    job_id: str
    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    tokens_in: int = 0
    """Read and written for an answer of others that broke off. Made in the worker."""
    tokens_out: int = 0


class AdapterChanged(Struct, frozen=True, tag="adapter_changed"):
    """A LoRA adapter was loaded or unloaded, or could not be."""

    name: str
    loaded: list[str]
    """All adapters that are loaded now."""
    problem: str | None = None
    """Why it could not be; None when it was."""


class LoadFailed(Struct, frozen=True, tag="load_failed"):
    """The engine could not be built; the child exits."""

    message: str


EngineEvent = (
    Phase | Ready | Step | Tokens | Finished | Embedded | Ranked | Classified | Stopped | Refused | AdapterChanged
    | LoadFailed
)  # fmt: skip

Piece = str | Delta
"""New text of a sequence, or more than text."""
Computed = Finished | Embedded | Ranked | Classified
"""What a sequence gave that ended by itself."""


class Replied(Struct, frozen=True):
    """The answer of somebody else, ready to be passed on. Made in the worker: no child sends it."""

    reply: Reply


Made = Computed | Replied
"""What a run gave that ended by itself."""
SequenceEnd = Computed | Stopped | Refused


class Engine(Protocol):
    """A runtime that decodes several sequences together.

    All calls come from one thread. `step` does a bounded amount of work (one decode over all running sequences, or one
    prefill chunk beside it), so that commands are read between two steps.
    """

    ready: Ready

    @property
    def running(self) -> int:
        """Sequences admitted and not ended."""
        ...

    def submit(self, command: SequenceStart) -> Finished | None:
        """Admit a sequence; or its end at once, when a resumed text leaves nothing to write.

        It waits inside while all slots are taken. Raises InferenceServiceError when the request cannot run (bad
        grammar, prompt too long, a text to resume that cannot be gone on from, not of this engine's kind, …).
        """
        ...

    def cancel(self, job_id: str) -> Stopped | None:
        """End a sequence now: no further step computes it. None when it is not running."""
        ...

    def step(self) -> Iterator[tuple[str, Piece] | SequenceEnd]:
        """Advance every running sequence; yield (job_id, piece) for what streaming ones wrote, and the ends."""
        ...

    def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or free a LoRA adapter beside what runs; how that went. One in use is not freed."""
        ...

    def gauges(self) -> Gauges | None:
        """What it measures of itself; None when nothing."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class EngineFactory(Protocol):
    """Builds an engine. Raises EngineLoadError.

    `progress(done, total)` is called while it loads, and later within any step that may take longer than a second.
    """

    def __call__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> Engine: ...


class EngineLoadError(Exception):
    """The engine cannot be built; the message says why and what to do."""


def refusal(job_id: str, error: InferenceServiceError) -> Refused:
    """`error` as the event that ends the sequence."""
    return Refused(job_id, error.code, error.message, error.details)


# -- frames ----------------------------------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder().encode


def frame(message: EngineConfig | EngineCommand | EngineEvent) -> bytes:
    """`message` as one frame."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader(Generic[T]):
    """Cuts a byte stream into messages of one union; keeps the incomplete rest."""

    def __init__(self, kind: Any) -> None:
        self._decode: Callable[[bytes | memoryview], T] = msgspec.msgpack.Decoder(kind).decode
        self._rest = bytearray()
        self._wanted = 0
        """Bytes until the first message in the rest is complete: a large one comes in hundreds of pieces."""

    def feed(self, data: bytes) -> list[T]:
        """The messages that `data` completes. Raises ValueError on a frame over FRAME_LIMIT."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        messages = []
        view = memoryview(data)
        start, end = 0, len(data)
        self._wanted = 0
        while end - start >= 4:
            (length,) = _LENGTH.unpack_from(view, start)
            if length > FRAME_LIMIT:
                raise ValueError(f"a frame of {length} bytes; at most {FRAME_LIMIT}")
            if end - start - 4 < length:
                self._wanted = 4 + length
                break
            start += 4 + length
            messages.append(self._decode(view[start - length : start]))
        self._rest += view[start:]
        return messages
