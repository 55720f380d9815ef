"""What is a caller told whose request nobody can answer?"""

from collections.abc import Sequence
from typing import Any, Final

from golek_client import discovery
from golek_wire import errors
from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    ForbiddenError,
    InferenceServiceError,
    ModelNotFoundError,
    NoWorkersError,
    ProviderRefusedError,
    RateLimitedError,
)
from golek_wire.routing import CLOUDS, LOCAL, Decision, Policy, Rejected
from golek_worker.router.fitting import Reason, most_tokens
from golek_worker.router.standing import Situation
from golek_worker.router.table import FLEET_PREFIX, Plan, Table
from golek_worker.router.targets import Ask

RETRY_MS: Final = 1000
SHOWN: Final = 5


def told(error: InferenceServiceError) -> dict[str, Any]:
    """An error as a decision has it."""
    return {"code": error.code, "message": error.message, "details": error.details}


def of(decision: Decision) -> InferenceServiceError | None:
    """What the caller gets where nobody can be asked; None where somebody can."""
    said = decision.error
    return None if said is None else errors.from_body(said["code"], said["message"], dict(said["details"]))


def unknown(ask: Ask, table: Table, situation: Situation) -> InferenceServiceError:
    """Nobody knows the name: the names that there are."""
    lost = table.lost(ask.model)
    if lost is not None:
        provider = lost.name.partition(":")[0]
        return ProviderRefusedError(f"{ask.model}: {table.missing[provider]}", provider=provider)
    local = sorted(target.model for target in situation.targets.values() if target.is_local)
    served = sorted(one.target.model for one in situation.least_busy if one.target.is_local and one.state.up)
    offers = [offer.name for offer in table.offers()]
    error = discovery.not_found(ask.model, [*local, *offers, *table.presets], [*served, *offers])
    said, colon, _ = ask.model.partition(":")
    providers = sorted({target.provider for target in table.clouds.values()} | table.missing.keys())
    if colon and providers and said not in (*providers, LOCAL, FLEET_PREFIX[:-1]):
        hint = f"; did you mean {near}?" if (near := error.details.get("did_you_mean")) else ""
        text = f"No model {ask.model!r} is known, and no provider {said!r}: there is {', '.join(providers)}{hint}"
        return ModelNotFoundError(text, **error.details)
    return error


def forbidden(plan: Plan, ask: Ask) -> ForbiddenError | None:
    """The caller's key is for other names."""
    if ask.allowed is None or plan.name in ask.allowed or ask.model in ask.allowed:
        return None
    return ForbiddenError(f"The key is not for {plan.name}; it is for {', '.join(sorted(ask.allowed))}", param="model")


def contradiction(plan: Plan, policy: Policy | None, ask: Ask) -> BadRequestError | None:
    """The request wants more than the name's policy allows, or less than a cloud's name means."""
    if policy is None:
        return BadRequestError(
            f"route.policy: {ask.policy} is more than {plan.name} allows, whose policy is {plan.policy}; leave it out, "
            "or have the operator change the policy in the routes file",
            param="route.policy",
        )
    if plan.sort == "cloud" and policy not in CLOUDS:
        return BadRequestError(
            f"route.policy: {ask.policy} keeps the request from clouds, and {plan.name} is one's model",
            param="route.policy",
        )
    return None


def nobody(
    plan: Plan, ask: Ask, why: Reason | None, rejected: Sequence[Rejected], largest: int, pause_s: float | None = None
) -> InferenceServiceError:
    """No target can be asked. `why` is the reason of the one that came furthest, `largest` the largest context,
    `pause_s` until one may be asked again where all that would do asked for a pause.
    """
    listed = "; ".join(one.reason for one in rejected[:SHOWN])
    more = f"; and {len(rejected) - SHOWN} more" if len(rejected) > SHOWN else ""
    said = f"{listed}{more}" if listed else f"there is no model for {ask.kind}"
    match why:
        case Reason.CONTEXT:
            most = most_tokens(ask)
            return ContextBudgetExceededError(
                most,
                largest,
                f"{plan.name}: about {most} tokens, those to be written among them, fit nowhere; the largest context "
                f"is {largest}: {said}",
            )
        case Reason.KIND | Reason.NEEDS:
            return BadRequestError(f"{plan.name}: nobody can answer this: {said}", param="model")
        case Reason.COST:
            return BadRequestError(f"{plan.name}: nobody can answer this: {said}", param="route.max_cost_usd")
        case Reason.ALLOWED:
            return ForbiddenError(f"{plan.name}: nobody may answer this: {said}", param="model")
        case Reason.POLICY:
            return NoWorkersError(f"Nobody may answer for {plan.name}: {said}", RETRY_MS, model=plan.name)
        case _:
            kind, after_ms = (
                (NoWorkersError, RETRY_MS) if pause_s is None else (RateLimitedError, max(1, round(1000 * pause_s)))
            )
            return kind(f"Nobody can answer for {plan.name}: {said}", after_ms, model=plan.name)
