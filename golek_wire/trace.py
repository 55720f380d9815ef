"""Which trace does a message belong to?

W3C Trace Context (https://www.w3.org/TR/trace-context/): `traceparent` is `00-<trace id>-<span id>-<flags>`, and
`tracestate` what the callers' tracing systems add. Nobody need trace for them to be passed on.
"""

import re
from collections.abc import Mapping
from typing import Final

from golek_wire import headers as h

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?!00-.{53})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[ -~]*)?"
)
"""Later versions may have more fields behind those of the first, 00."""
_PRINTABLE: Final = re.compile(r"[ -~]*")


def trace_id(carried: Mapping[str, str]) -> str:
    """The trace's id, 32 hex digits; empty where `carried` has none, or one that is not well formed."""
    match = _TRACEPARENT.fullmatch(carried.get(h.TRACEPARENT, ""))
    return match[1] if match is not None else ""


def passed_on(traceparent: str, tracestate: str = "") -> dict[str, str]:
    """The headers of a message that belongs to the caller's trace; none for what is not well formed or too long.

    A `tracestate` that may not travel is left out, as the specification allows.
    """
    if _TRACEPARENT.fullmatch(traceparent) is None or len(traceparent) > h.TRACE_LIMIT:
        return {}
    carried = {h.TRACEPARENT: traceparent}
    if tracestate and _PRINTABLE.fullmatch(tracestate) and len(traceparent) + len(tracestate) <= h.TRACE_LIMIT:
        carried[h.TRACESTATE] = tracestate
    return carried
