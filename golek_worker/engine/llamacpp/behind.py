"""How does a constraint begin to count behind the model's thoughts?

Before the mark that ends them any text may come, but no end of text: the model would never come to its answer. The
token that completes the mark may write nothing behind it but blanks, which belong to nobody (engine/parsing).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.model import Model

if TYPE_CHECKING:
    from golek_worker.engine.llamacpp.constraints import Guide


class Behind:
    """A guide for what stands behind `mark`."""

    def __init__(self, guide: Guide, model: Model, mark: str) -> None:
        self.param = guide.param
        self._guide = guide
        self._model = model
        self._mark = mark.encode()
        self._written = b""
        """The last bytes, in which the mark may have begun."""
        self._counts = False

    def allows(self, token: int) -> bool:
        if self._counts:
            return self._guide.allows(token)
        return token not in self._model.ends and not self._runs_over(token)

    def apply(self, candidates: Candidates) -> None:
        if self._counts:
            self._guide.apply(candidates)
            return
        over = [token for token in _over(self._model, self._mark[-1:]) if self._runs_over(token)]
        candidates.logits[[*self._model.ends, *over]] = -np.inf

    def accept(self, token: int) -> None:
        if self._counts:
            self._guide.accept(token)
            return
        written = self._written + self._model.named_piece(token)
        self._counts = self._mark in written
        self._written = written[max(0, len(written) - len(self._mark) + 1) :]

    def close(self) -> None:
        self._guide.close()

    def _runs_over(self, token: int) -> bool:
        """Whether `token` completes the mark and writes on."""
        return bool((self._written + self._model.named_piece(token)).partition(self._mark)[2].strip())


@lru_cache(maxsize=4)
def _over(model: Model, last: bytes) -> list[int]:
    """The tokens that have something behind a mark's last byte."""
    return [token for token in range(model.n_vocab) if model.named_piece(token).partition(last)[2].strip()]
