"""Why will a target not do for a request?"""

from enum import IntEnum
from typing import Final

from golek_worker.router.standing import Standing
from golek_worker.router.targets import Ask, Target

TOKENS_OUT: Final = 1024
"""Written for a request that does not say how many, when its cost is estimated."""


class Reason(IntEnum):
    """Why not, in the order in which it is asked: of several the last one tells a caller most."""

    KIND = 1
    ALLOWED = 2
    POLICY = 3
    NEEDS = 4
    TEXT = 5
    CONTEXT = 6
    COST = 7
    STATE = 8


Unfit = tuple[Reason, str] | None


def unfit(one: Standing, ask: Ask, allowed: frozenset[str] | None) -> Unfit:
    """Why a target will not do, and in words; None where it will. `allowed` names models, None is all."""
    target = one.target
    if allowed is not None and target.name not in allowed and target.model not in allowed:
        return Reason.ALLOWED, f"{target.name}: the caller's key is not for it"
    if ask.max_cost_usd is not None and (why := _too_dear(target, ask, ask.max_cost_usd)):
        return _unable(target, ask) or (Reason.COST, why)
    if one.trouble or target.name in ask.excluded:
        return _unable(target, ask) or (Reason.STATE, one.trouble or f"{target.name} was asked already")
    return _unable(target, ask)


def cost_usd(target: Target, ask: Ask) -> float | None:
    """The most that a target may take for it; None where nobody knows, 0 where it takes nothing."""
    if target.price is not None:
        out = TOKENS_OUT if ask.max_tokens is None else ask.max_tokens
        return target.price.cost_usd(ask.tokens_in, out * ask.choices)
    return 0.0 if target.priced else None


def most_tokens(ask: Ask) -> int:
    """What the target's context must hold."""
    return ask.tokens_in + (ask.max_tokens or 0)


def _unable(target: Target, ask: Ask) -> Unfit:
    """What it could not do however it is."""
    if ask.kind not in target.kinds:
        return Reason.KIND, f"{target.name} is no model for {ask.kind}"
    if not ask.needs <= target.abilities:
        return Reason.NEEDS, f"{target.name} cannot: {', '.join(sorted(ask.needs - target.abilities))}"
    if ask.has_text and not target.prefills:
        return Reason.TEXT, f"{target.name} does not go on behind a text that another one began"
    if target.context_size and most_tokens(ask) > target.context_size:
        most = most_tokens(ask)
        return (
            Reason.CONTEXT,
            f"{target.name}: about {most} tokens do not fit into its context of {target.context_size}",
        )
    return None


def _too_dear(target: Target, ask: Ask, most: float) -> str:
    cost = cost_usd(target, ask)
    if cost is None:
        return f"{target.name}: nobody knows its price, and no more than ${most:g} may be spent"
    return f"{target.name} may cost ${cost:.6f}, and no more than ${most:g} may be spent" if cost > most else ""
