"""How do pieces of an answer share a message, and what if they do not fit into one?

Pieces of one choice are joined: its text, its thoughts, its calls and its log-probabilities each grow on their own, so
only the order within each of them counts. A piece that is too large is cut in two.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from golek_wire.replies import Delta, TokenLogprob, ToolCallDelta


def joined(pieces: Iterable[str | Delta]) -> list[Delta]:
    """One piece for each choice, in the order in which they began."""
    choices: dict[int, _Choice] = {}
    for piece in pieces:
        delta = Delta(piece) if isinstance(piece, str) else piece
        choice = choices.get(delta.index)
        if choice is None:
            choice = choices[delta.index] = _Choice()
        choice.add(delta)
    return [choice.delta(index) for index, choice in choices.items()]


def halves(delta: Delta) -> tuple[Delta, Delta] | None:
    """`delta` as two that follow each other; None when it cannot be cut: one character, one token, the head of a call.

    What a message carries beside each other is parted first, then each part in the middle.
    """
    parts = _parts(delta)
    if len(parts) > 1:
        first, *others = parts
        return first, joined(others)[0]
    if delta.tool_calls:
        calls = _call_halves(delta.tool_calls)
        return None if calls is None else _two(delta, "tool_calls", *calls)
    for name in ("text", "reasoning_content", "logprobs"):
        value = getattr(delta, name)
        if value and len(value) > 1:
            middle = len(value) // 2
            return _two(delta, name, value[:middle], value[middle:])
    return None


def _two(delta: Delta, name: str, first: Any, second: Any) -> tuple[Delta, Delta]:
    return msgspec.structs.replace(delta, **{name: first}), msgspec.structs.replace(delta, **{name: second})


def _parts(delta: Delta) -> list[Delta]:
    """One for each kind of content."""
    kinds = {name: getattr(delta, name) for name in ("reasoning_content", "text", "tool_calls", "logprobs")}
    return [Delta(**{name: value}, index=delta.index) for name, value in kinds.items() if value]


def _call_halves(calls: list[ToolCallDelta]) -> tuple[list[ToolCallDelta], list[ToolCallDelta]] | None:
    if len(calls) > 1:
        middle = len(calls) // 2
        return calls[:middle], calls[middle:]
    (call,) = calls
    middle = len(call.arguments) // 2
    if middle == 0:
        return None
    head = msgspec.structs.replace(call, arguments=call.arguments[:middle])
    return [head], [ToolCallDelta(call.index, arguments=call.arguments[middle:])]


class _Choice:
    """What is gathered of one choice."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}

    def add(self, delta: Delta) -> None:
        self._text.append(delta.text)
        self._reasoning.append(delta.reasoning_content)
        self._logprobs += delta.logprobs or ()
        for call in delta.tool_calls or ():
            self._calls.setdefault(call.index, []).append(call)

    def delta(self, index: int) -> Delta:
        calls = [
            ToolCallDelta(i, call[0].id, call[0].name, "".join([part.arguments for part in call]))
            for i, call in self._calls.items()
        ]
        return Delta("".join(self._text), "".join(self._reasoning), calls or None, self._logprobs or None, index)
