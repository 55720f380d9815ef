"""Which tokens may come next, as llama.cpp's samplers read and change them?

One table of all tokens with their logits, filled anew for each draw: samplers sort it, cut it and choose from it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

_COLUMNS = 3
"""Of llama_token_data, 32 bits each: the token's number, its logit, its probability."""


class Candidates:
    """A `llama_token_data_array` over memory of its own.

    The memory is seen as plain numbers: numpy copies records 20 times slower.
    """

    def __init__(self, n_vocab: int) -> None:
        self._fresh = np.zeros((n_vocab, _COLUMNS), np.int32)
        self._fresh[:, 0] = np.arange(n_vocab)
        self._rows = self._fresh.copy()
        self.logits: NDArray[np.float32] = self._rows.view(np.float32)[:, 1]
        """By token, until a chain was applied, which may sort them; what is -inf is not to be drawn."""
        self._data = self._rows.ctypes.data_as(llama_cpp.llama_token_data_p)
        self._array: Any = llama_cpp.llama_token_data_array(data=self._data, size=n_vocab, selected=-1, sorted=False)
        self._reference = ctypes.byref(self._array)

    def fill(self, logits: NDArray[np.float32]) -> None:
        """All tokens, with these logits."""
        self._rows[:] = self._fresh
        self.logits[:] = logits
        array = self._array
        array.data, array.size, array.selected, array.sorted = self._data, len(logits), -1, False

    def drop_forbidden(self) -> int:
        """Leave only the rows that may be drawn; how many.

        llama.cpp's typical_p and Mirostat take the logarithm of each row's probability, and that of 0 is no number.
        """
        allowed = np.flatnonzero(self.logits != -np.inf)
        self._rows[: len(allowed)] = self._rows[allowed]
        self._array.size = len(allowed)
        return len(allowed)

    def pass_through(self, sampler: llama_cpp.llama_sampler_p) -> None:
        """Let `sampler`, or a chain, do its work on them."""
        llama_cpp.llama_sampler_apply(sampler, self._reference)

    @property
    def drawn(self) -> int:
        """The token that a sampler chose."""
        return int(self._array.data[self._array.selected].id)

    @property
    def likeliest(self) -> int:
        """The token with the largest logit, the first one of several."""
        return int(self._rows[self.logits[: self._array.size].argmax(), 0])
