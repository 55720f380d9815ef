"""Which text of a stream is handed out."""

import random

import pytest

from golek_client.assembly import TextAssembly
from golek_wire.errors import StreamInterruptedError

Step = tuple[int, int, str, str]
"""attempt, seq, delta, and what is handed out."""

TABLE: dict[str, list[Step]] = {
    "chunks in order are handed out as they come": [(1, 0, "ab", "ab"), (1, 1, "cd", "cd"), (1, 2, "", "")],
    "the first attempt seen need not be 1": [(3, 0, "ab", "ab"), (3, 1, "c", "c")],
    "after a repeated chunk the final text decides": [(1, 0, "ab", "ab"), (1, 0, "ab", ""), (1, 1, "c", "")],
    "two workers that write one attempt are not mixed": [
        (1, 0, "a", "a"), (1, 1, "bc", "bc"), (1, 0, "a", ""), (1, 1, "b", ""), (1, 2, "cd", ""), (1, 2, "de", ""),
    ],
    "a restart with the same text is swallowed up to where it was": [
        (1, 0, "ab", "ab"), (1, 1, "cd", "cd"), (2, 0, "abc", ""), (2, 1, "def", "ef"), (2, 2, "g", "g"),
    ],
    "a restart in one large chunk hands out the rest": [(1, 0, "ab", "ab"), (2, 0, "abcd", "cd")],
    "a chunk of the attempt before is late": [(1, 0, "ab", "ab"), (2, 0, "ab", ""), (1, 1, "x", ""), (2, 1, "c", "c")],
    "three attempts": [(1, 0, "ab", "ab"), (2, 0, "a", ""), (3, 0, "abc", "c"), (3, 1, "d", "d")],
    "text after a lost chunk waits for the final message": [(1, 0, "ab", "ab"), (1, 2, "ef", ""), (1, 3, "g", "")],
    "a lost first chunk too": [(1, 1, "cd", ""), (1, 2, "ef", "")],
    "the attempt after a lost chunk is whole again": [
        (1, 0, "ab", "ab"), (1, 2, "ef", ""), (2, 0, "abcd", "cd"), (2, 1, "ef", "ef"),
    ],
    "a restart may lose a chunk too": [(1, 0, "ab", "ab"), (2, 1, "b", ""), (2, 2, "c", "")],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_what_a_chunk_hands_out(name: str) -> None:
    """Each case of the table holds, step by step."""
    assembly = TextAssembly()
    for attempt, seq, delta, handed_out in TABLE[name]:
        assert assembly.chunk(attempt, seq, delta) == handed_out


@pytest.mark.parametrize(
    ("first", "second"), [("abcd", "abX"), ("abcd", "X"), ("abcd", "abcXYZ")], ids=["middle", "start", "one chunk"]
)
def test_a_restart_with_another_text_interrupts(first: str, second: str) -> None:
    """At the first difference the stream ends with the text handed out so far, and says that retrying may help."""
    assembly = TextAssembly()
    assembly.chunk(1, 0, first)
    with pytest.raises(StreamInterruptedError) as raised:
        assembly.chunk(2, 0, second)
    assert raised.value.details["text_so_far"] == first
    assert raised.value.type == "retriable"


@pytest.mark.parametrize(
    ("chunks", "final", "rest"),
    [
        ([], "", ""),
        ([], "abc", "abc"),
        ([(1, 0, "abc")], "abc", ""),
        ([(1, 0, "ab"), (1, 2, "ef")], "abcdef", "cdef"),
        ([(1, 0, "abcd"), (2, 0, "ab")], "abcde", "e"),
    ],
)
def test_the_final_text_completes_what_was_handed_out(
    chunks: list[tuple[int, int, str]], final: str, rest: str
) -> None:
    """Whatever was lost is handed out with the final message."""
    assembly = TextAssembly()
    for chunk in chunks:
        assembly.chunk(*chunk)
    assert assembly.finish(final) == rest
    assert assembly.text == final


@pytest.mark.parametrize("final", ["", "ab", "abX", "Xabc"])
def test_a_final_text_that_differs_interrupts(final: str) -> None:
    """A final text that does not begin with what was handed out is never passed off as its continuation."""
    assembly = TextAssembly()
    assembly.chunk(1, 0, "abc")
    with pytest.raises(StreamInterruptedError) as raised:
        assembly.finish(final)
    assert raised.value.details["text_so_far"] == "abc"


def test_a_job_that_resumes_begins_behind_what_was_there() -> None:
    """Its attempts are compared among themselves; the final text is the whole."""
    assembly = TextAssembly("Once ")
    assert not assembly.grew
    handed = [assembly.chunk(1, 0, "upon "), assembly.chunk(2, 0, "upon a"), assembly.finish("Once upon a time")]
    assert handed == ["upon ", "a", " time"]
    assert assembly.grew
    assert assembly.text == "Once upon a time"
    with pytest.raises(StreamInterruptedError) as raised:
        TextAssembly("Once ").finish("Twice")
    assert raised.value.details["text_so_far"] == "Once "


def test_without_replay_a_restart_interrupts() -> None:
    """Even with the same text; not before anything was handed out, and not for a late chunk."""
    assembly = TextAssembly("Once ", replay=False)
    assert [assembly.chunk(1, 1, "x"), assembly.chunk(2, 0, "ab"), assembly.chunk(1, 2, "y")] == ["", "ab", ""]
    with pytest.raises(StreamInterruptedError) as raised:
        assembly.chunk(3, 0, "ab")
    assert raised.value.details["text_so_far"] == "Once ab"


@pytest.mark.parametrize("seed", range(8))
def test_joined_pieces_equal_the_final_text_whatever_happens(seed: int) -> None:
    """With attempts that write one text, the pieces joined are that text, under restarts, losses, repeats and delay."""
    chance = random.Random(seed)
    for _ in range(250):
        text = "".join(chance.choice("ab é🙂\n") for _ in range(chance.randint(0, 40)))
        assembly = TextAssembly()
        handed = ""
        for message in _shaken(text, chance):
            piece = assembly.chunk(*message)
            assert isinstance(piece, str)
            handed += piece
            assert text.startswith(handed)
        assert handed + assembly.finish(text) == text


def _shaken(text: str, chance: random.Random) -> list[tuple[int, int, str]]:
    """The chunks of one to four attempts at `text`: cut short, with some lost, repeated or late."""
    messages = []
    for attempt in range(1, chance.randint(2, 5)):
        chunks = _cut(text, chance)
        for seq, delta in enumerate(chunks[: chance.randint(0, len(chunks))]):
            messages += [(attempt, seq, delta)] * chance.choice([0, 1, 1, 1, 1, 1, 1, 1, 2])
    for _ in range(chance.randint(0, 3) if messages else 0):
        late = messages.pop(chance.randrange(len(messages)))
        messages.insert(chance.randint(0, len(messages)), late)
    return messages


def _cut(text: str, chance: random.Random) -> list[str]:
    """`text` in chunks of one to five characters."""
    chunks = []
    while text:
        size = chance.randint(1, 5)
        chunks.append(text[:size])
        text = text[size:]
    return chunks
