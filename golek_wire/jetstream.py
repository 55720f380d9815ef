"""What does JetStream answer, and which of its errors mean something to Golek?

The `err_code`s that both client and worker know (server source: errors.json).
"""

from typing import Final

from msgspec import Struct

STREAM_NOT_FOUND: Final = 10059
NO_MESSAGE: Final = 10037
MESSAGE_GONE: Final = (NO_MESSAGE, 10043, 10057)
"""No message found, sequence not found, delete failed because it is gone."""
ELECTING: Final = (10004, 10008, 10009)
"""Incomplete results, temporarily unavailable, not the leader: a cluster between two leaders."""


class ApiError(Struct, frozen=True):
    """Why JetStream did not do what it was asked."""

    err_code: int = 0
    description: str = ""


class PubAck(Struct, frozen=True):
    """JetStream's answer to a publish."""

    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None
