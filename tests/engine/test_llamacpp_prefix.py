"""What the llama.cpp engine need not compute again; one engine, in this process, with the shipped demo model."""

import random
from collections.abc import Iterator

import pytest

from golek_wire.requests import Params
from golek_worker.engine.base import Finished, Submit
from golek_worker.engine.llamacpp.cache import Cache, Kept, common, key_of
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from tests.engine.tiny import engine_of

SLOTS = 4
SYSTEM = "A lease is renewed while its worker lives, and is free again when it is gone. " * 20


@pytest.fixture
def engine() -> Iterator[LlamaCppEngine]:
    """The demo model in four slots."""
    with engine_of(SLOTS) as engine:
        yield engine


def submit(engine: LlamaCppEngine, job_id: str, prompt: str, max_tokens: int = 12) -> None:
    engine.submit(Submit(job_id, prompt, Params(max_tokens=max_tokens, temperature=0.0, ignore_eos=True), 1))


def run(engine: LlamaCppEngine) -> dict[str, Finished]:
    ends = {}
    while engine.running:
        for output in engine.step():
            if isinstance(output, Finished):
                ends[output.job_id] = output
        assert engine.problems() == []
    return ends


def answer(engine: LlamaCppEngine, prompt: str, max_tokens: int = 12) -> Finished:
    submit(engine, "one", prompt, max_tokens)
    return run(engine)["one"]


def computed(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every decode from now on."""
    rows: list[int] = []
    decode = Context.decode

    def counting(
        context: Context, tokens: list[int], positions: list[int], slots: list[int], outputs: list[bool]
    ) -> float:
        rows.append(len(tokens))
        return decode(context, tokens, positions, slots, outputs)

    monkeypatch.setattr(Context, "decode", counting)
    return rows


def test_a_conversation_goes_on_where_it_ended(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second turn computes only what is new, and writes what an engine without memory writes."""
    first = answer(engine, SYSTEM + "Hello.")
    longer = SYSTEM + "Hello." + first.text + " And then?"
    rows = computed(engine, monkeypatch)
    second = answer(engine, longer)
    assert second.tokens_cached >= first.tokens_in
    assert sum(rows) <= second.tokens_in - second.tokens_cached + second.tokens_out
    assert engine.gauges().prefix_hits == 1
    assert engine.gauges().prefix_tokens == second.tokens_cached
    with engine_of(SLOTS) as fresh:
        assert answer(fresh, longer).text == second.text


def test_the_same_prompt_computes_its_last_token_again(engine: LlamaCppEngine) -> None:
    """There would be no logits to draw from otherwise."""
    first = answer(engine, SYSTEM)
    again = answer(engine, SYSTEM)
    assert again.tokens_cached == again.tokens_in - 1
    assert again.text == first.text


def test_a_prompt_that_a_running_sequence_has_is_copied(engine: LlamaCppEngine) -> None:
    """The one that runs keeps its cells and its text."""
    alone = answer(engine, SYSTEM + "Who?", 40).text
    submit(engine, "a", SYSTEM + "Who?", 40)
    for _ in range(3):
        list(engine.step())
    submit(engine, "b", SYSTEM + "Where?")
    ends = run(engine)
    assert ends["b"].tokens_cached > 100
    assert ends["a"].text == alone


def test_prompts_that_come_together_are_computed_once(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four with one system prompt: one reads it, the others wait and copy, even when the first is cancelled."""
    rows = computed(engine, monkeypatch)
    for i in range(4):
        submit(engine, f"j{i}", f"{SYSTEM} Number {i}?", 4)
    list(engine.step())
    engine.cancel("j0")
    ends = run(engine)
    assert all(ends[f"j{i}"].tokens_cached > 100 for i in range(1, 4))
    assert sum(rows) < 1.5 * ends["j1"].tokens_in


def test_what_is_kept_is_counted_and_gives_way(engine: LlamaCppEngine) -> None:
    """Ended sequences leave their cells; the one unused for longest is the first to lose them."""
    for i in range(SLOTS):
        answer(engine, f"{i} {SYSTEM}")
    gauges = engine.gauges()
    assert (gauges.kv_cells, gauges.running) == (0, 0)
    assert 0 < gauges.kv_kept < gauges.kv_capacity
    answer(engine, f"0 {SYSTEM}")
    answer(engine, f"new {SYSTEM}")
    assert answer(engine, f"0 {SYSTEM}").tokens_cached > 100
    assert answer(engine, f"1 {SYSTEM}").tokens_cached < 20


def test_a_memory_that_cannot_be_cut_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with recurrent models: everything is computed, and the text is the same."""
    monkeypatch.setattr(Context, "can_cut", lambda _: False)
    with engine_of(SLOTS) as engine:
        first, again = answer(engine, SYSTEM), answer(engine, SYSTEM)
        assert (again.tokens_cached, engine.gauges().kv_kept) == (0, 0)
    assert again.text == first.text


def test_random_arrivals_and_cancels_leave_the_accounts_right(engine: LlamaCppEngine) -> None:
    """After each step the cells counted are those llama.cpp holds; in the end none belongs to a sequence."""
    draw = random.Random(5)
    parts = [SYSTEM[:200], "What is a lease? ", "Health. ", "zq" * 40]
    for i in range(60):
        submit(engine, f"j{i}", "".join(draw.choices(parts, k=draw.randint(1, 4))), draw.randint(1, 30))
        if draw.random() < 0.4:
            engine.cancel(f"j{draw.randint(max(0, i - 8), i)}")
        for _ in range(draw.randint(0, 6)):
            list(engine.step())
            assert engine.problems() == []
    run(engine)
    assert engine.gauges().kv_cells == 0


def kept(*tokens: int, adapter: object = None) -> Kept:
    return Kept(key_of(tokens), len(tokens), adapter, len(tokens))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 1), (5, 9), (16, 17), (100, 64), (1000, 1000), (33, 700)])
@pytest.mark.parametrize("same", [0, 1, 15, 16, 17, 48, 63, 500, 999])
def test_the_common_part_is_found_to_the_token(a: int, b: int, same: int) -> None:
    """As counted one by one."""
    one, two = list(range(a)), [token if token < same else -token - 1 for token in range(b)]
    assert common(key_of(one), key_of(two)) == min(a, b, same)


def test_an_adapters_cells_are_for_that_adapter() -> None:
    """The same prompt under another one finds nothing."""
    cache = Cache(2, 256, keeps=True)
    mine, other = object(), object()
    cache.take(0, kept(*range(100), adapter=mine))
    cache.release(0, kept(*range(100), adapter=mine))
    assert cache.find(key_of(range(100)), mine).found == 99
    assert cache.find(key_of(range(100)), other).found == 0


def test_new_sequences_are_put_beside_running_ones() -> None:
    """Else llama.cpp would need a pass for each run of slots; with none running the one unused for longest is taken."""
    cache = Cache(8, 256, keeps=True)
    for slot in (4, 5):
        cache.take(slot, kept(slot))
    assert cache.find(key_of([9, 9]), None).slot == 3
    for slot in (4, 5):
        cache.release(slot, kept(slot))
    assert cache.find(key_of([9, 9]), None).slot == 0
