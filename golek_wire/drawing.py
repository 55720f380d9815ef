"""Which wishes for a draw exclude each other, or cannot be?

The rules of `Params` that a type cannot say, for the client before it sends a request and for whoever receives one.
"""

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Params

BIAS_LIMIT = 100
"""As in OpenAI's API."""
FORBIDDING = -100.0
"""A bias that forbids its token, as OpenAI's API says."""
SEEDS = 2**32 - 1
"""Seeds are smaller than this; llama.cpp takes this one as the wish for a random seed."""
BREAKER_BYTES = 40
"""llama.cpp would cut off the rest of a longer DRY breaker."""


def check(request: InferenceRequest) -> None:
    """Raise BadRequestError, which names the field."""
    params = request.params
    if params.best_of is not None:
        _check_best_of(params, streamed=request.stream)
    if params.top_logprobs and not params.logprobs:
        raise _refused("top_logprobs", "goes with `logprobs: true`")
    if request.resume is not None:
        _check_resumed(params)
    for key, bias in params.logit_bias.items():
        if not (key.isascii() and key.isdigit()):
            raise _refused("logit_bias", f"its keys are numbers of tokens; got {key[:32]!r}")
        if not -BIAS_LIMIT <= bias <= BIAS_LIMIT:
            raise _refused("logit_bias", f"{-BIAS_LIMIT} to {BIAS_LIMIT}; token {key[:32]} has {bias:g}")
    for breaker in params.dry_sequence_breakers or ():
        size = len(breaker.encode())
        if not 0 < size <= BREAKER_BYTES or "\0" in breaker:
            raise _refused(
                "dry_sequence_breakers",
                f"a breaker has 1 to {BREAKER_BYTES} bytes and no NUL; got {size} ({breaker[:32]!r})",
            )


def check_tokens(params: Params, vocab_size: int) -> None:
    """Raise BadRequestError for a number that no token of a vocabulary of this size has."""
    for key in params.logit_bias:
        _check_token("logit_bias", int(key), vocab_size)
    for token in params.stop_token_ids:
        _check_token("stop_token_ids", token, vocab_size)


def seed_after(seed: int, written: int) -> int:
    """The seed of the draws behind `written` tokens: the first draws again would favour the first words again."""
    return (seed + 0x9E3779B1 * written) % SEEDS


def _check_token(name: str, token: int, vocab_size: int) -> None:
    if token >= vocab_size:
        raise BadRequestError(
            f"params.{name}: there is no token {token}; this model has {vocab_size}, counted from 0",
            param=f"params.{name}",
            limit=vocab_size - 1,
        )


def _check_best_of(params: Params, *, streamed: bool) -> None:
    best_of = params.best_of or 1
    if best_of < params.n:
        raise _refused("best_of", f"of {best_of} texts there cannot be given {params.n} (params.n); ask for more")
    if best_of > params.n and streamed:
        raise _refused(
            "best_of", "which texts are the best is known when all have ended; ask without `stream`, or for `n` alone"
        )


def _check_resumed(params: Params) -> None:
    """One text can be gone on with, and only by its text: the tokens it was written in are not known."""
    if params.n > 1 or (params.best_of or 1) > 1:
        raise BadRequestError(
            "resume: goes on with one text; with params.n or params.best_of above 1 ask anew", param="resume"
        )
    if params.logprobs:
        raise BadRequestError(
            "resume: the log-probabilities of what was written before are not known; ask without params.logprobs, or "
            "anew",
            param="resume",
        )


def _refused(name: str, problem: str) -> BadRequestError:
    return BadRequestError(f"params.{name}: {problem}", param=f"params.{name}")
