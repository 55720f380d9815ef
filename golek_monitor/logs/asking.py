"""Which requests are asked for?

What people and programs say as text, checked: a value that is none is refused with its name.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from golek_wire.errors import BadRequestError
from golek_wire.logs import LogQuery, Text

MOST: Final = 500
"""Requests of one page."""
USUAL: Final = 100
_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_GOT: Final = re.compile(r", got `\w+`$")
"""All parameters come as text: that one is no news, and the text itself is told."""
_CURSOR: Final = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?):(\d{1,18}):(.+)")


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a search: each that is given narrows it."""

    model: Text = ""
    """Only of this model, and what routers were asked for by this name."""
    worker_id: Text = ""
    """Only answered by this worker."""
    status: Text = ""
    """Only those that ended so: `ok`, or an error's code such as `CANCELLED`."""
    kind: Text = ""
    """`inference`, `embedding` or `rerank`."""
    principal: Text = ""
    """Only of who asks under this name."""
    req_id: Text = ""
    """Only those whose label has this in it, in capitals or not."""
    job_id: Text = ""
    """Only this job."""
    errors_only: bool = False
    """Leave out those that ended well."""
    slower_ms: Annotated[float, Meta(ge=0)] | None = None
    """Only those that took at least so long from the lease to the last token."""
    since: Text = ""
    """Ended at this moment or later: RFC 3339, or how long ago, as `15m`, `2h` or `7d`."""
    until: Text = ""
    """Ended at this moment or before."""
    before: Text = ""
    """Older than where the last page ended: its `next`."""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = USUAL
    """So many at most; with `everywhere` 100."""
    everywhere: bool = False
    """Ask workers of other machines, too; that takes half a second longer."""


class Window(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a summary."""

    model: Text = ""
    """Only of this model."""
    since: Text = "1h"
    """From this moment on: RFC 3339, or how long ago, as `15m`, `2h` or `7d`."""
    until: Text = ""
    """Up to this moment."""


AnyQuery = TypeVar("AnyQuery", bound=Struct)


class Place(Struct, frozen=True):
    """Where a page ended."""

    ts: float
    row: int
    log: str

    @classmethod
    def read(cls, text: str) -> "Place":
        """What `str` of one says. Raises BadRequestError."""
        found = _CURSOR.fullmatch(text)
        if found is None or not math.isfinite(ts := float(found[1])):
            raise BadRequestError(f"before: the `next` of an answer, got {text[:64]!r}", param="before")
        return cls(ts, int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.ts!r}:{self.row}:{self.log}"


def parse(values: Mapping[str, str], kind: type[AnyQuery]) -> AnyQuery:
    """The parameters as one of the structs above, or another. Raises BadRequestError naming the one that is wrong."""
    known = kind.__struct_fields__
    for name in values:
        if name not in known:
            raise BadRequestError(f"{name[:64]}: no such parameter; there are {', '.join(known)}", param=name[:64])
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, kind, strict=False)
        except msgspec.ValidationError as error:
            wanted = _GOT.sub("", str(error).partition(" - at `$.")[0].replace(" | null", ""))
            raise BadRequestError(f"{name}: {wanted}, got {value[:64]!r}", param=name) from None
    return msgspec.convert(dict(values), kind, strict=False)


def asked(query: Query, now: float) -> LogQuery:
    """What is asked of each log. Raises BadRequestError naming the field that is wrong."""
    place = Place.read(query.before) if query.before else None
    return LogQuery(
        worker_id=query.worker_id,
        status="ok" if query.status.lower() == "ok" else query.status.upper(),
        kind=query.kind,
        principal=query.principal,
        req_id=query.req_id,
        job_id=query.job_id,
        errors_only=query.errors_only,
        slower_ms=query.slower_ms,
        since=moment("since", query.since, now),
        until=moment("until", query.until, now),
        before_ts=place.ts if place is not None else None,
        before_row=place.row if place is not None else 0,
        before_log=place.log if place is not None else "",
    )


def moment(name: str, text: str, now: float) -> float | None:
    """Seconds since 1970 of what `since` or `until` says; None of an empty one. Raises BadRequestError."""
    text = text.strip()
    if not text:
        return None
    if (ago := _AGO.fullmatch(text)) is not None:
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        # A blank is how `+` of an offset comes out of a query that nobody escaped.
        read = datetime.fromisoformat(text.replace(" ", "+") if re.search(r" \d\d:\d\d$", text[19:]) else text)
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequestError(
            f"{name}: a moment as 2026-01-31T12:00:00Z, or how long ago as 15m, got {text[:64]!r}", param=name
        ) from None
