"""How do the tokens of a sequence become what its caller reads?

One object for each sequence, chosen by its `Submit`: it is given every token, and says what may be shown and when the
text ends by itself.
"""

from typing import Protocol

from golek_wire.replies import FinishReason, ToolCall
from golek_worker.engine import parsing
from golek_worker.engine.base import Piece, Submit
from golek_worker.engine.text import TextWriter


class Vocabulary(Protocol):
    """What a model's tokens write."""

    def piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write none."""
        ...

    def named_piece(self, token: int) -> bytes:
        """The bytes that `token` writes; control tokens write their names."""
        ...

    def is_special(self, token: int) -> bool:
        """True for a token with a name instead of a spelling."""
        ...


class Writing:
    """What one sequence has written."""

    __slots__ = ("_named", "_vocabulary", "_writer")

    def __init__(self, vocabulary: Vocabulary, command: Submit) -> None:
        resume = command.resume
        self._vocabulary = vocabulary
        self._named = command.output.form == "special"
        shown = None if resume is None else resume.text
        self._writer = parsing.writer(command.output, command.job_id, command.params.stops, shown)

    @property
    def text(self) -> str:
        """All of it."""
        return self._writer.text

    @property
    def reasoning_content(self) -> str | None:
        """What was thought before it."""
        return None if isinstance(self._writer, TextWriter) else self._writer.reasoning_content

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        """The calls that were made."""
        return None if isinstance(self._writer, TextWriter) else self._writer.tool_calls

    @property
    def ended(self) -> bool:
        """True when the text is over: a stop string is complete, or the format's last part."""
        return self._writer.stopped

    @property
    def stopped_by(self) -> str | None:
        """The stop string that is complete."""
        return self._writer.stopped_by

    def write(self, token: int) -> Piece:
        """What may be shown after `token`; often empty."""
        writer, vocabulary = self._writer, self._vocabulary
        if isinstance(writer, TextWriter):
            return writer.write_bytes(vocabulary.named_piece(token) if self._named else vocabulary.piece(token))
        name = vocabulary.named_piece(token)
        special = vocabulary.is_special(token)
        return writer.write_token(name, special=special, hidden=special and not vocabulary.piece(token))

    def end(self, shown: Piece = "") -> Piece:
        """The sequence is over: `shown`, which the last token gave, and what was held back."""
        return parsing.together(shown, self._writer.end())

    def reason(self, reason: FinishReason) -> FinishReason:
        """`reason` to end, or that tools were called."""
        return reason if isinstance(self._writer, TextWriter) else self._writer.reason(reason)
