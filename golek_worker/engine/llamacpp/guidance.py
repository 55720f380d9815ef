"""Which tokens continue a text as a schema, an expression or a Lark grammar says?

llguidance (https://github.com/guidance-ai/llguidance) follows it beside the model: a grammar is compiled in
milliseconds, asked about one token in a microsecond, and about all in some ten. What is compiled is kept, so that the
next request with the same schema only copies it.

llguidance reports what it cannot do instead of raising: a matcher that is in error never leaves it.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from weakref import WeakKeyDictionary

import llama_cpp
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from golek_worker.engine.base import Constraint
from golek_worker.engine.guided import compiled, refusal
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.model import Model

_LIMITS = LLParserLimits(verbose_errors=False)
"""llguidance's own: 20 ms of lexing for a grammar, 15 ms for a token, 2,000 places at once."""
_CONTROL = b"\xff"
_tokenizers: WeakKeyDictionary[Model, LLTokenizer] = WeakKeyDictionary()


class Guidance:
    """A constraint of llguidance's being followed by one sequence."""

    def __init__(self, model: Model, constraint: Constraint) -> None:
        """Raises InvalidGrammarError."""
        self.param = constraint.param
        self._ends = model.ends
        self._mask = np.zeros((model.n_vocab + 31) // 32, np.int32)
        self._n_vocab = model.n_vocab
        self._matcher = _compiled(vocabulary(model), constraint.kind, constraint.text, constraint.param).deep_copy()

    def allows(self, token: int) -> bool:
        if token in self._ends:
            return self._matcher.is_accepting()
        return self._matcher.validate_tokens([token]) == 1

    def apply(self, candidates: Candidates) -> None:
        """Raises InvalidGrammarError for a constraint that has become too much to follow."""
        if self._matcher.is_stopped() and not self._matcher.is_error():
            allowed = np.zeros(self._n_vocab, np.bool_)
        else:
            self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
            self._check()
            bits = np.unpackbits(self._mask.view(np.uint8), count=self._n_vocab, bitorder="little")
            allowed = bits.view(np.bool_)
        allowed[list(self._ends)] = self._matcher.is_accepting()
        candidates.logits[~allowed] = -np.inf

    def accept(self, token: int) -> None:
        """Raises InvalidGrammarError as `apply` does."""
        if token not in self._ends:
            self._matcher.consume_token(token)
            self._check()

    def close(self) -> None:
        """The matcher frees itself."""

    def _check(self) -> None:
        if self._matcher.is_error():
            raise refusal(self._matcher.get_error(), self.param)


def vocabulary(model: Model) -> LLTokenizer:
    """The model's vocabulary as llguidance takes it, read when it is asked for first: 4 µs per token, half of it in
    one call that lets no other thread run.
    """
    found = _tokenizers.get(model)
    if found is None:
        found = _tokenizers[model] = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]  # not in its stubs
            tokens=_pieces(model),
            vocab_ptr=model.vocab,
            tokenize_fptr=ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,
            eos_token=sorted(model.ends) or [llama_cpp.llama_vocab_eos(model.vocab)],
        )
    return found


def _pieces(model: Model) -> list[bytes]:
    """The bytes of each token; of a control token its name behind a byte that no text has, as llguidance wants it."""
    size = 4096
    buffer = ctypes.create_string_buffer(size)
    pieces = []
    for token in range(model.n_vocab):
        length = llama_cpp.llama_token_to_piece(model.vocab, token, buffer, size, 0, True)
        piece = ctypes.string_at(buffer, max(length, 0))
        attributes = llama_cpp.llama_vocab_get_attr(model.vocab, token)
        named = attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED and piece[:1] == b"<" and piece[-1:] == b">"
        control = attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        pieces.append(_CONTROL + piece if control or named else piece)
    return pieces


@lru_cache(maxsize=64)
def _compiled(tokenizer: LLTokenizer, kind: str, text: str, param: str) -> LLMatcher:
    """A matcher at the beginning of its text. Raises InvalidGrammarError."""
    matcher = LLMatcher(tokenizer, compiled(kind, text, param), log_level=0, limits=_LIMITS)
    if matcher.is_error():
        raise refusal(matcher.get_error(), param)
    return matcher
