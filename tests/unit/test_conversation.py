"""What a model reads of a conversation, and what a request adds to it: pure, by table."""

from typing import Any

import msgspec
import pytest

from golek_wire import codec
from golek_wire.replies import Choice, FunctionCall, InferenceReply, SessionUse, ToolCall
from golek_wire.requests import InferenceRequest, Message, Params, Resume
from golek_wire.sessions import Session, Turn
from golek_worker.sessions.conversation import Conversation, SessionGoneError

NOW, LATER = "2026-01-02T03:04:05.678+00:00", "2026-01-02T03:05:05.678+00:00"
LIMIT = 1_000_000
CALL = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]


def turn(number: int, *, tokens: int = 10, result: bool = False, calls: bool = False, size: int = 0) -> Turn:
    """The turn of job `number`."""
    asked = Message("tool", f"r{number}", tool_call_id="c1") if result else Message("user", f"q{number}".ljust(size))
    answer = Message("assistant", tool_calls=CALL) if calls else Message("assistant", f"a{number}")
    return Turn(f"job{number}", [asked, answer], tokens)


def session(*turns: Turn, system: str = "", **more: Any) -> Session:
    return Session("s", NOW, NOW, [Message("system", system)] if system else [], list(turns), **more)


def reply(text: str = "answer", **more: Any) -> InferenceReply:
    return InferenceReply("", text, 30, 10, "stop", 1, 1, **more)


def asked(**fields: Any) -> InferenceRequest:
    return InferenceRequest(session_id="s", **({"input": "new"} | fields))


def recalled(request: InferenceRequest, kept: Session | None, job_id: str = "new", ctx_size: int = 0) -> Conversation:
    conversation = Conversation(request, ctx_size)
    conversation.recall(kept, job_id)
    return conversation


def read(conversation: Conversation) -> list[str]:
    """What the model reads, a word per message; the role of those without text."""
    return [one.content or one.role for one in conversation.request.messages or []]


def words(kept: Session) -> list[str]:
    return [one.content or one.role for each in kept.turns for one in each.messages]


def test_the_first_request_is_asked_as_it_is() -> None:
    """Also an `input` stays one: a session changes nothing before there is something to go on from."""
    request = asked()
    assert recalled(request, None).request is request


READ = [
    # the request, the session, what is read
    ({"input": "new"}, session(turn(1), turn(2)), ["q1", "a1", "q2", "a2", "new"]),
    ({"input": "new"}, session(turn(1), system="be"), ["be", "q1", "a1", "new"]),
    ({"messages": [Message("system", "now"), Message("user", "new")]}, session(turn(1), system="be"),
     ["now", "q1", "a1", "new"]),
    ({"messages": [Message("developer", "now"), Message("user", "new")]}, session(turn(1)), ["now", "q1", "a1", "new"]),
    ({"messages": [Message("user", "new"), Message("system", "by the way")]}, session(turn(1), system="be"),
     ["be", "q1", "a1", "new", "by the way"]),
    ({"messages": [Message("tool", "result", tool_call_id="c1")]}, session(turn(1, calls=True)),
     ["q1", "assistant", "result"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "kept", "expected"), READ)
def test_what_was_said_comes_before_the_question(fields: dict[str, Any], kept: Session, expected: list[str]) -> None:
    """System messages first: the request's own, where it begins with any, else the session's."""
    fields = {"input": None} | fields
    assert read(recalled(asked(**fields), kept)) == expected


def test_a_job_that_runs_again_reads_what_it_read_before() -> None:
    """Neither its own turn nor those that were added behind it; a job that goes on with a lost one neither."""
    kept = session(turn(1), turn(2), turn(3))
    assert read(recalled(asked(), kept, "job2")) == ["q1", "a1", "new"]
    assert read(recalled(asked(resume=Resume("a", job_id="job3")), kept)) == ["q1", "a1", "q2", "a2", "new"]


def added(conversation: Conversation, kept: Session | None, job_id: str = "new", limit: int = LIMIT) -> Session | None:
    conversation.answered(job_id, reply())
    return conversation.added(kept, LATER, limit)


def test_question_and_answer_are_added() -> None:
    """To a session that begins, with its system messages, and behind whatever was added meanwhile."""
    fields = {"input": None, "messages": [Message("system", "be"), Message("user", "new")]}
    begun = added(recalled(asked(**fields), None), None)
    assert begun is not None
    assert (begun.session_id, begun.created, begun.updated) == ("s", LATER, LATER)
    assert begun.system == [Message("system", "be")]
    assert words(begun) == ["new", "answer"]
    meanwhile = session(turn(1), turn(2), system="old")
    grown = added(recalled(asked(), session(turn(1))), meanwhile)
    assert grown is not None
    assert words(grown) == ["q1", "a1", "q2", "a2", "new", "answer"]
    assert (grown.created, grown.updated, grown.system) == (NOW, LATER, meanwhile.system)
    two_first = added(recalled(asked(), None), session(turn(1)))
    assert two_first is not None
    assert words(two_first) == ["q1", "a1", "new", "answer"]


def test_a_turn_is_added_once() -> None:
    """A job whose turn is there already changes nothing; the job that goes on with a lost one takes its place."""
    kept = session(turn(1), turn(2), turn(3))
    assert added(recalled(asked(), kept, "job2"), kept, "job2") is None
    instead = added(recalled(asked(resume=Resume("a", job_id="job2")), kept), kept)
    assert instead is not None
    assert [one.job_id for one in instead.turns] == ["job1", "new", "job3"]


@pytest.mark.parametrize("now", [None, session(turn(7), system="x"), session()])
def test_nothing_comes_back_to_a_session_that_was_removed(now: Session | None) -> None:
    """Neither when it is gone nor when another one has begun under its id."""
    kept = recalled(asked(), session(turn(1)))
    other = None if now is None else msgspec.structs.replace(now, created=LATER)
    with pytest.raises(SessionGoneError):
        added(kept, other)


def test_calls_of_tools_are_turns_with_the_thoughts_that_led_to_them() -> None:
    """Thoughts before a text are not kept; of several texts the first is."""
    conversation = recalled(asked(), None)
    call = ToolCall("c1", FunctionCall("look", "{}"))
    conversation.answered("new", reply("", tool_calls=[call], reasoning_content="Hm"))
    kept = conversation.added(None, NOW, LIMIT)
    assert kept is not None
    assert kept.turns[0].messages[1] == Message("assistant", None, tool_calls=CALL, reasoning_content="Hm")
    choices = [Choice(0, "one", "stop", 4), Choice(1, "two", "stop", 6)]
    conversation.answered("new", reply("one", choices=choices, reasoning_content="Hm"))
    kept = conversation.added(None, NOW, LIMIT)
    assert kept is not None
    assert kept.turns[0].messages[1] == Message("assistant", "one")
    assert kept.turns[0].tokens == 34


def test_a_turn_counts_its_share_of_the_tokens() -> None:
    """Of what the model read and wrote, by size: half of it, where the other half was said before."""
    before = Turn("job1", [Message("user", "new"), Message("assistant", "answer")], 20)
    conversation = recalled(asked(), session(before))
    grown = added(conversation, session(before))
    assert grown is not None
    assert grown.turns[1].tokens == 20


def test_the_oldest_turns_make_room_for_the_new_one() -> None:
    """What is kept has at most so many bytes, and says how many turns are gone; a turn alone must fit."""
    kept = session(*(turn(n, size=100) for n in range(9)))
    full = added(recalled(asked(), kept), kept)
    assert full is not None
    size = len(codec.encode(full))
    for limit in range(size, size - 700, -7):
        fits = added(recalled(asked(), kept), kept, limit=limit)
        assert fits is not None
        assert len(codec.encode(fits)) <= limit
        assert fits.turns == full.turns[fits.dropped :]
        assert len(codec.encode(fits)) + 240 > limit  # no turn too many
    with pytest.raises(ValueError, match="at most 150 are kept"):
        added(recalled(asked(), kept), kept, limit=150)


def test_an_exchange_with_tools_goes_as_a_whole() -> None:
    """No result stays without its call."""
    kept = session(turn(1, calls=True), turn(2, result=True), turn(3))
    full = added(recalled(asked(), kept), kept)
    assert full is not None
    fits = added(recalled(asked(), kept), kept, limit=len(codec.encode(full)) - 1)
    assert fits is not None
    assert [one.job_id for one in fits.turns] == ["job3", "new"]


# -- too long for the model --------------------------------------------------------------------------------------------


class Model:
    """Reads a token per 10 bytes, and has room for `budget`."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.refused = 0

    def tokens(self, request: InferenceRequest, *, least_room: int) -> int:
        asked_for = request.params.max_tokens or least_room
        return len(codec.encode(request.messages or request.input)) // 10 + asked_for

    def runs(self, conversation: Conversation) -> bool:
        """Ask until it fits, as an attempt does."""
        while (now := self.tokens(conversation.request, least_room=conversation.least_room)) > self.budget:
            self.refused += 1
            if not conversation.shorten(now, self.budget):
                return False
        return True


@pytest.mark.parametrize("turns", [1, 5, 40, 400])
@pytest.mark.parametrize("budget", [60, 200, 1000])
@pytest.mark.parametrize("max_tokens", [None, 20])
def test_the_oldest_turns_are_left_out_until_all_fits(turns: int, budget: int, max_tokens: int | None) -> None:
    """In few tries, about as many as necessary; the system's words stay, and the reply tells how many were left out."""
    kept = session(*(turn(n, tokens=15, size=60 + n % 50) for n in range(turns)), system="be brief")
    conversation = recalled(asked(params=Params(max_tokens=max_tokens)), kept, ctx_size=budget)
    model = Model(budget)
    assert model.runs(conversation)
    assert model.refused <= 5
    use = conversation.use
    assert use.turns + use.left_out == turns
    assert read(conversation)[0] == "be brief"
    assert read(conversation)[-1] == "new"
    if use.left_out and use.turns:
        assert read(conversation)[2] == f"a{use.left_out}"
    if use.left_out:
        longer = recalled(asked(), session(*kept.turns[use.left_out - 1 :], system="be brief"))
        room = max_tokens or min(1024, budget // 4)
        assert model.tokens(longer.request, least_room=room) > budget - 2  # not one turn too many


def test_what_does_not_fit_alone_is_refused_as_ever() -> None:
    """With everything left out that can be, the engine's word counts."""
    conversation = recalled(asked(input="x" * 700), session(turn(1), turn(2)), ctx_size=60)
    assert not Model(60).runs(conversation)
    assert conversation.use == SessionUse(0, 2)
    assert conversation.least_room == 0


def test_a_wrong_count_ends_soon() -> None:
    """An engine that tells far too few tokens is not asked for ever."""
    kept = session(*(turn(n, size=60) for n in range(1000)))
    conversation = recalled(asked(), kept)
    tries = 0
    while conversation.shorten(101, 100):
        tries += 1
    assert tries < 20
    assert conversation.use == SessionUse(0, 1000)


def test_a_result_keeps_its_call() -> None:
    """A request that brings results of tools needs the turn that called them, with the results it had before."""
    kept = session(turn(1), turn(2, calls=True), turn(3, calls=True, result=True))
    request = asked(input=None, messages=[Message("tool", "result", tool_call_id="c1")])
    conversation = recalled(request, kept)
    assert conversation.shorten(2000, 10)
    assert read(conversation) == ["q2", "assistant", "r3", "assistant", "result"]
    assert not conversation.shorten(2000, 10)
    assert conversation.least_room == 0


def test_what_is_far_too_long_is_not_tried() -> None:
    """By what its turns were counted as, a conversation of 100 contexts is cut before the engine sees it."""
    kept = session(*(turn(n, tokens=50) for n in range(1000)))
    conversation = recalled(asked(), kept, ctx_size=500)
    assert 10 <= conversation.use.turns <= 14
