"""How does a router decide, by what it knows of the fleet just now?

What it knows is gathered by a watch of the fleet; the decision itself is pure. Whoever places requests asks what a
name means, whoever runs them asks for a decision.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

from golek_client import discovery
from golek_client.fleet import FleetView, ModelState
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError, NoWorkersError
from golek_wire.requests import InferenceRequest, Request
from golek_wire.routing import AUTO, LOCAL, Candidate, Decision, Offer
from golek_wire.signals import ModelRecord
from golek_wire.subjects import Kind
from golek_worker.job import Job
from golek_worker.router.targets import Ask

Sort = Literal["virtual", "model"]
_PREFIX: Final = f"{LOCAL}:"


class Meaning(Struct, frozen=True):
    """What a name stands for that somebody asked for."""

    model: str
    """The fleet's own model, or the virtual name."""
    sort: Sort
    may_leave: bool = False
    """Of a model: whether others may answer for it when it is in trouble."""


class Deciding:
    """Decisions over a view of the fleet."""

    def __init__(self, view: FleetView, own: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`own` is the router's own name, by which `auto` is asked as well."""
        self._view = view
        self._own = own
        self._clock = clock

    def meaning(self, name: str) -> Meaning | None:
        """What `name` stands for; None for one that nobody knows."""
        plain = name.removeprefix(_PREFIX)
        if name in (AUTO, self._own):
            return Meaning(AUTO, "virtual")
        model = self._model(plain)
        return None if model is None else Meaning(model.name, "model")

    def offers(self) -> list[Offer]:
        """The names that are served beside those of the fleet's own models."""
        return [Offer(AUTO, [*subjects.SERVED], "golek")]

    def model(self, name: str) -> ModelState | None:
        """One of the fleet's own models."""
        return self._view.model(name, self._clock())

    def unknown(self, name: str) -> InferenceServiceError:
        """The error for a name that nobody knows."""
        return discovery.unknown(name, self._records(), datetime.now(UTC))

    def gone(self, model: ModelState) -> InferenceServiceError | None:
        """The error for a model that is not expected back; None where it is."""
        if model.in_rotation or model.is_coming or model.record is None:
            return None
        return discovery.gone(model.record, datetime.now(UTC))

    def ask(self, job: Job, kind: Kind, model: str, request: Request, left_s: float) -> Ask:
        """What of a request decides on its route."""
        task_type = request.task_type or "" if isinstance(request, InferenceRequest) else ""
        allowed = job.allowed_models
        return Ask(model=model, kind=kind, task_type=task_type, deadline_s=left_s, allowed=allowed, hops=job.hops)

    def decide(self, ask: Ask) -> Decision:
        """Who answers."""
        found = [one for one in self._view.models(self._clock()) if self._fits(one, ask)]
        found.sort(key=lambda one: (one.utilization, one.name))
        candidates = [
            Candidate(_PREFIX + one.name, one.utilization, f"{one.pending} jobs wait, {one.active} run")
            for one in found
            if _PREFIX + one.name not in ask.excluded
        ]
        error = None
        if not candidates:
            refusal = NoWorkersError(f"No model of the fleet answers {ask.kind} requests just now", model=ask.model)
            error = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
        return Decision(ask.model, ask.kind, "least_busy", "never_cloud", candidates, error=error)

    def _fits(self, one: ModelState, ask: Ask) -> bool:
        if ask.model not in (AUTO, self._own, one.name) or one.name == self._own or not one.in_rotation:
            return False
        kinds = one.record.kinds if one.record is not None else []
        return ask.kind in kinds and (ask.allowed is None or one.name in ask.allowed)

    def _model(self, name: str) -> ModelState | None:
        """By its name or its token."""
        now = self._clock()
        found = self._view.model(name, now)
        if found is not None:
            return found
        return next((one for one in self._view.models(now) if subjects.model_token(one.name) == name), None)

    def _records(self) -> list[ModelRecord]:
        return [one.record for one in self._view.models(self._clock()) if one.record is not None]
