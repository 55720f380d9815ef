"""Who asks, where a program of the fleet's owner says so (GOLEK_AUTH)?

It is called with a request's headers and says whose request it is, or that nobody is let in. The workers do not hear of
it: they know keys. So each principal gets a key of its own that nobody sees, a row in the bucket `GOLEK_KEYS` with the
limits it has, and the bus is asked by that key. Rows lapse within the hour, are renewed before, and go at the end.
"""

import asyncio
import importlib
import inspect
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct, field

from golek_client import Golek
from golek_wire.errors import BusUnavailableError, InternalError, UnauthorizedError
from golek_wire.keys import Budget, Key, digest
from golek_wire.subjects import ANONYMOUS
from golek_worker.gateway.door import Caller

log = structlog.get_logger("gateway")

SOURCE: Final = "auth"
LASTS_S: Final = 3600.0
"""A row lapses so long after it was written."""
RENEWED_S: Final = 1800.0
"""It is written anew by the first request after so long."""
PRINCIPALS_LIMIT: Final = 10_000
"""Principals that are remembered; of more the one that was quiet longest is forgotten."""
_PRINCIPAL = re.compile(r"[A-Za-z0-9_=/-]{1,128}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_=/-]")

Said = str | Mapping[str, Any] | None
Check = Callable[[Mapping[str, str]], Said | Awaitable[Said]]


class AuthError(RuntimeError):
    """GOLEK_AUTH names nothing that can be called; the message says why."""


class Rows(Protocol):
    """The bucket of keys."""

    async def put(self, digest: str, key: Key) -> None:
        """Store a row, known here at once. Raises BusUnavailableError."""

    async def forget(self, digest: str) -> None:
        """Remove a row. Raises BusUnavailableError."""


class Principal(Struct, frozen=True):
    """Whom a program let in, when it says more than a name."""

    key_id: str
    models: list[str] = field(default_factory=list[str])
    """Names of the models it may ask; empty is all."""
    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None
    budget: Budget | None = None


class _Known(Struct):
    """A principal and the key that the bus knows it by."""

    principal: Principal
    text: str
    renew_at: float


def load(where: str) -> Check:
    """What GOLEK_AUTH=module:callable names; modules of the working directory are found. Raises AuthError."""
    module, _, name = where.partition(":")
    if not module or not name.isidentifier():
        raise AuthError(f"GOLEK_AUTH={where}: of the form module:callable, e.g. examples.jwt_auth:principal")
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise AuthError(f"GOLEK_AUTH={where}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    check: Check | None = getattr(found, name, None)
    if not callable(check):
        raise AuthError(f"GOLEK_AUTH={where}: {module} has no {name} that can be called")
    return check


class Strangers:
    """Lets in whom the program lets in."""

    def __init__(self, check: Check, rows: Rows, golek: Golek) -> None:
        self._check = check
        self._is_async = inspect.iscoroutinefunction(check)
        self._rows = rows
        self._golek = golek
        self._known: dict[str, _Known] = {}
        """By principal; who asked last stands last."""
        self._writing = asyncio.Lock()

    async def find(self, headers: Mapping[str, str]) -> Caller:
        """Who sent `headers`. Raises UnauthorizedError, InternalError where the program fails, BusUnavailableError."""
        principal = await self._principal(headers)
        known = self._known.get(principal.key_id)
        if known is None or known.principal != principal or known.renew_at <= time.monotonic():
            async with self._writing:
                known = await self._write(principal)
        self._known[principal.key_id] = self._known.pop(principal.key_id, known)
        return Caller(principal.key_id, self._golek.on_behalf(known.text), principal.models)

    async def close(self, _: float = 0.0) -> None:
        """Take the rows away; where the bus is gone they lapse."""
        while self._known:
            _name, known = self._known.popitem()
            try:
                await self._rows.forget(digest(known.text))
            except BusUnavailableError as error:
                log.warning("auth.left", rows=len(self._known) + 1, problem=error.message)
                return

    async def _principal(self, headers: Mapping[str, str]) -> Principal:
        try:
            plain = dict(headers)
            said = self._check(plain) if self._is_async else await asyncio.to_thread(self._check, plain)
            if inspect.isawaitable(said):
                said = await said
        except Exception:
            log.exception("auth.failed")
            raise InternalError("GOLEK_AUTH failed; the gateway's log says how") from None
        if said is None:
            raise UnauthorizedError("authorization: this fleet does not know who asks")
        return _read(said)

    async def _write(self, principal: Principal) -> _Known:
        known = self._known.get(principal.key_id)
        now = time.monotonic()
        if known is not None and known.principal == principal and known.renew_at > now:
            return known  # another request of the same principal was quicker
        text = known.text if known is not None else secrets.token_urlsafe(32)
        expires = datetime.fromtimestamp(time.time() + LASTS_S, UTC).isoformat(timespec="seconds")
        fields = msgspec.structs.asdict(principal)
        await self._rows.put(digest(text), Key(**fields, source=SOURCE, expires=expires))
        known = self._known[principal.key_id] = _Known(principal, text, now + RENEWED_S)
        if len(self._known) > PRINCIPALS_LIMIT:
            quiet = self._known.pop(next(iter(self._known)))
            await self._rows.forget(digest(quiet.text))
        return known


def _read(said: str | Mapping[str, Any]) -> Principal:
    """Whom the program named. Raises InternalError for what is none."""
    try:
        found = Principal(said) if isinstance(said, str) else msgspec.convert(said, Principal)
    except msgspec.ValidationError as error:
        log.error("auth.wrong", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
        raise InternalError("GOLEK_AUTH named a principal in a wrong form; the gateway's log says how") from None
    return msgspec.structs.replace(found, key_id=_safe(found.key_id))


def _safe(name: str) -> str:
    """`name` as a principal: it stands in subjects and keys of buckets, so that some characters are exchanged, and a
    mark of the whole keeps two names apart that then look alike.
    """
    if _PRINCIPAL.fullmatch(name) and name != ANONYMOUS:
        return name
    return f"{_UNSAFE.sub('_', name)[:100]}-{digest(name)[:12]}"
