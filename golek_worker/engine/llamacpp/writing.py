"""How do the tokens of a sequence become what its caller reads?

One object for each sequence, chosen by its `Submit`: it is given every token, and says what may be shown and when the
text ends by itself.
"""

from golek_worker.engine.base import Piece, Submit
from golek_worker.engine.harmony import FinalChannel
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.text import TextWriter


class Writing:
    """What one sequence has written."""

    __slots__ = ("_final", "_model", "_output", "_text")

    def __init__(self, model: Model, command: Submit) -> None:
        resume = command.resume
        self._model = model
        self._output = command.output
        self._text = TextWriter(command.params.stops, "" if resume is None else resume.text)
        self._final = FinalChannel(opened=resume is not None)

    @property
    def text(self) -> str:
        """All of it."""
        return self._text.text

    @property
    def ended(self) -> bool:
        """True when the text is over: a stop string is complete, or the format's last part."""
        return self._text.stopped or self._final.ended

    def write(self, token: int) -> Piece:
        """What may be shown after `token`; often empty."""
        match self._output:
            case "text":
                return self._text.write_bytes(self._model.piece(token))
            case "special":
                return self._text.write_bytes(self._model.named_piece(token))
            case "harmony":
                name = self._model.named_piece(token)
                return self._text.write(self._final.write_token(name, control=self._model.is_special(token)))

    def end(self, shown: Piece = "") -> Piece:
        """The sequence is over: `shown`, which the last token gave, and what was held back."""
        assert isinstance(shown, str)
        return shown + self._text.end()
