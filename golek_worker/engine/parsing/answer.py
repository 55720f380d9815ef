"""What has been read of an answer, and what of it is new?"""

import hashlib
from collections.abc import Sequence

from golek_wire.replies import Delta, FunctionCall, ToolCall, ToolCallDelta
from golek_worker.engine.text import TextWriter

SHORT_ID = 9
"""Letters of an id that Mistral's templates take."""
LONG_ID = 24


class Answer:
    """The text, the thoughts and the calls of one sequence, as they grow; `take` gives what came since the last time.

    A call's id is made of the job's and of the call's number: another attempt gives the same.
    """

    __slots__ = (
        "_job_id", "_new_calls", "_new_text", "_new_thoughts", "_short_ids", "_thoughts", "_told", "calls",
        "whole_calls", "writer",
    )  # fmt: skip

    def __init__(self, job_id: str, stops: Sequence[str], shown: str, *, short_ids: bool) -> None:
        self.writer = TextWriter(stops, shown)
        self.calls: list[_Call] = []
        self._job_id = job_id
        self._short_ids = short_ids
        self._thoughts: list[str] = []
        self._new_text = ""
        self._new_thoughts = ""
        self._new_calls: dict[int, list[str]] = {}
        """Arguments, by call."""
        self._told = 0
        """How many calls' names were told."""
        self.whole_calls = 0
        """How many calls have ended."""

    def text(self, text: str) -> None:
        """More of the text."""
        self._new_text += self.writer.write(text)

    def thought(self, text: str) -> None:
        """More of the thoughts."""
        if text and not self.writer.stopped:
            self._thoughts.append(text)
            self._new_thoughts += text

    def call(self, name: str) -> None:
        """A call begins; its arguments follow."""
        if self.writer.stopped:
            return
        index = len(self.calls)
        digest = hashlib.sha256(f"{self._job_id}.{index}".encode()).hexdigest()
        call = _Call(digest[:SHORT_ID] if self._short_ids else f"call_{digest[:LONG_ID]}", name)
        self.calls.append(call)
        self._new_calls[index] = []

    def arguments(self, text: str) -> None:
        """More of the last call's arguments."""
        if text and self.calls and not self.writer.stopped:
            self.calls[-1].arguments.append(text)
            self._new_calls.setdefault(len(self.calls) - 1, []).append(text)

    def end_call(self) -> None:
        """The last call is whole."""
        self.whole_calls = len(self.calls)

    def take(self) -> str | Delta:
        """What is new: text where it is nothing else."""
        text, self._new_text = self._new_text, ""
        if not self._new_thoughts and not self._new_calls:
            return text
        thoughts, self._new_thoughts = self._new_thoughts, ""
        new, self._new_calls = self._new_calls, {}
        calls = [self._delta(index, "".join(pieces)) for index, pieces in new.items()]
        self._told = len(self.calls)
        return Delta(text, thoughts, calls or None)

    def _delta(self, index: int, arguments: str) -> ToolCallDelta:
        if index < self._told:
            return ToolCallDelta(index, arguments=arguments)
        return ToolCallDelta(index, self.calls[index].call_id, self.calls[index].name, arguments)

    def end(self) -> None:
        """Nothing follows: what was held back of the text belongs to it."""
        self._new_text += self.writer.end()

    @property
    def thoughts(self) -> str:
        return "".join(self._thoughts)

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [ToolCall(call.call_id, FunctionCall(call.name, "".join(call.arguments))) for call in self.calls]


class _Call:
    """One call, as it grows."""

    __slots__ = ("arguments", "call_id", "name")

    def __init__(self, call_id: str, name: str) -> None:
        self.call_id = call_id
        self.name = name
        self.arguments: list[str] = []
