"""What does a router say to the workers of models for which others may answer?"""

from typing import Final

from msgspec import Struct

HELP_EVERY_S: Final = 2.0
"""So often a router says that it is there …"""
HELP_COUNTS_S: Final = 5.0
"""… and so long a worker counts on it."""


class Help(Struct, frozen=True):
    """Jobs that find no place in a model's queue may be stored in a router's."""

    router: str
    """Its worker id."""
    model: str
    """Its own name, by which its stream is called."""
    capacity: int
    """Jobs that its stream holds; 0 says that the router leaves."""
    strategy: str
    """How its jobs are queued: `fifo` or `priority`."""

    @property
    def has_left(self) -> bool:
        """Whether nobody is to count on it any more."""
        return self.capacity == 0
