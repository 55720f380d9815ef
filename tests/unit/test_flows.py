"""Which steps does each flow ask, in which order, and how does it end? With a scripted `Ask`, without a fleet."""

from typing import Any

import pytest

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    ForbiddenError,
    InferenceServiceError,
    JobCancelledError,
    NoWorkersError,
    OrchestrationFailedError,
    OverLimitError,
    RateLimitedError,
)
from golek_wire.orchestration import Mode
from golek_wire.requests import ResponseFormat
from golek_worker.orchestration import flows
from golek_worker.orchestration.base import Case, ContaminatedError, Limits, Outcome
from tests.support.scripted import BAD_CRITIQUE as BAD
from tests.support.scripted import CALLS, Scripted, case

POOR = '{"score": 0.6, "issues": ["No reason is given."]}'
GOOD = '{"score": 0.9, "issues": []}'
LONG = "The port is {}, as the file of settings says, and the program listens on it from its start on."
AGREED = '{"agreed": ["one", "two", "three"], "conflicts": ["four"], "flagged": []}'
SPLIT = '{"agreed": ["one"], "conflicts": ["four"], "flagged": ["five", "six"]}'


class BrokeError(InferenceServiceError):
    """Fails."""

    code = "ENGINE_FAILED"


async def ended(asked: Case, lines: Any) -> tuple[Outcome, Scripted]:
    ask = Scripted(lines)
    outcome = await flows.run(asked, ask)
    assert ask.open == []
    return outcome, ask


# single


async def test_single_asks_one_model_once() -> None:
    """One step, which is the final one; its answer is the answer, even an empty one."""
    outcome, ask = await ended(case("single", "a"), {"answer": ""})
    assert outcome.said.text == ""
    assert ask.names == ["answer a"]
    assert (ask.steps[0].is_final, ask.steps[0].depth, ask.steps[0].total) == (True, 1, 1)


async def test_single_ends_in_the_error_of_its_step() -> None:
    """Whatever it is."""
    error = NoWorkersError("nobody")
    with pytest.raises(NoWorkersError) as raised:
        await ended(case("single", "a"), {"answer": error})
    assert raised.value is error


# critique

CRITIQUES: list[tuple[str, dict[str, Any], list[str], str, int, float | None, tuple[str, ...]]] = [
    ("good at once", {"generate": "v1", "critique": GOOD}, ["generate a", "critique b"], "v1", 1, 0.9, ()),
    (
        "good enough, with an issue", {"generate": "v1", "critique": '{"score": 0.8, "issues": ["x"]}'},
        ["generate a", "critique b"], "v1", 1, 0.8, ("x",),
    ),
    (
        "revised once", {"generate": "v1", "critique": [BAD, GOOD], "revise": "v2"},
        ["generate a", "critique b", "revise a", "critique b"], "v2", 2, 0.9, (),
    ),
    (
        "never good enough", {"generate": "v1", "critique": [BAD, POOR], "revise": ["v2", "v3"]},
        ["generate a", "critique b", "revise a", "critique b", "revise a"], "v3", 2, None, ("No reason is given.",),
    ),
    (
        "a score that cannot be read is none", {"generate": "v1", "critique": ["It is fine.", GOOD], "revise": "v2"},
        ["generate a", "critique b", "revise a", "critique b"], "v2", 2, 0.9, (),
    ),
    (
        "a score without a scale is none", {"generate": "v1", "critique": ["SCORE: 85", "SCORE: 85%"], "revise": "v2"},
        ["generate a", "critique b", "revise a", "critique b"], "v2", 2, 0.85, (),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "lines", "steps", "text", "rounds", "confidence", "flagged"), CRITIQUES, ids=[one[0] for one in CRITIQUES]
)
async def test_critique(
    name: str, lines: Any, steps: list[str], text: str, rounds: int, confidence: float | None, flagged: tuple[str, ...]
) -> None:
    """It stops at the first answer with a score that is high enough and gives it as it is; the revision of the last
    round is given unjudged, without a confidence, with the objections it should have resolved.
    """
    outcome, ask = await ended(case("critique"), lines)
    assert ask.names == steps
    assert outcome.said.text == text
    assert (outcome.rounds, outcome.confidence, outcome.flagged) == (rounds, confidence, flagged)
    assert (outcome.error, outcome.left, outcome.failed) == (None, 0, {})


async def test_critic_and_reviser_read_the_draft_and_the_objections() -> None:
    """The critic reads the draft; the reviser reads it beside the objections, as a list or in the critic's words."""
    _, ask = await ended(case("critique"), {"generate": "v1", "critique": [BAD, "Too short!"], "revise": ["v2", "v3"]})
    reads = [{material.title: material.text for material in step.reads} for step in ask.steps]
    assert reads == [
        {},
        {"Draft": "v1"},
        {"Draft": "v1", "Objections": "- The port is wrong.\n- No reason is given."},
        {"Draft": "v2"},
        {"Draft": "v2", "Objections": "Too short!"},
    ]
    assert [step.is_final for step in ask.steps] == [False, False, False, False, True]
    assert [step.depth for step in ask.steps] == [5, 4, 3, 2, 1]
    assert [step.total for step in ask.steps] == [5] * 5
    assert [step.round for step in ask.steps] == [1, 1, 1, 2, 2]
    assert [step.schema is not None for step in ask.steps] == [False, True, False, True, False]


@pytest.mark.parametrize("said", ['{"issues": ["x", "cut of', "{}", '{"score": 7, "issues": []}'])
async def test_a_critique_that_cannot_be_read_is_nothing_to_revise_by(said: str) -> None:
    """The answer that was to be judged is given, with what was open before, and that nobody could read the critic."""
    outcome, ask = await ended(case("critique"), {"generate": "v1", "critique": said})
    assert ask.names == ["generate a", "critique b"]
    assert (outcome.said.text, outcome.confidence, outcome.error, outcome.left) == ("v1", None, None, 0)
    assert outcome.flagged == ("What the critic said could not be read",)
    outcome, _ = await ended(case("critique"), {"generate": "v1", "critique": [POOR, said], "revise": "v2"})
    assert (outcome.said.text, outcome.rounds, outcome.confidence) == ("v2", 2, None)
    assert outcome.flagged == ("No reason is given.", "What the critic said could not be read")


async def test_a_critic_that_follows_no_schema_is_asked_for_lines() -> None:
    """Without a schema; the lines it was asked for are read."""
    outcome, ask = await ended(
        case("critique", schemas=False), {"generate": "v1", "critique": "ISSUE: too short\nSCORE: 0.85"}
    )
    assert ask.steps[1].schema is None
    assert (outcome.confidence, outcome.flagged) == (0.85, ("too short",))


@pytest.mark.parametrize(
    ("lines", "text", "rounds", "confidence", "left", "failed"),
    [
        ({"generate": "v1", "critique": BrokeError()}, "v1", 1, None, 4, {"b": "ENGINE_FAILED"}),
        ({"generate": "v1", "critique": ""}, "v1", 1, None, 4, {"b": "ORCHESTRATION_FAILED"}),
        ({"generate": "v1", "critique": BAD, "revise": BrokeError()}, "v1", 1, 0.4, 3, {}),
        ({"generate": "v1", "critique": BAD, "revise": "  "}, "v1", 1, 0.4, 3, {}),
        ({"generate": "v1", "critique": [BAD, BrokeError()], "revise": "v2"}, "v2", 2, None, 2, {"b": "ENGINE_FAILED"}),
        ({"generate": "v1", "critique": [BAD, BAD], "revise": ["v2", DeadlineExceededError()]}, "v2", 2, 0.4, 1, {}),
        ({"generate": "v1", "critique": ContaminatedError()}, "v1", 1, None, 4, {"b": "ORCHESTRATION_FAILED"}),
    ],
)
async def test_a_critique_that_breaks_off_gives_the_last_version(
    lines: Any, text: str, rounds: int, confidence: float | None, left: int, failed: dict[str, str]
) -> None:
    """Critic or reviser fail: the last version is a partial answer, with its own score if it has one."""
    outcome, _ = await ended(case("critique"), lines)
    assert outcome.error is not None
    assert (outcome.said.text, outcome.rounds, outcome.confidence) == (text, rounds, confidence)
    assert (outcome.left, outcome.failed) == (left, failed)


async def test_a_first_answer_that_fails_names_step_and_cause() -> None:
    """Nothing usable: ORCHESTRATION_FAILED with the step, the model and what it ended in."""
    with pytest.raises(OrchestrationFailedError) as raised:
        await ended(case("critique"), {"generate": NoWorkersError("nobody serves a")})
    assert raised.value.details == {
        "step": "generate",
        "model": "a",
        "cause": {"code": "NO_WORKERS", "message": "nobody serves a"},
        "failed": {"a": "NO_WORKERS"},
    }
    assert "generate of a failed with NO_WORKERS: nobody serves a" in raised.value.message


# debate


async def test_answers_that_are_the_same_need_no_reconciler() -> None:
    """Equal short answers end a debate in its first round; the reconciler's own is given."""
    outcome, ask = await ended(case("debate", lead="b"), {("answer", "a"): "8080", "answer": "8,080."})
    assert ask.names == ["answer a", "answer b", "answer c"]
    assert (outcome.said.text, outcome.said.step.member.model) == ("8,080.", "b")
    assert (outcome.rounds, outcome.confidence) == (1, 1.0)
    assert outcome.agreement is not None
    assert (outcome.agreement.method, outcome.agreement.votes) == ("exact", ((0, 1, 2),))


async def test_who_disagrees_reads_the_others_and_answers_again() -> None:
    """All rebut until they agree well enough, each reading its own answer and those of the others."""
    lines = {
        ("answer", "a"): "8080", ("answer", "b"): "9090", ("answer", "c"): "9090",
        ("rebut", "a"): "9090", ("rebut", "b"): "9090", ("rebut", "c"): "9090",
    }  # fmt: skip
    outcome, ask = await ended(case("debate", limits=Limits(3, 0.8)), lines)
    assert ask.names == ["answer a", "answer b", "answer c", "rebut a", "rebut b", "rebut c"]
    assert [(one.title, one.text) for one in ask.steps[3].reads] == [
        ("Your answer", "8080"), ("Answer of b", "9090"), ("Answer of c", "9090")
    ]  # fmt: skip
    assert [step.round for step in ask.steps] == [1, 1, 1, 2, 2, 2]
    assert (outcome.said.text, outcome.rounds, outcome.confidence) == ("9090", 2, 1.0)


async def test_a_debate_without_agreement_is_reconciled_and_flagged() -> None:
    """After the last round the reconciler writes the answer; that they do not agree is told."""
    lines = {
        ("answer", "a"): "1", ("answer", "b"): "2", ("answer", "c"): "3",
        ("rebut", "a"): "1", ("rebut", "b"): "2", ("rebut", "c"): "2", "reconcile": "2",
    }  # fmt: skip
    outcome, ask = await ended(case("debate", limits=Limits(2, 0.8)), lines)
    assert ask.names[-1] == "reconcile a"
    assert ask.steps[-1].is_final
    assert [one.title for one in ask.steps[-1].reads] == [
        "Answer of a", "Answer of b", "Answer of c", "Where they disagree"
    ]  # fmt: skip
    assert outcome.rounds == 2
    assert outcome.confidence == pytest.approx(2 / 3)
    assert outcome.flagged == ("The agreement of 0.67 is below 0.80",)


@pytest.mark.parametrize(("written", "confidence"), [("June", 0.0), ("oslo.", 1 / 3), ("Moscow", 2 / 3)])
async def test_the_confidence_is_that_of_the_answer_that_is_given(written: str, confidence: float) -> None:
    """Where answers are counted it is the share that says the same as the reconciler; an answer of nobody is told."""
    lines = {"answer": "Moscow", ("answer", "c"): "Oslo", "reconcile": written}
    outcome, _ = await ended(case("debate", limits=Limits(1, 0.5)), lines)
    assert outcome.said.text == written
    assert outcome.confidence == pytest.approx(confidence)
    assert outcome.agreement is not None
    assert outcome.agreement.value == pytest.approx(2 / 3)
    assert outcome.flagged == (("The answer is none of those that were given",) if confidence == 0 else ())


async def test_longer_answers_are_compared_by_the_reconciler() -> None:
    """Without vectors one step compares the claims; the share they agree on is the agreement."""
    lines = {"answer": LONG.format(8080), "compare": AGREED, "reconcile": "done"}
    outcome, ask = await ended(case("debate", "a b", limits=Limits(3, 0.7)), lines)
    assert ask.names == ["answer a", "answer b", "compare a", "reconcile a"]
    assert ask.steps[2].schema is not None
    assert not ask.steps[2].is_final
    assert (outcome.said.text, outcome.confidence) == ("done", 0.75)
    assert outcome.agreement is not None
    assert (outcome.agreement.method, outcome.agreement.conflicts) == ("claims", ("four",))


@pytest.mark.parametrize("compared", ["I cannot compare these.", BrokeError(), ""])
async def test_an_agreement_that_nobody_measured_is_none(compared: Any) -> None:
    """A comparison that fails or cannot be read is no number: the debate goes on to its last round and says so."""
    lines = {"answer": LONG.format(1), "rebut": LONG.format(2), "compare": compared, "reconcile": "done"}
    outcome, ask = await ended(case("debate", "a b", limits=Limits(2, 0.7)), lines)
    assert [name.split()[0] for name in ask.names] == [
        "answer", "answer", "compare", "rebut", "rebut", "compare", "reconcile"
    ]  # fmt: skip
    assert (outcome.said.text, outcome.confidence, outcome.error) == ("done", None, None)
    assert outcome.agreement is not None
    assert outcome.agreement.method is None
    assert outcome.flagged == ("How far the answers agree is not known",)


async def test_who_fails_to_rebut_stands_by_what_it_said() -> None:
    """A branch that fails in a later round keeps its answer; where all fail the debate ends with what there is."""
    lines = {
        ("answer", "a"): "1", ("answer", "b"): "2", ("rebut", "a"): BrokeError(), ("rebut", "b"): "1",
    }  # fmt: skip
    outcome, _ = await ended(case("debate", "a b", limits=Limits(3, 1.0)), lines)
    assert (outcome.said.text, outcome.rounds, outcome.failed) == ("1", 2, {})
    lines = {("answer", "a"): "1", ("answer", "b"): "2", "rebut": BrokeError(), "reconcile": "3"}
    outcome, ask = await ended(case("debate", "a b", limits=Limits(3, 1.0)), lines)
    assert ask.names == ["answer a", "answer b", "rebut a", "rebut b", "reconcile a"]
    assert (outcome.said.text, outcome.rounds, outcome.error) == ("3", 2, None)


# ensemble


@pytest.mark.parametrize(
    ("answers", "lead", "text", "share", "flagged"),
    [
        ("7 7 8", "c", "7", 2 / 3, ("The agreement of 0.67 is below 0.70",)),
        ("8 7 7", "a", "7", 2 / 3, ("The agreement of 0.67 is below 0.70",)),
        ("7 7 7", "a", "7", 1.0, ()),
        ("7 8 9", "c", "9", 1 / 3, ("The agreement of 0.33 is below 0.70",)),
        ("7 8 9", "z", "7", 1 / 3, ("The agreement of 0.33 is below 0.70",)),
        ("7 8 9 8 7", "d", "8", 2 / 5, ("The agreement of 0.40 is below 0.70",)),
        ("7 8 9 8 7", "c", "7", 2 / 5, ("The agreement of 0.40 is below 0.70",)),
    ],
)
async def test_the_majority_is_the_answer(
    answers: str, lead: str, text: str, share: float, flagged: tuple[str, ...]
) -> None:
    """Short answers are counted. Of a tie the synthesizer's own counts if it is among them, else the first."""
    said = answers.split()
    models = "abcde"[: len(said)]
    lines = {("answer", model): one for model, one in zip(models, said, strict=True)}
    outcome, ask = await ended(case("ensemble", " ".join(models), lead=lead, limits=Limits(2, 0.7)), lines)
    assert len(ask.steps) == len(said)
    assert (outcome.said.text, outcome.flagged) == (text, flagged)
    assert outcome.confidence == pytest.approx(share)


@pytest.mark.parametrize(
    "form", [{"choice": ["yes", "no"]}, {"form": ResponseFormat("json_object")}], ids=["choice", "json"]
)
async def test_answers_in_a_form_are_counted_however_long(form: Any) -> None:
    """What the request gives a form to is compared as it is: no step is kept free for anything else."""
    one = '{"port": 8080, "why": "' + "x" * 200 + '"}'
    other = '{ "why":"' + "x" * 200 + '", "port": 8080.0 }'
    lines = {("answer", "a"): one, ("answer", "b"): other, ("answer", "c"): "{}"}
    outcome, ask = await ended(case("ensemble", **form), lines)
    assert len(ask.steps) == 3
    assert [(step.depth, step.total) for step in ask.steps] == [(1, 3)] * 3
    assert outcome.said.text == one
    assert outcome.agreement is not None
    assert outcome.agreement.votes == ((0, 1), (2,))


async def test_longer_answers_are_synthesized() -> None:
    """One answer is written of all; too small an agreement is flagged."""
    lines = {"answer": LONG.format(8080), "compare": SPLIT, "synthesize": "all in one"}
    outcome, ask = await ended(case("ensemble", limits=Limits(2, 0.7)), lines)
    assert ask.names == ["answer a", "answer b", "answer c", "compare a", "synthesize a"]
    assert [step.depth for step in ask.steps] == [3, 3, 3, 2, 1]
    assert [step.total for step in ask.steps] == [5] * 5
    assert (outcome.said.text, outcome.confidence) == ("all in one", 0.25)
    assert outcome.flagged == ("The agreement of 0.25 is below 0.70",)


async def test_a_model_named_twice_answers_twice() -> None:
    """With another draw each time, told apart by numbers; it has failed only where both failed."""
    lines = {"answer": ["7", BrokeError(), "7", "8"]}
    outcome, ask = await ended(case("ensemble", "a a b a", limits=Limits(2, 0.5)), lines)
    assert [step.draw for step in ask.steps] == [0, 1, 0, 2]
    assert outcome.failed == {}
    lines = {("answer", "a"): [LONG.format(1), LONG.format(2)], "compare": AGREED, "synthesize": "x"}
    _, ask = await ended(case("ensemble", "a a"), lines)
    assert [one.title for one in ask.steps[-1].reads[:2]] == ["Answer of a (1)", "Answer of a (2)"]


# debate and ensemble


@pytest.mark.parametrize("mode", ["debate", "ensemble"])
async def test_a_branch_that_fails_stops_nobody(mode: Mode) -> None:
    """The others answer; who did not is named."""
    lines = {("answer", "b"): NoWorkersError(), "answer": "8080"}
    outcome, ask = await ended(case(mode), lines)
    assert ask.cancelled == []
    assert (outcome.said.text, outcome.error, outcome.confidence) == ("8080", None, 1.0)
    assert outcome.failed == {"b": "NO_WORKERS"}


@pytest.mark.parametrize("mode", ["debate", "ensemble"])
async def test_the_only_answer_is_given_and_flagged(mode: Mode) -> None:
    """With one answer left there is no agreement, and nothing to write of it."""
    lines = {("answer", "a"): BrokeError(), ("answer", "b"): "", "answer": LONG.format(8080)}
    outcome, ask = await ended(case(mode), lines)
    assert len(ask.steps) == 3
    assert (outcome.said.step.member.model, outcome.confidence) == ("c", None)
    assert outcome.failed == {"a": "ENGINE_FAILED", "b": "ORCHESTRATION_FAILED"}
    assert outcome.flagged == ("Only one of 3 answered: nothing to compare it with",)


@pytest.mark.parametrize("mode", ["debate", "ensemble"])
async def test_no_answer_at_all(mode: Mode) -> None:
    """All fail: the first one's step and cause, and the code of each."""
    lines = {
        ("answer", "a"): BrokeError("it broke"),
        ("answer", "b"): ForbiddenError(),
        ("answer", "c"): NoWorkersError(),
    }
    with pytest.raises(OrchestrationFailedError) as raised:
        await ended(case(mode), lines)
    assert raised.value.details == {
        "step": "answer",
        "model": "a",
        "cause": {"code": "ENGINE_FAILED", "message": "it broke"},
        "failed": {"a": "ENGINE_FAILED", "b": "FORBIDDEN", "c": "NO_WORKERS"},
    }


@pytest.mark.parametrize("mode", ["critique", "debate", "ensemble", "pipeline"])
@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceededError(),
        ForbiddenError(),
        BadRequestError("params.stop: too long"),
        ContextBudgetExceededError(9, 8),
        RateLimitedError(unpaid="openai:gpt-5"),
        OverLimitError(unpaid="openai:gpt-5"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_about_the_caller_passes_as_it_is(mode: Mode, error: InferenceServiceError) -> None:
    """Where all that were asked say so: the caller's rights, its request, its money, its time."""
    with pytest.raises(type(error)) as raised:
        await ended(case(mode), dict.fromkeys(("answer", "generate", "draft"), error))
    assert raised.value is error


@pytest.mark.parametrize("mode", ["critique", "debate", "ensemble", "pipeline"])
async def test_a_limit_that_is_not_the_callers_is_no_error_of_the_caller(mode: Mode) -> None:
    """A cloud's own limit is a failing branch like any other."""
    with pytest.raises(OrchestrationFailedError) as raised:
        await ended(case(mode), dict.fromkeys(("answer", "generate", "draft"), RateLimitedError()))
    assert raised.value.details["cause"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(("mode", "last"), [("debate", "reconcile"), ("ensemble", "synthesize")])
@pytest.mark.parametrize("end", [BrokeError(), ""])
async def test_nobody_writes_one_of_all(mode: Mode, last: str, end: Any) -> None:
    """The best branch is a partial answer: the writer's own, as nobody counted them."""
    lines = {
        "answer": LONG.format(1), ("answer", "b"): LONG.format(2), "rebut": LONG.format(1),
        ("rebut", "b"): LONG.format(2), "compare": SPLIT, last: end,
    }  # fmt: skip
    outcome, _ = await ended(case(mode, lead="b", limits=Limits(1, 0.9)), lines)
    assert outcome.error is not None
    assert (outcome.said.text, outcome.left, outcome.confidence) == (LONG.format(2), 1, 0.25)


# pipeline


async def test_a_pipeline_hands_the_text_on() -> None:
    """Each stage reads the text so far; the last one's is the answer."""
    outcome, ask = await ended(case("pipeline"), {"draft": "1", "refine": "2", "validate": "3"})
    assert ask.names == ["draft a", "refine b", "validate c"]
    assert [[(one.title, one.text, one.model) for one in step.reads] for step in ask.steps] == [
        [], [("Draft", "1", "a")], [("Draft", "2", "b")]
    ]  # fmt: skip
    assert [(step.duty, step.depth, step.total, step.is_final) for step in ask.steps] == [
        ("draft", 3, 3, False), ("refine", 2, 3, False), ("validate", 1, 3, True)
    ]  # fmt: skip
    assert (outcome.said.text, outcome.rounds, outcome.confidence, outcome.error) == ("3", 1, None, None)


@pytest.mark.parametrize(
    ("lines", "text", "left", "failed"),
    [
        ({"draft": "1", "refine": BrokeError()}, "1", 2, {"b": "ENGINE_FAILED"}),
        ({"draft": "1", "refine": ""}, "1", 2, {"b": "ORCHESTRATION_FAILED"}),
        ({"draft": "1", "refine": "2", "validate": ContaminatedError()}, "2", 1, {"c": "ORCHESTRATION_FAILED"}),
        ({"draft": "1", "refine": "2", "validate": ForbiddenError()}, "2", 1, {"c": "FORBIDDEN"}),
    ],
)
async def test_a_stage_that_fails_leaves_the_last_text(
    lines: Any, text: str, left: int, failed: dict[str, str]
) -> None:
    """A partial answer, and how many stages were still to come, the failing one included."""
    outcome, _ = await ended(case("pipeline"), lines)
    assert outcome.error is not None
    assert (outcome.said.text, outcome.left, outcome.failed) == (text, left, failed)


# tools


@pytest.mark.parametrize(
    ("mode", "acting"),
    [
        ("single", {"answer"}),
        ("critique", {"generate", "revise"}),
        ("debate", {"reconcile"}),
        ("ensemble", {"synthesize"}),
        ("pipeline", {"validate"}),
    ],
)
async def test_tools_are_offered_to_who_may_act_alone(mode: Mode, acting: set[str]) -> None:
    """And where equal answers would end a flow, the acting step is asked all the same."""
    lines = {"answer": "8080", "generate": "1", "critique": [BAD, BAD], "revise": ["2", "3"], "reconcile": CALLS,
             "synthesize": CALLS, "draft": "1", "refine": "2", "validate": CALLS}  # fmt: skip
    _, ask = await ended(case(mode, tools=True), lines)
    assert {step.name for step in ask.steps if step.acts} == acting
    _, ask = await ended(case(mode), {**lines, "critique": [BAD, BAD], "revise": ["2", "3"], "validate": "3"})
    assert not any(step.acts for step in ask.steps)


@pytest.mark.parametrize("lines", [{"generate": CALLS}, {"generate": "1", "critique": BAD, "revise": CALLS}])
async def test_a_call_of_a_tool_ends_a_critique(lines: Any) -> None:
    """The caller has to answer before anybody can judge."""
    outcome, ask = await ended(case("critique", tools=True), lines)
    assert outcome.said.acts
    assert len(ask.steps) == len(lines)
    assert (outcome.error, outcome.left) == (None, 0)


@pytest.mark.parametrize("mode", ["critique", "debate", "ensemble", "pipeline"])
async def test_a_call_of_a_tool_that_nobody_offered_is_no_answer(mode: Mode) -> None:
    """A model that calls one where it was asked for a text has said nothing: others go on without it."""
    lines = {"generate": CALLS, "answer": [CALLS, "1", "1"], "draft": CALLS}
    if mode in ("debate", "ensemble"):
        outcome, _ = await ended(case(mode), lines)
        assert outcome.said.text == "1"
    else:
        with pytest.raises(OrchestrationFailedError, match="without any text"):
            await ended(case(mode), lines)


# cancelling


@pytest.mark.parametrize("mode", list(flows.FLOWS))
async def test_a_cancelled_job_ends_the_flow(mode: Mode) -> None:
    """CANCELLED is nobody's failing branch, and no reason for a partial answer."""
    lines = {"answer": JobCancelledError(), "generate": "1", "critique": JobCancelledError(), "draft": "1",
             "refine": JobCancelledError()}  # fmt: skip
    ask = Scripted(lines)
    with pytest.raises(JobCancelledError):
        await flows.run(case(mode), ask)
    assert ask.open == []
