"""What a KV cache would have of a prompt."""

from golek_worker.engine.echo_cache import BLOCK, EchoCache


def words(count: int, name: str = "w") -> list[str]:
    return [f"{name}{number} " for number in range(count)]


def test_what_was_read_is_found_in_whole_blocks() -> None:
    """The longest beginning that both have, down to a block; never the whole prompt."""
    cache = EchoCache(1024)
    cache.keep(words(50))
    assert cache.find(words(50)) == 48
    assert cache.find(words(48)) == 32  # something must be left to compute
    assert cache.find(words(90)) == 48
    assert cache.find(words(40)[:33] + words(40, "x")) == 32
    assert cache.find(words(50, "x")) == 0
    assert cache.find(words(BLOCK)) == 0
    assert cache.find([]) == 0


def test_the_least_recently_used_gives_way() -> None:
    """Of a text the end before its beginning; what is longer than the room is kept as far as that goes."""
    cache = EchoCache(4 * BLOCK)
    cache.keep(words(32, "a"))
    cache.keep(words(32, "b"))
    cache.keep(words(32, "a"))
    cache.keep(words(16, "c"))
    assert (cache.find(words(60, "a")), cache.find(words(60, "b")), cache.find(words(60, "c"))) == (32, 16, 16)
    cache.keep(words(200, "d"))
    assert (cache.find(words(300, "d")), cache.find(words(60, "a"))) == (64, 0)
