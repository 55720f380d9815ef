"""Pieces of an answer in few messages, and in many where they are large."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from golek_wire.replies import Delta, TokenLogprob, ToolCallDelta
from golek_worker.bus.pieces import halves, joined

TEXT = st.text(max_size=6)
LOGPROB = st.builds(lambda text: TokenLogprob(text, -1.0, list(text.encode()), []), TEXT)
CALL = st.builds(ToolCallDelta, st.integers(0, 2), TEXT, TEXT, TEXT)
DELTA = st.builds(
    Delta,
    TEXT,
    TEXT,
    st.none() | st.lists(CALL, min_size=1, max_size=3, unique_by=lambda call: call.index),
    st.none() | st.lists(LOGPROB, min_size=1, max_size=3),
    st.integers(0, 2),
)


def said(pieces: Iterable[str | Delta]) -> dict[tuple[object, ...], object]:
    """What the pieces say, each kind by itself."""
    found: dict[tuple[object, ...], str] = {}
    for piece in pieces:
        delta = Delta(piece) if isinstance(piece, str) else piece
        parts = [(("text",), delta.text), (("reasoning",), delta.reasoning_content)]
        parts += [(("call", call.index), call.arguments) for call in delta.tool_calls or ()]
        parts += [(("logprobs",), item.token + "\n") for item in delta.logprobs or ()]
        for kind, text in parts:
            found[(delta.index, *kind)] = found.get((delta.index, *kind), "") + text
    return {kind: text for kind, text in found.items() if text}


@given(st.lists(TEXT | DELTA, max_size=12))
def test_joined_pieces_say_the_same(pieces: list[str | Delta]) -> None:
    """One for each choice, each kind of content in its order."""
    together = joined(pieces)
    assert said(together) == said(pieces)
    indexes = [delta.index for delta in together]
    assert len(set(indexes)) == len(indexes)


@given(DELTA)
def test_halves_say_the_same(delta: Delta) -> None:
    """Cut again and again, down to what cannot be cut, nothing is lost or doubled, and no head of a call comes late."""
    whole = [delta]
    while any(cuts := [halves(piece) for piece in whole]):
        whole = [part for piece, cut in zip(whole, cuts, strict=True) for part in (cut or (piece,))]
    assert said(whole) == said([delta])
    assert all(len(piece.text) <= 1 and len(piece.reasoning_content) <= 1 for piece in whole)
    heads = [call for piece in whole for call in piece.tool_calls or () if call.id or call.name]
    assert [(call.id, call.name) for call in heads] == [
        (call.id, call.name) for call in delta.tool_calls or () if call.id or call.name
    ]
