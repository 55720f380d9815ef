"""What stands in for the conversations that a fleet keeps, in a `FakeFleet`?

All of them are one caller's. Nothing is too long, and nothing is forgotten; a word counts as a token.
"""

from datetime import UTC, datetime

import msgspec

from golek_wire import codec
from golek_wire.errors import BadRequestError, NotFoundError
from golek_wire.replies import InferenceReply, SessionUse
from golek_wire.requests import InferenceRequest, Message
from golek_wire.sessions import Session, SessionDeleted, SessionQuestion, Turn


class FakeSessions:
    """Conversations by id; `known` may be read and changed at any time."""

    def __init__(self) -> None:
        self.known: dict[str, Session] = {}

    def answer(self, verb: str, body: bytes) -> msgspec.Struct:
        """What a worker answers on `sessions.<verb>`. Raises NotFoundError, BadRequestError."""
        session_id = codec.decode_body(body, SessionQuestion).session_id
        if session_id not in self.known:
            raise NotFoundError(f"session_id: no conversation {session_id!r} is kept", param="session_id")
        if verb == "get":
            return self.known[session_id]
        if verb != "delete":
            raise BadRequestError(f"sessions.{verb}: `get` or `delete`")
        del self.known[session_id]
        return SessionDeleted(session_id)

    def recalled(self, request: InferenceRequest) -> InferenceRequest:
        """`request` as its model reads it: behind what was said before."""
        session = self.known.get(request.session_id or "")
        if session is None:
            return request
        system, own = _parts(request)
        said = [message for turn in session.turns for message in turn.messages]
        return msgspec.structs.replace(request, input=None, messages=[*(system or session.system), *said, *own])

    def added(self, request: InferenceRequest, job_id: str, reply: InferenceReply) -> InferenceReply:
        """Keep the turn that ends in `reply`; the reply as it is told."""
        if request.session_id is None:
            return reply
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        session = self.known.get(request.session_id) or Session(request.session_id, now, now)
        system, own = _parts(request)
        new = Turn(job_id, [*own, Message("assistant", reply.text)], reply.tokens_in + reply.tokens_out)
        self.known[request.session_id] = msgspec.structs.replace(
            session, updated=now, system=system or session.system, turns=[*session.turns, new]
        )
        return msgspec.structs.replace(reply, session=SessionUse(len(session.turns)))


def _parts(request: InferenceRequest) -> tuple[list[Message], list[Message]]:
    """The `system` and `developer` messages that the request begins with, and what it says."""
    own = request.messages if request.messages is not None else [Message("user", request.input or "")]
    said = next((i for i, one in enumerate(own) if one.role not in ("system", "developer")), len(own))
    return own[:said], own[said:]
