"""What does the model read of a conversation, and what does a request add to it?

A `Conversation` is one request in its session. Before the run it puts what was said in front of what the request says,
where necessary without the oldest exchanges; after the run it makes the session with the new turn. Pure: whoever reads
and stores the session is elsewhere.

An exchange is what is left out as a whole: a turn, with those behind it that begin with results of the tools it called.
"""

from collections.abc import Sequence

import msgspec

from golek_wire import codec
from golek_wire.replies import InferenceReply, SessionUse
from golek_wire.requests import InferenceRequest, Message
from golek_wire.sessions import Session, Turn

ROOM_SHARE, ROOM_MOST = 4, 1024
"""Without `max_tokens` the conversation leaves a quarter of the context to the answer, at most so many tokens."""
SLACK = 1.25
"""What is estimated to be larger than the context by this is not tried. The engine counts the rest: an estimate would
leave out turns that fit."""
DROPPED_FIELD = 24
"""More bytes than `dropped` takes."""
CAUTION = 0.9
"""Of what seems to be too much so much is left out at once: texts have more or fewer tokens for their size, and what
would have fitted shall not be missing. A further try costs the engine no more than counting."""
PATIENT_TRIES = 4
"""So often; then half of what is left at least, so that it ends soon."""


class SessionGoneError(Exception):
    """The conversation that was read was removed, or ended, before its new turn was added."""


class Conversation:
    """One request in its session."""

    def __init__(self, request: InferenceRequest, ctx_size: int) -> None:
        """`request` has a `session_id`; the model reads `ctx_size` tokens, 0 where that is not known."""
        self.session_id = request.session_id or ""
        self._request = request
        self._own = request.messages if request.messages is not None else [Message("user", request.input or "")]
        said = next((i for i, one in enumerate(self._own) if one.role not in ("system", "developer")), len(self._own))
        self._own_system, self._own_rest = self._own[:said], self._own[said:]
        self._system = self._own_system
        self._seen: Session | None = None
        self._turns: Sequence[Turn] = ()
        self._sizes: list[int] = []
        self._fixed = _size(self._own) + (len(codec.encode(request.tools)) if request.tools else 0)
        self._first = 0
        self._refusals = 0
        self._ctx_size = ctx_size
        self._new: Turn | None = None

    # -- before the run ----------------------------------------------------------------------------------------

    def recall(self, session: Session | None, job_id: str) -> None:
        """Go on with `session`.

        A job that runs again does not read what it, or whoever came after it, has added.
        """
        self._seen = session
        if session is None:
            return
        self._turns = before(session.turns, self._ids(job_id))
        self._sizes = [_size(turn.messages) for turn in self._turns]
        if not self._own_system:
            self._system = session.system
            self._fixed += _size(session.system)
        self._first = 0
        tokens, size = sum(turn.tokens for turn in self._turns), sum(self._sizes)
        while self._ctx_size and size and self._size() * tokens / size > SLACK * self._ctx_size:
            if (oldest := self._next_start()) is None:
                return
            self._first = oldest

    @property
    def request(self) -> InferenceRequest:
        """What the model is asked: the request behind what was said before."""
        said = [message for turn in self._turns[self._first :] for message in turn.messages]
        if not said and self._system is self._own_system:
            return self._request
        return msgspec.structs.replace(self._request, input=None, messages=[*self._system, *said, *self._own_rest])

    @property
    def size(self) -> int:
        """About how many bytes that is."""
        return self._size()

    @property
    def least_room(self) -> int:
        """Tokens to leave for the answer where the request does not say how many; 0 once nothing can give way."""
        if self._request.params.max_tokens is not None or self._next_start() is None:
            return 0
        return min(ROOM_MOST, self._ctx_size // ROOM_SHARE)

    def shorten(self, tokens: int, budget: int) -> bool:
        """Leave out the oldest exchanges of a conversation that came to `tokens` of `budget`; False when none is left.

        `tokens` counts what was to be left for the answer, and may be less than there are: engines refuse what is far
        too long without counting to the end.
        """
        oldest = self._next_start()
        if oldest is None:
            return False
        self._refusals += 1
        reserved = self._request.params.max_tokens or self.least_room
        read = tokens - reserved if tokens > reserved else tokens
        goal = self._size() * max(0.0, 1 - CAUTION * (tokens - budget) / max(1, read))
        if self._refusals > PATIENT_TRIES:
            goal = min(goal, self._fixed + (self._size() - self._fixed) / 2)
        self._first = oldest
        while self._size() > goal and (oldest := self._next_start()) is not None:
            self._first = oldest
        return True

    def _size(self) -> int:
        return self._fixed + sum(self._sizes[self._first :])

    def _next_start(self) -> int | None:
        """Where what the model reads may begin next; None when no exchange can be left out.

        Results of tools need the turn that called them.
        """
        end = next_start(self._turns, self._first)
        answers_call = bool(self._own_rest) and self._own_rest[0].role == "tool"
        return None if self._first == len(self._turns) or (answers_call and end == len(self._turns)) else end

    # -- after it ----------------------------------------------------------------------------------------------

    @property
    def use(self) -> SessionUse:
        """What the reply tells of it."""
        gone = self._seen.dropped if self._seen is not None else 0
        return SessionUse(len(self._turns) - self._first, gone + self._first)

    def answered(self, job_id: str, reply: InferenceReply) -> None:
        """`reply` is what job `job_id` answers; of several texts the first one counts."""
        answer = _message(reply)
        size = _size([*self._own_rest, answer])
        tokens = reply.tokens_in + reply.all_choices[0].tokens_out
        share = size / max(1, self._size() - _size(self._own) + _size(self._own_system) + size)
        self._new = Turn(job_id, [*self._own_rest, answer], max(1, round(tokens * share)))

    def added(self, session: Session | None, now: str, limit: int) -> Session | None:
        """`session`, as it is by now, with the new turn, in at most `limit` bytes; None when it stays as it is.

        It stays when the turn is there already. Raises SessionGoneError when the session that was read is gone or is
        another one, for who removed it shall not find a part of it again, and ValueError when the turn alone has too
        many bytes.
        """
        new, seen = self._new, self._seen
        assert new is not None
        if seen is not None and (session is None or session.created != seen.created):
            raise SessionGoneError
        if session is None:
            session = Session(self.session_id, now, now)
        turns = [new if turn.job_id in self._ids(new.job_id) else turn for turn in session.turns]
        if any(turn.job_id == new.job_id for turn in session.turns):
            return None
        if new not in turns:
            turns.append(new)
        system = self._own_system or session.system
        return fitted(msgspec.structs.replace(session, updated=now, system=system, turns=turns), limit, new)

    def _ids(self, job_id: str) -> set[str]:
        """The job, and the one that it takes the place of."""
        resumed = self._request.resume
        return {job_id, resumed.job_id} if resumed is not None and resumed.job_id else {job_id}


def before(turns: Sequence[Turn], job_ids: set[str]) -> Sequence[Turn]:
    """What was said before the first turn of these jobs; all, where there is none."""
    return turns[: next((i for i, turn in enumerate(turns) if turn.job_id in job_ids), len(turns))]


def next_start(turns: Sequence[Turn], first: int) -> int:
    """Where the exchange behind the one that begins at `first` begins."""
    starts = (i for i in range(first + 1, len(turns)) if turns[i].messages[0].role != "tool")
    return next(starts, len(turns))


def fitted(session: Session, limit: int, new: Turn) -> Session:
    """`session` without as many of its oldest turns as it has too many bytes for `limit`, but with `new`.

    Raises ValueError when that alone is too large.
    """
    size = len(codec.encode(session))
    if size <= limit:
        return session
    excess, first, last = size + DROPPED_FIELD - limit, 0, session.turns.index(new)
    while excess > 0:
        end = min(next_start(session.turns, first), last)
        if end == first:
            raise ValueError(f"a turn of {len(codec.encode(new))} bytes; at most {limit} are kept of a session")
        excess -= sum(len(codec.encode(turn)) for turn in session.turns[first:end])
        first = end
    return msgspec.structs.replace(session, turns=session.turns[first:], dropped=session.dropped + first)


def _message(reply: InferenceReply) -> Message:
    """The answer as a message. Thoughts are kept where they led to a call: formats show those until it is answered."""
    if not reply.tool_calls:
        return Message("assistant", reply.text)
    calls = msgspec.to_builtins(reply.tool_calls)
    return Message("assistant", reply.text or None, tool_calls=calls, reasoning_content=reply.reasoning_content)


def _size(messages: Sequence[Message]) -> int:
    return len(codec.encode(messages)) if messages else 0
