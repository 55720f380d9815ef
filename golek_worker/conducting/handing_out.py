"""What of an answer of several models was handed out to a caller who streams?

Pieces of the final step alone, as they are written, or the whole answer at the end. A text that was handed out is never
taken back: should its step break off, it is the answer. Blanks that a text begins with are held until more follows, for
a step that says nothing else has no answer, and another one's is handed out instead.
"""

import time
from collections.abc import Callable

from golek_wire.errors import InferenceServiceError, StreamInterruptedError
from golek_wire.replies import InferenceReply
from golek_worker.ends import pieces
from golek_worker.engine.base import Piece, Replied
from golek_worker.orchestration.base import Said, Step


class HandingOut:
    """The way of one answer's text to who streams it."""

    def __init__(self, take: Callable[[Piece], None] | None) -> None:
        """`take` is given the pieces; None where nobody reads them."""
        self._take = take
        self._step: Step | None = None
        self._texts: list[str] = []
        self._held: list[Piece] = []
        """Blanks, before any text."""
        self._is_more = False
        """Whether it is more than one text: what broke off then is no answer."""
        self._spoilt: InferenceServiceError | None = None
        self.first_at: float | None = None
        """When the first of it was handed out, on the monotonic clock."""
        self.began = False
        """Whether anything was handed out, thoughts among it."""
        self.broken: InferenceServiceError | None = None
        """Why the text that was handed out does not go on."""

    @property
    def is_read(self) -> bool:
        """Whether anybody reads pieces."""
        return self._take is not None

    def is_of(self, step: Step) -> bool:
        """Whether anything of this step was handed out."""
        return self._step is step

    def asks(self) -> None:
        """A step is asked, perhaps once more: what was held of a try before is of no use."""
        self._held = []

    def add(self, step: Step, piece: Piece) -> None:
        """Hand a piece out, if it is one of the final step."""
        if self._take is None or not step.is_final:
            return
        if not self._texts and _is_blank(piece):
            self._held.append(piece)
            return
        self._step, self.began = step, True
        held, self._held = self._held, []
        for one in (*held, piece):
            self._hand_out(one)

    def _hand_out(self, piece: Piece) -> None:
        if self._take is None:
            return
        if isinstance(piece, str):
            self._texts.append(piece)
        else:
            self._texts += [piece.text] if piece.text else []
            self._is_more = self._is_more or bool(piece.tool_calls or piece.index)
        if self.first_at is None:
            self.first_at = time.monotonic()
        self._take(piece)

    def instead(self, step: Step, error: InferenceServiceError) -> Said | None:
        """The text that was handed out of a step that broke off, as what it said; None where that is no answer."""
        if not self.is_of(step):
            return None
        text = "".join(self._texts)
        if self._is_more:
            self._spoilt = StreamInterruptedError(
                f"The final step broke off ({error.code}: {error.message}) behind what was handed out already",
                text_so_far=text,
            )
            return None
        if not text.strip():  # thoughts: an answer may follow them
            self._step = None
            return None
        self.broken = error
        return Said(step, InferenceReply("", text, 0, len(self._texts), "partial", 0, 0))  # about a token a piece

    def check(self) -> None:
        """Raise StreamInterruptedError where what was handed out is no part of any answer."""
        if self._spoilt is not None:
            raise self._spoilt

    def rest(self, said: Said) -> None:
        """Hand out of the answer what was not yet: all, unless it is the text of the step that was handed out."""
        if self.is_of(said.step):
            left = self._held
        else:
            left = [] if self._texts or self._is_more else pieces(Replied(said.reply))
        for piece in left:
            self._hand_out(piece)


def _is_blank(piece: Piece) -> bool:
    if isinstance(piece, str):
        return not piece.strip()
    return not (piece.text.strip() or piece.reasoning_content or piece.tool_calls or piece.index)
