"""To which trace does a request over HTTP belong, and what does its span tell?

The caller's, where it sends `traceparent`, also where nobody traces here: then the fleet is asked with what the caller
sent. Probes of health and pages are no part of a trace.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from golek_wire import semconv
from golek_wire.trace import passed_on
from golek_worker.gateway.door import Visit

if TYPE_CHECKING:
    from golek_program.spans import Tracing


def carried_in(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The caller's trace, as a message of the bus carries it; nothing where it names none."""
    parent, states = b"", []
    for name, value in headers:
        if name == b"traceparent":
            parent = value
        elif name == b"tracestate":
            states.append(value)
    return passed_on(parent.decode("latin-1"), b",".join(states).decode("latin-1")) if parent else {}


@contextlib.contextmanager
def traced(tracing: "Tracing", visit: Visit, scheme: str, carried: Mapping[str, str]) -> Iterator[None]:
    """The span of a request; what the fleet is asked in this block belongs to it."""
    about = {
        semconv.HTTP_METHOD: visit.method,
        semconv.URL_PATH: visit.path,
        semconv.URL_SCHEME: scheme,
        semconv.CLIENT_ADDRESS: visit.peer,
        semconv.REQ_ID: visit.request_id,
    }
    span = tracing.begin(visit.method, "server", carried, about)
    try:
        with span.entered():
            yield
    finally:
        if visit.route:
            span.rename(f"{visit.method} {visit.route}")
            span.say({semconv.HTTP_ROUTE: visit.route})
        span.say(_learnt(visit))
        span.end(_error(visit))


def _learnt(visit: Visit) -> dict[str, str | int]:
    """What was found out on the way."""
    found: dict[str, str | int] = {semconv.HTTP_STATUS: visit.status}
    if visit.caller is not None:
        found[semconv.KEY_ID] = visit.caller.principal
    if visit.job_id:
        found[semconv.JOB_ID] = visit.job_id
    if visit.worker:
        found[semconv.WORKER_ID] = visit.worker
    return found


def _error(visit: Visit) -> str:
    """The code of an error that is this side's: what the caller did wrong is none, nor that it left.

    A stream that ended in an error has begun with 200.
    """
    if visit.status >= 500:
        return visit.code or str(visit.status)
    return visit.code if visit.status < 400 else ""
