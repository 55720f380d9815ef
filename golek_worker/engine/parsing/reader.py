"""How are a model's tokens read as an answer?"""

import codecs
from typing import Protocol

from golek_wire.replies import Delta, FinishReason, ToolCall
from golek_worker.engine.parsing.answer import Answer

_utf8 = codecs.getincrementaldecoder("utf-8")


class Form(Protocol):
    """How one family of models marks thoughts and calls. It writes to an `Answer`."""

    @property
    def ended(self) -> bool:
        """True when the answer is over though the model might write on."""
        ...

    def text(self, text: str) -> None:
        """Plain text that the model wrote, cut anywhere."""
        ...

    def control(self, name: str, *, hidden: bool) -> None:
        """A token with a name instead of a spelling; `hidden` if it writes nothing in a text."""
        ...

    def mixed(self, text: str) -> None:
        """Text in which the names of tokens stand for them, cut anywhere."""
        ...

    def end(self) -> None:
        """Nothing follows: what was held back is decided."""
        ...


class AnswerReader:
    """Reads one sequence: fed token by token, or as text with the names of control tokens.

    Bytes that are not UTF-8 become U+FFFD; an incomplete character at the very end is dropped.
    """

    __slots__ = ("_answer", "_decoder", "_form")

    def __init__(self, answer: Answer, form: Form) -> None:
        self._answer = answer
        self._form = form
        self._decoder = _utf8("replace")

    @property
    def stopped(self) -> bool:
        """True once the answer is over: a stop string is complete, or the format says so."""
        return self._answer.writer.stopped or self._form.ended

    @property
    def stopped_by(self) -> str | None:
        """The stop string that is complete."""
        return self._answer.writer.stopped_by

    @property
    def text(self) -> str:
        """All of the text that was shown."""
        return self._answer.writer.text

    @property
    def reasoning_content(self) -> str | None:
        return self._answer.thoughts or None

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        return self._answer.tool_calls or None

    def reason(self, reason: FinishReason) -> FinishReason:
        """Why the answer ended: a model that ends after calls waits for their results."""
        return "tool_calls" if reason == "stop" and self._answer.calls else reason

    def write_token(self, piece: bytes, *, special: bool, hidden: bool) -> str | Delta:
        """What the next token adds; often nothing. `piece` are its bytes, or its name if it is `special`."""
        if self.stopped:
            return ""
        if special:
            if rest := self._decoder.decode(b"", True):
                self._form.text(rest)
            self._form.control(piece.decode("utf-8", "replace"), hidden=hidden)
        elif text := self._decoder.decode(piece):
            self._form.text(text)
        return self._answer.take()

    def write(self, text: str) -> str | Delta:
        """What further text adds, in which the names of control tokens stand for them."""
        if not self.stopped:
            self._form.mixed(text)
        return self._answer.take()

    def end(self) -> str | Delta:
        """What the end adds: nothing follows, so what was held back is decided."""
        if not self.stopped:
            self._form.end()
        self._answer.end()
        return self._answer.take()
