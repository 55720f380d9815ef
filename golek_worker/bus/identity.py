"""Who asks, and where may the answer go?

Three modes, chosen by GOLEK_NATS_IDENTITY. `Open`: everybody may ask, as anonymous or by a key. `Keys`: the header
`Authorization` names a key of the bucket GOLEK_KEYS. `Accounts`: the server says who asks, because clients live in
accounts that import the request subjects with `share: true`. See docs/security.md.
"""

import copy
import re
from collections.abc import Mapping
from typing import Final, Literal, Protocol, Self

import msgspec
import structlog
from msgspec import Struct

from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import ForbiddenError, UnauthorizedError
from golek_wire.keys import Key, digest
from golek_wire.subjects import ANONYMOUS
from golek_worker.job import Job

log = structlog.get_logger("identity")

Mode = Literal["open", "keys", "accounts"]
Headers = Mapping[str, str] | None

_UNSAFE = re.compile(r"[^A-Za-z0-9_=/-]")
MARK: Final = 8
"""Characters of a job's id that tell whose it is, 40 bits; the other 18 stay unguessable."""
_BEARER: Final = "bearer "
_TENANTS: Final = (
    "the server says who asks, and this worker would not tell tenants apart; all workers of this fleet need "
    "GOLEK_NATS_IDENTITY=accounts"
)


ANYBODY: Final = Key(ANONYMOUS)
"""Who asks where nobody says who asks."""


class Book(Protocol):
    """The keys of the fleet (bus/keys.py)."""

    def __len__(self) -> int: ...

    def find(self, digest: str) -> Key | None:
        """The key whose text has this SHA-256, in hex."""

    def is_worth_a_look(self, digest: str) -> bool:
        """Whether the fleet may know a key that is not in this book yet."""


class Callers(Protocol):
    """One mode."""

    may_redirect: bool
    """Whether a request's `reply_to` is obeyed."""

    def key(self, headers: Headers) -> Key:
        """Who sent these headers, and what it may do. Raises UnauthorizedError, ForbiddenError."""

    def of(self, *names: str) -> Self:
        """The same callers, as they ask another model, which has these names."""

    def principal(self, headers: Headers) -> str:
        """Who sent these headers. Raises as `key` does."""

    def caller(self, headers: Headers) -> str:
        """Who asks for what is its own, whatever models it may ask. Raises as `key` does."""

    def stranger(self, headers: Headers) -> str:
        """The digest of the key in these headers, when `key` does not know it but the fleet may; else empty."""

    def may_order(self, headers: Headers) -> None:
        """Raises UnauthorizedError or ForbiddenError for who may not change what the fleet serves: load and unload
        models and adapters, put and delete grammars.
        """

    def may_answer(self, reply: str) -> bool:
        """Whether a worker may publish to `reply`."""

    def request_name(self, headers: Headers) -> str:
        """What all copies of one request have in common, where that is not their inbox; else empty."""

    def owned(self, job: Job) -> Job:
        """The job with an id that only its principal's cancels mean."""

    def cancelled(self, job_id: str, headers: Headers) -> str:
        """The id of the job that a cancel means; empty when it means none."""


class Open:
    """Whoever reaches the broker may ask: with a key as its holder, with what it may do, else as anonymous.

    Where the fleet knows keys, one that it does not know is refused: who brings it means to be somebody. Where it knows
    none, who brings one is anonymous, but not before the bucket was asked: it may be the first. And where the server
    says who asks, tenants ask: they could not read what is kept for another principal than theirs.
    """

    may_redirect = True
    _none_needed = True
    """Whether a fleet without keys serves everybody."""

    def __init__(self, model: str = "", book: Book | None = None) -> None:
        self._names = set(subjects.spellings(model))
        self._book = book
        self._told = False

    def key(self, headers: Headers) -> Key:
        if not headers:
            return ANYBODY
        self._refuse_tenant(headers)
        said = _bearer(headers) if h.AUTHORIZATION in headers and self._book is not None else ""
        return self._for_model(self._known(said)) if said else ANYBODY

    def of(self, *names: str) -> Self:
        other = copy.copy(self)
        other._names = {spelled for name in names for spelled in subjects.spellings(name)}
        return other

    def principal(self, headers: Headers) -> str:
        return self.key(headers).key_id

    def caller(self, headers: Headers) -> str:
        self._refuse_tenant(headers)
        said = _bearer(headers) if headers and self._book is not None else ""
        return self._known(said).key_id if said else self.principal(headers)

    def stranger(self, headers: Headers) -> str:
        said = _bearer(headers) if headers else ""
        if not said or self._book is None:
            return ""
        hashed = digest(said)
        return hashed if self._book.is_worth_a_look(hashed) else ""

    def may_order(self, headers: Headers) -> None:
        try:
            self.principal(headers)
        except UnauthorizedError:
            if self._book:  # else nobody has a key that could be wanted
                raise

    def may_answer(self, reply: str) -> bool:
        return subjects.is_reply_inbox(reply)

    def request_name(self, headers: Headers) -> str:  # noqa: ARG002
        return ""

    def owned(self, job: Job) -> Job:
        return job

    def cancelled(self, job_id: str, headers: Headers) -> str:  # noqa: ARG002
        return job_id

    def _known(self, said: str) -> Key:
        """The key with this text; anybody's, where nobody has one, by the bucket's word. Raises UnauthorizedError."""
        hashed = digest(said)
        key = self._book.find(hashed) if self._book is not None else None
        if key is not None:
            return key
        if self._none_needed and (self._book is None or not (self._book or self._book.is_worth_a_look(hashed))):
            return ANYBODY
        raise UnauthorizedError(f"{h.AUTHORIZATION}: nobody knows this key (any more)")

    def _for_model(self, key: Key) -> Key:
        """`key`. Raises ForbiddenError where it is not for this model."""
        if key.models and self._names.isdisjoint(key.models):
            raise ForbiddenError(
                f"The key {key.key_id} is for {', '.join(key.models)}", key_id=key.key_id, models=key.models
            )
        return key

    def _refuse_tenant(self, headers: Headers) -> None:
        """Raises ForbiddenError for a request that names a tenant; the first one is logged. Who forges it, refuses
        itself.
        """
        if not headers or h.REQUEST_INFO not in headers or not (tenant := _tenant(headers)):
            return
        if not self._told:
            self._told = True
            log.error("identity.tenants", tenant=tenant[:64], problem=f"their requests are refused: {_TENANTS}")
        raise ForbiddenError(f"{h.REQUEST_INFO}: {_TENANTS}")


class Keys(Open):
    """Whoever has a key may ask."""

    _none_needed = False

    def __init__(self, model: str, book: Book) -> None:
        super().__init__(model, book)

    def key(self, headers: Headers) -> Key:
        self._refuse_tenant(headers)
        said = _bearer(headers) if headers else ""
        if not said:
            found = "header has another form" if headers and headers.get(h.AUTHORIZATION) else "request has none"
            raise UnauthorizedError(f"{h.AUTHORIZATION}: this fleet wants `Bearer <key>`; the {found}")
        return self._for_model(self._known(said))

    def may_order(self, headers: Headers) -> None:
        self.principal(headers)


def _bearer(headers: Mapping[str, str]) -> str:
    """The text of the key in the header; empty where there is none."""
    said = headers.get(h.AUTHORIZATION, "")
    return said[len(_BEARER) :].strip() if said[: len(_BEARER)].lower() == _BEARER else ""


class _Info(Struct, frozen=True):
    """What a worker needs of the server's word about a client."""

    acc: str = ""
    user: str = ""


_decode_info = msgspec.json.Decoder(_Info).decode


class Accounts(Open):
    """Whoever the server let in may ask, as `account/user`.

    Each copy of a request comes with another inbox, made by the server. What copies have in common is the
    `Nats-Msg-Id` that `golek_client` gives them. A job's id begins with a mark of its principal, put there over what
    the client computes: so whoever cancels finds its own jobs, by either id, and no other's.
    """

    may_redirect = False

    def key(self, headers: Headers) -> Key:
        return Key(self.principal(headers))

    def principal(self, headers: Headers) -> str:
        tenant = _tenant(headers) if headers else ""
        if not tenant:
            raise UnauthorizedError(
                f"{h.REQUEST_INFO}: the server does not say who asks; requests come from an account that imports "
                "their subject with `share: true`"
            )
        return tenant

    def caller(self, headers: Headers) -> str:
        return self.principal(headers)

    def stranger(self, headers: Headers) -> str:  # noqa: ARG002
        return ""

    def may_order(self, headers: Headers) -> None:
        """Operators are in the fleet's own account, where the server names nobody."""
        if headers and h.REQUEST_INFO in headers:
            raise ForbiddenError(
                f"{h.REQUEST_INFO}: tenants change no models, adapters and grammars; the fleet's operators do"
            )

    def may_answer(self, reply: str) -> bool:
        return reply.startswith("_R_.") and subjects.is_plain(reply)

    def request_name(self, headers: Headers) -> str:
        return headers.get(h.MSG_ID, "") if headers else ""

    def owned(self, job: Job) -> Job:
        job_id = _marked(job.principal, job.job_id)
        # The id of an idempotency key is made of the principal already; a client's own could be another's.
        return msgspec.structs.replace(job, job_id=job_id, msg_id=job.msg_id if job.input_sha256 else job_id)

    def cancelled(self, job_id: str, headers: Headers) -> str:
        """The server names every tenant: who is not named is of the fleet itself, a router that leaves a step."""
        if not headers or h.REQUEST_INFO not in headers:
            return job_id
        try:
            return _marked(self.principal(headers), job_id)
        except UnauthorizedError:
            return ""


def _tenant(headers: Mapping[str, str]) -> str:
    """`account/user` by the server's word; empty where it does not say both."""
    try:
        info = _decode_info(headers.get(h.REQUEST_INFO, ""))
    except (msgspec.DecodeError, UnicodeError):
        return ""
    return _UNSAFE.sub("_", f"{info.acc}/{info.user}") if info.acc and info.user else ""


def _marked(principal: str, job_id: str) -> str:
    return subjects.job_id(principal)[:MARK] + job_id[MARK:]
