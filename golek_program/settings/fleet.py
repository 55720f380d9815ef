"""What do all processes of a fleet have to know?

The broker and how to log in to it, who may ask, and where files lie. Workers, the gateway and supervisors read these.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from golek_client.login import Login

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0.001, le=86400)]
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class Fleet(Struct, frozen=True, kw_only=True):
    """Settings of every process."""

    nats_url: str = DEFAULT_URL
    """The broker; of a cluster several servers, with commas. On a loopback host one is started when nobody listens."""
    nats_user: str = ""
    """As whom to connect; with NATS_PASSWORD. A user in NATS_URL wins over this and the next three."""
    nats_password: str = ""
    """Its password."""
    nats_token: str = ""
    """A token, where the broker wants that instead of a user."""
    nats_creds: str = ""
    """File with the JWT and the seed of a user."""
    nats_nkey: str = ""
    """File with the seed of a user, an nkey."""
    nats_tls_ca: str = ""
    """File with the certificates of the authorities to trust, instead of the system's. Asks for TLS."""
    nats_tls_cert: str = ""
    """File with our own certificate, where the broker asks for one. Asks for TLS."""
    nats_tls_key: str = ""
    """File with its key, unless that stands in NATS_TLS_CERT."""
    nats_tls_first: bool = False
    """Speak TLS from the first byte, as a proxy in front of the broker expects. Asks for TLS."""
    golek_nats_identity: Literal["open", "keys", "accounts"] = "open"
    """Who may ask: everybody who reaches the broker, who has a key, or users of accounts that import the subjects."""
    golek_key_file: str = ""
    """Keys of callers, as `golek keys` writes them, imported into the fleet; default `<GOLEK_DATA>/api_keys.txt`."""
    nats_replicas: Literal[0, 1, 3, 5] = 0
    """Servers that keep a copy of each stream; 0 is 3 where the broker is a cluster, else 1."""
    inference_request_timeout: Seconds = 120.0
    """Deadline in seconds of requests that bring none."""
    golek_max_body: Annotated[int, Meta(ge=1, le=128)] = 64
    """MiB of the largest body in the bucket GOLEK_OBJECTS."""
    golek_log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Level of the worker's own log."""
    golek_log_format: Literal["auto", "json", "pretty"] = "auto"
    """How lines on stderr look: `json`, `pretty` for people, `auto` by whether it is a terminal. Files hold JSON."""
    golek_data: str = "data"
    """Where models, logs, run files and the broker's store lie: the folder that `data/` in paths stands for."""
    otel_enabled: Literal["auto", "true", "false"] = "auto"
    """Traces by OpenTelemetry; `auto` sends them where OTEL_EXPORTER_OTLP_ENDPOINT is given."""
    otel_service_name: str = "inference-service"
    """Name of the service in traces."""
    otel_exporter_otlp_endpoint: str = ""
    """Where traces are sent; default http://localhost:4317. Port 4317 speaks gRPC, any other HTTP."""
    otel_exporter_otlp_protocol: Literal["auto", "grpc", "http/protobuf"] = "auto"
    """How traces are sent; `auto` by the endpoint's port."""
    otel_exporter_otlp_headers: str = ""
    """Headers sent with them, such as a key of the receiver: `name=value`, with commas."""
    otel_traces_sampler: Sampler = "parentbased_always_on"
    """Which traces are sent. `parentbased_` follows the caller's choice where it made one."""
    otel_traces_sampler_arg: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """With a `traceidratio` sampler: the share of traces that is sent."""
    otel_resource_attributes: str = ""
    """What every span says besides: `name=value`, with commas."""

    @property
    def data(self) -> Path:
        return Path(self.golek_data)

    @property
    def login(self) -> "Login":
        """As whom the worker connects."""
        from golek_client.login import VARIABLES, Login

        return Login(**{field: getattr(self, variable.lower()) for variable, field in VARIABLES.items()})

    @property
    def key_file(self) -> Path:
        return Path(self.golek_key_file) if self.golek_key_file else self.data / "api_keys.txt"
