"""Who may look, and who may give orders?

Without MONITOR_KEY everybody on this machine may both, but no page of somebody else's in a browser here. With it orders
need the key, and at an address that others reach so does looking, whoever asks. It comes as `Authorization: Bearer …`,
or as the cookie that POST /api/login sets, for browsers cannot send headers with their streams of events.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

from golek_program.web import foreign
from golek_program.web.errors import HttpError
from golek_wire.errors import ConflictError, ForbiddenError, RateLimitedError, UnauthorizedError

COOKIE: Final = "golek_monitor"
LASTS_S: Final = 30 * 86400
"""A browser that logged in has to do so again after this time."""
TRIES: Final = 5
"""Wrong keys that an address may bring in WINDOW_S."""
WINDOW_S: Final = 60.0
PEERS_LIMIT: Final = 10_000
"""Addresses that are remembered; of more the one that was wrong longest ago is forgotten."""
KEY: Final = "key"
"""Who has it, in the event log."""
_BEARER: Final = "bearer "
_HELPS: Final = "with MONITOR_KEY in its settings a monitor knows who asks"


class Access:
    """Lets people in. Made of the key, and whether others than this machine reach the address."""

    def __init__(self, key: str = "", *, public: bool = False, wall: Callable[[], float] = time.time) -> None:
        self._key = key.encode()
        self.public = public
        self._wall = wall
        self._secret = hashlib.sha256(b"golek-monitor-login\0" + self._key).digest()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        """When wrong keys came, by the address they came from."""

    @property
    def has_key(self) -> bool:
        """Whether there is one."""
        return bool(self._key)

    def look(self, headers: Mapping[str, str], peer: str) -> None:
        """Raise UnauthorizedError, ForbiddenError or RateLimitedError for who may not look."""
        if self.is_known(headers, peer):
            return
        if self.public:
            raise UnauthorizedError(
                "authorization: other machines reach this monitor's address, so it wants `Bearer <MONITOR_KEY>` of "
                "everybody, or a login at /api/login"
            )
        foreign.refuse(headers, named=_HELPS, pages=_HELPS)

    def act(self, headers: Mapping[str, str], peer: str) -> str:
        """Who gives an order. Raises as `look` and `check_order` do.

        1. the key
        2. without one, whoever is at this machine
        """
        self.check_order(headers)
        if self.is_known(headers, peer):  # 1
            return KEY
        if self.has_key or self.public:
            raise UnauthorizedError("authorization: orders want `Bearer <MONITOR_KEY>`, or a login at /api/login")
        foreign.refuse(headers, named=_HELPS, pages=_HELPS)  # 2
        return f"anonymous@{peer}"

    def check_order(self, headers: Mapping[str, str]) -> None:
        """Raise HttpError 415 or ForbiddenError for what a page of somebody else's may have had a browser send.

        1. a form could send what is not said to be JSON
        2. a script could, with our cookie
        """
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":  # 1
            raise HttpError(415, "UNSUPPORTED_MEDIA_TYPE", "content-type: orders are `application/json`")
        if not _is_from_here(headers):  # 2
            raise ForbiddenError("origin: only pages of this monitor give it orders")

    def is_known(self, headers: Mapping[str, str], peer: str) -> bool:
        """Whether who sent `headers` has the key, or logged in. Raises as `login` does for a wrong key."""
        if not self.has_key:
            return False
        said = headers.get("authorization", "")
        if said[: len(_BEARER)].lower() == _BEARER:
            self._check(said[len(_BEARER) :].strip(), peer)
            return True
        return self._is_ticket(_cookie(headers))

    def login(self, key: str, peer: str, *, secure: bool) -> str:
        """The `set-cookie` for who has the key.

        Raises UnauthorizedError for a wrong one, RateLimitedError after too many, ConflictError where there is no key.
        """
        if not self.has_key:
            raise ConflictError("MONITOR_KEY: this monitor has none; who reaches it may look and act")
        self._check(key, peer)
        ticket = f"{int(self._wall()) + LASTS_S}.{secrets.token_urlsafe(16)}"
        return _set(f"{ticket}.{self._sign(ticket)}", LASTS_S, secure=secure)

    def logout(self, *, secure: bool) -> str:
        """The `set-cookie` that takes the other one away."""
        return _set("", 0, secure=secure)

    def _check(self, key: str, peer: str) -> None:
        """A right key helps nobody who has guessed too often, else one could go on guessing."""
        now = self._wall()
        wrong = [at for at in self._wrong.get(peer, []) if now - at < WINDOW_S]
        if len(wrong) >= TRIES:
            wait_s = WINDOW_S - (now - wrong[0])
            raise RateLimitedError(
                f"authorization: {len(wrong)} wrong keys came from {peer} in {WINDOW_S:g} s; at most {TRIES} may",
                retry_after_ms=max(1, round(wait_s * 1000)),
            )
        if not hmac.compare_digest(key.encode(), self._key):
            self._wrong[peer] = [*wrong, now]
            self._wrong.move_to_end(peer)
            if len(self._wrong) > PEERS_LIMIT:
                self._wrong.popitem(last=False)
            raise UnauthorizedError("authorization: this is not the monitor's key (MONITOR_KEY)")

    def _is_ticket(self, text: str) -> bool:
        """Whether `text` is one that was signed here, or by a monitor with the same key, and is still good."""
        ticket, _, signature = text.rpartition(".")
        until, _, _ = ticket.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(ticket).encode()):
            return False
        return until.isdecimal() and self._wall() < int(until)

    def _sign(self, ticket: str) -> str:
        digest = hmac.digest(self._secret, ticket.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _is_from_here(headers: Mapping[str, str]) -> bool:
    """Whether no page of another door's sends this."""
    if origin := headers.get("origin", ""):
        return origin.partition("://")[2] == headers.get("host", "")
    return headers.get("sec-fetch-site", "") in ("", "none", "same-origin")


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _set(value: str, seconds: int, *, secure: bool) -> str:
    only = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{only}"
