"""How are named grammars stored, read and removed?

Any worker answers on `grammars.*`; the fleet has one store.
"""

import asyncio
from typing import TypeVar

from msgspec import Struct

from golek_client.opening import Opening
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers, subjects
from golek_wire.errors import DeadlineExceededError, InternalError, NoWorkersError
from golek_wire.grammars import Deleted, Draft, Grammar, Grammars, Question

T = TypeVar("T")


class GrammarStore:
    """The part of a client that keeps grammars."""

    _opening: Opening
    deadline: float

    async def grammars(self) -> list[Grammar]:
        """Every stored and built-in grammar by name, without its content. Raises NoWorkersError when no worker runs."""
        return (await self._grammar("list", None, Grammars)).grammars

    async def grammar(self, name: str) -> Grammar:
        """One grammar with its content. Raises UnknownGrammarError, and as `grammars` does."""
        return await self._grammar("get", Question(name), Grammar)

    async def put_grammar(
        self, name: str, content: str, *, description: str = "", revision: int | None = None
    ) -> Grammar:
        """Store GBNF under a name that requests then give as `grammar`; what was stored under it is overwritten.

            await golek.put_grammar("answer", 'root ::= "yes" | "no"')
            reply = await golek.ask("qwen3-4b", "Is it?", grammar="answer")

        With a `revision` it is only stored over that one, with 0 only where there is none; else ConflictError. Raises
        InvalidGrammarError with line and column, BadRequestError for a wrong name and for a built-in grammar,
        UnauthorizedError or ForbiddenError where this caller may not, and as `grammars` does.
        """
        return await self._grammar("put", Draft(name, content, description, revision), Grammar)

    async def delete_grammar(self, name: str, *, revision: int | None = None) -> None:
        """Remove a stored grammar, with a `revision` only that one. Raises as `grammar` and `put_grammar` do."""
        await self._grammar("delete", Question(name, revision), Deleted)

    async def _grammar(self, verb: str, body: Struct | None, kind: type[T]) -> T:
        """What a worker answers. Raises NoWorkersError when nobody listens, DeadlineExceededError, and its error."""
        until = asyncio.get_running_loop().time() + self.deadline
        line = await self._opening.by(until, self.deadline)
        subject = subjects.grammars(verb)
        with line.mux.open() as inbox:
            inbox.asked = subject
            payload = b"" if body is None else codec.encode(body)
            await line.send(subject, payload, inbox.subject, line.authorization or None)
            answer = await inbox.get(until)
        if answer is None:
            raise DeadlineExceededError(f"no worker answered on {subject} within {self.deadline:g} s")
        if headers.NATS_STATUS in (answer.headers or {}):
            raise NoWorkersError("no worker runs at the moment; any of them, whatever its model, answers for grammars")
        try:
            return codec.decode_final(answer.data, kind)
        except UNREADABLE as error:
            raise InternalError(f"the answer on {subject} is not a worker's: {error}") from None
