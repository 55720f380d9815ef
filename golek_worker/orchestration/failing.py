"""With which error does a flow end that has nothing to give?"""

from collections.abc import Sequence
from typing import Final

from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    ForbiddenError,
    InferenceServiceError,
    OrchestrationFailedError,
    OverLimitError,
    RateLimitedError,
    UnauthorizedError,
)
from golek_worker.orchestration.asking import failed
from golek_worker.orchestration.base import Step

UNPAID: Final = "unpaid"
"""Among the details of an error that is about the caller's own money, as the router says it."""


def failure(errors: Sequence[tuple[Step, InferenceServiceError]]) -> InferenceServiceError:
    """The error of a flow whose first steps ended in `errors`, at least one.

    Where all of them are about the caller (its request, its rights, its money, its time), the first one as it is, for
    another caller could be answered. Otherwise OrchestrationFailedError: `step` and `model` of the first one, its
    `cause`, and who `failed`.
    """
    step, first = errors[0]
    if all(is_callers(error) for _, error in errors):
        return first
    many = f"; so did all {len(errors)} that were asked" if len(errors) > 1 else ""
    return OrchestrationFailedError(
        f"No usable answer: {step.name} of {step.member.model} failed with {first.code}: {first.message}{many}",
        step=step.name,
        model=step.member.model,
        cause={"code": first.code, "message": first.message},
        failed=failed(errors),
    )


def is_callers(error: InferenceServiceError) -> bool:
    """Whether it is about the caller and its request, whoever is asked."""
    match error:
        case BadRequestError() | ForbiddenError() | UnauthorizedError() | DeadlineExceededError():
            return True
        case OverLimitError() | RateLimitedError():
            return UNPAID in error.details
        case _:
            return False
