"""Waiting for a slot inside the llama.cpp engine, and what it counts of itself; one engine, in this process."""

from collections.abc import Iterator

import pytest

from golek_wire.requests import Params
from golek_worker.engine.base import Finished, SequenceEnd, Stopped, Submit
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from tests.engine.tiny import engine_of

SLOTS = 2


@pytest.fixture
def engine() -> Iterator[LlamaCppEngine]:
    """The demo model in two slots."""
    with engine_of(SLOTS) as engine:
        yield engine


def greedy(job_id: str, max_tokens: int = 8, prompt: str = "") -> Submit:
    params = Params(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    return Submit(job_id, prompt or f"What is a lease? {job_id}", params, 1)


def run(engine: LlamaCppEngine, steps: int = 10_000) -> list[SequenceEnd]:
    """The ends of at most so many steps, in order."""
    ends: list[SequenceEnd] = []
    while engine.running and steps:
        steps -= 1
        ends += [output for output in engine.step() if not isinstance(output, tuple)]
    return ends


def finished(ends: list[SequenceEnd]) -> dict[str, Finished]:
    return {end.job_id: end for end in ends if isinstance(end, Finished)}


def test_more_sequences_than_slots_wait_inside(engine: LlamaCppEngine) -> None:
    """Ten in two slots end in the order they came, each with the text it writes alone."""
    alone = [finished(run(engine, 0 if engine.submit(greedy(f"j{i}")) else 10_000))[f"j{i}"].text for i in range(10)]
    for i in range(10):
        engine.submit(greedy(f"j{i}"))
    ends = run(engine)
    pairs = [sorted(end.job_id for end in ends[i : i + 2]) for i in range(0, 10, 2)]
    assert pairs == [[f"j{i}", f"j{i + 1}"] for i in range(0, 10, 2)]
    assert [finished(ends)[f"j{i}"].text for i in range(10)] == alone


def test_who_waits_can_be_cancelled(engine: LlamaCppEngine) -> None:
    """It ends at once, having computed nothing; the others do not notice."""
    for name in "abcd":
        engine.submit(greedy(name, 30))
    run(engine, 3)
    stopped = engine.cancel("c")
    assert isinstance(stopped, Stopped)
    assert (stopped.job_id, stopped.tokens_out) == ("c", 0)
    assert engine.cancel("c") is None
    assert sorted(finished(run(engine))) == ["a", "b", "d"]


def test_gauges_tell_who_runs_and_who_waits(engine: LlamaCppEngine) -> None:
    """Cells are exact: prompt and tokens written, but for the last one, which no step has computed yet."""
    for name in "abc":
        engine.submit(greedy(name, 30))
    run(engine, 5)
    gauges = engine.gauges()
    assert (gauges.running, gauges.waiting) == (2, 1)
    ends = [engine.cancel(name) for name in "ab"]
    assert gauges.kv_cells == sum(end.tokens_in + end.tokens_out - 1 for end in ends if end)
    run(engine)
    idle = engine.gauges()
    assert (idle.running, idle.waiting, idle.kv_cells) == (0, 0, 0)
    assert idle.kv_capacity == SLOTS * engine.ready.ctx_size
    assert 0 < idle.decode_s <= idle.busy_s
    assert idle.tokens_out == 30 + sum(end.tokens_out for end in ends if end)
    assert 0 < idle.decode_steps <= idle.batch_rows < idle.tokens_out
    assert engine.gauges().busy_s == idle.busy_s


def test_an_end_tells_where_its_time_went(engine: LlamaCppEngine) -> None:
    """The third of three in two slots waited as long as the first one ran."""
    for name in "abc":
        engine.submit(greedy(name, 30))
    ends = finished(run(engine))
    assert ends["a"].waited_ms < ends["c"].waited_ms
    assert ends["c"].waited_ms >= ends["a"].prefill_ms + ends["a"].decode_ms
    assert all(end.prefill_ms > 0 and end.decode_ms > 0 for end in ends.values())
