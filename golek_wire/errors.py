"""What can go wrong, what is it called, and would trying again help?

    InferenceServiceError
      RetriableError                 carries retry_after_ms
        ModelBusyError
          QueueFullError
        ModelLoadingError
        TemporaryResourceError
          BusUnavailableError
          NoWorkersError
        RateLimitedError
        StreamInterruptedError
        EngineFailedError
        ProviderFailedError
      NonRetriableError
        BadRequestError
          UnknownGrammarError
          InvalidGrammarError
          ContextBudgetExceededError
          PayloadTooLargeError
        UnauthorizedError
        ForbiddenError
        NotFoundError
          ModelNotFoundError
          AdapterNotFoundError
        DeadlineExceededError
        IdempotencyMismatchError
        ConflictError
        JobCancelledError
        PoisonJobError
        CompressionFailedError
        HandoffStateInvalidError
        OrchestrationFailedError
        ProviderRefusedError
        RouteLoopError
        InternalError

`STATUS` is the one table of codes with their NATS and HTTP status. An error travels as `ErrorReply`;
`to_reply` and `from_reply` translate.
"""

from typing import Any, ClassVar, NamedTuple

from msgspec import Struct, field

Details = dict[str, Any]


class Status(NamedTuple):
    """The numbers of one error code."""

    nats: int
    """Value of the header `Nats-Service-Error-Code` and of `error.status`."""
    http: int
    """Status line of the HTTP surfaces."""


class InferenceServiceError(Exception):
    """Something went wrong while serving a request."""

    code: ClassVar[str] = "INTERNAL"
    type: ClassVar[str] = "non_retriable"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.details: Details = details
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as class, message and details, whatever the constructor takes."""
        return _restored, (type(self), self.message, self.details)


class RetriableError(InferenceServiceError):
    """A passing fault; the same request may succeed later."""

    code = "TEMPORARY_RESOURCE"
    type = "retriable"

    def __init__(self, message: str | None = None, retry_after_ms: int = 1000, **details: Any) -> None:
        super().__init__(message, retry_after_ms=retry_after_ms, **details)
        self.retry_after_ms = retry_after_ms


class NonRetriableError(InferenceServiceError):
    """A lasting fault; the same request will fail again."""


class ModelBusyError(RetriableError):
    """The model is processing other requests."""

    code = "MODEL_BUSY"


class QueueFullError(ModelBusyError):
    """The model's queue is at its capacity."""

    code = "QUEUE_FULL"


class ModelLoadingError(RetriableError):
    """The model is still being loaded into memory."""

    code = "MODEL_LOADING"


class TemporaryResourceError(RetriableError):
    """A resource is exhausted for the moment."""

    code = "TEMPORARY_RESOURCE"


class BusUnavailableError(TemporaryResourceError):
    """JetStream did not take the request in time."""

    code = "BUS_UNAVAILABLE"


class NoWorkersError(TemporaryResourceError):
    """No worker serves this model at the moment."""

    code = "NO_WORKERS"


class RateLimitedError(RetriableError):
    """The caller's rate limit is used up."""

    code = "RATE_LIMITED"


class OverLimitError(NonRetriableError):
    """This request alone is larger than the caller's limit, or what it has for good is used up: it can never pass."""

    code = "OVER_LIMIT"


class StreamInterruptedError(RetriableError):
    """A stream lost its worker and the next attempt wrote another text."""

    code = "STREAM_INTERRUPTED"


class EngineFailedError(RetriableError):
    """The engine could not run the request."""

    code = "ENGINE_FAILED"


class ProviderFailedError(RetriableError):
    """A cloud did not answer, or said that it cannot at the moment."""

    code = "PROVIDER_FAILED"


class BadRequestError(NonRetriableError):
    """The request is not understood."""

    code = "BAD_REQUEST"


class UnknownGrammarError(BadRequestError):
    """No grammar is stored under this name."""

    code = "UNKNOWN_GRAMMAR"


class InvalidGrammarError(BadRequestError):
    """The grammar, expression or schema cannot be followed."""

    code = "INVALID_GRAMMAR"


class ContextBudgetExceededError(BadRequestError):
    """The prompt and the tokens asked for do not fit into the model's context."""

    code = "CONTEXT_BUDGET_EXCEEDED"

    def __init__(self, current_tokens: int, budget: int, message: str | None = None, **details: Any) -> None:
        message = message or f"Context budget exceeded: {current_tokens}/{budget} tokens"
        super().__init__(message, current_tokens=current_tokens, budget=budget, **details)
        self.current_tokens = current_tokens
        self.budget = budget


class PayloadTooLargeError(BadRequestError):
    """The message is larger than the bus carries."""

    code = "PAYLOAD_TOO_LARGE"


class UnauthorizedError(NonRetriableError):
    """The request carries no valid key."""

    code = "UNAUTHORIZED"


class ForbiddenError(NonRetriableError):
    """The key may not do this."""

    code = "FORBIDDEN"


class NotFoundError(NonRetriableError):
    """There is nothing of this name."""

    code = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """No model of this name is known."""

    code = "MODEL_NOT_FOUND"


class AdapterNotFoundError(NotFoundError):
    """No LoRA adapter of this name is loaded."""

    code = "ADAPTER_NOT_FOUND"


class DeadlineExceededError(NonRetriableError):
    """The answer was not ready before the request's deadline."""

    code = "DEADLINE_EXCEEDED"


class IdempotencyMismatchError(NonRetriableError):
    """The same idempotency key came with another body."""

    code = "IDEMPOTENCY_MISMATCH"


class ConflictError(NonRetriableError):
    """What is stored was changed meanwhile."""

    code = "CONFLICT"


class JobCancelledError(NonRetriableError):
    """The request was cancelled."""

    code = "CANCELLED"


class PoisonJobError(NonRetriableError):
    """The request crashed the engine each time it ran."""

    code = "POISON_JOB"


class CompressionFailedError(NonRetriableError):
    """The context could not be compressed to its target."""

    code = "COMPRESSION_FAILED"


class HandoffStateInvalidError(NonRetriableError):
    """The handoff state lacks fields that the next step needs."""

    code = "HANDOFF_STATE_INVALID"


class OrchestrationFailedError(NonRetriableError):
    """The models of an orchestration came to no usable answer."""

    code = "ORCHESTRATION_FAILED"


class ProviderRefusedError(NonRetriableError):
    """A cloud does not accept the fleet's key, or its address is wrong: it will refuse the next request as well."""

    code = "PROVIDER_REFUSED"


class RouteLoopError(NonRetriableError):
    """The request came through too many routers: two of them send it to each other."""

    code = "ROUTE_LOOP"


class InternalError(NonRetriableError):
    """Golek itself failed; the log of the worker says how."""

    code = "INTERNAL"


STATUS: dict[str, Status] = {
    "BAD_REQUEST": Status(nats=400, http=400),
    "UNKNOWN_GRAMMAR": Status(nats=400, http=400),
    "INVALID_GRAMMAR": Status(nats=400, http=400),
    "CONTEXT_BUDGET_EXCEEDED": Status(nats=400, http=400),
    "UNAUTHORIZED": Status(nats=401, http=401),
    "FORBIDDEN": Status(nats=403, http=403),
    "NOT_FOUND": Status(nats=404, http=404),
    "MODEL_NOT_FOUND": Status(nats=404, http=404),
    "ADAPTER_NOT_FOUND": Status(nats=404, http=404),
    "DEADLINE_EXCEEDED": Status(nats=408, http=504),
    "IDEMPOTENCY_MISMATCH": Status(nats=409, http=409),
    "CONFLICT": Status(nats=409, http=409),
    "PAYLOAD_TOO_LARGE": Status(nats=413, http=413),
    "QUEUE_FULL": Status(nats=429, http=429),
    "RATE_LIMITED": Status(nats=429, http=429),
    "OVER_LIMIT": Status(nats=429, http=429),
    "CANCELLED": Status(nats=499, http=499),
    "INTERNAL": Status(nats=500, http=500),
    "ENGINE_FAILED": Status(nats=500, http=500),
    "POISON_JOB": Status(nats=500, http=500),
    "COMPRESSION_FAILED": Status(nats=500, http=500),
    "HANDOFF_STATE_INVALID": Status(nats=500, http=500),
    "ORCHESTRATION_FAILED": Status(nats=500, http=502),
    "STREAM_INTERRUPTED": Status(nats=500, http=502),
    "PROVIDER_FAILED": Status(nats=502, http=502),
    "PROVIDER_REFUSED": Status(nats=502, http=502),
    "ROUTE_LOOP": Status(nats=508, http=508),
    "MODEL_BUSY": Status(nats=503, http=503),
    "MODEL_LOADING": Status(nats=503, http=503),
    "TEMPORARY_RESOURCE": Status(nats=503, http=503),
    "BUS_UNAVAILABLE": Status(nats=503, http=503),
    "NO_WORKERS": Status(nats=503, http=503),
}


class ErrorBody(Struct, frozen=True, omit_defaults=False):
    """The `error` object of an error message."""

    code: str
    message: str
    type: str
    """`retriable` or `non_retriable`."""
    status: int
    """The NATS status of the code."""
    provider: str = "golek"
    param: str | None = None
    """The field of the request that is wrong, where one is."""
    details: Details = field(default_factory=dict)


class ErrorReply(Struct, frozen=True):
    """One error message on the caller's inbox; never an empty body."""

    req_id: str
    error: ErrorBody


def to_reply(error: InferenceServiceError, req_id: str) -> ErrorReply:
    """`error` as it travels."""
    details = dict(error.details)
    return ErrorReply(
        req_id,
        ErrorBody(
            code=error.code,
            message=error.message,
            type=error.type,
            status=STATUS[error.code].nats,
            provider=details.pop("provider", None) or "golek",
            param=details.pop("param", None),
            details=details,
        ),
    )


def from_reply(reply: ErrorReply) -> InferenceServiceError:
    """The error that `reply` tells of; an unknown code becomes the nearest base class."""
    body = reply.error
    details = dict(body.details) | ({"param": body.param} if body.param else {})
    if body.provider and body.provider != "golek":
        details["provider"] = body.provider
    return from_body(body.code, body.message, details, retriable=body.type == "retriable")


def from_body(code: str, message: str, details: Details, *, retriable: bool = False) -> InferenceServiceError:
    """The error of this code, without passing its class's own constructor: the message is already written."""
    kind = _BY_CODE.get(code) or (RetriableError if retriable else NonRetriableError)
    return _restored(kind, message, details)


def _restored(kind: type[InferenceServiceError], message: str, details: Details) -> InferenceServiceError:
    """An error as it was. Details are another program's: a key may be called `message`, so none is a keyword here."""
    error = kind.__new__(kind, message)
    error.message = message
    error.details = dict(details)
    for name in ("retry_after_ms", "current_tokens", "budget"):
        if isinstance(details.get(name), int):
            setattr(error, name, details[name])
    if isinstance(error, RetriableError) and "retry_after_ms" not in vars(error):
        error.retry_after_ms = 1000
    return error


def leaves(root: type[InferenceServiceError] = InferenceServiceError) -> list[type[InferenceServiceError]]:
    """Every class of the contract below `root`, parents before children; others derive theirs from these."""
    found = []
    for child in root.__subclasses__():
        if child.__module__ == __name__:
            found += [child, *leaves(child)]
    return found


_BY_CODE = {kind.code: kind for kind in leaves() if "code" in vars(kind) and kind is not RetriableError}
