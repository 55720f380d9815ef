"""What do a flow of steps and whoever has them answered say to each other?

Values, and one callable: a mode gets a `Case`, asks steps with `Ask`, and ends in an `Outcome`. What stands around a
step (its prompt, the budget of its model's context, the share of the deadline, retries, the route, what is recorded of
it and told to the caller) is the affair of whoever gives the callable.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct, field

from golek_wire.errors import InferenceServiceError
from golek_wire.orchestration import Method, Mode
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest

GENERATOR: Final = "generator"
CRITIC: Final = "critic"
PARTICIPANT: Final = "participant"
RECONCILER: Final = "reconciler"
SYNTHESIZER: Final = "synthesizer"
COMPRESSOR: Final = "compressor"


class Member(Struct, frozen=True):
    """A model that takes part."""

    model: str
    """As it is asked: a model of the fleet, an alias, or one of a cloud."""
    roles: tuple[str, ...] = ()
    """What it is good for; the first is what it is best at."""
    context_size: int = 0
    """Tokens; 0 where it is not known."""
    follows_schemas: bool = True
    """Whether it can be held to a JSON schema."""


class Cast(Struct, frozen=True):
    """Who takes part, and who does what."""

    mode: Mode
    members: tuple[Member, ...]
    """One that stands here twice answers twice."""
    duties: Mapping[str, Member]
    """Who does what that one alone does: generator, critic, reconciler, synthesizer, compressor."""
    stages: tuple[tuple[str, Member], ...] = ()
    """Of a pipeline, in order: the name of the stage, and who does it."""
    preset: str = ""


class Limits(Struct, frozen=True):
    """When a flow may end."""

    max_rounds: int = 2
    threshold: float = 0.8
    """Of a critique the score, of debate and ensemble the agreement, from which on it is enough."""


class Case(Struct, frozen=True):
    """One request, and how it is to be answered."""

    request: InferenceRequest
    """As it came, with what was said before; `input` is one user turn in `messages` by now."""
    cast: Cast
    limits: Limits = Limits()

    @property
    def may_act(self) -> bool:
        """Whether tools are offered."""
        return bool(self.request.tools) and self.request.tool_choice != "none"


class Material(Struct, frozen=True):
    """What somebody said, for another one to read."""

    title: str
    """As the reader's prompt names it: `Draft`, `Answer of phi-4`."""
    text: str
    model: str = ""


class Step(Struct, frozen=True):
    """One thing that is asked of one model."""

    name: str
    """By which its prompt is found: `answer`, `generate`, `critique`, `revise`, `rebut`, `compare`, `reconcile`,
    `synthesize`, `compress`, or a stage of a pipeline."""
    member: Member
    duty: str
    round: int = 1
    reads: tuple[Material, ...] = ()
    schema: dict[str, Any] | None = None
    """The JSON that it answers with; None for text."""
    is_final: bool = False
    """Its text is the caller's, and is handed out while it is written."""
    acts: bool = False
    """Tools are offered to it."""
    depth: int = 1
    """Steps in a row from this one on to the end of the flow, itself included: the deadline is split by it."""
    total: int = 1
    """Steps of the flow, as far as can be told now."""
    draw: int = 0
    """Which of several that are asked the same of one model: each draws with a seed of its own."""


class Said(Struct, frozen=True):
    """What a step came to."""

    step: Step
    reply: InferenceReply
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.reply.text

    @property
    def acts(self) -> bool:
        """Whether it calls tools that it was offered: then the flow ends, because the caller has to answer first."""
        return self.step.acts and bool(self.reply.tool_calls)

    @property
    def is_usable(self) -> bool:
        """Whether it could be the answer."""
        return bool(self.reply.text.strip()) or self.acts


class Agreement(Struct, frozen=True):
    """How far answers agree."""

    value: float | None
    """0 to 1; None where nobody could find out."""
    method: Method | None = None
    agreed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    flagged: tuple[str, ...] = ()
    votes: tuple[tuple[int, ...], ...] = ()
    """Which answers say the same, by their places, the largest group first; only where they were compared as they
    are."""


class Outcome(Struct, frozen=True):
    """How a flow ended: `said` is the answer."""

    said: Said
    rounds: int = 1
    confidence: float | None = None
    agreement: Agreement | None = None
    flagged: tuple[str, ...] = ()
    """Beside those of the agreement: what the critic still objects to."""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Models without a usable answer: the code of the error, by model."""
    left: int = 0
    """Steps that were still to come."""
    error: InferenceServiceError | None = None
    """Why it is a partial answer; None for a whole one."""


class Ask(Protocol):
    """Has steps answered."""

    async def __call__(self, step: Step) -> Said:
        """What the step comes to. Raises the InferenceServiceError that it ends in, once trying again is of no use."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        """A unit vector for each text; None where no embedding model is there, or it does not answer in time."""
        ...


class ContaminatedError(InferenceServiceError):
    """What a step said shows errors that must not be passed on, and said so again when it was asked afresh."""

    code = "ORCHESTRATION_FAILED"
