"""Errors that must not be passed on: what is found in a text, how grave it is, and what is done about it."""

import pytest

from golek_worker.orchestration.base import CRITIC, PARTICIPANT, Material
from golek_worker.orchestration.contamination import ERROR_MARKERS, ErrorContaminationDetector
from golek_worker.orchestration.handoff import HandoffState
from tests.support.orchestrating import LARGE, Models, asked, case_of, context_of, generated, said, step_of

DETECTOR = ErrorContaminationDetector()
DRAFT = Material("Draft", "The queue holds ten thousand jobs. It is fast.", "small")


def state(current: int = 2, decisions: tuple[str, ...] = (), errors: tuple[str, ...] = ()) -> HandoffState:
    return HandoffState("r1", "it", current, 3, decisions_made=list(decisions), active_errors=list(errors))


@pytest.mark.parametrize("marker", ERROR_MARKERS)
@pytest.mark.parametrize("said_as", [str, str.upper, lambda one: one.replace("'", "\u2019")])
def test_each_mark_of_an_error_is_a_warning(marker: str, said_as: object) -> None:
    """In any case and with either apostrophe; the text is passed on."""
    found = DETECTOR.validate_handoff(state(), f"Well, {said_as(marker)}: it is 12.")  # type: ignore[operator]
    assert [(one.type, one.severity, one.marker) for one in found.issues] == [
        ("error_marker_detected", "warning", marker)
    ]
    assert (found.valid, found.recommendation, found.is_quarantined) == (True, "proceed", False)
    assert found.warnings == (f"says {marker!r}",)


@pytest.mark.parametrize(
    ("current", "decisions", "errors", "output", "kinds", "recommendation"),
    [
        (1, (), (), "The queue is fast.", [], "proceed"),
        (2, ("The queue holds 10 jobs.",), (), "The queue holds 10 jobs.", [], "proceed"),
        (2, ("The queue holds 10 jobs.",), (), "The queue holds 12 jobs.", ["contradiction_detected"], "quarantine"),
        (2, ("The bus is fast.", "The queue holds 10 jobs."), (), "The queue holds 12 jobs. The bus is not fast.",
         ["contradiction_detected"] * 2, "quarantine"),
        (2, (), ("a", "b"), "Fine.", [], "proceed"),
        (2, (), ("a", "b", "c"), "Fine.", ["error_accumulation"], "quarantine"),
        (1, ("The queue holds 10 jobs.",), ("a", "b"), "I apologize. The queue holds 12 jobs.",
         ["error_marker_detected", "contradiction_detected", "error_accumulation"], "quarantine"),
    ],
)  # fmt: skip
def test_contradictions_and_too_many_errors_are_high(
    current: int,
    decisions: tuple[str, ...],
    errors: tuple[str, ...],
    output: str,
    kinds: list[str],
    recommendation: str,
) -> None:
    """One of them is enough to put a text aside; more errors than steps are too many."""
    found = DETECTOR.validate_handoff(state(current, decisions, errors), output)
    assert [one.type for one in found.issues] == kinds
    assert found.recommendation == recommendation
    assert found.valid == (recommendation == "proceed")


def test_high_once_more_is_critical() -> None:
    """Warnings beside it stay warnings."""
    bad = "I apologize. The queue holds 12 jobs."
    known = state(2, ("The queue holds 10 jobs.",))
    assert DETECTOR.validate_handoff(known, bad).recommendation == "quarantine"
    found = DETECTOR.validate_handoff(known, bad, again=True)
    assert [one.severity for one in found.issues] == ["warning", "critical"]
    assert (found.recommendation, found.is_quarantined) == ("abort", True)
    assert DETECTOR.validate_handoff(known, "Fine.", again=True).recommendation == "proceed"


def test_what_a_critic_objects_to_is_no_accumulation() -> None:
    """Ten objections are what the revision is for."""
    issues = tuple(map(str, range(10)))
    assert DETECTOR.validate_handoff(state(2, (), issues), "Better.", objections=issues).valid
    assert not DETECTOR.validate_handoff(state(2, (), issues), "Better.", objections=issues[:5]).valid


# -- in a request ------------------------------------------------------------------------------------------------------


async def test_a_warning_is_an_active_error_of_the_next_step() -> None:
    """It is told of the step, and the next model reads that there is an error to avoid."""
    context = context_of(case_of(asked()), Models())
    first = step_of("draft", LARGE, depth=2, total=2)
    await context.prepare(first)
    found = await context.hear(said(first, "I apologize. It is a bus."))
    assert found.warnings == ("says 'I apologize'",)
    assert context.state.active_errors == ["large: says 'I apologize'"]
    request, _ = await context.prepare(step_of("refine", LARGE, DRAFT))
    assert "- Error to avoid: large: says 'I apologize'" in (request.messages or [])[0].content  # type: ignore[operator]


async def test_a_stage_that_contradicts_a_decision_is_asked_afresh_without_it() -> None:
    """What it said is not kept. Asked afresh it reads nothing of what was decided, and draws anew; the same again is
    critical.
    """
    context = context_of(case_of(asked(seed=3)), Models())
    first = step_of("draft", LARGE, depth=2, total=2)
    await context.prepare(first)
    await context.hear(said(first, "Decision: the queue holds 10 jobs."))
    step = step_of("refine", LARGE, DRAFT)
    request, _ = await context.prepare(step)
    assert "Decided: the queue holds 10 jobs." in (request.messages or [])[0].content  # type: ignore[operator]
    bad = said(step, "The queue holds 12 jobs.")
    assert (await context.hear(bad)).recommendation == "quarantine"
    again, _ = await context.prepare(step, fresh=True)
    assert "Decided:" not in (again.messages or [])[0].content  # type: ignore[operator]
    assert again.seed != request.seed
    found = await context.hear(bad)
    assert (found.recommendation, [one.severity for one in found.issues]) == ("abort", ["critical"])
    assert context.state.decisions_made == ["the queue holds 10 jobs."]


async def test_too_many_errors_are_left_behind_with_a_fresh_context() -> None:
    """They are in nothing that the model reads then, so they are not held against what it says."""
    context = context_of(case_of(asked()), Models())
    first = step_of("draft", LARGE, depth=2, total=2)
    await context.prepare(first)
    await context.hear(said(first, "I apologize. I made an error. That's incorrect."))
    step = step_of("refine", LARGE, DRAFT)
    await context.prepare(step)
    assert (await context.hear(said(step, "It is a bus."))).warnings == (
        "3 errors are active, more than steps were taken",
    )
    again, _ = await context.prepare(step, fresh=True)
    assert "Error to avoid" not in (again.messages or [])[0].content  # type: ignore[operator]
    assert (await context.hear(said(step, "It is a bus."))).recommendation == "proceed"
    assert context.state.active_errors == []


async def test_who_is_no_stage_may_contradict() -> None:
    """Participants, critics and revisions: to differ is what they are asked for."""
    context = context_of(case_of(asked(), "critique"), Models())
    first = generated(depth=3)
    await context.prepare(first)
    await context.hear(said(first, "Decision: the queue holds 10 jobs."))
    for step in (
        generated("revise", round=2),
        step_of("critique", LARGE, DRAFT, duty=CRITIC),
        step_of("rebut", LARGE, DRAFT, duty=PARTICIPANT),
    ):
        await context.prepare(step)
        assert (await context.hear(said(step, "The queue holds 12 jobs."))).valid


async def test_ten_objections_do_not_stop_the_revision() -> None:
    """They are active, and not held against the text that mends them."""
    context = context_of(case_of(asked(), "critique"), Models())
    critique = step_of("critique", LARGE, DRAFT, duty=CRITIC, depth=2)
    await context.prepare(critique)
    issues = ", ".join(f'"issue {number}"' for number in range(10))
    await context.hear(said(critique, f'{{"score": 0.1, "issues": [{issues}]}}'))
    assert len(context.state.active_errors) == 10
    revise = generated("revise", reads=(DRAFT,))
    await context.prepare(revise)
    assert (await context.hear(said(revise, "Much better."))).valid
