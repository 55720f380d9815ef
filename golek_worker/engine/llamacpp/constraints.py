"""Which tokens continue a text as its constraint says?

A `Guide` knows how far one sequence has come in its constraint. Drawing asks it about the one token that was drawn, and
only where that is refused about all of them (sampling.py).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from time import thread_time
from typing import Any, Protocol

import llama_cpp
import numpy as np

from golek_wire.errors import BadRequestError, InferenceServiceError, InvalidGrammarError, UnknownGrammarError
from golek_worker.engine.base import Constraint
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.behind import Behind
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.guidance import Guidance
from golek_worker.engine.llamacpp.model import Model

AMBIGUOUS_S = 0.25
"""Seconds in which a GBNF grammar must go on behind a token. It takes microseconds, but where the readings of a grammar
double with each character: then the next character takes three times as long, and all sequences wait."""
_has_root = re.compile(r"^\s*root\s*::=", re.MULTILINE).search


class Guide(Protocol):
    """A constraint being followed by one sequence.

    An end of text is a token like others: it is allowed only where the constraint is complete. That makes `ignore_eos`
    meaningless beside it: past its end no token is allowed but the end.
    """

    param: str
    """The request's field that it comes from, for errors."""

    def allows(self, token: int) -> bool:
        """True when `token` may come next."""
        ...

    def apply(self, candidates: Candidates) -> None:
        """Give all tokens that may not come next the logit -inf."""
        ...

    def accept(self, token: int) -> None:
        """Go on behind `token`, which must be allowed.

        Raises InvalidGrammarError, as `apply`, for a constraint that has become too much to follow.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def guide(model: Model, constraint: Constraint, written: Sequence[int] = (), mark: str = "") -> Guide:
    """A guide that stands behind the tokens `written`; with `mark` it counts behind that.

    Raises UnknownGrammarError, InvalidGrammarError, BadRequestError when the constraint does not allow `written`.
    """
    found: Guide = _Gbnf(model, constraint) if constraint.kind == "gbnf" else Guidance(model, constraint)
    try:
        _follow(found, written)
    except InferenceServiceError:
        found.close()
        raise
    return Behind(found, model, mark) if mark else found


def _follow(guide: Guide, written: Sequence[int]) -> None:
    """Let `guide` go on behind the tokens `written`. Raises InvalidGrammarError, BadRequestError."""
    for i, token in enumerate(written):
        if not guide.allows(token):
            raise BadRequestError(
                f"resume.text: the grammar does not allow it, from token {i + 1} of {len(written)} on",
                param="resume.text",
            )
        guide.accept(token)


class _Gbnf:
    """llama.cpp's own grammars."""

    def __init__(self, model: Model, constraint: Constraint) -> None:
        self.param = constraint.param
        self._sampler = _sampler(model, constraint.text, constraint.param)
        self._one: Any = llama_cpp.llama_token_data()
        self._only = llama_cpp.llama_token_data_array(data=ctypes.pointer(self._one), size=1, selected=-1, sorted=False)
        self._reference = ctypes.byref(self._only)

    def allows(self, token: int) -> bool:
        self._one.id, self._one.logit = token, 0.0
        llama_cpp.llama_sampler_apply(self._sampler, self._reference)
        return bool(np.isfinite(self._one.logit))

    def apply(self, candidates: Candidates) -> None:
        candidates.pass_through(self._sampler)

    def accept(self, token: int) -> None:
        start = thread_time()
        # For a token that is not allowed llama.cpp aborts the process.
        llama_cpp.llama_sampler_accept(self._sampler, token)
        took_s = thread_time() - start
        if took_s > AMBIGUOUS_S:
            raise InvalidGrammarError(
                f"{self.param}: the grammar can be read in too many ways here: a token took {took_s:.1f} s (limit "
                f"{AMBIGUOUS_S} s). Let alternatives begin differently, or use a regex or a JSON schema.",
                param=self.param,
            )

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)


def _sampler(model: Model, text: str, param: str) -> llama_cpp.llama_sampler_p:
    """llama.cpp's sampler for a grammar."""
    if "::=" not in text:
        raise UnknownGrammarError(
            f"No grammar is stored under the name {text[:64]!r}; a grammar itself has rules with `::=`", param=param
        )
    if not _has_root(text):
        raise InvalidGrammarError("The grammar has no rule `root ::= …`", param=param)
    if "\0" in text:
        raise InvalidGrammarError("The grammar has a NUL character", param=param)
    sampler: llama_cpp.llama_sampler_p = llama_cpp.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
    if not sampler:  # a null pointer
        why = log.take_error() or "llama.cpp's parser refuses it"
        raise InvalidGrammarError(f"The grammar does not parse as GBNF: {why}", param=param)
    return sampler
