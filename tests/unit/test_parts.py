"""A message in parts: cut, told apart, and put together again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire import parts
from golek_wire.parts import Joint, cut, label, numbers


@given(st.binary(max_size=200), st.integers(1, 50), st.randoms())
def test_parts_in_any_order_and_twice_are_the_message(body: bytes, limit: int, chance: random.Random) -> None:
    """No piece is larger than its limit, and the last one missing completes the message."""
    pieces = cut(body, limit)
    assert max(map(len, pieces)) <= limit
    sent = [(label(number, len(pieces)), piece) for number, piece in enumerate(pieces, start=1)]
    chance.shuffle(sent)
    joint = Joint()
    found = [joint.add(name, 1, piece) for name, piece in sent[:-1] + sent]
    assert found[-1] == body
    assert found[: len(sent) - 1] == [None] * (len(sent) - 1)


def test_parts_of_two_attempts_are_never_one_message() -> None:
    """What a later attempt sends begins anew, and what an earlier one sent late is dropped."""
    joint = Joint()
    assert joint.add("1/2", 1, b"old") is None
    assert joint.add("2/2", 2, b"new") is None
    assert joint.add("2/2", 1, b"old") is None
    assert joint.add("1/2", 2, b"all ") == b"all new"


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", " 1/2", "01/2", "1/5000", "\u0661/\u0662"]
)
def test_what_is_no_part_is_said_to_be_none(text: str) -> None:
    """A header is anybody's text."""
    with pytest.raises(ValueError, match="such as 2/5"):
        numbers(text)


def test_parts_of_different_messages_do_not_fit() -> None:
    """Two pieces of one attempt agree on how many there are."""
    joint = Joint()
    joint.add("1/2", 1, b"a")
    with pytest.raises(ValueError, match="2 parts"):
        joint.add("1/3", 1, b"a")


def test_a_message_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's memory is not the sender's."""
    monkeypatch.setattr(parts, "WHOLE_LIMIT", 10)
    joint = Joint()
    joint.add("1/3", 1, b"123456")
    with pytest.raises(ValueError, match="at most 10"):
        joint.add("2/3", 1, b"123456")
