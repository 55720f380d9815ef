"""Ask a Golek fleet from Python. Needs only nats-py and msgspec.

    from golek_client import Golek

    async with Golek() as golek:
        reply = await golek.ask("qwen3-4b", "Why is the sky blue?")
        async for delta in golek.stream("qwen3-4b", "Tell me a story"):
            print(delta, end="")
        query, document = (await golek.embed("nomic-embed-v1.5", ["rivers of Africa", "The Nile is long"])).vectors

Every error is an `InferenceServiceError`; `RetriableError` and `NonRetriableError` divide them. For tests without a
server there is `golek_client.testing`.

Warnings, such as that of a broken connection, go to the loggers below `golek`, and are seen once a program configures
`logging`.
"""

import logging
from typing import TYPE_CHECKING

from golek_wire.errors import (
    AdapterNotFoundError,
    BadRequestError,
    BusUnavailableError,
    CompressionFailedError,
    ConflictError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    EngineFailedError,
    ForbiddenError,
    HandoffStateInvalidError,
    IdempotencyMismatchError,
    InferenceServiceError,
    InternalError,
    InvalidGrammarError,
    JobCancelledError,
    ModelBusyError,
    ModelLoadingError,
    ModelNotFoundError,
    NonRetriableError,
    NotFoundError,
    NoWorkersError,
    OrchestrationFailedError,
    OverLimitError,
    PayloadTooLargeError,
    PoisonJobError,
    ProviderFailedError,
    ProviderRefusedError,
    QueueFullError,
    RateLimitedError,
    RetriableError,
    RouteLoopError,
    StreamInterruptedError,
    TemporaryResourceError,
    UnauthorizedError,
    UnknownGrammarError,
)
from golek_wire.orchestration import InferenceMetadata, Orchestration, OrchestrationWish, StepEvent, StepRecord
from golek_wire.replies import Delta, Embedding, EmbeddingReply, InferenceReply, Ranking, Receipt, RerankReply, ToolCall
from golek_wire.requests import Message, Resume
from golek_wire.signals import DeadLetter, Health, ModelRecord
from golek_wire.vision import VisionReply

if TYPE_CHECKING:
    from golek_client.asking import Asking
    from golek_client.client import Golek
    from golek_client.reopening import Reopened
    from golek_client.seeing import image
    from golek_client.stream import Stream
    from golek_wire.logs import LogQuery

__all__ = [
    "AdapterNotFoundError",
    "Asking",
    "BadRequestError",
    "BusUnavailableError",
    "CompressionFailedError",
    "ConflictError",
    "ContextBudgetExceededError",
    "DeadLetter",
    "DeadlineExceededError",
    "Delta",
    "Embedding",
    "EmbeddingReply",
    "EngineFailedError",
    "ForbiddenError",
    "Golek",
    "HandoffStateInvalidError",
    "Health",
    "IdempotencyMismatchError",
    "InferenceMetadata",
    "InferenceReply",
    "InferenceServiceError",
    "InternalError",
    "InvalidGrammarError",
    "JobCancelledError",
    "LogQuery",
    "Message",
    "ModelBusyError",
    "ModelLoadingError",
    "ModelNotFoundError",
    "ModelRecord",
    "NoWorkersError",
    "NonRetriableError",
    "NotFoundError",
    "Orchestration",
    "OrchestrationFailedError",
    "OrchestrationWish",
    "OverLimitError",
    "PayloadTooLargeError",
    "PoisonJobError",
    "ProviderFailedError",
    "ProviderRefusedError",
    "QueueFullError",
    "Ranking",
    "RateLimitedError",
    "Receipt",
    "Reopened",
    "RerankReply",
    "Resume",
    "RetriableError",
    "RouteLoopError",
    "StepEvent",
    "StepRecord",
    "Stream",
    "StreamInterruptedError",
    "TemporaryResourceError",
    "ToolCall",
    "UnauthorizedError",
    "UnknownGrammarError",
    "VisionReply",
    "image",
]

# Else Python's handler of last resort writes warnings to the standard error of a program that asked for none.
logging.getLogger("golek").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """`Golek`, `Stream` and `Reopened` on first use: they need nats-py, whose 100 ms `golek --help` need not pay.

    So with `LogQuery`, `image` and `Asking`, which few programs name.
    """
    if name == "Golek":
        from golek_client.client import Golek

        return Golek
    if name == "Stream":
        from golek_client.stream import Stream

        return Stream
    if name == "Reopened":
        from golek_client.reopening import Reopened

        return Reopened
    if name == "Asking":
        from golek_client.asking import Asking

        return Asking
    if name == "image":
        from golek_client.seeing import image

        return image
    if name == "LogQuery":
        from golek_wire.logs import LogQuery

        return LogQuery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
