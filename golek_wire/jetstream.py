"""Which of JetStream's errors mean something to Golek?

The `err_code`s that both client and worker know (server source: errors.json).
"""

from typing import Final

STREAM_NOT_FOUND: Final = 10059
NO_MESSAGE: Final = 10037
MESSAGE_GONE: Final = (NO_MESSAGE, 10043, 10057)
"""No message found, sequence not found, delete failed because it is gone."""
ELECTING: Final = (10004, 10008, 10009)
"""Incomplete results, temporarily unavailable, not the leader: a cluster between two leaders."""
