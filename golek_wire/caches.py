"""What is said of a model's caches on the bus?

On `models.<model>.cache.stats` and `.clear` every replica of the model hears an order and answers for itself.
"""

from msgspec import Struct


class CacheOrder(Struct, frozen=True):
    """What an operator asks: an empty object."""


class CacheReport(Struct, frozen=True, omit_defaults=True):
    """What is kept at one replica once it has done what was asked."""

    model_name: str
    worker_id: str
    entries: int = 0
    """Answers and vectors in its memory; one that is found by questions in other words as well counts twice."""
    bytes: int = 0
    limit: int = 0
    """Bytes that they may take: GOLEK_CACHE_MB, and as many again where questions in other words are kept."""
    hits: int = 0
    """Since the worker began, of requests that asked for a cache: answered from it, or by the run of an equal request.
    """
    misses: int = 0
    forgotten: int = 0
    """By `.clear`: what was in memory; what replicas share is forgotten as well."""
    shared: int = 0
    """Since the worker began: answered by the run of an equal request, where nobody asked for a cache."""
    problem: str | None = None
    """Why it is not as it was asked for; None when it is."""
