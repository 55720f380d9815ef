"""Which samplers does a request ask for, and in which order do they work?

llama.cpp's own, in the order of its tools (common_sampler_init): biases, repetition penalties, DRY, top_n_sigma, top_k,
typical_p, top_p, min_p, XTC, temperature, draw. Mirostat takes the place of what stands between DRY and the
temperature, and draws itself. At temperature 0 the largest logit behind biases and penalties is taken.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from golek_wire.drawing import FORBIDDING
from golek_wire.errors import BadRequestError
from golek_wire.requests import Params
from golek_worker.engine.llamacpp.model import Model

BREAKERS = ["\n", ":", '"', "*"]
"""Of DRY, where the request names none: llama.cpp's."""
_COLDEST = 1e-30
"""Below this temperature, logits divided by it leave the range of 32-bit numbers; the largest one is drawn anyway."""
_NEVER = 1e-30
"""A share below which a token is dropped before typical_p, which takes the logarithm of each probability: one 0 among
them, that of a forbidden token, would make it leave what top_p would."""
_MIROSTAT_M = 100
"""Tokens from which Mirostat 1 estimates how the vocabulary is distributed: llama.cpp's own number."""
_MINUS_INFINITY = float("-inf")


def biases(model: Model, params: Params, *, ignore_eos: bool) -> dict[int, float]:
    """What is added to the logits of tokens, -inf where they may not be drawn.

    Raises BadRequestError when that is all of them.
    """
    found: dict[int, float] = {}
    for key, bias in params.logit_bias.items():
        found[int(key)] = _MINUS_INFINITY if bias <= FORBIDDING else bias
    silent = [*model.suppressed, *(model.ends if ignore_eos else ())]
    found |= dict.fromkeys(silent, _MINUS_INFINITY)
    if len(found) >= model.n_vocab and all(bias == _MINUS_INFINITY for bias in found.values()):
        raise BadRequestError(
            f"params.logit_bias: forbids all {model.n_vocab} tokens of this model", param="params.logit_bias"
        )
    return found


def ends(model: Model, params: Params) -> frozenset[int]:
    """The tokens that end the text."""
    return model.ends.union(params.stop_token_ids) if params.stop_token_ids else model.ends


def build(
    model: Model, params: Params, added: dict[int, float], seed: int, context: Sequence[int]
) -> llama_cpp.llama_sampler_p | None:
    """A chain that has seen the tokens of `context`; None where the largest of the model's own logits is taken.

    `added` are the biases.
    """
    samplers = _shaping(model, params, added, context)
    if params.temperature >= _COLDEST:
        samplers += _drawing(model, params, seed)
    elif samplers:
        samplers.append(llama_cpp.llama_sampler_init_greedy())
    else:
        return None
    whole: llama_cpp.llama_sampler_p = llama_cpp.llama_sampler_chain_init(
        llama_cpp.llama_sampler_chain_default_params()
    )
    for sampler in samplers:
        llama_cpp.llama_sampler_chain_add(whole, sampler)
    return whole


def _shaping(
    model: Model, params: Params, added: dict[int, float], context: Sequence[int]
) -> list[llama_cpp.llama_sampler_p]:
    """Those that change logits by what they are of, or by what was written."""
    found: list[llama_cpp.llama_sampler_p] = []
    if added:
        rows = [llama_cpp.llama_logit_bias(token=token, bias=bias) for token, bias in sorted(added.items())]
        array = (llama_cpp.llama_logit_bias * len(rows))(*rows)
        found.append(llama_cpp.llama_sampler_init_logit_bias(model.n_vocab, len(rows), array))
    last = _last(model, params.repeat_last_n)
    if last and _penalizes(params):
        repeat, frequency, presence = params.repeat_penalty, params.frequency_penalty, params.presence_penalty
        penalties = llama_cpp.llama_sampler_init_penalties(model.n_vocab, last, repeat, frequency, presence)
        found.append(_shown(penalties, context[-last:]))
    last = _last(model, params.dry_penalty_last_n)
    if last and params.dry_multiplier > 0.0:
        found.append(_shown(_dry(model, params, last), context[-last:]))
    return found


def _shown(sampler: llama_cpp.llama_sampler_p, tokens: Sequence[int]) -> llama_cpp.llama_sampler_p:
    """`sampler`, having seen `tokens`."""
    for token in tokens:
        llama_cpp.llama_sampler_accept(sampler, token)
    return sampler


def _drawing(model: Model, params: Params, seed: int) -> list[llama_cpp.llama_sampler_p]:
    """Those that leave tokens out, the temperature, and the draw."""
    temperature = llama_cpp.llama_sampler_init_temp(params.temperature)
    tau, eta = params.mirostat_tau, params.mirostat_eta
    if params.mirostat == 1:
        return [
            temperature,
            llama_cpp.llama_sampler_init_mirostat(model.n_vocab, seed, tau, eta, _MIROSTAT_M),
        ]
    if params.mirostat == 2:
        return [temperature, llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta)]
    found: list[llama_cpp.llama_sampler_p] = []
    if params.top_n_sigma > 0.0:
        found.append(llama_cpp.llama_sampler_init_top_n_sigma(params.top_n_sigma))
    if params.top_k > 0:
        found.append(llama_cpp.llama_sampler_init_top_k(params.top_k))
    if params.typical_p < 1.0:
        found.append(llama_cpp.llama_sampler_init_min_p(_NEVER, 0))
        found.append(llama_cpp.llama_sampler_init_typical(params.typical_p, 0))
    if params.top_p < 1.0:
        found.append(llama_cpp.llama_sampler_init_top_p(params.top_p, 0))
    if params.min_p > 0.0:
        found.append(llama_cpp.llama_sampler_init_min_p(params.min_p, 0))
    if params.xtc_probability > 0.0:
        found.append(llama_cpp.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 0, seed))
    return [*found, temperature, llama_cpp.llama_sampler_init_dist(seed)]


def _penalizes(params: Params) -> bool:
    return params.repeat_penalty != 1.0 or params.frequency_penalty != 0.0 or params.presence_penalty != 0.0


def _last(model: Model, wanted: int) -> int:
    """So many tokens back, -1 for all that a context can hold."""
    most: int = model.n_ctx_train
    return most if wanted < 0 else min(wanted, most)


def _dry(model: Model, params: Params, last: int) -> llama_cpp.llama_sampler_p:
    breakers = BREAKERS if params.dry_sequence_breakers is None else params.dry_sequence_breakers
    array: Any = (ctypes.c_char_p * len(breakers))(*[text.encode() for text in breakers])
    sampler: llama_cpp.llama_sampler_p = llama_cpp.llama_sampler_init_dry(
        model.vocab,
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        last,
        array,
        len(breakers),
    )
    return sampler
