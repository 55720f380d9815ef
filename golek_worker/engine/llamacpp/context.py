"""How does llama.cpp compute tokens, and what does it remember of them?

One context holds the cache of all slots. Each slot has its own part of it, as large as one sequence may grow: who is
admitted can finish, and no sequence computes over the cells of another.
"""

from __future__ import annotations

import ctypes
from time import monotonic
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from golek_worker.engine.base import EngineLoadError
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.memory import ROUND
from golek_worker.engine.llamacpp.model import Model


class Context:
    """The cache of `slots` sequences of at most `ctx_size` tokens."""

    def __init__(self, model: Model, slots: int, ctx_size: int, threads: int, batch_size: int) -> None:
        """`batch_size` is the most rows of one `decode`. Raises EngineLoadError when memory does not suffice."""
        self._model = model
        self.cells = cells = -(-ctx_size // ROUND) * ROUND
        """Of each slot; one holds one token."""
        self.decode_s = 0.0
        """Seconds that llama.cpp computed batches."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = cells * slots
        params.n_seq_max = slots
        params.n_batch = params.n_ubatch = batch_size
        params.n_outputs_max = slots
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.no_perf = True
        context: llama_cpp.llama_context_p | None = llama_cpp.llama_init_from_model(model.handle, params)
        if context is None:
            raise EngineLoadError(
                f"llama.cpp cannot make a context of {ctx_size} tokens for each of {slots} slots: "
                f"{log.take_error() or 'it gave no reason'}. Set a smaller CTX_SIZE or WORKER_CONCURRENCY."
            )
        self._context = context
        self._memory = llama_cpp.llama_get_memory(self._context)
        if self._memory is None or llama_cpp.llama_model_has_encoder(model.handle):
            raise EngineLoadError(
                f"{model.path}: a {model.info.architecture} model does not continue text (it embeds or translates). "
                "Set MODEL_PATH to a model that does."
            )
        self._batch = Batch(batch_size)

    @property
    def handle(self) -> llama_cpp.llama_context_p:
        """llama.cpp's context."""
        return self._context

    def decode(self, tokens: list[int], positions: list[int], slots: list[int], outputs: list[bool]) -> float:
        """Compute one batch: token i at `positions[i]` of the sequence in `slots[i]`, giving logits where asked.

        Returns the seconds it took.
        """
        return self._compute(self._batch.fill(tokens, positions, slots, outputs))

    def _compute(self, batch: llama_cpp.llama_batch) -> float:
        start = monotonic()
        status = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_synchronize(self._context)
        took_s = monotonic() - start
        self.decode_s += took_s
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status} for {batch.n_tokens} tokens: {log.take_error()}")
        return took_s

    def see(self, rows: NDArray[np.float32], positions: list[int], slot: int, *, gives: bool, is_whole: bool) -> float:
        """Compute rows of an image in `slot`, giving logits of the last one where asked; `is_whole`: each sees all.

        Returns the seconds it took.
        """
        batch = self._batch.fill_rows(rows, positions, slot, gives=gives)
        if is_whole:
            llama_cpp.llama_set_causal_attn(self._context, False)
        try:
            return self._compute(batch)
        finally:
            if is_whole:
                llama_cpp.llama_set_causal_attn(self._context, True)

    def logits(self, row: int) -> ctypes._Pointer[ctypes.c_float]:
        """The logits of the last batch's row `row`, one for each token of the vocabulary."""
        return llama_cpp.llama_get_logits_ith(self._context, row)  # type: ignore[no-any-return]

    def forget(self, slot: int, start: int = 0) -> bool:
        """Remove what `slot` holds from position `start` on. False when this kind of memory cannot."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, slot, start, -1))

    def copy(self, source: int, target: int) -> None:
        """Let `target` hold what `source` holds; done when the next batch is computed."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def held(self, slot: int) -> tuple[int, int]:
        """First and last position that `slot` holds; (-1, -1) when it holds nothing."""
        memory = self._memory
        return llama_cpp.llama_memory_seq_pos_min(memory, slot), llama_cpp.llama_memory_seq_pos_max(memory, slot)

    def can_cut(self) -> bool:
        """True when the end of what slot 0 holds can be removed, and the rest stays; tried. It also warms up.

        False for recurrent models: their memory is one state for all tokens.
        """
        token = max(self._model.bos, 0)
        self.decode([token] * 3, [0, 1, 2], [0] * 3, [False] * 2 + [True])
        can = self.forget(0, 1) and self.held(0) == (0, 0)
        self.forget(0)
        return can

    def close(self) -> None:
        """Free the cache."""
        llama_cpp.llama_free(self._context)


class Batch:
    """Arrays that llama_decode reads, allocated once."""

    def __init__(self, capacity: int) -> None:
        self._tokens: Any = (ctypes.c_int32 * capacity)()
        self._positions: Any = (ctypes.c_int32 * capacity)()
        self._slots: Any = (ctypes.c_int32 * capacity)()
        self._outputs: Any = (ctypes.c_int8 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)
        pointer = ctypes.POINTER(ctypes.c_int32)
        start, size = ctypes.addressof(self._slots), ctypes.sizeof(ctypes.c_int32)
        self._slot_pointers = (pointer * capacity)(
            *[ctypes.cast(start + i * size, pointer) for i in range(capacity)],
        )
        self._struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=ctypes.cast(self._tokens, pointer),
            embd=None,
            pos=ctypes.cast(self._positions, pointer),
            n_seq_id=ctypes.cast(self._counts, pointer),
            seq_id=ctypes.cast(self._slot_pointers, ctypes.POINTER(pointer)),
            logits=ctypes.cast(self._outputs, ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(
        self, tokens: list[int], positions: list[int], slots: list[int], outputs: list[bool]
    ) -> llama_cpp.llama_batch:
        """The batch with these rows; valid until the next call."""
        n = self._struct.n_tokens = len(tokens)
        self._tokens[:n] = tokens
        self._positions[:n] = positions
        self._slots[:n] = slots
        self._outputs[:n] = outputs
        return self._struct

    def fill_rows(
        self, rows: NDArray[np.float32], positions: list[int], slot: int, *, gives: bool
    ) -> llama_cpp.llama_batch:
        """A batch of these rows instead of tokens; valid until the next call. A row may have several positions."""
        n = len(rows)
        self._rows, self._row_positions = np.ascontiguousarray(rows), (ctypes.c_int32 * len(positions))(*positions)
        self._slots[:n] = [slot] * n
        self._outputs[:n] = [False] * (n - 1) + [gives]
        return llama_cpp.llama_batch(
            n_tokens=n,
            token=None,
            embd=self._rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=ctypes.cast(self._row_positions, ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._struct.n_seq_id,
            seq_id=self._struct.seq_id,
            logits=self._struct.logits,
        )
