"""How are a caller's conversations read and removed?

A request with a `session_id` goes on with what was said under it; any worker answers for what is kept.
"""

import asyncio
from typing import TypeVar

from golek_client.opening import Opening
from golek_client.stored import UNREADABLE
from golek_wire import codec, headers, subjects
from golek_wire.errors import DeadlineExceededError, InternalError, NoWorkersError
from golek_wire.sessions import Session, SessionDeleted, SessionQuestion

T = TypeVar("T")


class Conversations:
    """The part of a client that looks after conversations."""

    _opening: Opening
    deadline: float

    async def session(self, session_id: str) -> Session:
        """What the fleet keeps of this caller's conversation.

            await golek.ask("qwen3-4b", "I am Ann.", session_id="ann-1")
            reply = await golek.ask("qwen3-4b", "Who am I?", session_id="ann-1")
            turns = (await golek.session("ann-1")).turns

        Raises NotFoundError for one that there is not, or no longer, BadRequestError for what is no id,
        NoWorkersError when no worker runs that writes texts, UnauthorizedError for a caller that nobody knows.
        """
        return await self._conversation("get", session_id, Session)

    async def delete_session(self, session_id: str) -> None:
        """Forget the conversation; a request of it that runs meanwhile adds nothing. Raises as `session` does."""
        await self._conversation("delete", session_id, SessionDeleted)

    async def _conversation(self, verb: str, session_id: str, kind: type[T]) -> T:
        """What a worker answers. Raises NoWorkersError when nobody listens, DeadlineExceededError, and its error."""
        until = asyncio.get_running_loop().time() + self.deadline
        payload = codec.encode(SessionQuestion(session_id))
        codec.decode_body(payload, SessionQuestion)
        line = await self._opening.by(until, self.deadline)
        subject = subjects.sessions(verb)
        with line.mux.open() as inbox:
            inbox.asked = subject
            await line.send(subject, payload, inbox.subject, line.authorization or None)
            answer = await inbox.get(until)
        if answer is None:
            raise DeadlineExceededError(f"no worker answered on {subject} within {self.deadline:g} s")
        if headers.NATS_STATUS in (answer.headers or {}):
            raise NoWorkersError("no worker runs at the moment; any that writes texts answers for conversations")
        try:
            return codec.decode_final(answer.data, kind)
        except UNREADABLE as error:
            raise InternalError(f"the answer on {subject} is not a worker's: {error}") from None
