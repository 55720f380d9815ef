"""What does an answer over HTTP say of how it came about?

Beside the fields of each API: `route`, what it cost, what a cache had to do with it, and how several models came to it,
where these are known; in headers the same, as far as it is known before the first byte.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from golek_wire.codec import encode
from golek_wire.orchestration import InferenceMetadata, Orchestration
from golek_wire.replies import Reply
from golek_wire.routing import CacheUse, Route

HEADER: Final = "x-golek-route"
STRATEGY: Final = "x-golek-route-strategy"
REASON: Final = "x-golek-route-reason"
CHAIN: Final = "x-golek-route-chain"
QUEUE_MS: Final = "x-golek-queue-ms"
COST_USD: Final = "x-golek-cost-usd"
ORCHESTRATION: Final = "x-golek-orchestration"
CHAIN_LIMIT: Final = 16
"""Targets of a chain that a header names."""


class Routed(Struct, frozen=True, kw_only=True):
    """The part of an answer that tells of its route; absent where no router had to do with it."""

    route: Route | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET
    """What clouds take for it, in dollars."""
    cache: CacheUse | UnsetType = UNSET


class Orchestrated(Routed, frozen=True, kw_only=True):
    """The same of a text, which several models may have written together."""

    orchestration: Orchestration | UnsetType = UNSET
    """How they came to it; absent where one model answered."""
    inference_metadata: InferenceMetadata | UnsetType = UNSET
    """The same for programs that collect figures."""


def about(replies: Sequence[Reply]) -> dict[str, Any]:
    """The fields for an answer of these: how the first one came about, and what all cost together."""
    found: dict[str, Any] = {}
    routes = [one.route for one in replies if one.route]
    costs = [cost for one in replies if isinstance(cost := getattr(one, "cost_usd", None), int | float)]
    caches = [cache for one in replies if (cache := getattr(one, "cache", None))]
    if routes:
        found["route"] = routes[0]
    if costs:
        found["cost_usd"] = round(sum(costs), 9)
    if caches:
        found["cache"] = caches[0]
    for name in ("orchestration", "inference_metadata"):
        if told := [one for reply in replies if (one := getattr(reply, name, None))]:
            found[name] = told[0]
    return found


def members(replies: Sequence[Reply]) -> bytes:
    """The same behind other members of a JSON object that is written by hand: empty, or `,"route":…`."""
    found = about(replies)
    return b"," + encode(found)[1:-1] if found else b""


def headers(route: Route) -> Iterator[tuple[str, str]]:
    """Names and values, in characters that headers may have."""
    if route.target:
        yield HEADER, _plain(route.target)
    yield STRATEGY, route.strategy
    if route.reason:
        yield REASON, _plain(route.reason)
    if route.chain:
        tried = [f"{one.target} {one.outcome} {one.ms:.0f}ms" for one in route.chain[:CHAIN_LIMIT]]
        yield CHAIN, _plain(", ".join(tried))
    if route.target:
        yield QUEUE_MS, f"{route.queue_ms:.0f}"


def orchestration_header(how: Orchestration) -> str:
    """The value of `x-golek-orchestration`: `debate; rounds=2; models=a,b; confidence=0.85`; ends in `; partial`."""
    confidence = "" if how.confidence is None else f"; confidence={how.confidence:.2f}"
    partial = "; partial" if how.partial else ""
    return _plain(f"{how.mode}; rounds={how.rounds}; models={','.join(how.models_used)}{confidence}{partial}")


def _plain(text: str) -> str:
    """Printable ASCII, for headers have nothing else; a name's other characters become question marks."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)
