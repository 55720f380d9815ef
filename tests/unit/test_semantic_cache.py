"""When does the semantic cache give an answer, and how does it forget?"""

import asyncio
from collections.abc import Sequence

import pytest

from golek_wire.errors import NoWorkersError
from golek_wire.requests import InferenceRequest, Message, Params
from golek_wire.routing import CacheWish
from golek_worker.cache.base import Asked, CacheKey
from golek_worker.cache.questions import Question, question
from golek_worker.cache.semantic import PAUSE_S, SemanticCache

SCOPE = CacheKey("tiny", "0")
BOIL = Question(SCOPE, "How do I boil an egg?")
CAN_BOIL = Question(SCOPE, "How can I boil an egg?")
FRY = Question(SCOPE, "How do I fry an egg?")
VECTORS = {BOIL.text: (1.0, 0.0), CAN_BOIL.text: (0.99, 0.1), FRY.text: (0.99, 0.12), "Who?": (0.0, 1.0)}


class Embedder:
    """Vectors from a table; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, text: str) -> Sequence[float]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        await self.goes_on.wait()
        return VECTORS[text]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def cache(embedder: Embedder, clock: Clock | None = None, *, max_bytes: int = 1 << 20, most: int = 10) -> SemanticCache:
    return SemanticCache(embedder, threshold=0.95, max_bytes=max_bytes, most=most, clock=clock or Clock())


async def test_an_answer_is_given_to_the_same_question_in_other_words() -> None:
    """But not to one that is as near and asks another thing, and not to one of another scope."""
    kept = cache(Embedder())
    await kept.store(BOIL, b"ten minutes", 60)
    assert await kept.get(CAN_BOIL) == b"ten minutes"
    assert await kept.get(FRY) is None
    assert kept.guarded == 1
    assert await kept.get(Question(CacheKey("tiny", "1"), BOIL.text)) is None


async def test_half_of_it_goes_when_memory_runs_out() -> None:
    """Nor is anything kept, or a vector asked for it, until there is some again."""
    short, clock, embedder = [False], Clock(), Embedder()
    kept = SemanticCache(embedder, threshold=0.95, max_bytes=2**20, is_short=lambda: short[0], clock=clock)
    await kept.store(BOIL, b"ten minutes or more", 60)
    await kept.store(FRY, b"four minutes", 60)
    short[0], clock.now, asked = True, 2.0, embedder.asked
    await kept.store(Question(CacheKey("tiny", "1"), BOIL.text), b"another", 60)
    assert (await kept.get(FRY), kept.size(), embedder.asked) == (b"four minutes", 1, asked)


async def test_an_answer_is_kept_for_its_time() -> None:
    """After that it is forgotten when it is found."""
    clock = Clock()
    kept = cache(Embedder(), clock)
    await kept.store(BOIL, b"ten minutes", 60)
    clock.now = 59.9
    assert await kept.get(BOIL) == b"ten minutes"
    clock.now = 60.0
    assert await kept.get(BOIL) is None
    assert (kept.size(), kept.held_bytes) == (0, 0)


async def test_a_newer_answer_takes_the_place_of_an_older_one() -> None:
    """Also that of the same question in other words."""
    kept = cache(Embedder())
    await kept.store(BOIL, b"ten minutes", 60)
    await kept.store(CAN_BOIL, b"nine minutes", 60)
    assert kept.size() == 1
    assert await kept.get(BOIL) == b"nine minutes"


async def test_the_least_recently_used_answer_gives_way() -> None:
    """By their number, and by their bytes."""
    kept = cache(Embedder(), most=2)
    for one in (BOIL, FRY):
        await kept.store(one, one.text.encode(), 60)
    assert await kept.get(CAN_BOIL) == BOIL.text.encode()
    await kept.store(Question(SCOPE, "Who?"), b"me", 60)
    assert await kept.get(FRY) is None
    assert await kept.get(BOIL) == BOIL.text.encode()
    small = cache(Embedder(), max_bytes=5_000)
    for one in (BOIL, FRY, Question(SCOPE, "Who?"), Question(CacheKey("other", "0"), "Who?")):
        await small.store(one, b"x" * 500, 60)
    assert small.size() == 2
    assert small.held_bytes <= 5_000


async def test_an_answer_of_an_eighth_of_all_is_not_kept() -> None:
    """It would push out many others."""
    kept = cache(Embedder(), max_bytes=8_000)
    await kept.store(BOIL, b"x" * 1_001, 60)
    assert kept.size() == 0


async def test_answers_of_a_model_are_forgotten_together() -> None:
    """Those of others stay; `clear` forgets all."""
    kept = cache(Embedder())
    elsewhere = Question(CacheKey("other", "0"), BOIL.text)
    for one in (BOIL, FRY, elsewhere):
        await kept.store(one, b"an answer", 60)
    assert kept.invalidate_by_model("tiny") == 2
    assert await kept.get(BOIL) is None
    assert await kept.get(elsewhere) == b"an answer"
    assert kept.clear() == 1
    assert (kept.size(), kept.held_bytes) == (0, 0)


async def test_without_an_embedding_model_there_is_no_look_and_no_error() -> None:
    """And for some seconds nobody asks it again; then they do."""
    embedder, clock = Embedder(), Clock()
    kept = cache(embedder, clock)
    await kept.store(BOIL, b"ten minutes", 60)
    embedder.error = NoWorkersError("nobody")
    assert await kept.get(CAN_BOIL) is None
    assert await kept.get(CAN_BOIL) is None
    assert embedder.asked == 2
    embedder.error = None
    clock.now = PAUSE_S
    assert await kept.get(CAN_BOIL) == b"ten minutes"


async def test_a_look_waits_for_its_vector_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is slow delays one request by that bound, and the next ones not at all until the vector is there."""
    monkeypatch.setattr("golek_worker.cache.semantic.LOOK_S", 0.02)
    embedder = Embedder()
    kept = cache(embedder)
    await kept.store(BOIL, b"ten minutes", 60)
    embedder.goes_on.clear()
    assert await kept.get(CAN_BOIL) is None
    assert await kept.get(FRY) is None
    assert embedder.asked == 2
    embedder.goes_on.set()
    while await kept.get(CAN_BOIL) != b"ten minutes":
        await asyncio.sleep(0)
    assert embedder.asked == 2


async def test_close_waits_for_no_vector() -> None:
    """Not for one that is on its way, and whoever waits for it gets none."""
    embedder = Embedder()
    kept = cache(embedder)
    embedder.goes_on.clear()
    keeping = asyncio.create_task(kept.store(BOIL, b"ten minutes", 60))
    while not embedder.asked:
        await asyncio.sleep(0)
    await kept.close()
    await keeping
    assert kept.size() == 0


async def test_nothing_is_asked_where_nothing_is_kept() -> None:
    """A scope without answers costs no vector; what was looked up is not asked again to be kept."""
    embedder = Embedder()
    kept = cache(embedder)
    assert await kept.get(BOIL) is None
    assert embedder.asked == 0
    await kept.store(BOIL, b"ten minutes", 60)
    await kept.get(CAN_BOIL)
    await kept.store(CAN_BOIL, b"ten minutes", 60)
    assert embedder.asked == 2


def asked(request: InferenceRequest, principal: str = "ann", **fields: str) -> Asked:
    return Asked(principal, "inference", "tiny", fields.pop("deployment", "d"), request, **fields)


GREEDY = Params(temperature=0)


def scope_of(one: Asked) -> CacheKey:
    found = question(one)
    assert isinstance(found, Question), found
    return found.scope


def test_only_the_last_turn_may_be_worded_otherwise() -> None:
    """Two texts share a scope; what else decides on the answer gives another one."""
    turns = [Message("system", "Be brief."), Message("user", "Why is lava hot?")]
    base = InferenceRequest(messages=turns, params=GREEDY)
    other_text = InferenceRequest(messages=[turns[0], Message("user", "Is lava hot?")], params=GREEDY)
    assert scope_of(asked(base)) == scope_of(asked(other_text))
    others = [
        asked(base, "bob"),
        asked(base, deployment="e"),
        asked(base, adapter="legal"),
        asked(base, grammar="root ::= 'x'"),
        asked(InferenceRequest(messages=[Message("system", "Rhyme."), turns[1]], params=GREEDY)),
        asked(InferenceRequest(messages=[turns[1]], params=GREEDY)),
        asked(InferenceRequest(messages=turns, params=Params(temperature=0, max_tokens=5))),
        asked(InferenceRequest(input="Why is lava hot?", params=GREEDY)),
    ]
    assert len({scope_of(one) for one in [asked(base), *others]}) == len(others) + 1


REFUSED = [
    (InferenceRequest(input="Why is lava hot?"), "each answer is another one"),
    (InferenceRequest(input="Why?", params=GREEDY, raw=True), "raw prompts, and those with tools, are not compared"),
    (InferenceRequest(input="Why?", params=GREEDY, session_id="s"), "it belongs to a conversation"),
    (InferenceRequest(input="Why?", params=GREEDY, user="ann"), "it is for one user"),
    (
        InferenceRequest(input="Why?", params=GREEDY, cache=CacheWish(time_sensitive=True)),
        "it depends on when it is asked",
    ),
    (InferenceRequest(input="What is my name?", params=GREEDY), "it speaks of who asks"),
    (
        InferenceRequest(messages=[Message("user", "Why?"), Message("assistant", "Be")], params=GREEDY),
        "its last turn is not a user's text",
    ),
]


@pytest.mark.parametrize(("request_", "why"), REFUSED)
def test_what_is_not_looked_up_says_why(request_: InferenceRequest, why: str) -> None:
    """Requests without one answer for all, and turns that are no question of a user."""
    assert question(asked(request_)) == why
