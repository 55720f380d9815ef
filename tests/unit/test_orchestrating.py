"""What stands around each step: its share of the deadline, tries, errors that are not passed on, what is handed out."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    EngineFailedError,
    InferenceServiceError,
    QueueFullError,
    RateLimitedError,
    StreamInterruptedError,
)
from golek_wire.orchestration import StepEvent
from golek_wire.replies import Delta, InferenceReply, ToolCallDelta
from golek_wire.requests import InferenceRequest, Message
from golek_wire.routing import Route
from golek_worker.conducting.conductor import NEWS_S, Conductor
from golek_worker.conducting.minutes import Minutes
from golek_worker.conducting.step_asks import Asks, Part
from golek_worker.engine.base import Piece
from golek_worker.orchestration import flows, prompts
from golek_worker.orchestration.base import (
    COMPRESSOR,
    GENERATOR,
    RECONCILER,
    SYNTHESIZER,
    Ask,
    Case,
    Cast,
    Limits,
    Member,
    Outcome,
    Step,
)
from golek_worker.orchestration.context import Context, Memory
from golek_worker.router.chain import Routed

Said = str | InferenceServiceError | float | list[Any]
"""What a part comes to: a text, an error, silence of so many seconds, or pieces one after the other."""
ONE, TWO, THREE = (Member(name) for name in ("one", "two", "three"))


class Stage:
    """One request whose models say what a test has them say, by the label of the step and the model."""

    def __init__(self, mode: Any, script: dict[str, list[Said]], *members: Member, seconds: float = 20.0) -> None:
        self.script = script
        self.asked: list[Part] = []
        self.closed: list[str] = []
        self.targets: dict[str, str] = {}
        """Who answers for a model that another one answers for."""
        self.events: list[StepEvent] = []
        self.pieces: list[Piece] = []
        members = members or (ONE, TWO, THREE)
        duties = dict.fromkeys((GENERATOR, RECONCILER, SYNTHESIZER, COMPRESSOR), members[0]) | {"critic": members[-1]}
        stages = tuple((name, one) for name, one in zip(("draft", "refine", "validate"), members, strict=False))
        request = InferenceRequest(messages=[Message("user", "What is five and four?")])
        self.case = Case(request, Cast(mode, members, duties, stages), Limits(2, 0.8))
        self.minutes = Minutes("r", self.events.append)
        self.asks = Asks(self.answer, self.minutes, until=time.monotonic() + seconds, seed=7, counts=lambda _: False)

    async def answer(self, part: Part) -> AsyncGenerator[Piece | Routed]:
        """As a router's chain would."""
        self.asked.append(part)
        key = f"{part.label} {part.model}"
        said = self.script.get(key) or self.script[part.label.partition("/")[0]]
        events = said.pop(0) if len(said) > 1 else said[0]
        try:
            text = ""
            for event in events if isinstance(events, list) else [events]:
                match event:
                    case InferenceServiceError():
                        raise event
                    case float():
                        await asyncio.sleep(event)
                    case _:
                        text += event if isinstance(event, str) else event.text
                        if part.streamed:
                            yield event
            reply = InferenceReply("", text, 3, 2, "stop", 1, 1)
            answered = self.targets.get(part.model, part.model)
            yield Routed(reply, Route(f"local:{answered}", "least_busy", "local_only", worker=f"{part.model}-1"))
        finally:
            self.closed.append(key)

    async def conduct(self, *, streamed: bool = False, flow: Any = flows.run) -> InferenceReply:
        context = Context(self.case, Memory(prompts.read()), self.asks.count, self.asks.help, request_id="job")
        take: Callable[[Piece], None] | None = self.pieces.append if streamed else None
        return await Conductor(self.case, self.asks, context, embedder=None, hand_out=take).conduct(flow)


async def test_a_step_has_its_share_of_what_is_left() -> None:
    """With n steps in a row to come a step may take 2/(n+1) of the time that is left, less what the way back needs."""
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": ["c"]}, seconds=10.0)
    began = time.monotonic()
    await stage.conduct()
    shares = [part.until - began for part in stage.asked]
    assert shares == pytest.approx([9.5 / 2, 9.5 * 2 / 3, 9.5], abs=0.3)


async def test_passing_faults_are_tried_again_twice() -> None:
    """A step that fails in passing is asked at most two times more, and its record says how often."""
    full = QueueFullError("full", 1)
    stage = Stage("single", {"answer": [full, full, "nine"]}, ONE)
    reply = await stage.conduct()
    assert (reply.text, len(stage.asked), stage.minutes.records[0].tries) == ("nine", 3, 3)
    stage = Stage("single", {"answer": [full]}, ONE)
    with pytest.raises(QueueFullError):
        await stage.conduct()
    assert len(stage.asked) == 3


async def test_what_the_chain_tried_again_is_not_tried_once_more() -> None:
    """Retries are not multiplied: an engine that failed was asked again by the router's chain already."""
    tried = {"chain": [{"target": "local:one", "outcome": "ENGINE_FAILED"}]}
    stage = Stage("single", {"answer": [EngineFailedError("it crashed", route=tried)]}, ONE)
    with pytest.raises(InferenceServiceError):
        await stage.conduct()
    assert len(stage.asked) == 1


async def test_who_was_passed_over_is_asked_once_its_pause_is_over() -> None:
    """A model that others were told to leave alone was not asked at all: the step waits, if its share allows it."""
    skipped = {"chain": [{"target": "local:one", "outcome": "skipped"}]}
    brief, lengthy = (RateLimitedError("it asked for a pause", ms, route=skipped) for ms in (1, 60_000))
    stage = Stage("single", {"answer": [brief, "nine"]}, ONE)
    began = time.monotonic()
    assert (await stage.conduct()).text == "nine"
    assert time.monotonic() - began >= NEWS_S
    stage = Stage("single", {"answer": [lengthy]}, ONE)
    with pytest.raises(RateLimitedError):
        await stage.conduct()
    assert len(stage.asked) == 1


async def test_a_form_that_a_model_refuses_is_left_out() -> None:
    """A critic of which nobody knew that it cannot be held to JSON is asked once more, in words; not twice."""
    refused, text = BadRequestError("it follows nothing", param="response_format"), "ISSUE: too short\nSCORE: 0.9"
    stage = Stage("critique", {"generate": ["nine"], "critique": [refused, text]}, ONE, TWO)
    reply = await stage.conduct()
    assert reply.orchestration is not None
    assert (reply.text, reply.orchestration.confidence, stage.minutes.records[1].tries) == ("nine", 0.9, 2)
    forms = [part.request.response_format for part in stage.asked[1:] if isinstance(part.request, InferenceRequest)]
    assert [form is not None for form in forms] == [True, False]
    stage = Stage("critique", {"generate": ["nine"], "critique": [refused]}, ONE, TWO)
    assert (await stage.conduct()).finish_reason == "partial"
    assert len(stage.asked) == 3


async def test_a_slow_branch_does_not_keep_the_others() -> None:
    """A branch that runs out of its share is named, the others answer, all before the caller's deadline."""
    stage = Stage("ensemble", {"answer": ["nine"], "answer/1 three": [60.0]}, seconds=1.0)
    began = time.monotonic()
    reply = await stage.conduct()
    assert time.monotonic() - began < 1.0
    assert reply.orchestration is not None
    assert (reply.text, reply.orchestration.failed) == ("nine", {"three": "DEADLINE_EXCEEDED"})
    assert sorted(stage.closed) == ["answer/1 one", "answer/1 three", "answer/1 two"]


async def test_out_of_time_with_something_usable_is_a_partial_answer() -> None:
    """A pipeline whose second stage hangs ends in time with the text of the first one."""
    stage = Stage("pipeline", {"draft": ["a draft"], "refine": [60.0], "validate": ["c"]}, seconds=0.6)
    reply = await stage.conduct()
    assert (reply.text, reply.finish_reason) == ("a draft", "partial")
    assert reply.orchestration is not None
    assert (reply.orchestration.partial, reply.orchestration.error) == (True, "DEADLINE_EXCEEDED")
    assert (reply.orchestration.completed_steps, reply.orchestration.total_steps) == (1, 3)


async def test_out_of_time_with_nothing_is_the_callers_deadline() -> None:
    """Where nobody said anything in time the error is DEADLINE_EXCEEDED, and tells who was asked."""
    stage = Stage("ensemble", {"answer": [60.0]}, seconds=0.3)
    with pytest.raises(DeadlineExceededError) as told:
        await stage.conduct()
    steps = told.value.details["orchestration"]["steps"]
    assert [step["outcome"] for step in steps] == ["DEADLINE_EXCEEDED"] * 3


async def test_a_contradiction_is_asked_afresh_once() -> None:
    """A stage that contradicts what was decided is quarantined and asked again; its second answer is passed on."""
    decided = "Decision: The capital of Australia is Canberra."
    wrong = "The capital of Australia is not Canberra."
    script: dict[str, list[Said]] = {"draft": [decided], "refine": [wrong, "It is Canberra."], "validate": ["Canberra"]}
    stage = Stage("pipeline", script)
    reply = await stage.conduct()
    assert reply.orchestration is not None
    assert [(one.name, one.outcome) for one in reply.orchestration.steps] == [
        ("draft", "answered"), ("refine", "quarantined"), ("refine", "answered"), ("validate", "answered"),
    ]  # fmt: skip
    assert reply.orchestration.steps[1].warnings
    assert wrong not in str(stage.asked[-1].request)
    assert reply.tokens_out == 8


async def test_a_contradiction_that_stays_ends_the_flow_with_what_was_usable() -> None:
    """Contaminated twice is critical: the flow ends with the last text before it, partial."""
    decided = "Decision: The capital of Australia is Canberra."
    script: dict[str, list[Said]] = {
        "draft": [decided], "refine": ["The capital of Australia is not Canberra."], "validate": ["c"]
    }  # fmt: skip
    reply = await Stage("pipeline", script).conduct()
    assert (reply.text, reply.finish_reason) == (decided, "partial")
    assert reply.orchestration is not None
    assert reply.orchestration.error == "ORCHESTRATION_FAILED"


async def test_a_critique_that_cannot_be_read_is_told() -> None:
    """Its step has a warning, and the answer stands as it was."""
    stage = Stage("critique", {"generate": ["nine"], "critique": ['{"issues": ["It is not']}, ONE, TWO)
    reply = await stage.conduct()
    assert reply.text == "nine"
    assert reply.orchestration is not None
    assert reply.orchestration.steps[1].warnings == [
        "could not be read: its JSON breaks off, or says neither score nor issues"
    ]


async def test_only_the_final_step_is_streamed() -> None:
    """Pieces are those of the last step alone; an answer that no step streamed is handed out whole at the end."""
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": [["c ", "d"]]})
    reply = await stage.conduct(streamed=True)
    assert (stage.pieces, reply.text) == (["c ", "d"], "c d")
    stage = Stage("ensemble", {"answer": ["nine"]})
    reply = await stage.conduct(streamed=True)
    assert (stage.pieces, reply.text) == (["nine"], "nine")


async def test_a_text_that_was_handed_out_is_the_answer() -> None:
    """Should the final step break off behind a text, that text is the answer, partial; nothing is tried again."""
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": [["c ", QueueFullError("full", 1)]]})
    reply = await stage.conduct(streamed=True)
    assert ("".join(map(str, stage.pieces)), reply.text, reply.finish_reason) == ("c ", "c ", "partial")
    assert reply.orchestration is not None
    assert (reply.orchestration.error, reply.orchestration.steps[-1].outcome) == ("QUEUE_FULL", "QUEUE_FULL")
    assert (reply.orchestration.completed_steps, reply.orchestration.total_steps, len(stage.asked)) == (2, 3, 3)
    assert reply.tokens_out == 2 + 2 + 1, "and what was written of it counts"


async def test_a_call_that_broke_off_is_no_answer() -> None:
    """A call of a tool that was handed out in part cannot be taken back nor gone on with: STREAM_INTERRUPTED."""
    call = Delta(tool_calls=[ToolCallDelta(0, "c", "find", '{"q"')])
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": [[call, EngineFailedError("gone")]]})
    with pytest.raises(StreamInterruptedError):
        await stage.conduct(streamed=True)


async def test_thoughts_alone_are_no_answer() -> None:
    """Behind thoughts of a final step that breaks off the last usable text is handed out."""
    thoughts = Delta(reasoning_content="hm")
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": [[thoughts, EngineFailedError("gone")]]})
    reply = await stage.conduct(streamed=True)
    assert (stage.pieces, reply.text, reply.finish_reason) == ([thoughts, "b"], "b", "partial")


@pytest.mark.parametrize("said", [[Delta(reasoning_content="hm")], [" ", "\n"], [Delta(reasoning_content="hm"), " "]])
async def test_a_final_step_without_a_text_leaves_that_of_the_step_before(said: list[Piece]) -> None:
    """Where it ends well and has said nothing but thoughts and blanks, what is handed out is the answer's text."""
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": [said]})
    reply = await stage.conduct(streamed=True)
    handed_out = "".join(piece if isinstance(piece, str) else piece.text for piece in stage.pieces)
    assert (handed_out, reply.text, reply.finish_reason) == ("b", "b", "partial")


async def test_blanks_before_a_text_are_a_part_of_it() -> None:
    """They are handed out with the first word; those of a try that failed are not."""
    tries: list[Said] = [["\n", QueueFullError("full", 1)], [" ", "\n", "c"]]
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": tries})
    reply = await stage.conduct(streamed=True)
    assert (stage.pieces, reply.text) == ([" ", "\n", "c"], " \nc")


async def test_thoughts_that_come_to_no_text_do_not_hide_the_answer() -> None:
    """Whoever streams a final step that only thinks is given the best answer there is, after the thoughts."""
    thoughts, long = Delta(reasoning_content="hm"), "It is nine, which is the sum of five and four, as anybody can see."
    texts: dict[str, list[Said]] = {f"answer/1 {one}": [f"{long} {one}"] for one in ("one", "two", "three")}
    stage = Stage("ensemble", {**texts, "compare": ["nothing"], "synthesize": [[thoughts]]})
    reply = await stage.conduct(streamed=True)
    assert (stage.pieces, reply.text, reply.finish_reason) == ([thoughts, f"{long} one"], f"{long} one", "partial")


async def test_steps_are_numbered_among_those_of_the_flow() -> None:
    """What only helps has no number, and a step that is asked afresh is one more that is expected."""
    stage = Stage("pipeline", {"draft": ["a"], "refine": ["b"], "validate": ["c"], "compress": ["short"]})
    stage.minutes.begin(Step("compress", TWO, COMPRESSOR), counts=False)
    first = stage.minutes.begin(Step("draft", ONE, "draft", total=3))
    stage.minutes.answered(first, InferenceReply("", "a", 1, 1, "stop", 1, 1), outcome="quarantined")
    await stage.conduct()
    told = [(e.number, e.total) for e in stage.events if e.state == "began"]
    assert told == [(1, 3), (2, 4), (3, 4), (4, 4)]


async def test_an_error_says_how_many_steps_there_were_to_come() -> None:
    """The first stage of three fails: none was completed, of three."""
    stage = Stage("pipeline", {"draft": [QueueFullError("full", 1)], "refine": ["b"], "validate": ["c"]})
    with pytest.raises(InferenceServiceError) as raised:
        await stage.conduct()
    told = raised.value.details["orchestration"]
    assert (told["completed_steps"], told["total_steps"], told["models_used"]) == (0, 3, [])


async def test_each_step_is_told_when_it_begins_and_ends() -> None:
    """Events come in order: a number for each step, how many are expected, and how it ended."""
    stage = Stage("critique", {"generate": ["eight"], "critique": ["SCORE: 0.9"]}, ONE, TWO)
    await stage.conduct()
    assert [(e.number, e.name, e.model, e.state, e.outcome) for e in stage.events] == [
        (1, "generate", "one", "began", ""), (1, "generate", "one", "ended", "answered"),
        (2, "critique", "two", "began", ""), (2, "critique", "two", "ended", "answered"),
    ]  # fmt: skip
    assert [e.total for e in stage.events] == [5, 5, 5, 5]


async def test_one_model_that_answered_for_two_is_told() -> None:
    """Two answers of one model agree with themselves: who reads the agreement has to know."""
    stage = Stage("ensemble", {"answer": ["nine"]})
    stage.targets = {"two": "three"}
    reply = await stage.conduct()
    assert reply.orchestration is not None
    assert reply.orchestration.flagged == ["One model, local:three, answered for two and three"]
    assert (await Stage("ensemble", {"answer": ["nine"]}).conduct()).orchestration.flagged == []  # type: ignore[union-attr]


@pytest.mark.parametrize("fails", [EngineFailedError("it broke"), ""])
async def test_who_dropped_out_is_named(fails: Said) -> None:
    """Also in a later round, where what it said before stands; and not who answered later."""
    code = "ORCHESTRATION_FAILED" if fails == "" else "ENGINE_FAILED"
    script: dict[str, list[Said]] = {
        "answer": ["four"], "answer/1 one": ["nine"], "answer/1 two": ["ten"],
        "rebut/2 one": ["nine"], "rebut/2 two": [fails], "rebut/2 three": [fails], "reconcile": ["nine"],
    }  # fmt: skip
    reply = await Stage("debate", script).conduct()
    assert (reply.text, reply.finish_reason) == ("nine", "stop")
    assert reply.orchestration is not None
    assert reply.orchestration.failed == {"two": code, "three": code}
    script = {"answer": ["nine"], "answer/1 one": [fails], "answer/1 two": ["ten"], "reconcile": ["nine"]}
    reply = await Stage("debate", script | {"rebut": ["nine"], "rebut/2 two": ["ten"]}).conduct()
    assert reply.orchestration is not None
    assert reply.orchestration.failed == {}
    with pytest.raises(InferenceServiceError) as raised:
        await Stage("ensemble", {"answer": [fails]}).conduct()
    assert raised.value.details["orchestration"]["failed"] == dict.fromkeys(("one", "two", "three"), code)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_first_token_is_that_of_the_answer(streamed: bool) -> None:
    """Its time counts from the request on, all steps before the last one in it; of an answer that was not written
    last it is the end.
    """
    stage = Stage("pipeline", {"draft": ["nine"], "refine": [[0.2, "ten"]], "validate": [["e", 0.2, "leven"]]})
    reply = await stage.conduct(streamed=streamed)
    assert reply.orchestration is not None
    last = reply.orchestration.steps[-1]
    ended_ms = last.began_ms + last.ms
    assert last.began_ms >= 200
    assert last.began_ms <= reply.ttft_ms + 1 <= (ended_ms - 100 if streamed else ended_ms + 50)
    good = '{"issues": [], "score": 0.9}'
    stage = Stage("critique", {"generate": ["nine"], "critique": [[0.2, good]]}, ONE, TWO)
    reply = await stage.conduct(streamed=streamed)
    assert reply.ttft_ms >= 200


async def test_cancelling_ends_every_branch() -> None:
    """Whoever cancels the request ends all that runs for it, and each record says so."""
    stage = Stage("debate", {"answer": [60.0]})
    task = asyncio.create_task(stage.conduct())
    while len(stage.asked) < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stage.closed) == ["answer/1 one", "answer/1 three", "answer/1 two"]
    assert {record.outcome for record in stage.minutes.records} == {"CANCELLED"}


async def test_what_a_helper_read_counts_and_is_no_step_of_the_flow() -> None:
    """A compression is among the records and in the sums, but not among the steps or the models of the flow."""
    stage = Stage("single", {"answer": ["nine"], "compress": ["short"]}, ONE)

    async def flow(case: Case, ask: Ask) -> Outcome:
        await stage.asks.help(Step("compress", TWO, COMPRESSOR), case.request)
        return await flows.run(case, ask)

    reply = await stage.conduct(flow=flow)
    assert reply.orchestration is not None
    assert [one.name for one in reply.orchestration.steps] == ["compress", "answer"]
    assert (reply.orchestration.models_used, reply.orchestration.completed_steps) == (["one"], 1)
    assert reply.tokens_in == 6
