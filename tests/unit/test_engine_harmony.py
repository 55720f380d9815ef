"""The final channel of harmony completions, held equal to OpenAI's own library, however the text is cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_wire.replies import Delta
from golek_worker.engine import parsing
from golek_worker.engine.parsing.reader import AnswerReader
from golek_worker.output import Output

GOLDEN = json.loads((Path(__file__).parent / "golden/harmony.json").read_text("utf-8"))
COMPLETIONS = [(c["text"], c["final"]) for c in GOLDEN["completions"]]
NAMES = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"]
WORDS = [*NAMES, "assistant", "final", "analysis", " to=x", "Hi ", "<", "|", "<|", "<|en", "|>", "\n", "ä🌍"]


def reader() -> AnswerReader:
    made = parsing.writer(Output("harmony"), "job", ())
    assert isinstance(made, AnswerReader)
    return made


def said(piece: str | Delta) -> str:
    return piece if isinstance(piece, str) else piece.text


def read(*pieces: str) -> str:
    final = reader()
    return "".join([said(final.write(piece)) for piece in pieces]) + said(final.end())


@pytest.mark.parametrize(("text", "answer"), COMPLETIONS, ids=[c["name"] for c in GOLDEN["completions"]])
def test_the_answer_is_the_librarys(text: str, answer: str) -> None:
    """Whole, character by character, and cut in two at every place."""
    assert answer is not None
    assert read(text) == answer
    assert read(*text) == answer
    assert {read(text[:i], text[i:]) for i in range(len(text))} <= {answer}


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), st.data())
def test_cuts_change_nothing(text: str, data: st.DataObject) -> None:
    """Any text of names, halves of names and words, cut anywhere."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text)


def test_only_the_beginning_of_a_name_is_held_back() -> None:
    """An answer streams as it grows."""
    final = reader()
    deltas = [final.write(piece) for piece in ("<|channel|>final<|mess", "age|>Hel", "lo <", "b> <|re", "turn|>", "x")]
    assert deltas == ["", "Hel", "lo ", "<b> ", "", ""]
    assert final.stopped


def tokens(final: AnswerReader, *pieces: str | bytes) -> list[str]:
    """Names as control tokens, all else as plain ones."""
    raw = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    return [
        said(final.write_token(piece, special=piece.decode(errors="replace") in NAMES, hidden=False)) for piece in raw
    ]


def test_tokens_are_read_as_text_is() -> None:
    """A character cut into two tokens is whole."""
    final = reader()
    world = "🌍".encode()
    assert tokens(final, "<|channel|>", "final", "<|message|>", "a", world[:2], world[2:], "<|return|>") == [
        "", "", "", "a", "", "🌍", "",
    ]  # fmt: skip
    assert final.stopped


def test_a_name_written_as_plain_text_is_a_quote() -> None:
    """The model may speak of harmony: only control tokens end a message."""
    final = reader()
    tokens(final, "<|channel|>", "final", "<|message|>")
    assert final.write_token(b"<|end|>", special=False, hidden=False) == "<|end|>"
    assert not final.stopped
