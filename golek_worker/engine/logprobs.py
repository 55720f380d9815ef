"""How likely was each token that a sequence wrote?

Its log-probability is the natural logarithm of the softmax over the model's own logits, before any sampler, bias or
constraint, as OpenAI's API and llama-server tell it. Tokens are told together with the text that they belong to: what
is held back, because it may become a stop string, keeps its tokens, and so joined they are those of the answer's text.

Tokens of thoughts, of tool calls and of marks between them are not told. They are found by their text, in order; where
a format's marks are plain text, a token at their edge may be counted to either side.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from golek_wire.replies import Delta, TokenLogprob, TopLogprob
from golek_wire.requests import Params
from golek_worker.engine.base import Piece
from golek_worker.engine.writing import Vocabulary
from golek_worker.output import Output

LEAST = -9999.0
"""Stands for everything below it, minus infinity too, which JSON cannot say; OpenAI's number."""
_utf8 = codecs.getincrementaldecoder("utf-8")


def are_wanted(params: Params) -> bool:
    """Whether a request asks for them, or its texts are ranked by them."""
    return params.logprobs or (params.best_of or 0) > params.n


class Scores:
    """The log-probabilities of one sequence."""

    __slots__ = ("_begun", "_decode", "_form", "_told", "_vocabulary", "_waiting", "shown", "sum", "top")

    def __init__(self, vocabulary: Vocabulary, params: Params, output: Output) -> None:
        self._vocabulary = vocabulary
        self._form = output.form
        self._told = params.logprobs
        self.top = params.top_logprobs
        """How many of the likeliest tokens are told at each place."""
        self._decode = _utf8("replace").decode
        self._waiting: deque[tuple[TokenLogprob | None, str]] = deque()
        """Tokens whose text was not shown whole, with the characters that each completes; None for a told one."""
        self._begun = 0
        """Characters of the first one's text that were shown."""
        self.sum = 0.0
        """Of all tokens written."""
        self.shown: list[TokenLogprob] | None = [] if params.logprobs else None
        """Of the text shown so far; None where the request did not ask for them."""

    def note(self, token: int, logprob: float, top: Callable[[], Iterable[tuple[int, float]]]) -> None:
        """`token` is written, with this log-probability; `top` gives the likeliest tokens with theirs."""
        self.sum += max(LEAST, logprob)
        if not self._told:
            return
        written = self._written(token)
        if not written:
            return
        likeliest = [TopLogprob(*self._entry(t, value), t) for t, value in top()]
        self._waiting.append((TokenLogprob(*self._entry(token, logprob), likeliest, token), self._decode(written)))

    def join(self, piece: Piece) -> Piece:
        """`piece`, which is shown now, with the tokens of its text."""
        if not piece or not self._told:
            return piece
        delta = Delta(piece) if isinstance(piece, str) else piece
        if delta.reasoning_content:
            self._pass(delta.reasoning_content)
        told = self._pass(delta.text) if delta.text else []
        if not told:
            return piece
        assert self.shown is not None
        self.shown += told
        return msgspec.structs.replace(delta, logprobs=told)

    def _written(self, token: int) -> bytes:
        """What `token` may write of the text; control tokens only where their names are written too."""
        match self._form:
            case "special":
                return self._vocabulary.named_piece(token)
            case "text":
                return self._vocabulary.piece(token)
            case _:
                return b"" if self._vocabulary.is_special(token) else self._vocabulary.piece(token)

    def _entry(self, token: int, logprob: float) -> tuple[str, float, list[int]]:
        """A token's text, log-probability and bytes; control tokens have a name."""
        written = self._vocabulary.named_piece(token)
        return written.decode("utf-8", "replace"), max(LEAST, logprob), list(written)

    def _pass(self, text: str) -> list[TokenLogprob]:
        """The tokens of `text`, which is shown now; those before it belong to nothing that is told.

        A token that is shown in part is told with the first part; an incomplete character, with the token that
        completes it.
        """
        start = self._find(text)
        stop = start + len(text)
        passed: list[TokenLogprob] = []
        at = 0
        while self._waiting and at < stop:
            entry, part = self._waiting.popleft()
            end = at + len(part)
            if entry is not None and (end > start or at >= start):
                passed.append(entry)
            if end > stop:
                self._waiting.appendleft((None, part))
                self._begun = stop - at
                return passed
            at = end
        self._begun = 0
        return passed

    def _find(self, text: str) -> int:
        """Where `text` begins in what waits: at its beginning, or where a mark was read, behind that.

        Behind a mark the last place counts, for what is shown next is what came last.
        """
        waiting = "".join([part for _, part in self._waiting])
        if self._form in ("text", "special") or waiting.startswith(text, self._begun):
            return self._begun
        return max(self._begun, waiting.rfind(text))
