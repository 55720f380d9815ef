"""How is HTTP served, by a worker for its model, by the gateway for the fleet, and by the monitor?

`Http` holds what all have in common, `Gateway` what the fleet's gateway has besides. `address` reads what HTTP_ADDR
means.
"""

import ipaddress
import re
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from golek_program.settings.fleet import Fleet

Port = Annotated[int, Meta(ge=1, le=65535)]
LOOPBACK: Final = "127.0.0.1"

_ADDRESS = re.compile(r"(?:([^\s:/\[\]]*|\[[0-9A-Fa-f:.]+\]):)?(\d{1,5})")


class Http(Fleet, frozen=True, kw_only=True):
    """Settings of whoever serves HTTP."""

    golek_allow_anon: bool = False
    """Serve HTTP without keys on addresses that others reach; without keys it is served on loopback alone."""
    golek_auth: str = ""
    """Who asks over HTTP, instead of the keys: `module:callable`, called with the request's headers."""
    golek_strict_openai: bool = False
    """OpenAI's own codes and types of errors instead of the extended ones."""
    http_cors_origins: str = ""
    """Origins whose pages may ask, with commas; `*` is all. Empty: only pages that come from here."""
    http_tls_cert: str = ""
    """File with the certificate of the HTTP server; without it HTTP is plain."""
    http_tls_key: str = ""
    """File with its key, unless that stands in HTTP_TLS_CERT."""

    def url(self, where: "Address") -> str:
        """Where HTTP is served, for people and for `endpoint`: all addresses of a machine are shown as its own."""
        host = {"0.0.0.0": LOOPBACK, "[::]": "[::1]"}.get(where.host, where.host)  # noqa: S104 - shown, not bound
        return f"{'https' if self.http_tls_cert else 'http'}://{host}:{where.port}"


class Gateway(Http, frozen=True, kw_only=True):
    """The fleet's gateway."""

    inference_host: str = LOOPBACK
    """Address the gateway listens on."""
    inference_port: Port = 8000
    """Port of the fleet's HTTP gateway."""
    inference_auto_route_enabled: bool = False
    """Whether a request over HTTP that names no model asks for `auto`, which a router answers."""
    golek_health_port: Annotated[int, Meta(ge=0, le=65535)] = 8001
    """Port where the gateway says that its process lives, and nothing else; 0 for none."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def address(text: str) -> Address | None:
    """What HTTP_ADDR says: `host:port`, `:port` or a port; without a host this machine alone. None for what is none."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65535:
        return None
    return Address(match[1] or LOOPBACK, int(match[2]))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
