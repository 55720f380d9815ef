"""In which order are targets asked that are equally allowed?

The strategies. Each gives every target a number, the smaller the earlier; ties fall by name, so that equal values give
equal decisions everywhere.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from golek_wire.routing import Candidate, Strategy
from golek_worker.router.affinity import lane
from golek_worker.router.fitting import cost_usd
from golek_worker.router.standing import Standing
from golek_worker.router.targets import Ask, State, Target

_LARGE_MB: Final = 64 * 1024
_LARGE_CONTEXT: Final = 2**20
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_UNKNOWN: Final = 1e12
"""The score of who cannot be compared, behind all that can."""


class Placed(Struct):
    """A target with its number."""

    standing: Standing
    score: float
    words: str = ""
    """What of the strategy speaks for it."""

    @property
    def name(self) -> str:
        return self.standing.target.name


def ordered(
    placed: list[Placed], strategy: Strategy, ask: Ask, weights: Mapping[str, float], role: str
) -> list[Placed]:
    """The targets by a strategy. They come in the order in which they were written down, or the least busy first."""
    if strategy == "weighted":
        return _weighted(placed, ask, weights)
    if strategy == "round_robin":
        return _round_robin(placed, ask)
    if strategy == "in_order":
        for number, one in enumerate(placed):
            one.score = float(number)
        return placed
    if strategy == "capability_match":
        _capability_match(placed, role)
    elif strategy == "prefix_affinity" and ask.affinity:
        _prefix_affinity(placed, hash_of(ask.affinity))
    elif strategy == "cheapest":
        _cheapest(placed, ask)
    return sorted(placed, key=lambda one: (one.score, one.standing.target.name))


def candidate(one: Placed, role: str, ask: Ask, *, sticks: bool) -> Candidate:
    """A target in its place, with the reason in words. With `sticks` one of its replicas is named, too."""
    standing = one.standing
    reason = standing.crowded or standing.reason
    if role or one.words:
        name, rest = standing.target.name, reason.removeprefix(f"{standing.target.name}: ")
        reason = f"{name}: {f'{role}; ' if role else ''}{one.words}{rest}"
    replicas = standing.state.replicas if sticks and ask.affinity else ()
    chosen = lane(ask.affinity, replicas) if replicas else ""
    return Candidate(standing.target.name, round(one.score, 6), reason, chosen, cost_usd(standing.target, ask))


def missing(name: str, providers: Mapping[str, str]) -> Standing:
    """A target that a table names and nobody can ask, because its provider has no key or does not have the model."""
    provider, _, model = name.partition(":")
    why = providers.get(provider) or f"{provider} offers no {model}"
    target = Target(name, provider, model, frozenset(("inference", "embedding", "rerank")))
    return Standing(target, State(up=False, why=why), 0.0, name, trouble=f"{name}: {why}")


def _capability_match(placed: list[Placed], role: str) -> None:
    """Who is best at the role; of these the smallest, by its file, then by its context: large models are for those who
    need them. Of what is not known is assumed that it is large.
    """
    for one in placed:
        target = one.standing.target
        place = target.roles.index(role) if role in target.roles else 0
        size, context = target.size_mb or _LARGE_MB, target.context_size or _LARGE_CONTEXT
        one.score = place + size / (size + _LARGE_MB) / 2 + context / (context + _LARGE_CONTEXT) / 1000


def _prefix_affinity(placed: list[Placed], key: int) -> None:
    """Requests with the same beginning meet at the same target: rendezvous hashing, so that others keep theirs when one
    leaves.
    """
    for one in placed:
        mixed = ((one.standing.lot ^ key) * 0xFF51AFD7ED558CCD) & _MASK
        mixed = ((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
        one.score = (mixed >> 11) / 2**53


def _cheapest(placed: list[Placed], ask: Ask) -> None:
    for one in placed:
        cost = cost_usd(one.standing.target, ask)
        one.score = _UNKNOWN if cost is None else cost
        one.words = "its price is not known; " if cost is None else f"at most ${cost:.6f}; " if cost else ""


def _round_robin(placed: list[Placed], ask: Ask) -> list[Placed]:
    placed = sorted(placed, key=lambda one: one.standing.target.name)
    first = ask.turn % len(placed) if placed else 0
    turned = placed[first:] + placed[:first]
    for number, one in enumerate(turned):
        one.score = float(number)
    return turned


def _weighted(placed: list[Placed], ask: Ask, weights: Mapping[str, float]) -> list[Placed]:
    """One by the draw, each as likely as its weight; then the others, the heaviest first."""
    shares = {one.name: weights.get(one.name, one.standing.target.weight) for one in placed}
    fell, left = "", ask.draw * sum(shares.values())
    for name, share in shares.items():
        left -= share
        if share > 0 and left < 0:
            fell = name
            break
    for one in placed:
        drawn = one.name == fell
        one.score = 0.0 if drawn else 1 / (1 + shares[one.name])
        one.words = f"drawn, weight {shares[one.name]:g}; " if drawn else ""
    return sorted(placed, key=lambda one: (one.score, one.name))


def hash_of(text: str) -> int:
    """64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
