"""Which token comes next?

A chain of llama.cpp's samplers for each sequence, in the order of llama.cpp's own tools: penalties, top_k, top_p,
min_p, temperature, draw. The grammar comes before them. Nothing is shared between sequences.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

import llama_cpp
import numpy as np

from golek_wire.errors import BadRequestError, InvalidGrammarError, UnknownGrammarError
from golek_wire.requests import Params
from golek_worker.engine.base import Constraint
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.model import Model

PENALTY_LAST_N = 64
"""Recent tokens, the prompt's included, that the penalties look at."""
LLAMA_SEEDS = 2**32 - 1
"""Seeds are smaller than this; llama.cpp takes this one as the wish for a random seed."""
_has_root = re.compile(r"^\s*root\s*::=", re.MULTILINE).search
_candidate = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


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
        self._grammar = _Grammar(model, constraint.text, written) if constraint is not None else None
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        if params.ignore_eos and self._grammar is None:
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
        """The token after the one computed in `row`. Raises InvalidGrammarError when the grammar allows none."""
        if self._grammar is None:
            return int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        return self._grammar.sample(self._chain, context.logits(row))

    def close(self) -> None:
        """Free the chain."""
        llama_cpp.llama_sampler_free(self._chain)
        if self._grammar is not None:
            self._grammar.close()

    def _add(self, sampler: llama_cpp.llama_sampler_p) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)


class _Grammar:
    """Allows only tokens that continue the text as the grammar says; an end of text only where it is complete.

    That makes `ignore_eos` meaningless beside it: past the grammar's end no token is allowed but the end.
    """

    def __init__(self, model: Model, text: str, written: Sequence[int]) -> None:
        if "::=" not in text:
            raise UnknownGrammarError(
                f"No grammar is stored under the name {text[:64]!r}; a grammar itself has rules with `::=`",
                param="params.grammar",
            )
        if not _has_root(text):
            raise InvalidGrammarError("The grammar has no rule `root ::= …`", param="params.grammar")
        if "\0" in text:
            raise InvalidGrammarError("The grammar has a NUL character", param="params.grammar")
        sampler = llama_cpp.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
        if not sampler:  # a null pointer
            why = log.take_error() or "llama.cpp's parser refuses it"
            raise InvalidGrammarError(f"The grammar does not parse as GBNF: {why}", param="params.grammar")
        self._sampler = sampler
        self._ids = np.arange(model.n_vocab, dtype=np.int32)
        self._candidates = np.empty(model.n_vocab, _candidate)
        self._follow(written)

    def _follow(self, written: Sequence[int]) -> None:
        """Take what is written. Each token is tried first: llama.cpp aborts the process for one that is not allowed."""
        one = np.zeros(1, _candidate)
        array = llama_cpp.llama_token_data_array(
            data=one.ctypes.data_as(llama_cpp.llama_token_data_p), size=1, selected=-1, sorted=False
        )
        for i, token in enumerate(written):
            one[0] = (token, 0.0, 0.0)
            llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
            if not np.isfinite(one["logit"][0]):
                self.close()
                raise BadRequestError(
                    f"resume.text: the grammar does not allow it, from token {i + 1} of {len(written)} on",
                    param="resume.text",
                )
            llama_cpp.llama_sampler_accept(self._sampler, token)

    def sample(self, chain: llama_cpp.llama_sampler_p, logits: ctypes._Pointer[ctypes.c_float]) -> int:
        """What `chain` draws among the allowed tokens.

        llama.cpp would abort the process when none is allowed, so that is looked at first.
        """
        candidates = self._candidates
        candidates["id"] = self._ids
        candidates["logit"] = np.ctypeslib.as_array(logits, self._ids.shape)
        candidates["p"] = 0.0
        pointer = candidates.ctypes.data_as(llama_cpp.llama_token_data_p)
        array = llama_cpp.llama_token_data_array(data=pointer, size=len(candidates), selected=-1, sorted=False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        if not np.isfinite(candidates["logit"]).any():
            raise InvalidGrammarError(
                "The grammar allows none of this model's tokens here; it asks for characters the model cannot write",
                param="params.grammar",
            )
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        llama_cpp.llama_sampler_accept(self._sampler, token)
        llama_cpp.llama_sampler_accept(chain, token)
        return token

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)


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
