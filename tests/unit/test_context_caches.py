"""What is remembered between steps and requests, when it is forgotten, and who may see it."""

import asyncio
from collections.abc import Callable

import pytest

from golek_wire.errors import TemporaryResourceError
from golek_worker.orchestration.base import CRITIC, PARTICIPANT, RECONCILER, Material
from golek_worker.orchestration.caches import CacheInvalidator, Kept, Lru
from golek_worker.orchestration.handoff import HandoffState
from golek_worker.orchestration.handoffs import PAUSE_S, TTL_S, HandoffCache, key
from golek_worker.sessions.memory import MemoryStore
from tests.support.orchestrating import LARGE, SMALL, Models, asked, case_of, context_of, generated, said, step_of

A, B = Kept("a", "1", "x"), Kept("b", "1", "x")
STATE = HandoffState("r1", "it", 1, 2)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_kept_for_its_time() -> None:
    """And gone after it; by the model, the file, the content and the target."""
    clock = Clock()
    cache: Lru[int] = Lru(clock=clock)
    cache.store(A, 5, 60)
    assert [cache.get(one) for one in (A, B, Kept("a", "2", "x"), Kept("a", "1", "y"), Kept("a", "1", "x", 9))] == [
        5, None, None, None, None,
    ]  # fmt: skip
    clock.now += 60
    assert cache.get(A) is None
    assert cache.size() == 0


def test_the_one_that_was_not_used_for_longest_gives_way() -> None:
    """Of too many entries; and of too much text."""
    cache: Lru[str] = Lru(entries=2, room=160)
    for name in "abc":
        cache.store(Kept(name, "", ""), name * 10, 60)
        cache.get(Kept("a", "", ""))
    assert [cache.get(Kept(name, "", "")) is not None for name in "abc"] == [True, False, True]
    texts: Lru[str] = Lru(room=160)
    for number in range(20):
        texts.store(Kept("a", "", str(number)), "x" * 20, 60)
    assert texts.size() == 8
    texts.store(Kept("a", "", "long"), "x" * 21, 60)
    assert texts.get(Kept("a", "", "long")) is None


def test_a_cache_forgets_a_model_or_all() -> None:
    """And says how many values that were."""
    cache: Lru[int] = Lru()
    for one in (A, B, Kept("a", "1", "y")):
        cache.store(one, 0, 60)
    assert cache.get(A) == 0
    assert (cache.invalidate_by_model("a"), cache.size()) == (2, 1)
    assert (cache.clear(), cache.size()) == (1, 0)


def test_what_a_changed_model_said_is_forgotten() -> None:
    """Another file, or none any more; a model that is seen the first time changes nothing."""
    cache: Lru[int] = Lru()
    invalidator = CacheInvalidator([cache])
    cache.store(A, 1, 60)
    cache.store(B, 1, 60)
    for digest, left in (("1", 2), ("1", 2), ("2", 1)):
        invalidator.on_model_loaded("a", digest)
        assert cache.size() == left
    invalidator.on_model_loaded("b", "1")
    invalidator.on_model_loaded("b", "")
    assert cache.size() == 0


def test_other_presets_forget_everything() -> None:
    """The first ones change nothing."""
    cache: Lru[int] = Lru()
    invalidator = CacheInvalidator([cache])
    cache.store(A, 1, 60)
    for presets, left in (({"D3": "debate"}, 1), ({"D3": "debate"}, 1), ({"D3": "critique"}, 0)):
        invalidator.on_config_change(presets)
        assert cache.size() == left


# -- handoff states ----------------------------------------------------------------------------------------------------


async def test_a_state_is_its_callers_alone() -> None:
    """Another caller finds nothing under the same request, and one ends with its request."""
    cache = HandoffCache(MemoryStore(TTL_S))
    await cache.store("ann", STATE)
    assert await cache.get("ann", "r1") == STATE
    assert await cache.get("bob", "r1") is None
    await cache.delete("bob", "r1")
    assert await cache.get("ann", "r1") == STATE
    await cache.delete("ann", "r1")
    assert await cache.get("ann", "r1") is None


async def test_a_state_that_nobody_ended_is_gone_after_an_hour() -> None:
    """Whatever became of the request."""
    clock = Clock()
    cache = HandoffCache(MemoryStore(TTL_S, clock=clock))
    await cache.store("ann", STATE)
    clock.now += 3599
    assert await cache.get("ann", "r1") == STATE
    clock.now += 1
    assert await cache.get("ann", "r1") is None


async def test_of_states_at_the_same_time_the_last_one_stays() -> None:
    """One change of a request at a time; others do not wait for it."""
    store = _Slow()
    cache = HandoffCache(store)
    states = [HandoffState("r1", "it", number, 9) for number in range(1, 6)]
    await asyncio.gather(*(cache.store("ann", state) for state in states), cache.store("bob", STATE))
    assert await cache.get("ann", "r1") == states[-1]
    assert store.most_at_once == {key("ann", "r1"): 1, key("bob", "r1"): 1}


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_place_that_is_away_holds_up_nobody(how: str) -> None:
    """It is waited for once, then not asked for a while; no request fails with it."""
    clock, store = Clock(), _Away(how)
    cache = HandoffCache(store, clock)
    for _ in range(3):
        await cache.store("ann", STATE)
    assert store.asked == 1
    clock.now += PAUSE_S
    await cache.delete("ann", "r1")
    assert store.asked == 2


async def test_a_value_that_is_no_state_is_none() -> None:
    """Somebody else wrote it."""
    store = MemoryStore(TTL_S)
    await store.change(key("ann", "r1"), lambda _: b"[1]")
    assert await HandoffCache(store).get("ann", "r1") is None


async def test_a_request_keeps_its_state_while_it_runs() -> None:
    """After each step; at its end it is gone."""
    cache = HandoffCache(MemoryStore(TTL_S))
    context = context_of(case_of(asked()), Models(), cache, principal="ann", request_id="j1")
    step = step_of("draft", LARGE, depth=2, total=2)
    await context.prepare(step)
    assert await cache.get("ann", "j1") is None
    await context.hear(said(step, "Decision: use NATS"))
    kept = await cache.get("ann", "j1")
    assert kept is not None
    assert (kept.goal, kept.current_step, kept.total_steps, kept.decisions_made) == (
        "What is NATS?", 1, 2, ["use NATS"],
    )  # fmt: skip
    await context.close()
    assert await cache.get("ann", "j1") is None


# -- what is told in the reply -----------------------------------------------------------------------------------------


async def test_handoffs_are_texts_of_another_model() -> None:
    """What a model reads of itself is none."""
    context = context_of(case_of(asked(), "debate"), Models())
    mine, theirs = Material("Your answer", "x", "large"), Material("Answer of small", "y", "small")
    for step in (
        step_of("answer", LARGE, duty=PARTICIPANT),
        step_of("rebut", LARGE, mine, theirs, duty=PARTICIPANT),
        step_of("reconcile", LARGE, mine, theirs, duty=RECONCILER),
    ):
        await context.prepare(step)
        await context.hear(said(step, "It is."))
    assert context.facts.handoffs == 2
    assert not context.facts.compressed


async def test_utilization_is_of_the_fullest_context() -> None:
    """Read and written, of the context of the model that did; models of unknown size do not count."""
    context = context_of(case_of(asked()), Models())
    for step, tokens in ((generated(member=LARGE), 4096), (generated("revise", member=SMALL), 1536)):
        await context.prepare(step)
        await context.hear(said(step, "x", tokens_in=tokens - 100, tokens_out=100))
    assert context.facts.utilization == 0.75


async def test_steps_side_by_side_have_one_place() -> None:
    """Two participants are both at the first of two steps; the critique of a draft is the second of three."""
    context = context_of(case_of(asked(), "debate"), Models())
    for member in (SMALL, LARGE):
        step = step_of("answer", member, duty=PARTICIPANT, depth=2)
        request, _ = await context.prepare(step)
        assert "- Step: 1/2 - answer" in (request.messages or [])[0].content  # type: ignore[operator]
    request, _ = await context.prepare(step_of("reconcile", LARGE, duty=RECONCILER))
    assert "- Step: 2/2 - reconcile" in (request.messages or [])[0].content  # type: ignore[operator]
    other = context_of(case_of(asked(), "critique"), Models())
    await other.prepare(generated(depth=3))
    request, _ = await other.prepare(step_of("critique", LARGE, duty=CRITIC, depth=2))
    assert "- Step: 2/3 - critique" in (request.messages or [])[0].content  # type: ignore[operator]


class _Slow:
    """A place that takes a moment, and tells how many changed one value at once."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._now: dict[str, int] = {}
        self.most_at_once: dict[str, int] = {}

    async def read(self, key: str) -> bytes | None:
        return self._values.get(key)

    async def change(self, key: str, edit: Callable[[bytes | None], bytes | None]) -> None:
        self._now[key] = self._now.get(key, 0) + 1
        self.most_at_once[key] = max(self.most_at_once.get(key, 0), self._now[key])
        await asyncio.sleep(0)
        self._values[key] = edit(self._values.get(key)) or b""
        self._now[key] -= 1

    async def delete(self, key: str) -> bool:
        return self._values.pop(key, None) is not None

    async def close(self) -> None:
        pass


class _Away(_Slow):
    """A place that does not answer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how
        self.asked = 0

    async def change(self, key: str, edit: Callable[[bytes | None], bytes | None]) -> None:
        await self._fail()

    async def delete(self, key: str) -> bool:
        await self._fail()
        return False

    async def _fail(self) -> None:
        self.asked += 1
        if self._how == "refuses":
            raise TemporaryResourceError("away")
        await asyncio.Event().wait()
