"""Which token comes next?

A chain of llama.cpp's samplers for each sequence, in the order of llama.cpp's own tools: penalties, top_k, top_p,
min_p, temperature, draw. The guide of a constraint is asked about what they draw. Nothing is shared between sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import InvalidGrammarError
from golek_wire.requests import Params
from golek_worker.engine.base import Constraint
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.constraints import Guide, guide
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.model import Model

PENALTY_LAST_N = 64
"""Recent tokens, the prompt's included, that the penalties look at."""
LLAMA_SEEDS = 2**32 - 1
"""Seeds are smaller than this; llama.cpp takes this one as the wish for a random seed."""


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
    ) -> None:
        """`written` are the tokens of the answer that are there already.

        Raises UnknownGrammarError, InvalidGrammarError, BadRequestError when the grammar does not allow `written`.
        """
        self._guide: Guide | None = None
        self._n_vocab = model.n_vocab
        if constraint is not None:
            self._guide = guide(model, constraint, written)
            self._candidates = Candidates(model.n_vocab)
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        if params.ignore_eos and self._guide is None:
            self._add(_without(model, model.ends))
        if params.repeat_penalty != 1.0 or params.frequency_penalty or params.presence_penalty:
            self._add(_penalties(model, params, [*prompt, *written][-PENALTY_LAST_N:]))
        if params.temperature <= 0.0:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        if params.top_k > 0:
            self._add(llama_cpp.llama_sampler_init_top_k(params.top_k))
        if params.top_p < 1.0:
            self._add(llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
        if params.min_p > 0.0:
            self._add(llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(params.temperature))
        self._add(llama_cpp.llama_sampler_init_dist(seed_after(seed, len(written))))

    def sample(self, context: Context, row: int) -> int:
        """The token after the one computed in `row`. Raises InvalidGrammarError when the constraint allows none."""
        if self._guide is None:
            return int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        token = self._guided(self._guide, np.ctypeslib.as_array(context.logits(row), (self._n_vocab,)))
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def _guided(self, guide: Guide, logits: NDArray[np.float32]) -> int:
        """What the chain draws, where the guide allows it; else what it draws among those that the guide allows.

        llama.cpp would abort the process when none is allowed, so that is looked at first.
        """
        candidates = self._candidates
        candidates.fill(logits)
        candidates.pass_through(self._chain)
        token = candidates.drawn
        if not guide.allows(token):
            candidates.fill(logits)
            guide.apply(candidates)
            if not np.isfinite(candidates.logits).any():
                raise InvalidGrammarError(
                    "The grammar allows none of this model's tokens here; it asks for characters the model cannot "
                    "write",
                    param=guide.param,
                )
            candidates.pass_through(self._chain)
            token = candidates.drawn
        guide.accept(token)
        return token

    def close(self) -> None:
        """Free the chain."""
        llama_cpp.llama_sampler_free(self._chain)
        if self._guide is not None:
            self._guide.close()

    def _add(self, sampler: llama_cpp.llama_sampler_p) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)


def seed_after(seed: int, written: int) -> int:
    """The seed of the draws behind `written` tokens: the first draws again would favour the first words again."""
    return (seed + 0x9E3779B1 * written) % LLAMA_SEEDS


def _without(model: Model, tokens: frozenset[int]) -> llama_cpp.llama_sampler_p:
    """A sampler that never draws `tokens`."""
    biases = (llama_cpp.llama_logit_bias * len(tokens))(
        *[llama_cpp.llama_logit_bias(token=token, bias=float("-inf")) for token in sorted(tokens)]
    )
    sampler: llama_cpp.llama_sampler_p = llama_cpp.llama_sampler_init_logit_bias(model.n_vocab, len(tokens), biases)
    return sampler


def _penalties(model: Model, params: Params, recent: Sequence[int]) -> llama_cpp.llama_sampler_p:
    """A sampler that makes repetition less likely, having seen `recent`."""
    sampler: llama_cpp.llama_sampler_p = llama_cpp.llama_sampler_init_penalties(
        model.n_vocab, PENALTY_LAST_N, params.repeat_penalty, params.frequency_penalty, params.presence_penalty
    )
    for token in recent:
        llama_cpp.llama_sampler_accept(sampler, token)
    return sampler
