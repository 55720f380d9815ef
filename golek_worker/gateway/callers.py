"""Who asks over HTTP?

A key in `Authorization: Bearer …` (or `x-api-key`), or whom GOLEK_AUTH lets in. Where the fleet knows no key, programs
of this machine are anonymous, and with GOLEK_ALLOW_ANON everybody is. A door that others reach stays closed when the
last key is taken away.
"""

from collections.abc import Collection, Mapping
from typing import Final

from golek_client import Golek
from golek_program.web import foreign
from golek_wire.errors import ForbiddenError, UnauthorizedError
from golek_wire.keys import digest
from golek_wire.subjects import ANONYMOUS
from golek_worker.gateway.door import Admission, Caller, Keyless, KeyRing

_BEARER: Final = "bearer "
SEEN_LIMIT: Final = 1000
"""Callers that are remembered."""


class Callers:
    """Tells callers apart."""

    def __init__(
        self, golek: Golek, keys: KeyRing, admits: Admission | None, keyless: Keyless, origins: Collection[str]
    ) -> None:
        """Where there is `admits`, it alone says who asks; `origins` are those whose pages may."""
        self._golek = golek
        self._keys = keys
        self._admits = admits
        self._keyless = keyless
        self._origins = frozenset(origins)
        self._anonymous = Caller(ANONYMOUS, golek)
        self._seen: dict[str, Caller] = {}
        """By the text of their keys: a key is looked up each time, what asks on its behalf is made once."""

    async def find(self, headers: Mapping[str, str]) -> Caller:
        """Who sent `headers`. Raises UnauthorizedError, and ForbiddenError for a page of somebody else's.

        1. GOLEK_AUTH says who it is
        2. nobody has a key, and none is wanted: anonymous
        3. no key is given
        4. a key that nobody knows, or no longer
        """
        if self._admits is not None:  # 1
            return await self._admits.find(headers)
        if self._keyless != "nobody" and not self._keys.known:  # 2
            if self._keyless == "here":
                foreign.refuse(headers, self._origins)
            return self._anonymous
        text = key_in(headers)
        if not text:  # 3
            said = "header has another form" if headers.get("authorization", "").strip() else "request has none"
            raise UnauthorizedError(f"authorization: this fleet wants `Bearer <key>`; the {said}")
        key = await self._keys.find(digest(text))
        if key is None:  # 4
            raise UnauthorizedError("authorization: nobody knows this key (any more)")
        seen = self._seen.get(text)
        if seen is None or seen.principal != key.key_id or seen.models != key.models:
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            seen = self._seen[text] = Caller(key.key_id, self._golek.on_behalf(text), key.models)
        return seen


def key_in(headers: Mapping[str, str]) -> str:
    """The key that a request brings; empty without one."""
    said = headers.get("authorization", "")
    if said[: len(_BEARER)].lower() == _BEARER:
        return said[len(_BEARER) :].strip()
    return headers.get("x-api-key", "").strip()


def check_model(caller: Caller, model: str) -> None:
    """Raise ForbiddenError for a model that the caller's key is not for."""
    if caller.models and model not in caller.models:
        raise ForbiddenError(
            f"model: the key {caller.principal} is for {', '.join(caller.models)}",
            param="model",
            key_id=caller.principal,
            models=caller.models,
        )
