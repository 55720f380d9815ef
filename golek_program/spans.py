"""How are spans made, and how do they leave the process?

`Tracing` is what a program that traces has in its hands; only this file and `golek_client.otel` know OpenTelemetry.
Spans go into a bounded queue and out of it in batches, in a thread: a receiver that is slow or dead costs spans, never
a request, and a stopping program waits for it no longer than `FLUSH_S`.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal, NamedTuple

import structlog
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from golek_client.otel import Spans, carried_by
from golek_program.settings.fleet import Sampler
from golek_program.settings.values import hidden
from golek_program.tracing import Target
from golek_wire.semconv import ERROR_TYPE

log = structlog.get_logger("tracing")

QUEUE_SPANS: Final = 8192
BATCH_SPANS: Final = 512
DELAY_S: Final = 1.0
"""A span leaves after at most so long."""
EXPORT_S: Final = 10.0
"""For so long a batch is tried."""
FLUSH_S: Final = 2.0
"""So long a stopping program waits for what is left to leave; not at all where the receiver is known to be away."""
STUCK_S: Final = 1.0
LOOK_S: Final = 0.02

Kind = Literal["server", "client", "producer", "consumer", "internal"]
Value = str | int | float | bool | Sequence[str]
Attributes = Mapping[str, Value]

_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_CONTEXT: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()
_SENT: Final = TraceFlags(TraceFlags.SAMPLED)
_LEFT_OUT: Final = TraceFlags(TraceFlags.DEFAULT)
_WELL: Final = Status(StatusCode.UNSET)


class Origin(NamedTuple):
    """Where spans come from, and where they go."""

    resource: Resource
    scope: InstrumentationScope
    take: Callable[[ReadableSpan], None]


class Span:
    """Something that takes its time.

    Plain values until it ends: a span of the SDK, which any thread may change at any moment, costs several times as
    much.
    """

    def __init__(
        self,
        origin: Origin | None,
        name: str,
        kind: SpanKind,
        about: Attributes | None,
        begun_ns: int | None,
        parent: SpanContext | None,
        own: SpanContext,
    ) -> None:
        """Without `origin` it is not recorded."""
        self._origin = origin
        self._name = name
        self._kind = kind
        self._about: dict[str, Value] = dict(about) if about is not None else {}
        self._begun_ns = time.time_ns() if begun_ns is None else begun_ns
        self._parent = parent
        self._own = own
        self._events: list[Event] = []
        self.is_recorded = origin is not None
        """False where the sampler left this trace out: then only `carried` is of use."""

    @property
    def carried(self) -> dict[str, str]:
        """The headers of a message that belongs to it."""
        return carried_by(trace.NonRecordingSpan(self._own))

    def say(self, about: Attributes) -> None:
        """Add attributes, until it ends."""
        if self._origin is not None:
            self._about.update(about)

    def rename(self, name: str) -> None:
        """What it is called is known now."""
        self._name = name

    def happened(self, what: str, at_ns: int, about: Attributes | None = None) -> None:
        """Add an event, at nanoseconds since 1970, until it ends."""
        if self._origin is not None:
            self._events.append(Event(what, about, at_ns))

    def part(self, name: str, begun_ns: int, ended_ns: int, about: Attributes | None = None) -> None:
        """A child that is over."""
        self._other(self._own, name, begun_ns, ended_ns, about)

    def beside(self, name: str, begun_ns: int, ended_ns: int, about: Attributes | None = None) -> None:
        """Another child of its parent that is over; its own, where it has no parent."""
        self._other(self._parent or self._own, name, begun_ns, ended_ns, about)

    def _other(self, parent: SpanContext, name: str, begun_ns: int, ended_ns: int, about: Attributes | None) -> None:
        if self._origin is not None:
            same = self._own
            own = SpanContext(same.trace_id, _IDS.generate_span_id(), False, same.trace_flags, same.trace_state)
            Span(self._origin, name, SpanKind.INTERNAL, about, begun_ns, parent, own).end(at_ns=ended_ns)

    def end(self, error: str = "", at_ns: int | None = None) -> None:
        """It is over; with the code of an `error`, if any. A second end is none."""
        origin, self._origin = self._origin, None
        if origin is None:
            return
        if error:
            self._about[ERROR_TYPE] = error
        ended = ReadableSpan(
            self._name,
            self._own,
            self._parent,
            origin.resource,
            self._about,
            self._events,
            kind=self._kind,
            status=Status(StatusCode.ERROR, error) if error else _WELL,
            start_time=self._begun_ns,
            end_time=max(self._begun_ns, time.time_ns() if at_ns is None else at_ns),
            instrumentation_scope=origin.scope,
        )
        origin.take(ended)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """What this task asks meanwhile belongs to this span, and its log lines say so."""
        before = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(self._own)))
        try:
            with structlog.contextvars.bound_contextvars(**self.named):
                yield
        finally:
            context.detach(before)

    @property
    def named(self) -> dict[str, str]:
        """As log lines name it."""
        own = self._own
        return {"trace_id": trace.format_trace_id(own.trace_id), "span_id": trace.format_span_id(own.span_id)}


class Tracing:
    """Makes the spans of one program."""

    def __init__(self, provider: TracerProvider, sending: "Sending") -> None:
        self._sending = sending
        self._sampler = provider.sampler
        scope = InstrumentationScope("golek", _version())
        self._origin = Origin(provider.resource, scope, sending.processor.on_end)
        self.requests = Spans(provider.get_tracer("golek", _version()))
        """For its clients: a span for each request that they send."""

    def begin(
        self,
        name: str,
        kind: Kind,
        carried: Mapping[str, str],
        about: Attributes | None = None,
        begun_ns: int | None = None,
    ) -> Span:
        """A span that begins now, or began at `begun_ns`: in the trace that a message's `carried` headers name, in a
        new one where they name none.
        """
        inside = _CONTEXT.extract(carried, context.Context()) if carried else context.Context()
        parent = trace.get_current_span(inside).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else _IDS.generate_trace_id()
        chosen = self._sampler.should_sample(inside, trace_id, name, _KINDS[kind])
        is_sent = chosen.decision is sampling.Decision.RECORD_AND_SAMPLE
        own = SpanContext(
            trace_id, _IDS.generate_span_id(), is_remote=False,
            trace_flags=_SENT if is_sent else _LEFT_OUT, trace_state=chosen.trace_state,
        )  # fmt: skip
        origin = self._origin if is_sent else None
        return Span(origin, name, _KINDS[kind], about, begun_ns, parent if parent.is_valid else None, own)

    async def close(self) -> None:
        """Send what is left, for at most FLUSH_S."""
        await asyncio.to_thread(self._sending.close)


class Sending:
    """Spans on their way to the receiver."""

    def __init__(self, exporter: SpanExporter, where: str, flush_s: float = FLUSH_S) -> None:
        self._exporter = exporter
        self._flush_s = flush_s
        self.told = Told(exporter, where)
        self.processor = BatchSpanProcessor(
            self.told,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=DELAY_S * 1000,
            max_export_batch_size=BATCH_SPANS,
        )

    def close(self) -> None:
        """Send what is left, and give up in time. The exporter knows no limit of its own, so it is waited for aside."""
        last = threading.Thread(target=self.processor.shutdown, name="last-spans", daemon=True)
        last.start()
        until = time.monotonic() + self._flush_s
        while last.is_alive() and time.monotonic() < until and not self.told.is_stuck:
            last.join(LOOK_S)
        if last.is_alive():
            self.told.is_over = True
            self._exporter.shutdown()  # ends its wait for another try
            last.join(STUCK_S)


class Told(SpanExporter):
    """An exporter that says when it begins to fail, and when it works again; OpenTelemetry's would say so each time."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._where = where
        self._reasons = _Reasons()
        self._busy_since: float | None = None
        self._fails = False
        self.is_over = False
        """Nobody waits for what is left."""
        self.lost = 0
        """Spans that nobody received."""

    @property
    def is_stuck(self) -> bool:
        """Whether a receiver answers is doubtful."""
        since = self._busy_since
        return self._fails or bool(self._reasons.last) or (since is not None and time.monotonic() - since > STUCK_S)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.is_over:
            return SpanExportResult.FAILURE
        self._busy_since = time.monotonic()
        try:
            result = self._exporter.export(spans)
        finally:
            self._busy_since = None
        if result is SpanExportResult.SUCCESS:
            if self._fails:
                log.info("tracing.resumed", endpoint=self._where, lost=self.lost)
            self._fails, self._reasons.last = False, ""
            return result
        self.lost += len(spans)
        if not self._fails:
            self._fails = True
            log.warning("tracing.unsent", endpoint=self._where, spans=len(spans), problem=self._reasons.last)
        return result

    def shutdown(self) -> None:
        if not self.is_over:
            self._exporter.shutdown()


class _Resource(Resource):
    """Whose spans they are. Exporters look it up for each span, and the SDK writes its JSON each time to hash it."""

    def __init__(self, found: Resource) -> None:
        super().__init__(found.attributes, found.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class _Reasons(logging.Handler):
    """What OpenTelemetry's exporters last complained of, instead of each complaint in the log."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        logger = logging.getLogger("opentelemetry.exporter")
        logger.addHandler(self)
        logger.propagate = False
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.CRITICAL)  # a full queue, span by span

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()[:500]


def start(
    where: Target, headers: Mapping[str, str], about: Mapping[str, str], sampler: Sampler, share: float
) -> Tracing:
    """Send spans to `where`. Raises ImportError naming what is not installed."""
    sending = Sending(_exporter(where, headers), hidden(where.endpoint))
    resource = Resource.create({"service.version": _version(), **about})
    provider = TracerProvider(sampler_of(sampler, share), _Resource(resource), shutdown_on_exit=False)
    provider.add_span_processor(sending.processor)
    log.info("tracing.ready", endpoint=hidden(where.endpoint), protocol=where.protocol, sampler=sampler)
    return Tracing(provider, sending)


def _exporter(where: Target, headers: Mapping[str, str]) -> SpanExporter:
    if where.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        metadata = {name.lower(): value for name, value in headers.items()}
        return Grpc(where.endpoint, headers=metadata, timeout=EXPORT_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

    return Http(where.endpoint, headers=dict(headers), timeout=EXPORT_S)


def sampler_of(name: Sampler, share: float) -> sampling.Sampler:
    """Who chooses which traces are sent; `share` of them, where that is how."""
    root: sampling.Sampler = sampling.TraceIdRatioBased(share)
    if name.endswith(("always_on", "always_off")):
        root = sampling.ALWAYS_ON if name.endswith("_on") else sampling.ALWAYS_OFF
    return sampling.ParentBased(root) if name.startswith("parentbased_") else root


def _version() -> str:
    try:
        return version("golek")
    except PackageNotFoundError:
        return "0"
