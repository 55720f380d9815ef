"""What does the fleet know of a key?

A row of the bucket `GOLEK_KEYS`, under the SHA-256 of the key's text in hex: the text itself is kept nowhere.
"""

import hashlib
import math
import re
from typing import Final, Literal, cast, get_args

from msgspec import Struct, field

Unit = Literal["tokens", "requests", "usd"]
Window = Literal["hour", "day", "month", "total"]
"""For how long a budget lasts: calendar hours, days and months in UTC, or for good."""
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
LARGEST: Final = 10**15
"""Of a limit: JSON of other languages holds no larger number exactly."""
MICROS: Final = 1_000_000
"""Of a dollar: budgets in money are counted in millionths."""
_BUDGET = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,6}))?(req|usd)?(?:/([a-z]+))?")


class Budget(Struct, frozen=True, omit_defaults=True):
    """What a key may spend in a window of time."""

    amount: int
    """Of dollars: millionths."""
    unit: Unit = "tokens"
    """Tokens are those read and those written together; dollars those that clouds take."""
    window: Window = "month"

    def __str__(self) -> str:
        """As a key file says it."""
        if self.unit == "usd":
            return f"{dollars(self.amount)[1:]}usd/{self.window}"
        return f"{self.amount}{'req' if self.unit == 'requests' else ''}/{self.window}"


def parse_budget(text: str) -> Budget:
    """`1000000` tokens in a month, `20req` requests, `0.5usd` dollars; then `/hour`, `/day`, `/month`, `/total`.

    Raises ValueError that says what is allowed.
    """
    match = _BUDGET.fullmatch(text)
    if match is not None and match[4] in (None, *WINDOWS) and (match[2] is None or match[3] == "usd"):
        unit: Unit = "tokens" if match[3] is None else "requests" if match[3] == "req" else "usd"
        amount = int(match[1])
        if unit == "usd":
            amount = amount * MICROS + int((match[2] or "").ljust(6, "0"))
        if 1 <= amount <= LARGEST:
            return Budget(amount, unit, cast("Window", match[4] or "month"))
    raise ValueError(
        f"tokens from 1 to {LARGEST}, or requests as 20req, or dollars that clouds take as 5usd or 0.5usd, and for how "
        f"long: {', '.join(f'/{one}' for one in WINDOWS)}; without that /month. As 1000000/day"
    )


def micros(usd: float) -> int:
    """Dollars in whole millionths; the last one begun counts."""
    return math.ceil(round(usd * MICROS, 3))


def dollars(micros: int) -> str:
    """Money as people read it: `$5`, `$0.50`, `$0.000125`."""
    whole, rest = divmod(micros, MICROS)
    return f"${whole}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}" if rest else f"${whole}"


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
    cache: Literal["off", "exact", "semantic"] | None = None
    """Whether its answers are kept, where a request does not say; None leaves it to the model."""

    @property
    def has_limits(self) -> bool:
        """Whether the ledger has to be asked."""
        return not (self.rpm is None and self.tpm is None and self.concurrent is None and self.budget is None)


def digest(key: str) -> str:
    """What is kept of a key: the SHA-256 of its text, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
