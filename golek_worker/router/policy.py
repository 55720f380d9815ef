"""Who is asked for a request, and in which order?

A decision is a function of values: what is asked, the tables, and how everybody is. Whoever runs a request and whoever
only explains it call the same one. A name stands for groups of targets; of each group those that will not do are put
aside with a reason, and the strategy orders the others.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_wire.routing import AUTO, CLOUDS, LOCAL, Candidate, Decision, Policy, Rejected, Strategy
from golek_wire.subjects import SERVED
from golek_worker.router import ordering, refusals, taking_part
from golek_worker.router.fitting import Reason, unfit
from golek_worker.router.ordering import LIMIT
from golek_worker.router.standing import Situation, Standing, by_place, standing
from golek_worker.router.table import LOCAL_PREFIX, Plan, Table
from golek_worker.router.targets import ANY, Ask, Target


class _Group(Struct, frozen=True):
    """Targets that are equally good by name, role and policy."""

    standings: Sequence[Standing]
    strategy: Strategy
    weights: dict[str, float] = {}
    role: str = ""
    """That they have in common, where one was asked for."""
    found_by: str = ""
    """The role that they were found by, asked for or not."""
    later: frozenset[str] = frozenset()
    """Those that the policy asks after the others, where weights draw among all."""


class _Sorted(Struct):
    """What became of the targets of a request."""

    candidates: list[Candidate] = []
    crowded: list[Candidate] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    furthest: Reason | None = None
    largest: int = 0
    """Context of those that are too small."""
    sticks: bool = False
    """Whether a replica is chosen as well."""
    pauses: list[float] = []
    """Seconds that clouds want to be left alone for, of those that would do but for that."""
    has_down: bool = False
    """Whether others would do, and take no requests for another reason."""

    def reject(self, target: Target, reason: Reason, why: str) -> None:
        """This one is not asked."""
        self.rejected.append(Rejected(target.name, why))
        self.furthest = reason if self.furthest is None else max(self.furthest, reason)
        if reason == Reason.CONTEXT:
            self.largest = max(self.largest, target.context_size)


def decide(ask: Ask, table: Table, situation: Situation) -> Decision:
    """Who is asked, in which order, and who is not, and why. Without a candidate the decision has the error."""
    plan = table.plan(ask.model, situation.spelled)
    if plan is None:
        lost = table.lost(ask.model)
        said = table if lost is None else lost
        return _refused(ask, said.policy, ask.strategy or said.strategy, refusals.unknown(ask, table, situation))
    if plan.sort == "preset":
        alone = msgspec.structs.replace(table, presets={})  # none takes part in another one
        by_model = {model: decide(one, alone, situation.settled) for model, one in taking_part.asks(ask, plan)}
        return taking_part.decided(ask, plan, by_model)
    strategy = ask.strategy or plan.strategy
    policy = narrowed(plan.policy, ask.policy)
    wrong = refusals.contradiction(plan, policy, ask) or refusals.forbidden(plan, ask)
    if wrong is not None or policy is None:
        return _refused(ask, plan.policy, strategy, wrong)
    role = table.roles.of(ask.task_type) if plan.sort == "auto" or ask.task_type else ""
    found = _Sorted([], [], [], set(), sticks=strategy == "prefix_affinity")
    allowed = _allowed(plan, ask, table)
    for group in _groups(plan, policy, strategy, role, ask, table, situation):
        _sort(group, ask, allowed, found)
    if not _allows_clouds(policy):
        _name_forbidden(plan, policy, found)
    chain = [*found.candidates, *found.crowded][: LIMIT if table.falls_back else 1]
    error = None
    if not chain:
        pause_s = min(found.pauses) if found.pauses and not found.has_down else None
        error = refusals.told(refusals.nobody(plan, ask, found.furthest, found.rejected, found.largest, pause_s))
    return Decision(ask.model, ask.kind, strategy, policy, chain, found.rejected, ask.task_type, role, error)


def narrowed(policy: Policy, wish: Policy | None) -> Policy | None:
    """What is so of a model's policy once a request has its wish; None where that would allow more than the model does.

    A request may keep to the fleet, or to the model; where clouds are allowed it may say whether they come first.
    """
    if wish is None or policy in (wish, "local_only"):
        return None if wish in CLOUDS and policy == "local_only" else policy
    if policy == "never_cloud" and wish in CLOUDS:
        return None
    return wish


def _groups(
    plan: Plan, policy: Policy, strategy: Strategy, role: str, ask: Ask, table: Table, situation: Situation
) -> Iterator[_Group]:
    """The targets that a name stands for, those that are asked first first."""
    others = [_standing(name, table, situation) for name in plan.fallback] if policy != "local_only" else []
    if plan.sort == "auto":
        for tier in situation.tiers(ask.kind, table.roles.chain(role), policy):
            found_by = tier.role if tier.role != ANY else ""
            yield _Group(tier.standings, strategy, role=found_by if ask.task_type else "", found_by=found_by)
        yield from _one_by_one(others, policy)
        return
    own = [_standing(share.target, table, situation) for share in plan.targets]
    if plan.sort == "model":
        for place in by_place([*own, *others], policy):
            yield from _one_by_one(place, policy)
        return
    weights = {share.target: share.weight for share in plan.targets}
    places = by_place(own, policy)
    if strategy == "weighted":  # a canary may stand on either side of the policy's order
        later = frozenset(one.name for place in places[1:] for one in place)
        places = [[one for place in places for one in place]]
    else:
        later = frozenset[str]()
    for place in places:
        yield _Group(place, strategy, weights, later=later)
    yield from _one_by_one(others, policy)


def _one_by_one(standings: Sequence[Standing], policy: Policy) -> Iterator[_Group]:
    """Each after the other, as they were written down."""
    allowed = [one for one in standings if one.target.is_local or _allows_clouds(policy)]
    if allowed:
        yield _Group(allowed, "in_order")


def _allows_clouds(policy: Policy) -> bool:
    return policy in CLOUDS


def _standing(name: str, table: Table, situation: Situation) -> Standing:
    """How a target is that a table names; one that nobody has heard of is not there."""
    found = situation.standings.get(name)
    if found is not None:
        return found
    if name.startswith(LOCAL_PREFIX):
        target = Target(name, LOCAL, name.removeprefix(LOCAL_PREFIX), frozenset(SERVED))
        return standing(table.refined(target), None, situation.spill)
    if name in table.clouds:
        return standing(table.clouds[name], None, situation.spill)
    return ordering.missing(name, table.missing)


def _sort(group: _Group, ask: Ask, allowed: frozenset[str] | None, found: _Sorted) -> None:
    """Put those of a group that will do behind the candidates that there are, by the strategy."""
    fit, crowded = list[Standing](), list[Standing]()
    seen, deadline_s = found.seen, ask.deadline_s
    for one in group.standings:
        if one.name in seen:
            continue
        seen.add(one.name)
        if (why_not := unfit(one, ask, allowed)) is not None:
            found.reject(one.target, *why_not)
            if why_not[0] == Reason.STATE and one.state.limited:
                found.pauses.append(one.state.retry_s)
            elif why_not[0] == Reason.STATE:
                found.has_down = True
        elif one.crowded or one.state.wait_s > deadline_s:
            crowded.append(one)
        else:
            fit.append(one)
    for standings, candidates in ((fit, found.candidates), (crowded, found.crowded)):
        if len(candidates) < LIMIT and standings:
            placed = ordering.ordered(standings, group.strategy, ask, group.weights, group.role, group.later)
            candidates += [
                ordering.candidate(one, group.role, ask, sticks=found.sticks, found_by=group.found_by) for one in placed
            ]


def _name_forbidden(plan: Plan, policy: Policy, found: _Sorted) -> None:
    """Say of the clouds that the name stands for that its policy keeps the request from them."""
    named = [share.target for share in plan.targets] + list(plan.fallback)
    for name in named:
        if name not in found.seen:
            found.seen.add(name)
            found.rejected.append(Rejected(name, f"{name}: the policy is {policy}"))
            found.furthest = max(found.furthest or Reason.POLICY, Reason.POLICY)


def _allowed(plan: Plan, ask: Ask, table: Table) -> frozenset[str] | None:
    """The models that `auto` may choose among for this key; None for all. Who may ask an alias, or a model with a
    fallback, may be answered by all that these stand for; so may a key that is for `auto` and no model.
    """
    if plan.sort != "auto" or ask.allowed is None:
        return None
    models = frozenset(name for name in ask.allowed if name not in (AUTO, plan.name) and name not in table.names)
    return models or None


def _refused(ask: Ask, policy: Policy, strategy: Strategy, error: InferenceServiceError | None) -> Decision:
    said = None if error is None else refusals.told(error)
    return Decision(ask.model, ask.kind, strategy, policy, [], task_type=ask.task_type, error=said)
