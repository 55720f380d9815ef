"""The cache in memory: by what it forgets, and when."""

from golek_worker.cache.base import CacheKey
from golek_worker.cache.memory import OVERHEAD, MemoryCache

LARGE = 8 * (OVERHEAD + 100)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(number: int, model: str = "tiny") -> CacheKey:
    return CacheKey(model, str(number))


def test_what_is_stored_is_found_until_its_time_is_over() -> None:
    """The TTL counts from the store."""
    clock = Clock()
    cache = MemoryCache(LARGE, clock=clock)
    cache.store(key(1), b"one", 10)
    clock.now = 9.9
    assert cache.get(key(1)) == b"one"
    clock.now = 10.0
    assert cache.get(key(1)) is None
    assert (cache.size(), cache.held_bytes) == (0, 0)


def test_the_one_that_was_not_used_for_longest_gives_way() -> None:
    """Eight of these fit; a look counts as use."""
    cache = MemoryCache(LARGE)
    for number in range(8):
        cache.store(key(number), bytes(100), 10)
    assert cache.get(key(0)) is not None
    cache.store(key(8), bytes(100), 10)
    assert cache.get(key(1)) is None
    assert cache.get(key(0)) is not None
    assert cache.size() == 8
    assert cache.held_bytes <= LARGE


def test_a_value_is_replaced_and_counted_once() -> None:
    """Of two values of one key the later one is there."""
    cache = MemoryCache(LARGE)
    cache.store(key(1), bytes(100), 10)
    cache.store(key(1), b"new", 10)
    assert cache.get(key(1)) == b"new"
    assert cache.held_bytes == OVERHEAD + 3


def test_a_value_that_would_push_out_most_others_is_not_kept() -> None:
    """An eighth of all is the most; an older value of the key is gone all the same."""
    cache = MemoryCache(LARGE)
    cache.store(key(1), b"old", 10)
    cache.store(key(1), bytes(101), 10)
    assert cache.get(key(1)) is None
    assert cache.held_bytes == 0


def test_a_model_is_forgotten_alone() -> None:
    """Another model's answers stay."""
    cache = MemoryCache(LARGE)
    cache.store(key(1), b"1", 10)
    cache.store(key(2, "other"), b"2", 10)
    assert cache.invalidate_by_model("tiny") == 1
    assert cache.get(key(1)) is None
    assert cache.get(key(2, "other")) == b"2"
    assert cache.clear() == 1
    assert (cache.size(), cache.held_bytes) == (0, 0)


def test_half_of_it_goes_when_memory_runs_out() -> None:
    """The machine is asked at most once a second; when there is memory again, answers are kept again."""
    clock, short, looks = Clock(), [False], []

    def is_short() -> bool:
        looks.append(clock.now)
        return short[0]

    cache = MemoryCache(LARGE, is_short, clock)
    for number in range(8):
        cache.store(key(number), bytes(100), 1000)
    short[0], clock.now = True, 2.0
    cache.store(key(9), bytes(100), 1000)
    assert cache.size() == 4
    assert cache.get(key(9)) is None
    short[0], clock.now = False, 4.0
    cache.store(key(9), bytes(100), 1000)
    assert cache.get(key(9)) is not None
    assert looks == [0.0, 2.0, 4.0]
