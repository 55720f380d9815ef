"""Which images does this deployment take, and from where?"""

from typing import Final
from urllib.parse import SplitResult

from msgspec import Struct, field

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
ANY: Final = "*"
TOGETHER: Final = 4
"""So many times the pixels of one image may all of a request have: an engine may decode them before it shrinks any."""


class Domain(Struct, frozen=True):
    """An entry of VISION_ALLOWED_DOMAINS."""

    host: str
    """In lower case; for a wildcard what follows the star, such as `.example.org`, or nothing."""
    port: int | None = None
    """None for the usual one of its scheme."""
    is_wildcard: bool = False

    def matches(self, host: str, port: int, scheme: str) -> bool:
        if port != (self.port or DEFAULT_PORTS[scheme]):
            return False
        return host.endswith(self.host) if self.is_wildcard else host == self.host


class Limits(Struct, frozen=True):
    """What an image is measured against."""

    max_bytes: int = 10 * 1024 * 1024
    """Of one image, as a file."""
    max_images: int = 16
    """Of one request."""
    max_pixels: int = 50_000_000
    """Width times height of one image, before any model shrinks it."""
    fetch_s: float = 10.0
    """From the first connection to the last byte of one image."""
    domains: list[Domain] = field(default_factory=list[Domain])
    """Servers that may be asked; without any no image comes by URL."""
    bucket: str = ""
    """The object store that `nats-object://` may name; empty for none."""

    def allowed(self, url: SplitResult) -> Domain | None:
        """The entry that lets this URL be asked, an exact one before a wildcard; None without one.

        Raises ValueError for a port that is no number.
        """
        host, port = (url.hostname or "").rstrip("."), url.port or DEFAULT_PORTS[url.scheme]
        found = [domain for domain in self.domains if domain.matches(host, port, url.scheme)]
        return min(found, key=lambda domain: domain.is_wildcard, default=None)


def parse_domains(said: str) -> list[Domain]:
    """What VISION_ALLOWED_DOMAINS lists: `example.com`, `*.example.org`, `localhost:8080`, `[::1]:80` or `*`, with
    commas. Raises ValueError naming the entry that is none.
    """
    return [_domain(entry.strip().lower()) for entry in said.split(",") if entry.strip()]


def _domain(entry: str) -> Domain:
    named, bracket, behind = entry.rpartition("]") if entry.startswith("[") else ("", "", "")
    host, _, port = (named[1:], ":", behind.removeprefix(":")) if bracket else entry.partition(":")
    is_wildcard = host == ANY or host.startswith("*.")
    plain = host[1:] if is_wildcard else host
    wrong = not (plain.strip(".") or host == ANY) or ANY in plain or any(sign in plain for sign in "/@ ?#[]")
    if wrong or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{entry[:64]!r} is no domain: a host such as images.example.com, *.example.com, or host:port")
    return Domain(plain, int(port) if port else None, is_wildcard)
