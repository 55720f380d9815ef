"""What holds of every flow, whatever its models say, and wherever it is cancelled?"""

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golek_wire.errors import (
    DeadlineExceededError,
    EngineFailedError,
    InferenceServiceError,
    NoWorkersError,
)
from golek_wire.orchestration import Mode
from golek_worker.orchestration import flows
from golek_worker.orchestration.base import Case, Limits, Outcome, Step
from tests.support.scripted import HANG, Line, Scripted, case

MODES = list(flows.FLOWS)
LINES: list[Line] = [
    "8080", "9090", "", "  ", "The port is 8080. It is open, and it stays so until the end of the day, as agreed.",
    "The port is 9090. It is closed.\n\n- One\n- Two", '{"score": 0.9, "issues": []}',
    '{"score": 0.1, "issues": ["x"]}', '{"score": 7}', "SCORE: 0.5", "SCORE: 200%",
    '{"agreed": ["x"], "conflicts": [], "flagged": ["y"]}', '{"agreed": [], "conflicts": [], "flagged": []}',
    EngineFailedError(), NoWorkersError(), DeadlineExceededError(),
]  # fmt: skip
CASES = st.builds(
    case,
    st.sampled_from(MODES),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(" ".join),
    lead=st.sampled_from("abd"),
    critic=st.sampled_from("abd"),
    limits=st.builds(Limits, st.integers(1, 4), st.floats(0, 1)),
    stages=st.sampled_from(["draft", "draft validate", "draft refine code validate"]),
    schemas=st.booleans(),
    tools=st.booleans(),
    choice=st.sampled_from([None, None, ["8080", "9090"]]),
)


def vectors(text: str) -> list[float]:
    """Unit vectors that are as alike as their first words are."""
    chance = random.Random(text[:12])
    numbers = [chance.gauss(0, 1) for _ in range(8)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


@given(CASES, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_flow_ends_and_counts_right(asked: Case, chance: random.Random, has_vectors: bool) -> None:
    """It gives something usable or raises what is documented; it asks no more rounds than allowed; each step knows how
    many there are; what failed is no model that answered; nothing goes on behind it.
    """
    ask = Scripted(lambda step: chance.choice(LINES), vectors if has_vectors else None)
    outcome, error = asyncio.run(_run(asked, ask))
    assert ask.open == []
    _check_steps(asked, ask.steps)
    if outcome is None:
        assert isinstance(error, InferenceServiceError)
        return
    _check_outcome(asked, outcome, ask)


async def _run(asked: Case, ask: Scripted) -> tuple[Outcome | None, Exception | None]:
    try:
        outcome = await flows.run(asked, ask)
    except InferenceServiceError as error:
        return None, error
    else:
        return outcome, None
    finally:
        assert asyncio.all_tasks() == {asyncio.current_task()}


def _check_steps(asked: Case, steps: list[Step]) -> None:
    rounds = asked.limits.max_rounds if asked.cast.mode in ("critique", "debate") else 1
    finals = [place for place, step in enumerate(steps) if step.is_final]
    assert finals in ([], [len(steps) - 1]), "only the last one is final"
    for before, step in enumerate(steps):
        assert 1 <= step.round <= rounds
        assert step.depth >= 1
        assert step.total >= before + 1
        assert step.total >= step.depth
        assert step.total - before >= step.depth, "the steps in a row are among those that are still to come"
        assert not step.acts or asked.may_act
        assert step.schema is None or step.member.follows_schemas
    for one, other in pairwise(steps):
        assert other.depth <= one.depth
        assert other.total <= one.total, "a flow never becomes longer than it was expected to be"
    if finals:
        assert (steps[-1].depth, steps[-1].total) == (1, len(steps))


def _check_outcome(asked: Case, outcome: Outcome, ask: Scripted) -> None:
    assert outcome.said.is_usable or asked.cast.mode == "single"
    assert outcome.rounds == max(step.round for step in ask.steps)
    assert (outcome.left > 0) == (outcome.error is not None)
    assert outcome.said.step.member.model not in outcome.failed
    assert outcome.confidence is None or 0 <= outcome.confidence <= 1
    if outcome.agreement is not None:
        groups = [len(group) for group in outcome.agreement.votes]
        shares = [0.0, *(size / sum(groups) for size in groups)]  # of the answers that say what is given
        assert outcome.confidence in (shares if groups else [outcome.agreement.value])
        assert (outcome.agreement.value is None) == (outcome.agreement.method is None)
        assert (outcome.agreement.method == "exact") == bool(outcome.agreement.votes)


@given(CASES, st.integers(0, 12), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_flow_that_is_cancelled_anywhere_leaves_nothing_behind(
    asked: Case, hangs_at: int, chance: random.Random
) -> None:
    """Cancelled while any of its steps hangs, it is cancelled, and so is all that it had asked."""

    def line(step: Step) -> Any:
        return HANG if len(ask.steps) > hangs_at else chance.choice(LINES)

    async def cancelled() -> None:
        running = asyncio.create_task(flows.run(asked, ask))
        hangs = asyncio.create_task(ask.hangs.wait())
        await asyncio.wait({running, hangs}, return_when=asyncio.FIRST_COMPLETED)
        if not hangs.done():
            hangs.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return
        hanging = list(ask.open)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert set(map(id, hanging)) <= set(map(id, ask.cancelled))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    ask = Scripted(line)
    asyncio.run(cancelled())
    assert ask.open == []


@pytest.mark.parametrize("mode", ["debate", "ensemble"])
async def test_branches_run_at_once(mode: Mode) -> None:
    """All are asked before the first one has answered."""
    ask = Scripted({"answer": HANG})
    running = asyncio.create_task(flows.run(case(mode, "a b c a b"), ask))
    await ask.hangs.wait()
    while len(ask.open) < 5:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(ask.cancelled) == 5


@pytest.mark.parametrize("mode", ["debate", "ensemble"])
async def test_a_mistake_of_ours_is_not_swallowed(mode: Mode) -> None:
    """What is no error of a step ends the flow as it is, with all branches."""
    ask = Scripted(lambda step: HANG if step.member.model == "a" else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await flows.run(case(mode), ask)
    assert ask.open == []
