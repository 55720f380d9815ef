"""What can this model really do?

Asked of the loaded model before the engine says that it is ready: a file may promise what its weights or its
vocabulary do not hold.
"""

import numpy as np

from golek_wire.errors import InferenceServiceError
from golek_wire.requests import Params
from golek_worker.engine.base import Constraint, EngineLoadError
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler

_ANSWERS = (b"yes", b"no")
_GRAMMAR = Constraint("gbnf", 'root ::= "yes" | "no"')


def capabilities(model: Model, context: Context) -> list[str]:
    """`text-generation`, and `grammar-constrained` when a grammar can be followed. Uses the empty slot 0.

    Raises EngineLoadError when the model computes no token.
    """
    token = max(model.bos, 0)
    try:
        context.decode([token], [0], [0], [True])
        logits = np.ctypeslib.as_array(context.logits(0), (model.n_vocab,))
        if np.isnan(logits).any():
            raise EngineLoadError(f"{model.path}: what it computes is no number (NaN). The file may be damaged.")
        _sample(model, context)
        follows = _follows_a_grammar(model, context)
    except (RuntimeError, InferenceServiceError) as error:
        raise EngineLoadError(f"{model.path}: it does not compute a token: {error}") from None
    context.forget(0)
    return ["text-generation", *(["grammar-constrained"] if follows else [])]


def _follows_a_grammar(model: Model, context: Context) -> bool:
    try:
        token = _sample(model, context, _GRAMMAR)
    except InferenceServiceError:
        return False
    piece = model.piece(token)
    return piece != b"" and any(answer.startswith(piece) for answer in _ANSWERS)


def _sample(model: Model, context: Context, constraint: Constraint | None = None) -> int:
    sampler = Sampler(model, Params(temperature=0.0), 0, [], constraint=constraint)
    try:
        return sampler.sample(context, 0)
    finally:
        sampler.close()
