"""How would a request be routed, and what do routers serve?

Any router answers on `golek.route.*`: what they decide is a function of the fleet, which all of them hear.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack

import msgspec
from msgspec import Struct

from golek_client.opening import Opening
from golek_client.options import Messages, Options, build
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers
from golek_wire.errors import DeadlineExceededError, InternalError, NoWorkersError
from golek_wire.routing import EXPLAIN, TABLE, Decision, RouteQuestion, RouteTable
from golek_wire.subjects import Kind

T = TypeVar("T")


class Routes:
    """The part of a client that asks routers about themselves."""

    _opening: Opening
    deadline: float

    async def explain(
        self,
        model: str,
        input: str | Messages | None = None,  # noqa: A002 - the field's name on the wire
        *,
        draw: float | None = None,
        **options: Unpack[Options],
    ) -> Decision:
        """Who would answer this request, in which order, and why; nobody is asked for an answer.

            decision = await golek.explain("auto", "Sort this list", task_type="code")
            print([one.target for one in decision.candidates])

        `input` is a prompt or a conversation; without it a short prompt is meant. `draw`, in [0, 1), says where targets
        with weights fall; a job has it from its id. Where nobody can be asked, `error` of the decision says what the
        caller would get. Raises NoWorkersError when no router runs, and BadRequestError as `ask` does.
        """
        said: dict[str, Any] = {"prompt": input or "?"} if isinstance(input, str | None) else {"messages": input}
        request = msgspec.json.decode(build(options, stream=False, deadline=self.deadline, **said))
        return await self.explained(RouteQuestion(model, request=request, draw=draw))

    async def explain_request(
        self,
        model: str,
        request: Mapping[str, Any],
        kind: Kind = "inference",
        *,
        draw: float | None = None,
        allowed: Sequence[str] | None = None,
    ) -> Decision:
        """The same for a request as it is sent on the bus, of a key that is for the models `allowed`."""
        names = None if allowed is None else list(allowed)
        return await self.explained(RouteQuestion(model, kind, dict(request), draw, names))

    async def explained(self, question: RouteQuestion) -> Decision:
        """What a router says to a question. Raises as `explain`."""
        return await self._of_router(EXPLAIN, question, Decision)

    async def routes(self) -> RouteTable:
        """The names that routers serve beside the fleet's own models, and what of that is in trouble.

        Raises NoWorkersError when no router runs.
        """
        return await self._of_router(TABLE, None, RouteTable)

    async def _of_router(self, subject: str, body: Struct | None, kind: type[T]) -> T:
        """What a router answers. Raises NoWorkersError when none listens, DeadlineExceededError, and its error."""
        until = asyncio.get_running_loop().time() + self.deadline
        line = await self._opening.by(until, self.deadline)
        payload = b"" if body is None else codec.encode(body)
        answer = await line.ask_once(subject, payload, until, line.authorization or None)
        if answer is None:
            raise DeadlineExceededError(f"no router answered on {subject} within {self.deadline:g} s")
        if headers.NATS_STATUS in (answer.headers or {}):
            raise NoWorkersError("no router runs on this bus; `make start WORKER=router` starts one")
        is_error = headers.ERROR in (answer.headers or {})  # a decision has a field `error` as well
        try:
            return codec.decode_final(answer.data, kind) if is_error else codec.decode(answer.data, kind)
        except UNREADABLE as error:
            raise InternalError(f"the answer on {subject} is not a router's: {error}") from None
