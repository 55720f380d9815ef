"""Which requests have one key, and where keys go."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from golek_wire.requests import EmbeddingRequest, InferenceRequest
from golek_worker.router.affinity import affinity, lane
from golek_worker.router.targets import Lane

SYSTEM = {"role": "system", "content": "You are helpful. " * 200}
FIRST = {"role": "user", "content": "What is NATS?"}
LATER = [{"role": "assistant", "content": "A broker."}, {"role": "user", "content": "And JetStream?"}]
TOOL = {"type": "function", "function": {"name": "find"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://a.example/cat.png"}}


def key(**fields: Any) -> str:
    return affinity(msgspec.convert(fields, InferenceRequest))


def fleet(count: int, free: int = 4) -> list[Lane]:
    return [Lane(f"tiny-host-{number}", free) for number in range(count)]


ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "turns of a conversation": ({"messages": [SYSTEM, FIRST]}, {"messages": [SYSTEM, FIRST, *LATER]}),
    "turns without a system prompt": ({"messages": [FIRST]}, {"messages": [FIRST, *LATER]}),
    "an input and its conversation": ({"input": "What is NATS?"}, {"messages": [FIRST, *LATER]}),
    "a session, whatever is said": ({"session_id": "s1", "input": "a"}, {"session_id": "s1", "messages": [FIRST]}),
    "how it is drawn": ({"messages": [FIRST]}, {"messages": [FIRST], "seed": 3, "params": {"temperature": 0}}),
    "a text that goes on": ({"raw": True, "input": "a" * 1024}, {"raw": True, "input": "a" * 1024 + "b"}),
}
OTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conversations with one system prompt": (
        {"messages": [SYSTEM, FIRST]}, {"messages": [SYSTEM, {"role": "user", "content": "Hello"}]},
    ),
    "sessions": ({"session_id": "s1", "input": "a"}, {"session_id": "s2", "input": "a"}),
    "tools": ({"messages": [FIRST]}, {"messages": [FIRST], "tools": [TOOL]}),
    "adapters": ({"messages": [FIRST]}, {"messages": [FIRST], "adapter": "formal"}),
    "images": ({"messages": [FIRST]}, {"messages": [FIRST | {"parts": [IMAGE]}]}),
    "roles": ({"messages": [FIRST]}, {"messages": [FIRST | {"role": "system"}]}),
    "where one text ends": (
        {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "system", "content": "ab"}, {"role": "user", "content": ""}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_what_stays_in_a_conversation_makes_its_key(name: str) -> None:
    """These two have one key."""
    one, two = ALIKE[name]
    assert key(**one) == key(**two) != ""


@pytest.mark.parametrize("name", OTHER)
def test_what_is_read_otherwise_has_another_key(name: str) -> None:
    """These two have nothing in common that would be worth a replica."""
    one, two = OTHER[name]
    assert key(**one) != key(**two)


def test_vectors_have_no_key() -> None:
    """Nothing of an embedding is kept in a KV cache."""
    assert affinity(EmbeddingRequest(input="a")) == ""


def test_any_text_has_a_key() -> None:
    """Also one with half a character, which JSON can carry."""
    assert key(input="\ud800") != ""


def test_keys_are_spread_evenly() -> None:
    """Of 8,000 keys each of eight replicas gets its share, a tenth more or less."""
    shares = Counter(lane(str(number), fleet(8)) for number in range(8000))
    assert len(shares) == 8
    assert all(900 <= share <= 1100 for share in shares.values())


def test_only_the_keys_of_a_replica_that_goes_move() -> None:
    """Whether it is gone, full or silent; each of its keys has the same next replica, and comes back with it."""
    eight = fleet(8)
    gone = eight[:3] + eight[4:]
    full = [*gone, Lane(eight[3].worker_id, 0)]
    silent = [*gone, Lane(eight[3].worker_id, 4, heard_s=2.1)]
    for number in range(500):
        home, moved = lane(str(number), eight), lane(str(number), gone)
        assert moved == home or home == eight[3].worker_id
        assert lane(str(number), full) == lane(str(number), silent) == moved
        assert lane(str(number), list(reversed(eight))) == home


def test_without_a_free_slot_anywhere_there_is_no_lane() -> None:
    """Then the job is everybody's: whoever is free first takes it."""
    assert lane("a", fleet(4, free=0)) == lane("a", []) == ""
