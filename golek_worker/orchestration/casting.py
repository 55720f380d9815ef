"""Who takes part in a request, and who does what?

A duty goes (1) to whom the request names, (2) to whom the preset names, (3) to the model that was asked by its name,
where that leads the flow, (4) to whom the settings name, (5) by roles: the model whose role suits it best, the first of
equals. A stage of a pipeline goes to whom request or preset name, else in the order fast -> ... -> primary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from golek_wire.errors import BadRequestError
from golek_wire.orchestration import MODELS_LIMIT, Mode
from golek_worker.orchestration.base import (
    COMPRESSOR,
    CRITIC,
    GENERATOR,
    RECONCILER,
    SYNTHESIZER,
    Cast,
    Member,
)
from golek_worker.orchestration.presets import DUTIES, short_of

DRAFT: Final = "draft"
REFINE: Final = "refine"
VALIDATE: Final = "validate"
STAGES: Final = (DRAFT, REFINE, VALIDATE)
PRIMARY: Final = "primary"
FAST: Final = "fast"
THINKER: Final = "thinker"
_GENERATES: Final = ("coder", "longctx")
"""Roles of tasks whose own model writes in a critique; of all others the primary one does."""
_REFINES: Final = ("coder", "thinker", "longctx")
"""Roles of tasks whose own model comes right before the last one of a pipeline."""
_FAR: Final = 100
_ONLY: Final[Mapping[str, tuple[Mode, ...]]] = {
    "stages": ("pipeline",),
    "max_rounds": ("critique", "debate"),
    "threshold": ("critique", "debate", "ensemble"),
}
"""What of a request only some modes have."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What is wanted of a cast, by whoever says it."""

    mode: Mode
    role: str = PRIMARY
    """That the request's task type stands for."""
    chain: Callable[[str], Sequence[str]] = lambda role: (role,)
    """A role, and those whose models are asked where nobody has it, in order."""
    lead: str = ""
    """The model that was asked by its name."""
    duties: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the request."""
    stages: tuple[str, ...] | None = None
    """Of the request, as are the next two."""
    max_rounds: int | None = None
    threshold: float | None = None
    preset: str = ""
    own_duties: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the preset, as are these."""
    own_stages: tuple[tuple[str, str], ...] = ()
    reconciles: str = PRIMARY
    """Role or model, by the settings, as are the others."""
    synthesizes: str = PRIMARY
    usual_stages: tuple[str, ...] = STAGES


def cast(members: Sequence[Member], wanted: Wanted) -> Cast:
    """Who does what. Raises BadRequestError naming the field: too few models for the mode or too many of them, a duty
    that the mode does not have, or one of a model that does not take part.
    """
    _check(members, wanted)
    duties: dict[str, Member] = {}
    for duty in DUTIES[wanted.mode]:
        named = _named(duty, members, wanted)
        if duty == CRITIC and named == duties[GENERATOR] and CRITIC not in wanted.duties:
            named = None  # who writes judges only where the request itself says so
        duties[duty] = named or _by_role(duty, members, wanted, duties)
    duties[COMPRESSOR] = _named(COMPRESSOR, members, wanted) or _compressor(members)
    stages = _stages(members, wanted) if wanted.mode == "pipeline" else ()
    return Cast(wanted.mode, tuple(members), duties, stages, wanted.preset)


def _check(members: Sequence[Member], wanted: Wanted) -> None:
    models = [one.model for one in members]
    if short := short_of(wanted.mode, models):
        raise BadRequestError(f"orchestration.models: {short}", param="orchestration.models")
    if len(models) > MODELS_LIMIT:
        raise BadRequestError(
            f"orchestration.models: {len(models)} models; at most {MODELS_LIMIT}", param="orchestration.models"
        )
    stages = set(_wished(wanted)) if wanted.mode == "pipeline" else set[str]()
    known = {*DUTIES[wanted.mode], COMPRESSOR} | stages
    for duty, model in wanted.duties.items():
        if duty not in known:
            raise BadRequestError(
                f"orchestration.duties.{duty}: no duty of mode {wanted.mode}; there is {', '.join(sorted(known))}",
                param=f"orchestration.duties.{duty}",
            )
        if model not in models:
            raise BadRequestError(
                f"orchestration.duties.{duty}={model}: it does not take part; these do: {', '.join(models)}",
                param=f"orchestration.duties.{duty}",
            )
    for name, modes in _ONLY.items():
        if getattr(wanted, name) is not None and wanted.mode not in modes:
            raise BadRequestError(
                f"orchestration.{name}: mode {wanted.mode} has none; it is for {' and '.join(modes)}",
                param=f"orchestration.{name}",
            )


def _named(duty: str, members: Sequence[Member], wanted: Wanted) -> Member | None:
    """The member that somebody names for a duty: (1) to (4)."""
    said = [wanted.duties.get(duty, ""), wanted.own_duties.get(duty, "")]
    if duty in (GENERATOR, RECONCILER, SYNTHESIZER) and wanted.duties.get(CRITIC) != wanted.lead:
        said.append(wanted.lead)
    said.append({RECONCILER: wanted.reconciles, SYNTHESIZER: wanted.synthesizes}.get(duty, ""))
    return next((one for name in said for one in members if name and one.model == name), None)


def _by_role(duty: str, members: Sequence[Member], wanted: Wanted, taken: Mapping[str, Member]) -> Member:
    if duty == CRITIC:
        return _best(_less(members, taken[GENERATOR]), (THINKER, PRIMARY))
    if duty == GENERATOR and wanted.mode == "critique":
        return _generator(members, wanted)
    role = {GENERATOR: wanted.role, RECONCILER: wanted.reconciles, SYNTHESIZER: wanted.synthesizes}[duty]
    return _best(members, (*wanted.chain(role), PRIMARY))


def _generator(members: Sequence[Member], wanted: Wanted) -> Member:
    """Who is best at the role; of equals the one that leaves a better critic. Not who is named as the critic, while
    there is another.
    """
    critic = _named(CRITIC, members, wanted)
    able = _less(members, critic) if critic is not None else members
    roles = (*wanted.chain(wanted.role if wanted.role in _GENERATES else PRIMARY), PRIMARY)
    return min(able, key=lambda one: (fit(one, roles), min(fit(other, (THINKER,)) for other in _less(members, one))))


def fit(member: Member, roles: Sequence[str]) -> int:
    """How well a member suits the first of `roles` that it has: the smaller the better."""
    for far, role in enumerate(roles):
        if role in member.roles:
            return far * _FAR + member.roles.index(role)
    return _FAR * _FAR


def _best(members: Sequence[Member], roles: Sequence[str]) -> Member:
    return min(members, key=lambda one: fit(one, roles))


def _less(members: Sequence[Member], one: Member) -> list[Member]:
    """The others: other models, else the same one named again, else itself."""
    rest = [*members]
    rest.remove(one)
    return [other for other in rest if other.model != one.model] or rest or [one]


def _compressor(members: Sequence[Member]) -> Member:
    """The fast one; else the last."""
    fast = [one for one in members if FAST in one.roles]
    return _best(fast, (FAST,)) if fast else members[-1]


def _wished(wanted: Wanted) -> tuple[str, ...]:
    """The stages of a pipeline by name: the request's, the preset's, those of the settings."""
    return wanted.stages or tuple(stage for stage, _ in wanted.own_stages) or wanted.usual_stages


def _stages(members: Sequence[Member], wanted: Wanted) -> tuple[tuple[str, Member], ...]:
    """Who does which stage.

    1. All stages that request or preset name are done, with fewer members some do several. Of the usual ones each
    member does one. 2. Whoever is named for a stage does it. 3. The others go in line.
    """
    line = in_line(members, wanted)
    is_said = bool(wanted.stages or wanted.own_stages)
    names = _wished(wanted) if is_said else merged(wanted.usual_stages, line)  # 1
    pinned = {} if wanted.stages else {stage: model for stage, model in wanted.own_stages if model}
    pinned |= wanted.duties
    by_model = {one.model: one for one in reversed(members)}
    found = {stage: by_model[pinned[stage]] for stage in names if pinned.get(stage, "") in by_model}  # 2
    free = [one for one in line if one not in found.values()] or line
    others = iter(spread(free, sum(stage not in found for stage in names)))  # 3
    return tuple((stage, found.get(stage) or next(others)) for stage in names)


def in_line(members: Sequence[Member], wanted: Wanted) -> list[Member]:
    """Members in the order of a pipeline. Last is the one that was asked by its name, else the primary one; first is
    who is best at being fast; between them as they were named, who suits the kind of work last.
    """
    slow = [one for one in members if one.roles[:1] != (FAST,)] or [*members]
    primary = [one for one in slow if PRIMARY in one.roles]
    asked = [one for one in members if one.model == wanted.lead]
    last = (asked or [_best(primary, (PRIMARY,)) if primary else slow[-1]])[0]
    left = [*members][::-1]
    left.remove(last)  # the last one of those who are named twice
    left.reverse()
    first = [_best(left, (FAST,)) if any(FAST in one.roles for one in left) else left[0]] if left else []
    for one in first:
        left.remove(one)
    suits = wanted.role if wanted.role in _REFINES else ""
    return [*first, *sorted(left, key=lambda one: -fit(one, (suits,))), last]


def spread(line: Sequence[Member], count: int) -> list[Member]:
    """A member for each of so many stages, in the members' order: the first one does the first, the last one the last;
    with fewer members some do several, with more of them some in the middle are left out.
    """
    if count < 2:
        return [line[-1]] * count
    return [line[int(number * (len(line) - 1) / (count - 1) + 0.5)] for number in range(count)]


def merged(names: Sequence[str], line: Sequence[Member]) -> list[str]:
    """A stage for each member. With fewer members than stages the last one does the last stage where it is primary
    first of all, else the stage that is its own by number. With more of them those in the middle do the middle stages,
    one after the other.
    """
    count = len(line)
    if count < len(names):
        is_primary = line[-1].roles[:1] in ((PRIMARY,), ())
        return [*names[: count - 1], names[-1] if is_primary else names[count - 1]]
    if count == 1 or len(names) == 1:
        return [*names] * count
    middle = names[1:-1] or (REFINE,)
    return [names[0], *(middle[number * len(middle) // (count - 2)] for number in range(count - 2)), names[-1]]
