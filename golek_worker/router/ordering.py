"""In which order are targets asked that are equally allowed?

The strategies. Each gives every target a number, the smaller the earlier; ties fall by name, so that equal values give
equal decisions everywhere.
"""

import hashlib
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Final

from msgspec import Struct

from golek_wire.routing import Candidate, Strategy
from golek_wire.subjects import SERVED
from golek_worker.router.affinity import lane
from golek_worker.router.fitting import cost_usd
from golek_worker.router.standing import Standing
from golek_worker.router.targets import Ask, State, Target

LIMIT: Final = 32
"""Candidates of a decision: nobody waits for more targets to fail."""
_LARGE_MB: Final = 64 * 1024
_LARGE_CONTEXT: Final = 2**20
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_UNKNOWN: Final = 1e12
"""The score of who cannot be compared, behind all that can."""


class Placed(Struct, frozen=True):
    """A target with its number."""

    standing: Standing
    score: float
    words: str = ""
    """What of the strategy speaks for it."""


def ordered(
    standings: list[Standing],
    strategy: Strategy,
    ask: Ask,
    weights: Mapping[str, float],
    role: str,
    later: frozenset[str] = frozenset(),
) -> list[Placed]:
    """The first LIMIT of targets by a strategy. They come as they were written down, or the least busy first. Of those
    with weights, the ones `later` come behind the others, unless they are drawn.
    """
    match strategy:
        case "in_order":
            return _numbered(standings)
        case "round_robin":
            return _numbered(_turned(standings, ask.turn))
        case "weighted":
            return _weighted(standings, ask, weights, later)
        case "cheapest":
            return _cheapest(standings, ask)
        case "capability_match":
            scores = [_aptness(one.target, role) for one in standings]
        case "prefix_affinity" if ask.affinity:
            scores = _lots(standings, hash_of(ask.affinity))
        case _:
            scores = [one.score for one in standings]
    return _first(standings, scores)


def candidate(one: Placed, role: str, ask: Ask, *, sticks: bool, found_by: str = "") -> Candidate:
    """A target in its place, with the reason in words. With `sticks` one of its replicas is named, too."""
    standing = one.standing
    reason = standing.crowded or standing.reason
    if role or one.words:
        rest = reason.removeprefix(f"{standing.name}: ")
        reason = f"{standing.name}: {f'{role}; ' if role else ''}{one.words}{rest}"
    replicas = standing.state.replicas if sticks and ask.affinity else ()
    chosen = lane(ask.affinity, replicas) if replicas else ""
    return Candidate(standing.name, round(one.score, 6), reason, chosen, cost_usd(standing.target, ask), found_by)


def missing(name: str, providers: Mapping[str, str]) -> Standing:
    """A target that a table names and nobody can ask, because its provider has no key or does not have the model."""
    provider, _, model = name.partition(":")
    why = providers.get(provider) or f"{provider} offers no {model}"
    target = Target(name, provider, model, frozenset(SERVED))
    return Standing(name, target, State(up=False, why=why), 0.0, name, trouble=f"{name}: {why}")


def hash_of(text: str) -> int:
    """64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _first(standings: Sequence[Standing], scores: Sequence[float]) -> list[Placed]:
    """Those with the smallest numbers."""
    found = nsmallest(LIMIT, zip(scores, [one.name for one in standings], standings, strict=True))
    return [Placed(one, score) for score, _, one in found]


def _numbered(standings: Sequence[Standing]) -> list[Placed]:
    return [Placed(one, float(number)) for number, one in enumerate(standings[:LIMIT])]


def _turned(standings: list[Standing], turn: int) -> list[Standing]:
    """By name, the one first whose turn it is."""
    named = sorted(standings, key=attrgetter("name"))
    start = turn % len(named) if named else 0
    return (named[start : start + LIMIT] + named)[: len(named)]


def _aptness(target: Target, role: str) -> float:
    """Who is best at the role; of these the smallest, by its file, then by its context: large models are for those who
    need them. Of what is not known is assumed that it is large.
    """
    place = target.roles.index(role) if role in target.roles else 0
    size, context = target.size_mb or _LARGE_MB, target.context_size or _LARGE_CONTEXT
    return place + size / (size + _LARGE_MB) / 2 + context / (context + _LARGE_CONTEXT) / 1000


def _lots(standings: Sequence[Standing], key: int) -> list[float]:
    """Requests with the same beginning meet at the same target: rendezvous hashing, so that others keep theirs when one
    leaves.
    """
    found = []
    for one in standings:
        mixed = ((one.lot ^ key) * 0xFF51AFD7ED558CCD) & _MASK
        found.append((((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK) / 2**64)
    return found


def _cheapest(standings: Sequence[Standing], ask: Ask) -> list[Placed]:
    costs = [cost_usd(one.target, ask) for one in standings]
    placed = _first(standings, [_UNKNOWN if cost is None else cost for cost in costs])
    return [Placed(one.standing, one.score, _price(one.score)) for one in placed]


def _price(cost: float) -> str:
    if cost == _UNKNOWN:
        return "its price is not known; "
    return f"at most ${cost:.6f}; " if cost else ""


def _weighted(
    standings: Sequence[Standing], ask: Ask, weights: Mapping[str, float], later: frozenset[str]
) -> list[Placed]:
    """One by the draw, each as likely as its weight; then the others, the heaviest first, those `later` last."""
    shares = [weights.get(one.name, one.target.weight) for one in standings]
    left, drawn = ask.draw * sum(shares), -1
    for number, share in enumerate(shares):
        left -= share
        if share > 0 and left < 0:
            drawn = number
            break
    scores = [(one.name in later) + 1 / (1 + share) for one, share in zip(standings, shares, strict=True)]
    if drawn >= 0:
        scores[drawn] = 0.0
    name = standings[drawn].name if drawn >= 0 else ""
    words = f"drawn, weight {shares[drawn]:g}; "
    return [
        Placed(one.standing, one.score, words if one.standing.name == name else "") for one in _first(standings, scores)
    ]
