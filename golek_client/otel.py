"""How does each request become a span of OpenTelemetry?

    from golek_client.otel import Spans

    golek = Golek(tracer=Spans())

A request's span is a child of the span that its program is in, and what the fleet does for it belongs to the same
trace. This needs opentelemetry-api; how spans are sent is the program's own affair. Prompts and answers are in none.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from golek_wire import codec, headers, semconv
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import EmbeddingReply, InferenceReply, RerankReply
from golek_wire.subjects import Kind
from golek_wire.trace import passed_on
from golek_wire.vision import VisionReply

_CONTEXT: Final = TraceContextTextMapPropagator()
_LONG: Final = 64 * 1024
"""Requests of more bytes are not looked into: nearly all are conversations."""
CANCELLED: Final = "CANCELLED"
_OPERATIONS: Final[dict[Kind, str]] = {
    "embedding": semconv.EMBEDDINGS,
    "rerank": semconv.RERANK,
    "vision": semconv.VISION,
}


class Spans:
    """A span for each request. A `Tracer` for `Golek`."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        """`tracer` makes the spans; without it that of the program's provider."""
        self._tracer = tracer if tracer is not None else trace.get_tracer("golek_client")

    def begin(self, kind: Kind, model: str, payload: bytes) -> "OtelSpan":
        operation = operation_of(kind, payload)
        about = {semconv.OPERATION: operation, semconv.PROVIDER: semconv.GOLEK, semconv.REQUEST_MODEL: model}
        return OtelSpan(self._tracer.start_span(f"{operation} {model}", kind=SpanKind.CLIENT, attributes=about))


class OtelSpan:
    """The span of one request."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.carried: Mapping[str, str] = carried_by(span)

    def end(self, job_id: str, worker: str, reply: object, error: BaseException | None) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes({semconv.JOB_ID: job_id, semconv.WORKER_ID: worker})
            if reply is not None:
                span.set_attributes(_of_reply(reply))
            elif (code := _code(error)) is not None:
                span.set_attribute(semconv.ERROR_TYPE, code)
                span.set_status(Status(StatusCode.ERROR, code))
        span.end()


class _Shape(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"null")


def operation_of(kind: Kind, payload: bytes) -> str:
    """What a request asks for, as the conventions name it."""
    if kind in _OPERATIONS:
        return _OPERATIONS[kind]
    if len(payload) <= _LONG:
        try:
            if bytes(codec.decode(payload, _Shape).messages) == b"null":
                return semconv.TEXT_COMPLETION
        except msgspec.MsgspecError:  # a worker says what is wrong
            return semconv.TEXT_COMPLETION
    return semconv.CHAT


def carried_by(span: trace.Span) -> dict[str, str]:
    """The headers of a message that belongs to `span`."""
    found: dict[str, str] = {}
    _CONTEXT.inject(found, trace.set_span_in_context(span))
    return passed_on(found.get(headers.TRACEPARENT, ""), found.get(headers.TRACESTATE, ""))


def _code(error: BaseException | None) -> str | None:
    """The code of what a request without a reply ended in."""
    if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    return error.code if isinstance(error, InferenceServiceError) else type(error).__name__


def _of_reply(reply: object) -> dict[str, str | int | list[str]]:
    if isinstance(reply, InferenceReply):
        reasons = [choice.finish_reason for choice in reply.choices or ()] or [reply.finish_reason]
        return {
            semconv.RESPONSE_MODEL: reply.model,
            semconv.INPUT_TOKENS: reply.tokens_in,
            semconv.OUTPUT_TOKENS: reply.tokens_out,
            semconv.FINISH_REASONS: list(reasons),
        }
    if isinstance(reply, EmbeddingReply | RerankReply | VisionReply):
        return {semconv.RESPONSE_MODEL: reply.model, semconv.INPUT_TOKENS: reply.usage.prompt_tokens}
    return {}
