"""Does a page of somebody else's ask, through a browser on this machine?

Where no key is wanted because only this machine reaches the door, a browser does reach it, for whatever page it shows:
by a plain form or picture (which CORS does not keep it from), or under a name of the page's own that leads here (DNS
rebinding). Browsers say so, and other programs say none of it.
"""

import functools
import ipaddress
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from golek_program.web.cors import EVERYBODY
from golek_wire.errors import ForbiddenError

OURS: Final = frozenset({"localhost", "local", "internal"})
"""Names that end so mean nothing outside of a network; nor do those without a dot."""
_AT_HOME: Final = frozenset({"", "none", "same-origin"})
_NAMED: Final = "`golek keys create NAME` makes a key, GOLEK_ALLOW_ANON=1 serves everybody"
_PAGES: Final = "HTTP_CORS_ORIGINS lists pages that may ask; GOLEK_ALLOW_ANON=1 serves everybody"


def refuse(
    headers: Mapping[str, str], allowed: Collection[str] = (), *, named: str = _NAMED, pages: str = _PAGES
) -> None:
    """Raise ForbiddenError for what a page sends that is not of this door, nor of an `allowed` origin.

    `named` and `pages` say what helps who is refused for the name of the door, or for the page.

    1. all pages may ask, or this one
    2. the name of this door is one that anybody could have given it
    3. the page is another door's
    4. a picture, frame or link of another door's, which has no origin
    """
    origin, host = headers.get("origin", ""), headers.get("host", "")
    if EVERYBODY in allowed or origin in allowed:  # 1
        return
    if not _is_ours(host):  # 2
        raise ForbiddenError(f"host: under the name {host[:100]!r} nobody is served without a key; {named}")
    if origin:
        if origin.partition("://")[2] != host:  # 3
            raise ForbiddenError(f"origin: pages of {origin[:100]!r} are not served without a key; {pages}")
    elif headers.get("sec-fetch-site", "") not in _AT_HOME:  # 4
        raise ForbiddenError(f"sec-fetch-site: pages from elsewhere are not served without a key; {pages}")


@functools.lru_cache(256)
def _is_ours(host: str) -> bool:
    """Whether no stranger could have had `host` (of a header, perhaps with a port) lead here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    *before, last = name.rstrip(".").split(".")
    return not before or last in OURS or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
