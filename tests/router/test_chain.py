"""Who is asked, and who next, until one answers: the core of a router, with targets that say what a table says."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    InferenceServiceError,
    NoWorkersError,
    OverLimitError,
    ProviderFailedError,
    StreamInterruptedError,
)
from golek_wire.replies import Delta, InferenceReply, ToolCallDelta
from golek_wire.requests import InferenceRequest, Params, Request, ResponseFormat, Resume
from golek_wire.routing import Candidate, Decision, Policy, Rejected
from golek_worker.router.breaker import RULES
from golek_worker.router.breakers import Breakers, Ticket
from golek_worker.router.chain import Begun, Chain, Question, Routed, Turn, Word
from golek_worker.router.purse import UNPAID
from golek_worker.router.targets import Ask, State, Target

Said = Sequence[str | Delta | InferenceServiceError | Begun | InferenceReply | None]
"""What a target says; None is its reply, made of its pieces."""


def gone() -> NoWorkersError:
    return NoWorkersError("gone")


class Expense:
    """What a call costs."""

    def __init__(self, purse: "Purse", name: str) -> None:
        self._purse = purse
        self._name = name

    def paid(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float | None:
        self._purse.paid.append(self._name)
        return None

    def broke_off(self, tokens_out: int) -> None:
        self._purse.broken.append((self._name, tokens_out))


class Purse:
    """Pays for all but those that it has no money for."""

    cost_usd = None

    def __init__(self, *too_dear: str) -> None:
        self._too_dear = too_dear
        self.paid: list[str] = []
        self.broken: list[tuple[str, int]] = []

    async def reserve(self, target: Target, _request: Request) -> Expense:
        if target.name in self._too_dear:
            raise OverLimitError(f"no money for {target.name}", **{UNPAID: target.name})
        return Expense(self, target.name)


class Stage:
    """Targets, and what each of them says."""

    def __init__(self, *, no_prefill: Sequence[str] = (), **says: Said) -> None:
        self._says = says
        self._no_prefill = no_prefill
        self.turns: list[Turn] = []
        self.closed: list[str] = []
        self.breakers = Breakers("r", time.monotonic)

    def decide(self, ask: Ask) -> Decision:
        names = [name for name in self._says if name not in ask.excluded]
        if ask.has_text:
            names = [name for name in names if name not in self._no_prefill]
        error = None if names else {"code": "NO_WORKERS", "message": "nobody", "details": {}}
        return Decision("m", "inference", "in_order", "local_first", [Candidate(n, 0.0) for n in names], error=error)

    def target(self, name: str) -> Target:
        return Target(name, "p", name)

    def state(self, name: str) -> State:
        return State()

    async def ask(self, turn: Turn) -> AsyncGenerator[Word]:
        self.turns.append(turn)
        name, written = turn.candidate.target, turn.before
        try:
            for said in self._says[name]:
                if isinstance(said, InferenceServiceError):
                    raise said
                if said is None or isinstance(said, InferenceReply):
                    yield said or InferenceReply("", written, 1, 1, "stop", 0, 0)
                    return
                written += said if isinstance(said, str) else said.text if isinstance(said, Delta) else ""
                yield said
            await asyncio.Event().wait()
        finally:
            self.closed.append(name)

    async def run(
        self,
        request: InferenceRequest | None = None,
        purse: Purse | None = None,
        *,
        seconds: float = 5.0,
        streamed: bool = True,
    ) -> tuple[list[str | Delta], Routed]:
        """The pieces, and the end."""
        now, pieces = time.monotonic(), list[str | Delta]()
        question = Question(Ask("m"), request or InferenceRequest(input="hi"), now + seconds, now, streamed)
        async with aclosing(Chain(self, self.breakers, "r").run(question, purse or Purse(), self.ask)) as words:
            async for word in words:
                if isinstance(word, Routed):
                    return pieces, word
                pieces.append(word)
        raise AssertionError("no end")


def outcomes(routed: Routed) -> list[tuple[str, str]]:
    return [(tried.target, tried.outcome) for tried in routed.route.chain]


async def test_the_first_that_answers_is_the_last_that_is_asked() -> None:
    """Targets are asked in order; the route names all that were, and who answered."""
    stage = Stage(a=[gone()], b=["x ", "y", None], c=["never"])
    pieces, routed = await stage.run()
    assert pieces == ["x ", "y"]
    assert routed.reply == InferenceReply("", "x y", 1, 1, "stop", 0, 0)
    assert outcomes(routed) == [("a", "NO_WORKERS"), ("b", "answered")]
    assert (routed.route.target, routed.route.router) == ("b", "r")
    assert stage.closed == ["a", "b"]


@pytest.mark.parametrize(
    ("policy", "candidates", "rejected", "reason"),
    [
        ("local_first", ["c:x"], ["local:a"], "local:a: why; c:x: up"),
        ("local_first", ["c:x", "local:a"], [], "local:a: up; c:x: up"),  # its queue is long
        ("cloud_first", ["c:x"], ["local:a"], "c:x: up"),
        ("cloud_first", ["local:a"], ["c:x"], "c:x: why; local:a: up"),
        ("never_cloud", ["local:a"], ["local:m"], "local:m: why; local:a: up"),  # m was asked for
        ("never_cloud", ["local:a"], ["local:b"], "local:a: up"),
    ],
)
async def test_a_route_says_why_who_comes_first_was_not_asked(
    policy: Policy, candidates: list[str], rejected: list[str], reason: str
) -> None:
    """By the policy, or by the name that was asked for."""

    class Decided(Stage):
        def decide(self, ask: Ask) -> Decision:
            asked = [Candidate(name, 1.0, f"{name}: up") for name in candidates]
            return Decision(
                "m", "inference", "least_busy", policy, asked, [Rejected(one, f"{one}: why") for one in rejected]
            )

    _, routed = await Decided(**{candidates[0]: ["x", None]}).run()
    assert routed.route.reason == reason


async def test_another_goes_on_behind_the_text() -> None:
    """What was handed out stays: the next target that can is given it, and says what follows."""
    stage = Stage(a=["one ", "two ", gone()], b=["never"], c=["three", None], no_prefill=["b"])
    pieces, routed = await stage.run()
    assert pieces == ["one ", "two ", "three"]
    assert isinstance(routed.reply, InferenceReply)
    assert routed.reply.text == "one two three"
    resumed = stage.turns[-1].request
    assert isinstance(resumed, InferenceRequest)
    assert resumed.resume == Resume("one two ")
    assert outcomes(routed) == [("a", "NO_WORKERS"), ("c", "answered")]


async def test_a_request_that_resumes_goes_on_with_all_of_it() -> None:
    """The text that a request goes on from is part of what the next target is given."""
    stage = Stage(a=["two ", gone()], b=["three", None])
    _, routed = await stage.run(InferenceRequest(input="hi", resume=Resume("one ")))
    assert stage.turns[1].before == "one two "
    assert isinstance(routed.reply, InferenceReply)
    assert routed.reply.text == "one two three"


async def test_thoughts_are_told_once() -> None:
    """Behind a text the thoughts of the next target are left out, and the reply has those that were told."""
    stage = Stage(
        a=[Delta(reasoning_content="hm "), "one ", gone()], b=[Delta(reasoning_content="again"), "two", None]
    )  # fmt: skip
    pieces, routed = await stage.run()
    assert pieces == [Delta(reasoning_content="hm "), "one ", "two"]
    assert isinstance(routed.reply, InferenceReply)
    assert routed.reply.reasoning_content == "hm "


JSON = ResponseFormat("json_object")


@pytest.mark.parametrize(
    ("begun", "request_"),
    [
        (Delta(tool_calls=[ToolCallDelta(0, "c", "f")]), InferenceRequest(input="hi")),
        (Delta("x", index=1), InferenceRequest(input="hi", params=Params(n=2))),
        (Delta("x", logprobs=[]), InferenceRequest(input="hi", response_format=JSON)),
        (Delta(reasoning_content="hm"), InferenceRequest(input="hi")),
        ("{", InferenceRequest(input="hi", response_format=JSON)),
        ("{", InferenceRequest(input="hi", params=Params(regex="{}"))),
    ],
    ids=["tools", "texts", "form and delta", "thoughts", "json", "regex"],
)
async def test_what_cannot_be_gone_on_with_ends(begun: str | Delta, request_: InferenceRequest) -> None:
    """Calls, several texts, thoughts without a text, and forms end with what was told, and nobody else is asked."""
    stage = Stage(a=[begun, gone()], b=["never", None])
    with pytest.raises(StreamInterruptedError) as told:
        await stage.run(request_)
    assert "text_so_far" in told.value.details
    assert len(stage.turns) == 1


async def test_nobody_who_goes_on_is_told() -> None:
    """Where no other target goes on behind a text, the stream is interrupted, with the text."""
    stage = Stage(a=["one ", gone()], b=["never"], no_prefill=["b"])
    with pytest.raises(StreamInterruptedError) as told:
        await stage.run()
    assert told.value.details["text_so_far"] == "one "


async def test_nobody_who_could_be_paid_or_asked_is_told() -> None:
    """A stream is interrupted, too, where those who could go on are passed over: for want of money, or by a breaker."""
    stage, purse = Stage(a=["one ", gone()], b=["never"], c=["never"]), Purse("b")
    for _ in range(RULES.failures):
        ticket = stage.breakers.enter("c")
        assert isinstance(ticket, Ticket)
        ticket.failed("dead")
    with pytest.raises(StreamInterruptedError) as told:
        await stage.run(purse=purse)
    assert told.value.details["text_so_far"] == "one "
    assert [tried["outcome"] for tried in told.value.details["route"]["chain"]] == ["NO_WORKERS", "skipped", "skipped"]


async def test_a_whole_answer_begins_anew_elsewhere() -> None:
    """Where nobody reads pieces, what a target wrote before it failed is nobody's: the next one writes all of it."""
    stage = Stage(a=["one ", gone()], b=["all of it", None])
    pieces, routed = await stage.run(InferenceRequest(input="hi", response_format=JSON), streamed=False)
    assert pieces == []
    assert isinstance(routed.reply, InferenceReply)
    assert routed.reply.text == "all of it"


async def test_the_callers_own_mistake_ends_the_chain() -> None:
    """A request that is wrong is wrong everywhere: nobody else is asked, and the route tells who was."""
    stage = Stage(a=[BadRequestError("temperature: no", param="temperature")], b=["never"])
    with pytest.raises(BadRequestError) as told:
        await stage.run()
    assert [tried["outcome"] for tried in told.value.details["route"]["chain"]] == ["BAD_REQUEST"]


async def test_who_is_too_dear_is_passed_over() -> None:
    """A target without money for it is not called; the next one is, and where there is none that is the answer."""
    stage, purse = Stage(a=["never"], b=["yes", None]), Purse("a")
    _, routed = await stage.run(purse=purse)
    assert outcomes(routed) == [("a", "skipped"), ("b", "answered")]
    assert purse.paid == ["b"]
    with pytest.raises(OverLimitError):
        await Stage(a=["never"]).run(purse=Purse("a"))


async def test_a_call_that_breaks_off_is_told_to_the_purse() -> None:
    """A target that fails behind some pieces is paid for these; one that said nothing for nothing."""
    stage, purse = Stage(a=["one ", gone()], b=[gone()], c=["two", None]), Purse()
    await stage.run(purse=purse)
    assert purse.broken[:2] == [("a", 1), ("b", 0)]
    assert purse.paid == ["c"]


async def test_what_a_target_had_kept_costs_nothing() -> None:
    """Nothing was computed for it, though its text came in pieces."""
    stage, purse = Stage(a=["one ", InferenceReply("", "one ", 1, 1, "stop", 0, 0, cache="hit")]), Purse()
    await stage.run(purse=purse)
    assert (purse.paid, purse.broken) == ([], [("a", 0)])


async def test_leaving_early_ends_the_turn() -> None:
    """Whoever stops reading hangs up at the target, at once."""
    stage, now = Stage(a=["one ", "two "]), time.monotonic()
    question = Question(Ask("m"), InferenceRequest(input="hi"), now + 5, now, streamed=True)
    words = Chain(stage, stage.breakers, "r").run(question, Purse(), stage.ask)
    assert await anext(words) == "one "
    await words.aclose()
    assert stage.closed == ["a"]


async def test_no_time_is_no_turn() -> None:
    """A request whose time is over asks nobody, and one whose decision has nobody says why."""
    with pytest.raises(DeadlineExceededError):
        await Stage(a=["never"]).run(seconds=-1)
    with pytest.raises(NoWorkersError, match="nobody"):
        await Stage().run()


async def test_a_dead_target_is_passed_over() -> None:
    """Once its breaker is open a target is named and not asked."""
    stage = Stage(a=[ProviderFailedError("500")], b=["yes", None])
    for _ in range(8):
        _, routed = await stage.run()
    assert outcomes(routed) == [("a", "skipped"), ("b", "answered")]
    assert routed.route.chain[0].reason


async def test_a_target_that_cannot_go_on_is_no_fault_of_the_request() -> None:
    """Behind a text, a target that finds the request wrong is passed by; where it was the last one the stream is
    interrupted, and the caller, who did nothing wrong, is told what there is.
    """
    lost = ProviderFailedError("gone")
    stage = Stage(a=["x ", lost], b=[BadRequestError("resume.text")], c=["y", None])
    pieces, end = await stage.run()
    assert pieces == ["x ", "y"]
    assert outcomes(end) == [("a", "PROVIDER_FAILED"), ("b", "BAD_REQUEST"), ("c", "answered")]
    with pytest.raises(StreamInterruptedError) as told:
        await Stage(a=["x ", lost], b=[BadRequestError("resume.text")]).run()
    assert told.value.details["text_so_far"] == "x "
