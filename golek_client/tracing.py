"""Which trace do a program's requests belong to?

The one that it names:

    with within(traceparent):
        reply = await golek.ask("qwen3-4b", "Why is the sky blue?")

Or each request is a span of its own: what makes those is a `Tracer`, and `golek_client.otel` has one.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Protocol

from golek_wire import trace
from golek_wire.subjects import Kind

carried: ContextVar[Mapping[str, str] | None] = ContextVar("golek_trace", default=None)
"""The headers that requests of this task have; None where nobody named a trace."""


class RequestSpan(Protocol):
    """One request in a trace."""

    @property
    def carried(self) -> Mapping[str, str]:
        """`traceparent` and `tracestate`, for who answers."""

    def end(self, job_id: str, worker: str, reply: object, error: BaseException | None) -> None:
        """It is over: with a reply, with an error, or with neither because its caller left."""


class Tracer(Protocol):
    """Makes a span of each request. What it does must not raise."""

    def begin(self, kind: Kind, model: str, payload: bytes) -> RequestSpan:
        """A request is about to be sent."""


@contextlib.contextmanager
def within(traceparent: str, tracestate: str = "") -> Iterator[None]:
    """What is asked in this block, and in tasks begun there, belongs to a trace (W3C Trace Context).

    A `traceparent` that is not well formed names none.
    """
    before = carried.set(trace.passed_on(traceparent, tracestate) or None)
    try:
        yield
    finally:
        carried.reset(before)
