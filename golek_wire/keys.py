"""What does the fleet know of a key?

A row of the bucket `GOLEK_KEYS`, under the SHA-256 of the key's text in hex: the text itself is kept nowhere.
"""

import hashlib
from typing import Literal

from msgspec import Struct, field

Unit = Literal["tokens", "requests"]
Window = Literal["hour", "day", "month", "total"]
"""For how long a budget lasts: calendar hours, days and months in UTC, or for good."""


class Budget(Struct, frozen=True, omit_defaults=True):
    """What a key may spend in a window of time."""

    amount: int
    unit: Unit = "tokens"
    """Tokens are those read and those written together."""
    window: Window = "month"


class Key(Struct, frozen=True, omit_defaults=True):
    """Who holds a key, and what it may do. Absent limits do not limit; fields of later releases are tolerated."""

    key_id: str
    """The principal: it stands in logs, jobs and results. Two keys may have one, and then share its limits."""
    models: list[str] = field(default_factory=list[str])
    """Names of the models it may ask; empty is all."""
    source: str = ""
    """`file` when it was imported from the key file, which then also takes it away; `auth` when a gateway wrote it for
    somebody whom GOLEK_AUTH let in."""
    rpm: int | None = None
    """Requests in a minute."""
    tpm: int | None = None
    """Tokens in a minute, those read and those written together."""
    concurrent: int | None = None
    """Requests at once, those that wait among them."""
    budget: Budget | None = None
    expires: str | None = None
    """RFC 3339; from then on nobody knows the key."""

    @property
    def has_limits(self) -> bool:
        """Whether the ledger has to be asked."""
        return not (self.rpm is None and self.tpm is None and self.concurrent is None and self.budget is None)


def digest(key: str) -> str:
    """What is kept of a key: the SHA-256 of its text, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
