"""Could whoever asks how a request would be routed pay for it?

What a decision names is looked up in the ledger as a run would hold it, and nothing is held: a target that a budget
does not cover is told among those that are not asked, with the sentence that its caller would get.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from golek_wire.errors import InferenceServiceError, UnauthorizedError
from golek_wire.headers import AUTHORIZATION, REQUEST_INFO
from golek_wire.keys import Key
from golek_wire.requests import Request
from golek_wire.routing import Decision, Rejected
from golek_worker.bus.identity import ANYBODY, Callers
from golek_worker.job import Job, money
from golek_worker.router import fallback, refusals
from golek_worker.router.targets import Target
from golek_worker.routing.explaining import Explaining

Headers = Mapping[str, str] | None


class Funds(Protocol):
    """The purse of one job (spending.py)."""

    async def refusal(self, target: Target, request: Request) -> InferenceServiceError | None: ...


class Affording:
    """Explains to those who ask, with what their keys may spend."""

    def __init__(
        self,
        explaining: Explaining,
        target: Callable[[str], Target | None],
        callers: Callers,
        look_for_key: Callable[[str], Awaitable[object]],
        funds: Callable[[Job], Funds],
    ) -> None:
        """`look_for_key` asks the fleet for the key of a digest that `callers` does not know."""
        self._explaining = explaining
        self._target = target
        self._callers = callers
        self._look_for_key = look_for_key
        self._funds = funds

    async def explain(self, payload: bytes, headers: Headers) -> Decision:
        """The answer to a `RouteQuestion`. Raises BadRequestError as `Explaining.explain` does, UnauthorizedError and
        ForbiddenError for a key that a request would be refused with, BusUnavailableError where the ledger is silent.
        """
        question = self._explaining.question(payload)
        key = await self._key(question.model, headers)
        if question.allowed is None and key.models:
            question = msgspec.structs.replace(question, allowed=list(key.models))
        ask = self._explaining.ask(question)
        decision = self._explaining.decide(ask)
        job = Job("", "", "", False, key.key_id, 0, round(1000 * ask.deadline_s), "", {}, money=money(key.budget))
        return await self._afforded(decision, self._explaining.request(question), self._funds(job))

    async def _key(self, model: str, headers: Headers) -> Key:
        """The key that came along; anybody's without one: who may read the bus may ask how it is used."""
        if not headers or (AUTHORIZATION not in headers and REQUEST_INFO not in headers):
            return ANYBODY
        callers = self._callers.of(model, *self._explaining.names(model))
        try:
            return callers.key(headers)
        except UnauthorizedError:
            stranger = callers.stranger(headers)
            if not stranger:
                raise
            await self._look_for_key(stranger)
            return callers.key(headers)

    async def _afforded(self, decision: Decision, request: Request, funds: Funds) -> Decision:
        candidates, rejected, errors = [], list(decision.rejected), list[InferenceServiceError]()
        for one in decision.candidates:
            target = self._target(one.target)
            error = await funds.refusal(target, request) if target is not None else None
            if error is None:
                candidates.append(one)
                continue
            errors.append(error)
            rejected.append(Rejected(one.target, f"{one.target}: {error.message.removeprefix(f'{one.target}: ')}"))
        if not errors:
            return decision
        told = decision.error if candidates else refusals.told(fallback.last_word(errors))
        return msgspec.structs.replace(decision, candidates=candidates, rejected=rejected, error=told)
