"""How do the tokens of several texts become one row of numbers each?

All tokens of all texts are one batch, each text a sequence of its own; llama.cpp pools what it computed of a sequence
as the file says. Nothing is remembered from one batch to the next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from golek_worker.engine.base import EngineLoadError
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.batches import TEXTS
from golek_worker.engine.llamacpp.context import Batch
from golek_worker.engine.llamacpp.model import Model
from golek_worker.gguf import NO_POOLING

LONG = 1024
"""A batch of more tokens may take longer than the second after which the parent wants to hear something."""
_ROUND = 256
"""llama.cpp ends the process over a capacity that is no multiple of TEXTS, and rounds contexts to this."""
_silent = llama_cpp.ggml_abort_callback()


class PoolingContext:
    """Computes batches of at most `TEXTS` texts and `capacity` tokens."""

    def __init__(self, model: Model, capacity: int, threads: int) -> None:
        """`capacity` is also the length of the longest text.

        Raises EngineLoadError when the model makes no vectors or memory does not suffice.
        """
        capacity = -(-capacity // _ROUND) * _ROUND
        params = llama_cpp.llama_context_default_params()
        params.embeddings = True
        params.pooling_type = _pooling(model)
        # A text cannot be cut where tokens see what follows them.
        params.n_ctx = params.n_batch = params.n_ubatch = capacity
        params.n_seq_max = TEXTS
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = threads
        # Without flash attention each token is multiplied with those of all other texts as well.
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.no_perf = True
        with log.of_whole_batches():
            context: llama_cpp.llama_context_p | None = llama_cpp.llama_init_from_model(model.handle, params)
        if context is None:
            raise EngineLoadError(
                f"llama.cpp cannot make a context for texts of {capacity} tokens: "
                f"{log.take_error() or 'it gave no reason'}. Set a smaller CTX_SIZE."
            )
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self.has_cache = self._memory is not None
        """True for a model whose tokens see only what precedes them; its cache is as large as a batch."""
        self._batch = Batch(capacity)
        ranks = model.header.ranks
        self.width: int = (llama_cpp.llama_model_n_cls_out if ranks else llama_cpp.llama_model_n_embd_out)(model.handle)
        """Numbers of a row: of a vector, or those of the classifier."""

    def vectors(
        self, texts: list[list[int]], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """One row for each text, given as tokens; not normalised.

        `progress` is called with (0, tokens) again and again while a long batch is computed on a CPU.
        """
        tokens = [token for text in texts for token in text]
        positions = [position for text in texts for position in range(len(text))]
        sequences = [sequence for sequence, text in enumerate(texts) for _ in text]
        if self._memory is not None:
            llama_cpp.llama_memory_clear(self._memory, False)
        batch = self._batch.fill(tokens, positions, sequences, [True] * len(tokens))
        if progress is not None and len(tokens) > LONG:
            callback = _abort_callback(progress, len(tokens))
            llama_cpp.llama_set_abort_callback(self._context, callback, None)
        status = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_set_abort_callback(self._context, _silent, None)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status} for {len(tokens)} tokens: {log.take_error()}")
        return np.stack([self._row(sequence) for sequence in range(len(texts))])

    def close(self) -> None:
        """Free the context."""
        llama_cpp.llama_free(self._context)

    def _row(self, sequence: int) -> NDArray[np.float32]:
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, sequence)
        data = ctypes.string_at(pointer, self.width * ctypes.sizeof(ctypes.c_float))
        return np.frombuffer(data, np.float32)


def _abort_callback(progress: Callable[[int, int], None], tokens: int) -> Any:
    """What llama.cpp asks after every operation, in the calling thread: never to abort."""

    @llama_cpp.ggml_abort_callback  # type: ignore[untyped-decorator]  # a ctypes type
    def alive(_data: ctypes.c_void_p) -> bool:
        progress(0, tokens)
        return False

    return alive


def _pooling(model: Model) -> int:
    """What llama.cpp is told of pooling. Raises EngineLoadError for a model that does not turn a text into a vector."""
    header = model.header
    if llama_cpp.llama_model_has_encoder(model.handle) or not header.embeds:
        raise EngineLoadError(
            f"{model.path}: this {header.architecture} model makes no vectors (its file names no pooling). "
            "Set MODEL_PATH to an embedding model."
        )
    return int(llama_cpp.LLAMA_POOLING_TYPE_MEAN) if header.pooling == NO_POOLING else header.pooling
