"""How is everybody just now, as far as that can be said before a request is known?"""

import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final, NamedTuple

from msgspec import Struct, field, structs

from golek_wire.routing import CLOUDS, Policy
from golek_wire.subjects import Kind, spellings
from golek_worker.router.targets import ANY, State, Target


class Standing(Struct, frozen=True):
    """A target as it is just now, with what can be said of it before a request is known."""

    name: str
    """The target's."""
    target: Target
    state: State
    score: float
    """How busy it is, as `score` says."""
    reason: str
    """How it is, in words."""
    trouble: str = ""
    """Why it takes no request, in words; empty where it does."""
    crowded: str = ""
    """Why others are asked first where there are any: its queue is long, or it is only expected back."""
    lot: int = 0
    """A number of its own, for choices that must fall the same everywhere."""


class Tier(NamedTuple):
    """Targets that are equally good by role and place, the least busy first."""

    role: str
    standings: list[Standing]


class Situation(Struct, frozen=True, eq=False, dict=True):
    """The fleet and the clouds at one moment. What every decision needs of it is worked out once."""

    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    """By name: models that the fleet knows, also those that nobody serves now, and those of clouds."""
    states: dict[str, State] = field(default_factory=dict[str, State])
    """By target; a cloud without one is up, a local model without one is not there."""
    spill: float = 0.8
    """From this share of a queue on others are asked first."""
    now_s: float = 0.0
    stricter: dict[str, str] = field(default_factory=dict[str, str])
    """By model: why this router takes no requests for those whose workers want more of who asks. Under `auto`, why not
    for names that routers serve, where another one wants more.
    """

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """By target."""
        return {name: standing(target, self.states.get(name), self.spill) for name, target in self.targets.items()}

    @cached_property
    def least_busy(self) -> list[Standing]:
        """All of them, the least busy first."""
        return sorted(self.standings.values(), key=lambda one: (one.score, one.name))

    @cached_property
    def by_role(self) -> dict[tuple[Kind, str], list[Standing]]:
        """The least busy first; under the role `any` all of a kind."""
        found: dict[tuple[Kind, str], list[Standing]] = {}
        for one in self.least_busy:
            for kind in one.target.kinds:
                for role in dict.fromkeys((*one.target.roles, ANY)):
                    found.setdefault((kind, role), []).append(one)
        return found

    def tiers(self, kind: Kind, roles: tuple[str, ...], policy: Policy) -> list[Tier]:
        """Each target of a kind once: by the first of `roles` that it has, then by where the policy asks first. Who
        only repeats what it is told comes last.
        """
        key = (kind, roles, policy)
        if key not in self._tiers:
            self._tiers[key] = [*self._tiered(*key)]
        return self._tiers[key]

    @cached_property
    def _tiers(self) -> dict[tuple[Kind, tuple[str, ...], Policy], list[Tier]]:
        return {}

    def _tiered(self, kind: Kind, roles: tuple[str, ...], policy: Policy) -> Iterator[Tier]:
        seen = set[str]()
        last = list[Standing]()
        for role in roles:
            able = [one for one in self.by_role.get((kind, role), []) if one.name not in seen]
            seen.update(one.name for one in able)
            if role == ANY:  # who has a role is meant by whoever gave it
                last = [one for one in able if one.target.repeats]
                able = [one for one in able if not one.target.repeats]
            yield from (Tier(role, tier) for tier in by_place(able, policy) if tier)
        if last:
            yield Tier(ANY, last)

    @cached_property
    def settled(self) -> "Situation":
        """The same for requests of several models, none of which waits for one whose worker could not go on: somebody
        may start it again at once, and nobody else would know that it is missing.
        """
        states = {
            name: structs.replace(state, expected=False) if state.failed else state
            for name, state in self.states.items()
        }
        return structs.replace(self, states=states)

    @cached_property
    def spelled(self) -> dict[str, str]:
        """The fleet's own models by all names that callers may use: their name and its token."""
        return {
            name: target.name
            for target in self.targets.values()
            if target.is_local
            for name in reversed(spellings(target.model))
        }


_UP: Final = State()
_NEVER_SEEN: Final = State(up=False, why="no worker of it was seen yet")


def standing(target: Target, state: State | None, spill: float) -> Standing:
    """A target and what its state means: from a share `spill` of its queue on others are asked first."""
    if state is None:
        state = _NEVER_SEEN if target.is_local else _UP
    return Standing(
        target.name,
        target,
        state,
        score(state),
        f"{target.name}: {_words(target, state)}",
        trouble="" if state.up or state.expected else f"{target.name}: {state.why or 'it takes no requests'}",
        crowded=_crowded(target, state, spill),
        lot=zlib.crc32(target.name.encode()) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF,
    )


def by_place(standings: Iterable[Standing], policy: Policy) -> list[list[Standing]]:
    """Local targets and clouds, in the order of the policy; without clouds where it allows none."""
    local, clouds = list[Standing](), list[Standing]()
    for one in standings:
        (local if one.target.is_local else clouds).append(one)
    if policy not in CLOUDS:
        return [local]
    return [clouds, local] if policy == "cloud_first" else [local, clouds]


def score(state: State) -> float:
    """Seconds until a job would begin; among equals of these, below a thousandth, how much is being done."""
    load = (state.slots - state.free + state.pending) / max(state.slots, 1)
    return state.wait_s + load / (1 + load) / 1000


def _crowded(target: Target, state: State, spill: float) -> str:
    if not state.up and state.expected:
        return f"{target.name}: {state.why or 'it is not there'}; it is expected back, and requests wait in its queue"
    if state.capacity and state.pending >= spill * state.capacity:
        return f"{target.name}: its queue is long, {state.pending} of {state.capacity} jobs"
    return ""


def _words(target: Target, state: State) -> str:
    if state.half_open:
        return "it failed, and is tried again"
    if not target.is_local:
        return "up"
    if state.free > state.pending:
        return f"{state.free} of {state.slots} slots are free"
    waiting = f"{state.pending} job{'s wait' if state.pending != 1 else ' waits'}" if state.pending else "none waits"
    return f"{waiting}, about {state.wait_s:.1f} s" if state.wait_s else f"all slots are taken, {waiting}"
