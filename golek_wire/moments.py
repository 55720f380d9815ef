"""How is a moment written? RFC 3339 in UTC, with milliseconds."""

import functools
import time
from datetime import UTC, datetime


def stamp(epoch_s: float | None = None) -> str:
    """Seconds since 1970, or now. Raises ValueError, OverflowError or OSError for what is no moment."""
    second, ms = divmod(round((time.time() if epoch_s is None else epoch_s) * 1e6) // 1000, 1000)
    return f"{_second(second)}.{ms:03d}Z"


@functools.lru_cache(1024)
def _second(second: int) -> str:
    """A monitor writes thousands of moments of the same few seconds."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]
