"""Real receivers of OTLP, over HTTP and gRPC: what a collector or Jaeger is to a fleet that traces."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

PATIENCE_S = 20.0


class Received(NamedTuple):
    """One span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    begun_ns: int
    ended_ns: int
    about: dict[str, Any]
    events: dict[str, dict[str, Any]]
    error: str
    """What its status says is wrong; empty where nothing is."""
    resource: dict[str, Any]

    @property
    def ms(self) -> float:
        return (self.ended_ns - self.begun_ns) / 1e6


class Receiver:
    """Spans, as they come."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.headers: list[dict[str, str]] = []
        self._spans: list[Received] = []
        self._changed = threading.Condition()

    def take(self, request: ExportTraceServiceRequest, headers: dict[str, str]) -> None:
        came = []
        for resource in request.resource_spans:
            about = _values(resource.resource.attributes)
            came += [_read(span, about) for scope in resource.scope_spans for span in scope.spans]
        with self._changed:
            self._spans += came
            self.headers.append(headers)
            self._changed.notify_all()

    def spans(self, trace_id: str) -> list[Received]:
        """What came of a trace so far."""
        with self._changed:
            return [span for span in self._spans if span.trace_id == trace_id]

    def wait(self, found: Callable[[list[Received]], bool], trace_id: str = "") -> list[Received]:
        """The spans, of one trace or of all, once they are as `found` wants them."""
        until = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                spans = [span for span in self._spans if span.trace_id == trace_id or not trace_id]
                if found(spans):
                    return spans
                if not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"only these came: {sorted(span.name for span in spans)}")

    def whole(self, trace_id: str, *names: str) -> dict[str, Received]:
        """The spans of a trace by name, once all `names` have come. No two have one name."""
        spans = self.wait(lambda came: set(names) <= {span.name for span in came}, trace_id)
        by_name = {span.name: span for span in spans}
        assert len(by_name) == len(spans)
        return by_name


@contextmanager
def over_http() -> Iterator[Receiver]:
    """One that speaks OTLP/HTTP on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            receiver.take(ExportTraceServiceRequest.FromString(body), {k.lower(): v for k, v in self.headers.items()})
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def over_grpc() -> Iterator[Receiver]:
    """One that speaks OTLP/gRPC on a free port."""
    receiver = Receiver()

    class Service(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
            receiver.take(request, dict(context.invocation_metadata()))
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(1).wait(5)


def _read(span: ProtoSpan, resource: dict[str, Any]) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        {event.name: {**_values(event.attributes), "at_ns": event.time_unix_nano} for event in span.events},
        span.status.message if span.status.code == 2 else "",
        resource,
    )


def _values(found: Any) -> dict[str, Any]:
    return {one.key: _value(one) for one in found}


def _value(one: KeyValue) -> Any:
    kind = one.value.WhichOneof("value")
    if kind == "array_value":
        return [value.string_value for value in one.value.array_value.values]
    return getattr(one.value, kind) if kind else None
