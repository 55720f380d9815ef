"""Which token comes next?

A chain of llama.cpp's samplers for each sequence (chain.py) draws it. The guide of a constraint is asked about the one
token that was drawn; only where it refuses that, it is asked about all, and drawn again, as llama.cpp's own tools do.
Nothing is shared between sequences but a table that is filled anew for each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from golek_wire.drawing import check_tokens, seed_after
from golek_wire.errors import InvalidGrammarError
from golek_wire.requests import Params
from golek_worker.engine.base import Constraint
from golek_worker.engine.llamacpp import chain
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.constraints import Guide, guide
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.logprobs import LogitScores
from golek_worker.engine.llamacpp.model import Model

_tables: WeakKeyDictionary[Model, Candidates] = WeakKeyDictionary()


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(
        self,
        model: Model,
        params: Params,
        seed: int,
        prompt: Sequence[int],
        written: Sequence[int] = (),
        constraint: Constraint | None = None,
        scores: LogitScores | None = None,
        mark: str = "",
    ) -> None:
        """`written` are the tokens of the answer that are there already; `scores` hears of each token that is drawn;
        the constraint counts behind `mark`.

        Raises UnknownGrammarError, InvalidGrammarError, BadRequestError when the grammar does not allow `written`, or
        for a token that does not exist.
        """
        check_tokens(params, model.n_vocab)
        self.ends = chain.ends(model, params)
        """Tokens that end the text and are not part of it."""
        biases = chain.biases(model, params, ignore_eos=params.ignore_eos and constraint is None)
        self._guide: Guide | None = None
        self._n_vocab = model.n_vocab
        if constraint is not None:
            self._guide = guide(model, constraint, written, mark)
            self._candidates = _table(model)
            self._forbidden = [token for token, bias in biases.items() if bias == -np.inf]
        self._chain = chain.build(model, params, biases, seed_after(seed, len(written)), [*prompt, *written])
        self.scores = scores

    def sample(self, context: Context, row: int) -> int:
        """The token after the one computed in `row`. Raises InvalidGrammarError when the constraint allows none."""
        if self._guide is None and self._chain is not None and self.scores is None:
            return int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        logits = np.ctypeslib.as_array(context.logits(row), (self._n_vocab,))
        if self._guide is not None:
            token = self._guided(self._guide, logits)
        elif self._chain is not None:
            token = int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        else:
            token = int(logits.argmax())
        if self.scores is not None and token not in self.ends:
            self.scores.add(logits, token)
        return token

    def close(self) -> None:
        """Free what llama.cpp holds for it."""
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
        if self._guide is not None:
            self._guide.close()

    def _guided(self, guide: Guide, logits: NDArray[np.float32]) -> int:
        """What is drawn, where the guide allows it; else what is drawn among those that the guide allows.

        llama.cpp would abort the process for a token that its grammar does not allow, so that is looked at before.
        """
        token = self._drawn(logits, None)
        if not guide.allows(token):
            token = self._drawn(logits, guide)
        guide.accept(token)
        if self._chain is not None:
            llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def _drawn(self, logits: NDArray[np.float32], guide: Guide | None) -> int:
        """What is drawn among the tokens that `guide` allows, or among all."""
        if guide is None and self._chain is None:
            return int(logits.argmax())
        candidates = self._candidates
        candidates.fill(logits)
        if guide is not None:
            guide.apply(candidates)
            candidates.logits[self._forbidden] = -np.inf
            if not candidates.drop_forbidden():
                raise InvalidGrammarError(self._dead_end(), param=guide.param)
        if self._chain is None:
            return candidates.likeliest
        candidates.pass_through(self._chain)
        return candidates.drawn

    def _dead_end(self) -> str:
        if self._forbidden:
            return "logit_bias forbids all of this model's tokens that the grammar allows here"
        return "The grammar allows none of this model's tokens here; it asks for characters the model cannot write"


def _table(model: Model) -> Candidates:
    """The one of all sequences: among 262,000 tokens it takes 6 MB, and many may wait."""
    found = _tables.get(model)
    if found is None:
        found = _tables[model] = Candidates(model.n_vocab)
    return found
