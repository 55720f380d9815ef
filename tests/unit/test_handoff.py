"""What is known between two steps, how it grows, and where in the flow a model is told that it stands."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire.errors import HandoffStateInvalidError
from golek_worker.orchestration import trajectory
from golek_worker.orchestration.base import CRITIC, PARTICIPANT, Material
from golek_worker.orchestration.counting import guessed
from golek_worker.orchestration.handoff import HandoffState, at, begun, grown, objections
from tests.support.orchestrating import LARGE, generated, said, step_of

STATE = HandoffState("r1", "How large is the queue?", 2, 3)
CRITIQUE = step_of("critique", LARGE, Material("Draft", "It is 10.", "small"), duty=CRITIC)


def test_it_has_the_fields_that_are_given() -> None:
    """No more and no less, so that others can read what is kept."""
    assert HandoffState.__struct_fields__ == (
        "request_id", "goal", "current_step", "total_steps", "constraints", "decisions_made", "evidence_refs",
        "active_errors", "resolved_errors", "compressed_context",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("request_id", ""), ("goal", "  "), ("current_step", 0), ("total_steps", 1)],
)
def test_a_state_that_lacks_a_field_names_it(field: str, value: object) -> None:
    """The next step would not know what it is part of."""
    with pytest.raises(HandoffStateInvalidError, match=rf"^{field}: ") as caught:
        msgspec.structs.replace(STATE, **{field: value}).check()
    assert caught.value.details["field"] == field
    STATE.check()


def test_a_place_is_checked_when_it_is_taken() -> None:
    """Without a goal there is no next step."""
    with pytest.raises(HandoffStateInvalidError, match="goal"):
        at(begun("r1", ""), 1, 2)
    assert at(STATE, 3, 2).total_steps == 3


def test_constraints_may_stand_in_the_callers_words() -> None:
    """Only at the beginning of a line."""
    goal = "Explain NATS.\nConstraint: at most 50 words\n- **Constraints**: no code\nThe Constraint: is not one"
    assert begun("r1", goal).constraints == ["at most 50 words", "no code"]


def test_marked_lines_of_a_stage_are_kept() -> None:
    """Decisions, constraints and evidence add up; what is open is what the last text says is open."""
    first = said(step_of("draft"), "Decision: use NATS\nConstraint: 3 nodes\nOpen: which port\nSee https://nats.io/a.")
    state = grown(STATE, first)
    assert state.decisions_made == ["use NATS"]
    assert state.constraints == ["3 nodes", "Open: which port"]
    assert state.evidence_refs == ["https://nats.io/a"]
    state = grown(state, said(step_of("refine", LARGE, Material("Draft", first.text)), "* Decision: keep a week"))
    assert state.decisions_made == ["use NATS", "keep a week"]
    assert state.constraints == ["3 nodes"]


def test_an_opening_that_the_next_stage_kept_is_decided() -> None:
    """One that it changed is not: correcting a draft contradicts nothing."""
    draft = Material("Draft", "The queue holds ten thousand. It is on disk.", "small")
    kept = said(step_of("refine", LARGE, draft), "The queue holds ten thousand. It is in memory.")
    changed = said(step_of("refine", LARGE, draft), "The queue holds a hundred jobs. It is on disk.")
    assert grown(STATE, kept).decisions_made == ["The queue holds ten thousand."]
    assert grown(STATE, changed).decisions_made == []


@pytest.mark.parametrize("duty", [PARTICIPANT, CRITIC])
def test_an_opinion_decides_nothing(duty: str) -> None:
    """Who answers beside others, or judges, speaks for itself."""
    assert grown(STATE, said(step_of("answer", duty=duty), "Decision: it is 12")).decisions_made == []


def test_a_revision_decides_anew() -> None:
    """It may drop what its draft decided."""
    state = grown(STATE, said(generated(), "Decision: it is 12"))
    assert grown(state, said(generated("revise"), "Decision: it is 14")).decisions_made == ["it is 14"]


@pytest.mark.parametrize(
    "text",
    ['{"score": 0.3, "issues": ["It is 12.", "No unit."]}', "ISSUE: It is 12.\nISSUE: No unit.\nSCORE: 0.3",
     'Here:\n```json\n{"issues": ["It is 12.", "No unit."], "score": 0.3}\n```'],
)  # fmt: skip
def test_what_a_critic_objects_to_is_active_until_it_is_not_named_any_more(text: str) -> None:
    """In JSON and in words."""
    first = said(CRITIQUE, text)
    assert objections(first) == ["It is 12.", "No unit."]
    state = grown(STATE, first)
    assert state.active_errors == ["It is 12.", "No unit."]
    state = grown(state, said(CRITIQUE, '{"score": 0.7, "issues": ["No unit."]}'))
    assert (state.active_errors, state.resolved_errors) == (["No unit."], ["It is 12."])


def test_what_a_text_showed_is_resolved_by_one_that_shows_nothing() -> None:
    """If it was made of it; a step that read nothing resolves nothing."""
    state = grown(STATE, said(step_of("draft"), "I apologize"), ["small: says 'I apologize'"])
    assert state.active_errors == ["small: says 'I apologize'"]
    assert grown(state, said(step_of("draft"), "Fine.")).active_errors == state.active_errors
    after = grown(state, said(step_of("refine", LARGE, Material("Draft", "I apologize")), "Fine."))
    assert (after.active_errors, after.resolved_errors) == ([], state.active_errors)


@given(st.lists(st.text(), max_size=40))
def test_whatever_was_said_the_state_stays_small(texts: list[str]) -> None:
    """Sixteen entries of 240 characters in each list, each once."""
    state = STATE
    for text in texts:
        state = grown(state, said(step_of("draft"), f"Decision: {text}\nConstraint: {text}\nhttps://{text}"), [text])
    for entries in (state.constraints, state.decisions_made, state.evidence_refs, state.active_errors):
        assert len(entries) == len(set(entries)) <= 16
        assert all(0 < len(one) <= 240 for one in entries)


@pytest.mark.parametrize("piece", ["*", "\n", " ", "> ", "Decision", "Decision:", "https://", "{", "a. ", "\t\n"])
def test_a_megabyte_of_anything_is_read_at_once(piece: str) -> None:
    """No text makes reading it take longer than its length does."""
    text = piece * (2**20 // len(piece))
    state = grown(begun("r1", text + "x"), said(step_of("draft"), text), [text])
    assert objections(said(CRITIQUE, text)) is not None
    assert guessed(trajectory.block(step_of("refine"), at(state, 1, 2), "it", "that")) <= trajectory.ROOM


def test_the_block_of_a_step() -> None:
    """Word for word."""
    state = msgspec.structs.replace(STATE, decisions_made=["use NATS", "3 nodes"])
    assert trajectory.block(step_of("refine"), state, "a better draft", "dropping parts") == (
        "## Current Position\n"
        "- Goal: How large is the queue?\n"
        "- Step: 2/3 - refine\n"
        "- Previous: 3 nodes; use NATS\n"
        "- Next: a better draft\n"
        "- Forbidden: dropping parts"
    )


@pytest.mark.parametrize(
    ("reads", "previous"),
    [((), "nothing yet"), ((Material("Draft", "x"),), "Draft (above)"),
     ((Material("Answer of a", "x"), Material("Answer of b", "y")), "Answer of a, Answer of b (above)")],
)  # fmt: skip
def test_previous_names_what_is_read_where_nothing_was_decided(reads: tuple[Material, ...], previous: str) -> None:
    """It stands above in full."""
    assert f"- Previous: {previous}\n" in trajectory.block(step_of("refine", LARGE, *reads), STATE, "it", "that")


@given(st.text(), st.lists(st.text(max_size=240), max_size=16), st.integers(170, 500))
def test_the_block_keeps_its_fields_and_its_budget(goal: str, decisions: list[str], room: int) -> None:
    """Whatever stands in it; a goal with lines and headings of its own stays on one line. Two values of the shortest
    length are 128 tokens at most, and the rest is about 40."""
    state = msgspec.structs.replace(STATE, goal=goal, decisions_made=decisions)
    text = trajectory.block(step_of("refine"), state, "a better version of the draft", "dropping what is right", room)
    lines = text.splitlines()
    assert guessed(text) <= room
    assert [line.split(":")[0] for line in text.split("\n")] == [
        "## Current Position", "- Goal", "- Step", "- Previous", "- Next", "- Forbidden",
    ]  # fmt: skip
    assert lines
