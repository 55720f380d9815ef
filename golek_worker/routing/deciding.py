"""How does a router decide, by what it knows of the fleet just now?

Of what a watch of the fleet hears, of breakers and of the tables a situation is made, which counts for a moment; the
decision itself is pure. Whoever places requests, runs them or explains how they would be run asks here.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from golek_client import discovery
from golek_client.fleet import FleetView, ModelState, Replica
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.requests import Request
from golek_wire.routing import AUTO, Decision, Offer
from golek_wire.signals import ModelRecord
from golek_wire.subjects import Kind
from golek_worker.executor import CAPABILITIES
from golek_worker.job import Job
from golek_worker.router import policy, refusals
from golek_worker.router.asking import ask_of
from golek_worker.router.situation import OPEN, is_live, is_router, situate, unlike
from golek_worker.router.standing import Situation, Standing
from golek_worker.router.table import LOCAL_PREFIX, Plan, Table
from golek_worker.router.targets import Ask, State, Target

FRESH_S: Final = 0.1
"""A situation counts for so long: workers tell of themselves once a second."""
_UP: Final = State()


class Deciding:
    """Decisions over a view of the fleet."""

    def __init__(
        self,
        view: FleetView,
        table: Callable[[], Table],
        breakers: Callable[[], Mapping[str, State]],
        own: str,
        clock: Callable[[], float] = time.monotonic,
        ask_after: Callable[[Iterable[Replica]], None] = lambda _: None,
        identity: str = OPEN,
    ) -> None:
        """`breakers` has the targets whose breaker is not closed. `own`, the router's own name, means `auto`.
        `ask_after` has replicas asked whether they are still there. `identity` is what the router asks of callers.
        """
        self._identity = identity
        self._ask_after = ask_after
        self._view = view
        self._table = table
        self._breakers = breakers
        self._own = own
        self._clock = clock
        self.turn = 0
        """Grows with every request that is run: whose turn it is among equals."""
        self._situation = Situation()
        self._made_of: Table | None = None

    @property
    def table(self) -> Table:
        return self._table()

    @property
    def situation(self) -> Situation:
        """Everybody, as they were at most FRESH_S ago."""
        now, table = self._clock(), self._table()
        if table is not self._made_of or now - self._situation.now_s >= FRESH_S:
            wall = datetime.now(UTC)
            self._situation = situate(self._view, table, now, wall, self._breakers(), self._identity)
            self._made_of = table
        return self._situation

    def plan(self, name: str) -> Plan | None:
        """What a name means that somebody asked for; None for one that nobody knows."""
        return self.table.plan(self.named(name), self.situation.spelled)

    def model(self, name: str) -> ModelState | None:
        """One of the fleet's own models, with all that is known of it."""
        return self._view.model(name, self._clock())

    def queue_of(self, model: str) -> Kind | None:
        """As `Decides.queue_of`."""
        known = self.model(model)
        return known.record.own_kind if known is not None and known.record is not None else None

    def learn(self, record: ModelRecord) -> None:
        """A model's record was looked up."""
        self._view.learn(record, self._clock())
        self._made_of = None  # what is made next has it

    def standing(self, model: str) -> Standing | None:
        """How one of the fleet's own models is."""
        return self.situation.standings.get(LOCAL_PREFIX + model)

    def stricter(self, model: str) -> str:
        """Why this router takes no requests for a model whose workers want more of who asks; empty where it may."""
        return self.situation.stricter.get(model, "")

    def all_stricter(self) -> list[str]:
        """The same, of all models and routers that are there; a sentence each."""
        now, wall = self._clock(), datetime.now(UTC)
        there = [one for one in self._view.models(now, wall) if is_live(one, wall)]
        return [said for one in there if (said := unlike(one, self._identity))]

    def gone(self, model: str) -> str:
        """Why nobody answers for a model of the fleet just now; empty while somebody does. Its replicas are asked."""
        standing, known = self.standing(model), self.model(model)
        if standing is None or known is None:
            return "nobody knows it any more"
        self._ask_after(known.replicas)
        return "" if standing.state.up else standing.state.why or "it takes no requests"

    def deserted(self, model: str) -> str:
        """Why nobody will take what waits for a model of the fleet: all its workers left or are gone, and none came in
        the seconds in which one may just start again. Empty while one may. Silent ones are asked.
        """
        known = self.model(model)
        if known is None or known.record is None:
            return ""
        self._ask_after(known.replicas)
        gone = None if known.replicas else discovery.gone(known.record, datetime.now(UTC))
        return gone.message if gone is not None else ""

    def has_left(self, model: str) -> bool:
        """Whether all workers of a model of the fleet said that they leave, and nobody is expected back."""
        standing = self.standing(model)
        if standing is not None and not standing.trouble:
            return False
        known = [one for one in self._view.everyone() if one.model == model]
        return bool(known) and all(one.status == "offline" for one in known)

    def helped(self) -> list[ModelState]:
        """The fleet's own models for which others may answer."""
        return [one for one in self._view.models(self._clock()) if self.may_leave(one.name)]

    def may_leave(self, model: str) -> bool:
        """Whether its jobs may be answered by others."""
        plan = self.plan(model)
        if plan is None or plan.sort != "model" or self.stricter(plan.name):
            return False
        return bool(plan.fallback) and plan.policy != "local_only"

    def may_answer(self, kind: Kind, model: str) -> bool:
        """Whether anybody else could answer a request for this model just now."""
        others = frozenset((LOCAL_PREFIX + model,))
        return not self.stricter(model) and bool(self.decide(Ask(model, kind, excluded=others)).candidates)

    def routers(self) -> list[str]:
        """All routers that are there."""
        routers = [one for one in self._view.models(self._clock()) if is_router(one)]
        return [replica.worker_id for one in routers for replica in one.replicas if replica.in_rotation]

    def is_expected(self, model: str) -> bool:
        """Whether a model of the fleet that nobody answers for is on its way, or was there a short while ago."""
        standing = self.standing(model)
        return standing is not None and (standing.state.up or standing.state.expected)

    def capabilities(self) -> list[str]:
        """What the models of the fleet that take requests can do together."""
        records = (one.record for one in self._view.models(self._clock()) if one.in_rotation and one.name != self._own)
        found = {name for record in records if record is not None for name in record.capabilities}
        return [name for name in CAPABILITIES if name in found]

    def served_at(self, subject: str) -> str | None:
        """The model that takes requests on a subject that has not its name."""
        kind, _, rest = subject.partition(".")
        asked = subjects.request(rest.partition(".")[2], kind)
        models = self._view.models(self._clock())
        return next((one.name for one in models if one.record is not None and asked in one.record.subjects), None)

    def offers(self) -> list[Offer]:
        """The names that are served beside those of the fleet's own models; of aliases what the fleet shows that their
        targets can. Of presets those whose models are all known, and did not fail: the others would bury them.
        """
        states = self.situation.states
        there = {name: one for name, one in self.situation.spelled.items() if not states.get(one, _UP).failed}
        presets = self.table.preset_offers(there)
        return [*(self._seen(offer) for offer in self.table.offers()), *(self._fitting(one) for one in presets)]

    def _fitting(self, offer: Offer) -> Offer:
        """A preset takes what fits into the smallest context of its models."""
        plan = self.plan(offer.name)
        known = [one for share in plan.targets if (one := self.target(share.target)) is not None] if plan else []
        context = min((one.context_size for one in known if one.context_size), default=0)
        return msgspec.structs.replace(offer, context_size=context)

    def _seen(self, offer: Offer) -> Offer:
        known = [one for name in offer.targets if (one := self.target(name)) is not None]
        kinds = {kind for one in known for kind in one.kinds}
        if not kinds or any(self.target(name) is None for name in offer.targets):
            return offer  # what is not known may be all that the table says
        return msgspec.structs.replace(offer, kinds=sorted(kinds, key=subjects.SERVED.index))

    def problems(self) -> list[str]:
        """What of the tables cannot be used, or does not do what it says beside the models that the fleet has; which
        models of the preset that `auto` stands for nobody knows; and for whom it takes no requests.
        """
        local = [target.model for target in self.situation.targets.values() if target.is_local]
        return [*self.table.problems, *self.table.beside(local), *self._lacking(), *self.all_stricter()]

    def _lacking(self) -> Iterable[str]:
        preset = self.table.presets.get(self.table.config)
        for name in self.table.unknown(preset, self.situation.spelled) if preset is not None else ():
            yield f"INFERENCE_CONFIG={self.table.config}: no worker of {name} was seen yet"

    def means(self, verb: str, name: str, kept: Iterable[str]) -> list[str] | None:
        """Of which names answers are meant by an order about `name`, of those that are served and `kept`; None where
        others answer it. A model of the fleet answers for itself, but what `auto` and aliases had from it goes as well.
        """
        offered = [offer.name for offer in self.offers()]
        name = next((one for one in offered if name in subjects.spellings(one)), name)
        asked = self.plan(name)
        if asked is None or (asked.sort == "model" and verb == "stats"):
            return None
        found = ((one, plan) for one in {name, *offered, *kept} if (plan := self.plan(one)) is not None)
        if asked.sort == "model":
            return sorted(
                one for one, plan in found if plan.sort in ("auto", "alias", "preset") or plan.name == asked.name
            )
        return sorted(one for one, plan in found if plan.name == asked.name)

    def refusal(self, kind: Kind, name: str) -> InferenceServiceError | None:
        """What to tell who asks for `name`, whatever the request; None where somebody may answer."""
        return refusals.of(policy.decide(Ask(self.named(name), kind), self.table, self.situation))

    def absence(self, name: str) -> InferenceServiceError | None:
        """The same of a model that is to answer with others."""
        return refusals.of(policy.decide(Ask(self.named(name), "inference"), self.table, self.situation.settled))

    def ask(self, job: Job, kind: Kind, model: str, request: Request, left_s: float) -> Ask:
        """What of a job decides on its route."""
        turn, self.turn = self.turn, self.turn + 1
        return ask_of(
            request,
            self.named(model),
            kind,
            job_id=job.job_id,
            turn=turn,
            deadline_s=left_s,
            allowed=job.allowed_models,
            excluded=(LOCAL_PREFIX + job.asked_model,) if job.taken else (),
        )

    def decide(self, ask: Ask) -> Decision:
        """Who answers."""
        return policy.decide(ask, self.table, self.situation)

    def target(self, name: str) -> Target | None:
        """A target by its name; None for one that nobody knows."""
        return self.situation.targets.get(name) or self.table.clouds.get(name)

    def state(self, name: str) -> State:
        """How it is."""
        found = self.situation.standings.get(name)
        return found.state if found is not None else _UP

    def named(self, name: str) -> str:
        """The name that counts: the router's own means `auto`."""
        return AUTO if name == self._own else name
