"""What of a growing text may be shown, by table and under every way to cut it."""

import random

import pytest

from golek_worker.engine.text import TextWriter

CASES = [
    # text, stops, what is shown, stopped
    ("plain", [], "plain", False),
    ("one two three", ["two"], "one ", True),
    ("aaab", ["aab"], "a", True),
    ("ababac", ["abac"], "ab", True),
    ("a###b", ["##"], "a", True),
    ("ends with a half stop ##", ["###"], "ends with a half stop ##", False),
    ("xabcy", ["abcd", "bc"], "xa", True),
    ("xabcy", ["abc", "c"], "x", True),
    ("stop", ["stop"], "", True),
    ("grün 🌍 blau", ["🌍"], "grün ", True),
    ("\n\nUser:", ["\nUser:"], "\n", True),
]


SHOWN_BEFORE = [
    # shown before, what follows, stops, what is shown of it, stopped
    ("one ", "two three", ["two"], "", True),
    ("one STOP two ", "three", ["STOP"], "three", False),
    ("one ST", "OP two", ["STOP"], "", True),
    ("one ST", "AY two", ["STOP"], "AY two", False),
    ("aaS", "TSTOP", ["STOP"], "T", True),
    ("aSTOP", "STOPb", ["STOP"], "", True),
    ("aa", "ab", ["aaab"], "", True),
    ("aaa", "aac", ["aaab"], "aac", False),
    ("xab", "c d", ["abcd", "bc"], "", True),
    ("x", "", ["xy"], "", False),
]


@pytest.mark.parametrize(("before", "text", "stops", "shown", "stopped"), SHOWN_BEFORE)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_text_goes_on_behind_what_was_shown(
    before: str, text: str, stops: list[str], shown: str, stopped: bool, size: int
) -> None:
    """A stop string that lies in it is passed over, one that only begins in it counts; its beginning stays shown."""
    writer = TextWriter(stops, before)
    deltas = [writer.write(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*deltas, writer.end()]) == shown
    assert (writer.text, writer.stopped) == (before + shown, stopped)


def whole(pieces: list[bytes], stops: list[str]) -> tuple[str, list[str], bool]:
    writer = TextWriter(stops)
    deltas = []
    for piece in pieces:
        deltas.append(writer.write_bytes(piece))
        if writer.stopped:
            break
    else:
        deltas.append(writer.end())
    return writer.text, deltas, writer.stopped


@pytest.mark.parametrize(("text", "stops", "shown", "stopped"), CASES)
def test_the_text_ends_before_the_stop_string_that_is_complete_first(
    text: str, stops: list[str], shown: str, stopped: bool
) -> None:
    """A stop string is no part of the text; of two that end together the longer counts."""
    assert whole([text.encode()], stops)[::2] == (shown, stopped)


@pytest.mark.parametrize(("text", "stops", "shown", "stopped"), CASES)
def test_how_tokens_cut_the_text_changes_nothing(text: str, stops: list[str], shown: str, stopped: bool) -> None:
    """Cut anywhere, even inside a character, the same is shown, and the deltas joined are the text."""
    dice = random.Random(7)
    data = text.encode()
    for _ in range(200):
        cuts = sorted(dice.sample(range(1, len(data)), dice.randint(0, len(data) - 1))) if len(data) > 1 else []
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        result, deltas, ended = whole(pieces, stops)
        assert (result, ended) == (shown, stopped)
        assert "".join(deltas) == shown


def test_random_texts_over_two_letters_are_cut_like_a_plain_search_would() -> None:
    """The held-back matching agrees with searching the whole text, for many texts full of near matches."""
    dice = random.Random(3)
    for _ in range(500):
        text = "".join(dice.choices("ab", k=dice.randint(1, 24)))
        stops = ["".join(dice.choices("ab", k=dice.randint(1, 5))) for _ in range(dice.randint(1, 3))]
        ends = [(text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
        expected = text[: min(ends)[0] + min(ends)[1]] if ends else text
        assert whole([c.encode() for c in text], stops)[0] == expected, (text, stops)


def test_only_whole_characters_are_shown() -> None:
    """A character split over tokens appears with its last byte."""
    writer = TextWriter()
    first, rest = "🌍".encode()[:3], "🌍".encode()[3:]
    assert [writer.write_bytes(first), writer.write_bytes(rest)] == ["", "🌍"]


def test_an_incomplete_character_at_the_end_is_dropped() -> None:
    """A text cut by max_tokens never ends in a broken character."""
    assert whole([b"ok", "é".encode()[:1]], [])[0] == "ok"


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    """A model that writes nonsense still gives valid text."""
    assert whole([b"a\xffb"], [])[0] == "a\N{REPLACEMENT CHARACTER}b"


def test_nothing_is_shown_after_a_stop() -> None:
    """Once stopped, a writer stays silent."""
    writer = TextWriter(["."])
    assert [writer.write("a."), writer.write("more"), writer.end()] == ["a", "", ""]


def test_which_stop_string_it_was_is_told() -> None:
    """Of two that end together the longer one; none while the text goes on."""
    writer = TextWriter(["c", "bc", "x"])
    writer.write("ab")
    assert writer.stopped_by is None
    assert (writer.write("cd"), writer.stopped_by) == ("", "bc")
