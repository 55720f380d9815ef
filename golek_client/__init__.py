"""Ask a Golek fleet from Python. Needs only nats-py and msgspec.

    from golek_client import Golek

    async with Golek() as golek:
        reply = await golek.ask("qwen3-4b", "Why is the sky blue?")
        async for delta in golek.stream("qwen3-4b", "Tell me a story"):
            print(delta, end="")

Every error is an `InferenceServiceError`; `RetriableError` and `NonRetriableError` divide them. For tests without a
server there is `golek_client.testing`.
"""

from golek_client.client import Golek
from golek_client.stream import Stream
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    EngineFailedError,
    ForbiddenError,
    InferenceServiceError,
    InternalError,
    JobCancelledError,
    ModelBusyError,
    ModelLoadingError,
    ModelNotFoundError,
    NonRetriableError,
    NoWorkersError,
    PayloadTooLargeError,
    PoisonJobError,
    QueueFullError,
    RateLimitedError,
    RetriableError,
    StreamInterruptedError,
    TemporaryResourceError,
    UnauthorizedError,
)
from golek_wire.replies import InferenceReply
from golek_wire.requests import Message
from golek_wire.signals import Health, ModelRecord

__all__ = [
    "BadRequestError",
    "BusUnavailableError",
    "ContextBudgetExceededError",
    "DeadlineExceededError",
    "EngineFailedError",
    "ForbiddenError",
    "Golek",
    "Health",
    "InferenceReply",
    "InferenceServiceError",
    "InternalError",
    "JobCancelledError",
    "Message",
    "ModelBusyError",
    "ModelLoadingError",
    "ModelNotFoundError",
    "ModelRecord",
    "NoWorkersError",
    "NonRetriableError",
    "PayloadTooLargeError",
    "PoisonJobError",
    "QueueFullError",
    "RateLimitedError",
    "RetriableError",
    "Stream",
    "StreamInterruptedError",
    "TemporaryResourceError",
    "UnauthorizedError",
]
