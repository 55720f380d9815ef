"""Why will a target not do for a request?"""

from enum import IntEnum
from typing import Final

from golek_worker.router.prices import most_usd
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
    if allowed is not None and target.name not in allowed and not (target.is_local and target.model in allowed):
        return Reason.ALLOWED, f"{target.name}: the caller's key is not for it"
    why = _unable(target, ask)
    if why is None and ask.max_cost_usd is not None:
        why = _too_dear(target, ask, ask.max_cost_usd)
    if why is None and one.trouble:
        return Reason.STATE, one.trouble
    if why is None and ask.excluded and target.name in ask.excluded:
        return Reason.STATE, f"{target.name} was asked already"
    return why


def cost_usd(target: Target, ask: Ask) -> float | None:
    """The most that a target may take for it; None where nobody knows, 0 where it takes nothing."""
    if target.price is None:  # most of a fleet, and many are asked about
        return 0.0 if target.priced else None
    out = TOKENS_OUT if ask.max_tokens is None else ask.max_tokens
    return most_usd(target, ask.tokens_in, out * ask.choices)


def most_tokens(ask: Ask) -> int:
    """What the target's context must hold."""
    return ask.tokens_in + (ask.max_tokens or 0)


def _unable(target: Target, ask: Ask) -> Unfit:
    """What it could not do however it is."""
    if ask.kind not in target.kinds:
        return Reason.KIND, f"{target.name} is no model for {ask.kind}"
    if ask.needs and not ask.needs <= target.abilities:
        return Reason.NEEDS, f"{target.name} cannot: {', '.join(sorted(ask.needs - target.abilities))}"
    if ask.has_text and not target.prefills:
        return Reason.TEXT, f"{target.name} does not go on behind a text that another one began"
    most, context = ask.tokens_in + (ask.max_tokens or 0), target.context_size
    if context and most > context:
        return Reason.CONTEXT, f"{target.name}: about {most} tokens do not fit into its context of {context}"
    return None


def _too_dear(target: Target, ask: Ask, most: float) -> Unfit:
    cost = cost_usd(target, ask)
    if cost is None:
        return Reason.COST, f"{target.name}: nobody knows its price, and no more than ${most:g} may be spent"
    if cost > most:
        return Reason.COST, f"{target.name} may cost ${cost:.6f}, and no more than ${most:g} may be spent"
    return None
