"""How does vLLM draw as a request asks?

Wishes that it cannot do are refused by name: a text drawn otherwise than asked is wrong without anybody seeing it.
"""

from __future__ import annotations

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from golek_wire.drawing import FORBIDDING, check_tokens, seed_after
from golek_wire.errors import BadRequestError
from golek_wire.requests import Params

HOTTEST = 2.0
"""vLLM's limit."""
_NEVER = -1e9
"""Added to a logit: the token is not drawn."""
_USUAL = Params()
_UNKNOWN = {
    "typical_p": 1.0,
    "top_n_sigma": 0.0,
    "xtc_probability": 0.0,
    "dry_multiplier": 0.0,
    "mirostat": 0,
}
"""Samplers that vLLM has not, with the value that switches each off."""


def check(params: Params, vocab_size: int) -> None:
    """Raise BadRequestError, which names the field, for what vLLM cannot do."""
    check_tokens(params, vocab_size)
    for name, off in _UNKNOWN.items():
        if getattr(params, name) != off:
            raise _refused(name, f"vLLM has no such sampler; leave it out, or say {off:g}")
    if params.temperature > HOTTEST:
        raise _refused("temperature", f"vLLM takes at most {HOTTEST:g}, got {params.temperature:g}")
    if _penalizes(params) and params.repeat_last_n not in (-1, 0, _USUAL.repeat_last_n):
        raise _refused(
            "repeat_last_n",
            f"vLLM's penalties look at the whole text, not at the last {params.repeat_last_n} tokens; say -1",
        )
    forbidden = sum(bias <= FORBIDDING for bias in params.logit_bias.values())
    if forbidden >= vocab_size:
        raise _refused("logit_bias", f"forbids all {vocab_size} tokens of this model")


def sampling(
    params: Params, seed: int, written: int, max_tokens: int, structure: StructuredOutputsParams | None, *, ranked: bool
) -> SamplingParams:
    """What vLLM is told for a text that goes on behind `written` tokens; `ranked` wants log-probabilities.

    The text is made of the tokens here (`Writing`), so vLLM makes none, and looks for no stop strings.
    """
    off = params.repeat_last_n == 0
    greedy = params.top_p == 0.0
    return SamplingParams(
        temperature=0.0 if greedy else params.temperature,
        top_p=1.0 if greedy else params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        repetition_penalty=1.0 if off else params.repeat_penalty,
        frequency_penalty=0.0 if off else params.frequency_penalty,
        presence_penalty=0.0 if off else params.presence_penalty,
        logit_bias=_biases(params) or None,
        seed=seed_after(seed, written),
        stop_token_ids=params.stop_token_ids or None,
        ignore_eos=params.ignore_eos and structure is None,
        max_tokens=max_tokens,
        logprobs=params.top_logprobs if ranked else None,
        structured_outputs=structure,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _biases(params: Params) -> dict[int, float]:
    return {int(key): _NEVER if bias <= FORBIDDING else bias for key, bias in params.logit_bias.items()}


def _penalizes(params: Params) -> bool:
    return params.repeat_penalty != 1.0 or bool(params.frequency_penalty or params.presence_penalty)


def _refused(name: str, problem: str) -> BadRequestError:
    return BadRequestError(f"params.{name}: {problem}", param=f"params.{name}")
