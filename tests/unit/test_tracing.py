"""Traces: whether they are sent, which, and where; and that who wants none pays nothing."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from golek_program import tracing
from golek_program.settings.fleet import Fleet, Sampler
from golek_program.spans import Sending, Tracing, sampler_of
from golek_program.tracing import Target, TracingError, pairs, target

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{SAMPLED[:-2]}00"
ELSEWHERE = "http://collector:4318"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, None),
        ({"otel_enabled": "false", "otel_exporter_otlp_endpoint": ELSEWHERE}, None),
        ({"otel_enabled": "true"}, Target("http://localhost:4317", "grpc")),
        ({"otel_exporter_otlp_endpoint": ELSEWHERE}, Target(f"{ELSEWHERE}/v1/traces", "http/protobuf")),
        ({"otel_exporter_otlp_endpoint": "https://c:4317"}, Target("https://c:4317", "grpc")),
        (
            {"otel_exporter_otlp_endpoint": "http://c/otlp/", "otel_enabled": "true"},
            Target("http://c/otlp/v1/traces", "http/protobuf"),
        ),
        (
            {"otel_exporter_otlp_endpoint": f"{ELSEWHERE}/v1/traces"},
            Target(f"{ELSEWHERE}/v1/traces", "http/protobuf"),
        ),
        ({"otel_exporter_otlp_endpoint": ELSEWHERE, "otel_exporter_otlp_protocol": "grpc"}, Target(ELSEWHERE, "grpc")),
        (
            {"otel_exporter_otlp_endpoint": "http://c:4317", "otel_exporter_otlp_protocol": "http/protobuf"},
            Target("http://c:4317/v1/traces", "http/protobuf"),
        ),
    ],
)
def test_where_traces_go(given: dict[str, Any], where: Target | None) -> None:
    """Nowhere, unless they are switched on or a receiver is named; `false` wins; port 4317 speaks gRPC."""
    assert target(Fleet(**given)) == where


@pytest.mark.parametrize(
    "endpoint", ["localhost:4317", "collector", "ftp://collector", "http://:4318", "http://c:99999"]
)
def test_a_receiver_that_is_none_is_named(endpoint: str) -> None:
    """The setting, its value, and what would have been right."""
    with pytest.raises(TracingError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT=.*: a URL such as http://localhost:4317"):
        target(Fleet(otel_exporter_otlp_endpoint=endpoint))


def test_lists_of_pairs() -> None:
    """As OpenTelemetry writes them; what is no pair is named, its value is not shown."""
    assert pairs("K", "a=1, b=x%20y,,c==") == {"a": "1", "b": "x y", "c": "="}
    with pytest.raises(TracingError, match="OTEL_RESOURCE_ATTRIBUTES: 'lonely' has no value"):
        pairs("OTEL_RESOURCE_ATTRIBUTES", "a=1,lonely")


@pytest.mark.parametrize(
    ("missing", "given", "extra"),
    [
        ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", {"otel_enabled": "true"}, "otel-grpc"),
        ("opentelemetry.exporter.otlp.proto.http.trace_exporter", {"otel_exporter_otlp_endpoint": ELSEWHERE}, "otel"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str, given: dict[str, Any], extra: str
) -> None:
    """A sentence instead of an ImportError: what is missing, and what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(TracingError, match=rf"is not installed: pip install 'golek\[{extra}\]', or OTEL_ENABLED=false"):
        tracing.start(Fleet(**given), "worker", "x")


def test_who_traces_nothing_imports_nothing() -> None:
    """Worker and gateway with the default settings: no module of OpenTelemetry, and None to ask."""
    code = """
import sys
import golek_worker.worker, golek_worker.front, golek_worker.gateway.visits
from golek_program import tracing
from golek_program.settings.fleet import Fleet
print(tracing.start(Fleet(), "worker", "x"), [name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None []\n"


class Receiver(SpanExporter):
    """A receiver that answers when it is let, as one over a network that is slow, or gone."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.answer = SpanExportResult.SUCCESS
        self.has_begun = threading.Event()
        self.taken: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.has_begun.set()
        self.may_answer.wait(30)
        self.taken += [span.name for span in spans]
        return self.answer

    def shutdown(self) -> None:
        """As the exporters of OpenTelemetry do: what waits is given up."""
        self.may_answer.set()


def traced_by(receiver: Receiver, flush_s: float = 2.0) -> Tracing:
    sending = Sending(receiver, "http://collector", flush_s)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sending.processor)
    return Tracing(provider, sending)


async def test_what_is_left_is_sent_before_the_end() -> None:
    """Spans that still wait for their batch leave when the program stops."""
    receiver = Receiver()
    receiver.may_answer.set()
    traces = traced_by(receiver)
    traces.begin("last words", "internal", {}).end()
    await traces.close()
    assert receiver.taken == ["last words"]


async def test_a_receiver_that_never_answers_does_not_keep_the_program() -> None:
    """What is left is waited for as long as was said, and given up."""
    receiver = Receiver()
    traces = traced_by(receiver, flush_s=0.2)
    traces.begin("lost", "internal", {}).end()
    began = time.monotonic()
    await traces.close()
    assert 0.2 <= time.monotonic() - began < 2.0
    assert receiver.has_begun.is_set()


def test_a_receiver_that_fails_is_told_of_once() -> None:
    """When it begins to fail and when it works again, with how much was lost meanwhile; it is not waited for."""
    receiver = Receiver()
    receiver.may_answer.set()
    told = Sending(receiver, "http://collector").told
    receiver.answer = SpanExportResult.FAILURE
    with capture_logs() as lines:
        told.export([])
        told.export([])
        assert told.is_stuck
        receiver.answer = SpanExportResult.SUCCESS
        told.export([])
        assert not told.is_stuck
    assert [line["event"] for line in lines] == ["tracing.unsent", "tracing.resumed"]


@pytest.mark.parametrize(
    ("sampler", "share", "carried", "is_sent"),
    [
        ("always_on", 0.0, "", True),
        ("always_off", 1.0, SAMPLED, False),
        ("traceidratio", 1.0, "", True),
        ("traceidratio", 0.0, SAMPLED, False),
        ("parentbased_always_on", 0.0, UNSAMPLED, False),
        ("parentbased_always_off", 1.0, SAMPLED, True),
        ("parentbased_always_off", 1.0, "", False),
        ("parentbased_traceidratio", 0.0, SAMPLED, True),
        ("parentbased_traceidratio", 0.0, "", False),
    ],
)
def test_who_chooses_which_traces_are_sent(sampler: Sampler, share: float, carried: str, is_sent: bool) -> None:
    """The sampler by name, its share, and with `parentbased_` the caller; who comes after is told."""
    sending = Sending(Receiver(), "http://collector")
    traces = Tracing(TracerProvider(sampler_of(sampler, share), shutdown_on_exit=False), sending)
    span = traces.begin("x", "internal", {"traceparent": carried} if carried else {})
    assert span.is_recorded is is_sent
    assert bool(int(span.carried["traceparent"][-2:], 16) & 1) is is_sent
    span.end()
