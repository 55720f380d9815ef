"""How likely was each token, by the logits that llama.cpp computed?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from golek_worker.engine.base import Submit
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.logprobs import Scores, are_wanted


def scores(model: Model, command: Submit) -> LogitScores | None:
    """Those of a sequence, where its request wants them."""
    return LogitScores(model, command.params, command.output) if are_wanted(command.params) else None


class LogitScores(Scores):
    """The log-probabilities of one sequence."""

    __slots__ = ()

    def add(self, logits: NDArray[np.float32], token: int) -> None:
        """`token` is written where the model computed `logits`."""
        highest = float(logits.max())
        norm = highest + math.log(float(np.exp(logits - highest).sum(dtype=np.float64)))
        self.note(
            token,
            float(logits[token]) - norm,
            lambda: [(t, float(logits[t]) - norm) for t in _largest(logits, self.top)],
        )


def _largest(logits: NDArray[np.float32], count: int) -> list[int]:
    """The `count` tokens with the largest logits, largest first, of equal ones the first."""
    if count == 0:
        return []
    least = np.partition(logits, -count)[-count]
    found = np.flatnonzero(logits >= least)
    return [int(token) for token in found[np.argsort(-logits[found], kind="stable")][:count]]
