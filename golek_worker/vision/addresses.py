"""May this address be asked for an image?

Only servers that VISION_ALLOWED_DOMAINS names. One that is meant by a wildcard must have a public address: whoever asks
for an image shall not reach what only this machine can.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from golek_wire.errors import BadRequestError
from golek_wire.images import STORED, Image
from golek_worker.vision.limits import DEFAULT_PORTS, Domain, Limits

SHOWN: Final = 128
_SECRET: Final = re.compile(r"//[^/?#]*@")
"""A name and a password before a host."""
_NUMBER: Final = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]*|\d*))*", re.IGNORECASE)
"""A host that systems read as an IPv4 address, in one of its many spellings."""
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All public IPv6 addresses lie in it."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Here stands an IPv4 address in the last four bytes."""
WAY_OUT: Final = "send the image itself, as data:image/png;base64,…"


def check_url(image: Image, limits: Limits, url: str = "") -> Domain:
    """The entry that lets the image's `url`, or one that it leads to, be asked. Raises BadRequestError without one."""
    said, place = url or image.url, image.place
    shown = _shown(said)
    try:
        parts = _parsed(said)
        found = limits.allowed(parts) if parts.scheme in DEFAULT_PORTS else None
    except ValueError:
        raise unreadable(image, said) from None
    if found is None or "@" in parts.netloc:
        what = f"it leads to {shown!r}, which is not asked" if url else f"{shown!r} is not asked"
        raise BadRequestError(f"{place}: {what}: {_why(parts, found, limits)}; {WAY_OUT}", param=place)
    host = parts.hostname or ""
    if found.is_wildcard and is_literal(host) and not is_public(host):
        raise BadRequestError(private(place, host, host), param=place)
    return found


def unreadable(image: Image, url: str) -> BadRequestError:
    """What to tell of an address that is none, or not spelled as everybody reads it."""
    return BadRequestError(
        f"{image.place}: {_shown(url)!r} is no address; one such as https://host/path is, in ASCII", param=image.place
    )


def check_bucket(image: Image, limits: Limits) -> tuple[str, str]:
    """Bucket and name of an image in an object store of the bus. Raises BadRequestError for another bucket."""
    bucket, _, name = image.url.removeprefix(STORED).partition("/")
    if not limits.bucket:
        raise BadRequestError(
            f"{image.place}: this worker reads no images from object stores (VISION_BUCKET is empty); {WAY_OUT}",
            param=image.place,
        )
    if bucket != limits.bucket or not name:
        raise BadRequestError(
            f"{image.place}: {image.url[:SHOWN]!r}: images lie in the bucket {limits.bucket} (VISION_BUCKET): "
            f"{STORED}{limits.bucket}/<name>",
            param=image.place,
        )
    return bucket, name


def is_literal(host: str) -> bool:
    """Whether it is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether everybody may reach this IP address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif found not in _UNICAST or found.sixtofour is not None or found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast


def private(place: str, host: str, address: str) -> str:
    """What to tell of a server that only this machine's network can reach."""
    at = f" ({address})" if address != host else ""
    return (
        f"{place}: {host}{at} is no public address; a server of one's own is named itself in VISION_ALLOWED_DOMAINS, "
        "not by a wildcard"
    )


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    return _SECRET.sub("//…@", url.partition("?")[0])[:SHOWN]


def _parsed(url: str) -> SplitResult:
    """Raises ValueError for what one reader of addresses might take for another host than the next one."""
    if not url.isascii() or any(sign <= " " or sign in "\\\x7f" for sign in url):
        raise ValueError
    parts = urlsplit(url)
    if parts.scheme in DEFAULT_PORTS:
        host = parts.hostname or ""
        if not host.strip(".") or "%" in host or (_NUMBER.fullmatch(host) and not is_literal(host)):
            raise ValueError
    return parts


def _why(parts: SplitResult, found: Domain | None, limits: Limits) -> str:
    if parts.scheme not in DEFAULT_PORTS:
        return "images are fetched by http and https alone"
    if found is not None:
        return "an address has no name or password in it"
    if not limits.domains:
        return "this worker fetches no images by URL (VISION_ALLOWED_DOMAINS is empty)"
    asked = ", ".join(_said(domain) for domain in limits.domains[:8])
    return f"only {asked} may be asked here (VISION_ALLOWED_DOMAINS)"


def _said(domain: Domain) -> str:
    host = f"*{domain.host}" if domain.is_wildcard else domain.host
    return f"{host}:{domain.port}" if domain.port else host
