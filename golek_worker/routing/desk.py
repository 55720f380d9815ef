"""What does a router ask with?

What who decides, chooses models, stores steps and calls clouds are to those who run its jobs.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from golek_wire.requests import InferenceRequest, Request
from golek_wire.subjects import Kind
from golek_worker.bus.hedging import Hedging
from golek_worker.bus.queues import Forms
from golek_worker.conducting.step_asks import Asks
from golek_worker.conducting.step_bodies import StepBodies
from golek_worker.job import Job
from golek_worker.orchestration.base import Case, Member
from golek_worker.orchestration.context import Context
from golek_worker.providers.base import Provider
from golek_worker.router.chain import Chain
from golek_worker.router.purse import Purse
from golek_worker.router.targets import Ask


class Decides(Protocol):
    """Who may answer (deciding.py)."""

    def ask(self, job: Job, kind: Kind, model: str, request: Request, left_s: float) -> Ask: ...

    def gone(self, model: str) -> str:
        """Why nobody answers for a model of the fleet just now; empty while somebody does."""
        ...

    def deserted(self, model: str) -> str:
        """Why nobody will take what waits for a model of the fleet; empty while somebody may."""
        ...

    def is_expected(self, model: str) -> bool:
        """Whether a model of the fleet that nobody answers for is on its way, or was there a short while ago."""
        ...

    def queue_of(self, model: str) -> Kind | None:
        """The kind under which all jobs of a model of the fleet are queued; None where that is not known."""
        ...

    def capabilities(self) -> list[str]:
        """What the models of the fleet can do together."""
        ...


class Engages(Protocol):
    """Which requests several models answer, and who these are (conducting/engaging.py)."""

    async def case(self, job: Job, model: str, request: InferenceRequest) -> Case | None:
        """How it is answered by several; None where one answers. Raises the error for what cannot be."""
        ...

    def context(self, case: Case, job: Job, asks: Asks) -> Context:
        """What its models read."""
        ...

    def counts(self, model: str) -> bool:
        """Whether a model's tokens can be counted without writing any."""
        ...

    def embedder(self) -> Member | None:
        """Who makes vectors for it; None where nobody does."""
        ...


class Desk(Struct, frozen=True):
    """What a router asks with."""

    model: str
    """The router's own name, for jobs that say nothing of another."""
    decides: Decides
    chain: Chain
    steps: Hedging
    forms: Forms
    clouds: Mapping[str, Provider]
    """By name."""
    purse: Callable[[Job], Purse]
    """Who pays for a job's calls of clouds."""
    engages: Engages
    bodies: StepBodies
    is_open: bool = True
    """Whether jobs of nobody in particular are answered: a laxer router may store such in the stream that all share."""
