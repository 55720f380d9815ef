"""Does a program send traces, and where?

Nothing of OpenTelemetry is imported before the settings say so; who traces nothing has None in its hands.
"""

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from golek_program.settings.fleet import Fleet
from golek_program.settings.values import hidden

if TYPE_CHECKING:
    from golek_program.spans import Tracing

DEFAULT_ENDPOINT: Final = "http://localhost:4317"
GRPC_PORT: Final = 4317
HTTP_PATH: Final = "/v1/traces"

Protocol = Literal["grpc", "http/protobuf"]


class TracingError(RuntimeError):
    """Traces are wanted and cannot be sent."""


class Target(Struct, frozen=True):
    """Where spans go."""

    endpoint: str
    """For HTTP with its path."""
    protocol: Protocol


def target(chosen: Fleet) -> Target | None:
    """Where the settings send traces; None for nowhere. Raises TracingError for an endpoint that is none."""
    said = chosen.otel_exporter_otlp_endpoint
    if chosen.otel_enabled == "false" or (chosen.otel_enabled == "auto" and not said):
        return None
    endpoint = said or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(endpoint)
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise TracingError(f"OTEL_EXPORTER_OTLP_ENDPOINT={hidden(endpoint)}: a URL such as {DEFAULT_ENDPOINT}")
    protocol = chosen.otel_exporter_otlp_protocol
    if protocol == "auto":
        protocol = "grpc" if port == GRPC_PORT else "http/protobuf"
    if protocol == "http/protobuf" and not parts.path.endswith(HTTP_PATH):
        endpoint = parts._replace(path=parts.path.rstrip("/") + HTTP_PATH).geturl()
    return Target(endpoint, protocol)


def start(chosen: Fleet, program: str, instance: str) -> "Tracing | None":
    """Begin to send the traces of `program`, `instance` of it; None where nobody wants them.

    Raises TracingError, which names the setting, or the extra that is missing.
    """
    where = target(chosen)
    if where is None:
        return None
    about = {
        "service.name": chosen.otel_service_name,
        "service.instance.id": instance,
        "golek.program": program,
    } | pairs("OTEL_RESOURCE_ATTRIBUTES", chosen.otel_resource_attributes)
    headers = pairs("OTEL_EXPORTER_OTLP_HEADERS", chosen.otel_exporter_otlp_headers)
    try:
        from golek_program import spans  # brings OpenTelemetry

        return spans.start(where, headers, about, chosen.otel_traces_sampler, chosen.otel_traces_sampler_arg)
    except ImportError as error:
        extra = "otel-grpc" if where.protocol == "grpc" else "otel"
        aside = "" if where.protocol != "grpc" else ". OTLP over HTTP needs less: http://localhost:4318, golek[otel]"
        raise TracingError(
            f"traces are to go to {hidden(where.endpoint)} ({where.protocol}), and {error.name or error} is not "
            f"installed: pip install 'golek[{extra}]', or OTEL_ENABLED=false{aside}"
        ) from None


def pairs(key: str, text: str) -> dict[str, str]:
    """What `name=value,name=value` says, in the percent-encoding of W3C Baggage. Raises TracingError naming `key`."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise TracingError(f"{key}: {name.strip()[:32]!r} has no value; name=value, with commas between")
        found[unquote(name.strip())] = unquote(value.strip())
    return found
