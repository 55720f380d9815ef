"""How do several models answer one request together, and what is its caller told of it?

A *mode* is a flow of *steps*, each asked of one model. What a model does in a flow is its *duty*. A *preset* names
models, a mode and duties; it is asked like a model.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

MODELS_LIMIT: Final = 16
STAGES_LIMIT: Final = 16
ROUNDS_LIMIT: Final = 8

Mode = Literal["single", "critique", "debate", "ensemble", "pipeline"]
"""`single`: one model. `critique`: one writes, another one judges, the first revises. `debate`: all write at once, read
each other, and one reconciles. `ensemble`: all write at once, and what most say is the answer. `pipeline`: one stage
after the other."""
Method = Literal["exact", "embedding", "claims"]
"""How it was found out how far answers agree. `exact`: they are short or structured, and compared as they are.
`embedding`: by the cosine of their sentences' vectors. `claims`: a model compared what they claim."""
Progress = Literal["off", "steps", "texts"]
"""What a stream is told of the steps before the last one: nothing, that they begin and end, or what they said too."""
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class OrchestrationWish(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a request says of how models answer together; what it leaves open is as preset and settings have it. A
    mistyped field is an error.
    """

    models: Annotated[list[Name], Meta(min_length=1, max_length=MODELS_LIMIT)] | None = None
    """Who takes part. One that is named twice answers twice, with other draws."""
    duties: dict[str, Name] | None = None
    """Which of these does what: `generator`, `critic`, `reconciler`, `synthesizer`, or a stage of a pipeline."""
    stages: Annotated[list[Name], Meta(min_length=1, max_length=STAGES_LIMIT)] | None = None
    """Of a pipeline, in order."""
    max_rounds: Annotated[int, Meta(ge=1, le=ROUNDS_LIMIT)] | None = None
    """Of a critique or a debate."""
    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    """Of a critique: the score from which on an answer is taken as it is. Of debate and ensemble: the agreement."""
    progress: Progress = "off"

    @property
    def says_how(self) -> bool:
        """Whether it says more than what is to be told: who only listens may listen to one model, too."""
        return self != OrchestrationWish(progress=self.progress)


class Preset(Struct, frozen=True, omit_defaults=True):
    """Models, and how they answer together; asked like a model, by its id."""

    id: str
    models: tuple[str, ...]
    """By the names that a router serves. One that stands here twice answers twice."""
    mode: Mode | None = None
    """None leaves it to the settings."""
    duties: dict[str, str] = field(default_factory=dict[str, str])
    """Who does what one alone does; what is not said goes by roles."""
    stages: tuple[tuple[str, str], ...] = ()
    """Of a pipeline, in order: the stage, and its model; that is empty where roles say who does it."""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What models are good for here, where it is something else than otherwise."""
    stated_gb: float | None = None
    """The size that its documents print."""
    hardware: str = ""
    """And their word on machines."""
    about: str = ""
    origin: str = ""
    """The file that says all this."""


class StepRecord(Struct, frozen=True, omit_defaults=True):
    """One step that was asked, as it ended."""

    name: str
    """What it was for, such as `generate`, `critique`, `draft`."""
    model: str
    """Who was asked."""
    duty: str
    round: int = 1
    outcome: str = "answered"
    """`answered`, `quarantined` where its text was not passed on, or the code of its error."""
    target: str = ""
    """Who answered: `local:<model>` or `<provider>:<model>`."""
    worker: str = ""
    """The replica."""
    tokens_in: int = 0
    tokens_out: int = 0
    began_ms: float = 0.0
    """Since the request was taken."""
    ms: float = 0.0
    cost_usd: float | None = None
    tries: int = 1
    compressed: bool = False
    """What it read was made shorter by a model, to fit."""
    warnings: list[str] = field(default_factory=list)
    """What its text shows of errors."""
    reason: str = ""
    """Of one that did not answer: why."""


class Orchestration(Struct, frozen=True, omit_defaults=True):
    """How an answer of several models came about. Part of its metadata, and of an error's details."""

    mode: Mode
    models_used: list[str]
    """Those that answered a step, in the order of their first one."""
    rounds: int
    """Of critique and revision, or of debate; of other modes 1."""
    confidence: float | None
    """Of a critique: the critic's score of the answer that is given. Of debate and ensemble: by `exact` the share of
    the last answers that say the same as the one that is given, else the agreement. None where nobody measured it."""
    completed_steps: int
    total_steps: int
    """Those completed, and those that were still to come when it ended."""
    partial: bool = False
    """The answer is the last usable one of a flow that did not come to its end; `error` says why."""
    error: str | None = None
    agreement: float | None = None
    """0 to 1: how far the answers agree, by `method`."""
    method: Method | None = None
    agreed: list[str] = field(default_factory=list[str])
    """Points on which most agree."""
    conflicts: list[str] = field(default_factory=list[str])
    """Points on which they contradict each other."""
    flagged: list[str] = field(default_factory=list[str])
    """Points that one alone made, or that the critic still objects to; and that the agreement is too small."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Models of which a step failed for good and that were not answered later: the code of the last error, by model."""
    steps: list[StepRecord] = field(default_factory=list[StepRecord])
    """All that were asked, in the order in which they began."""


class InferenceMetadata(Struct, frozen=True):
    """The same for programs that collect figures."""

    config: str
    """The preset; empty without one."""
    orchestration_mode: Mode
    models_used: list[str]
    handoff_steps: int
    """Times that one model's text was passed on to another."""
    compression_applied: bool
    context_utilization: float
    """0 to 1: tokens read and written by the step that filled its model's context most, of that context."""


class StepEvent(Struct, frozen=True, omit_defaults=True):
    """A step of an orchestrated stream began or ended, for who asked for `progress`. Headers: `Golek-Status: step`."""

    req_id: str
    name: str
    model: str
    duty: str
    round: int
    number: int
    """Of the step, from 1, in the order in which they begin."""
    total: int
    """Steps that are expected as things stand."""
    state: Literal["began", "ended"]
    outcome: str = ""
    """As in `StepRecord`, of one that ended."""
    ms: float = 0.0
    text: str = ""
    """What it said, with progress `texts`."""
    status: Literal["step"] = field(default_factory=lambda: "step")  # a factory's value is written always
