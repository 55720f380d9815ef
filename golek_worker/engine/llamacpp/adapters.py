"""Which LoRA adapters are loaded, and which one does the next decode apply?

llama.cpp applies adapters to a whole context, so one decode computes sequences of one adapter only, or of none.
Changing what is applied makes it plan its graphs anew: 1 ms for a model of 4 layers, 5 ms for one of 30. So those who
use one adapter keep the engine for a turn of `TURN_S` before others have theirs.

A name is what new requests mean. An adapter whose name was taken away, or given to another file, is freed when the
last sequence that uses it has ended.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Hashable
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import llama_cpp
import numpy as np

from golek_wire.errors import AdapterNotFoundError
from golek_worker.engine import lora_file
from golek_worker.engine.adapters import not_loaded
from golek_worker.engine.base import AdapterChanged, LoadAdapter, UnloadAdapter
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.model import Model

TURN_S = 0.02
"""A step of most models takes longer: then each step is a turn. Of a small one it is many."""
PROBE_CELLS = 256


class AdapterError(Exception):
    """The file is no adapter for this model; the message names it and says why."""


class Adapter:
    """One loaded file at one scale."""

    def __init__(self, name: str, handle: Any, scale: float) -> None:
        self.name = name
        self.handle = handle
        self.scale = scale
        self.users = 0
        """Sequences that were admitted with it and have not ended."""
        self.retired = False
        """True when its name no longer means it."""


class HasAdapter(Protocol):
    """A sequence, as far as it matters here."""

    adapter: Adapter | None


class Adapters:
    """The adapters of one model, for one context."""

    def __init__(self, model: Model, context: llama_cpp.llama_context_p) -> None:
        self._model = model
        self._context = context
        self._named: dict[str, Adapter] = {}
        self._applied: Adapter | None = None
        self._in_use = 0
        """Sequences that have any of them."""
        self._turns = Turns()

    @property
    def names(self) -> list[str]:
        """What requests may name, sorted."""
        return sorted(self._named)

    def change(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or take away an adapter, and how that went; sequences that use the old one go on with it."""
        problem = None
        if isinstance(command, LoadAdapter):
            try:
                adapter = Adapter(command.name, self._load(Path(command.path)), command.scale)
                self._check(adapter, command.path)
            except AdapterError as error:
                problem = str(error)
            else:
                self._retire(self._named.pop(command.name, None))
                self._named[command.name] = adapter
        elif command.name in self._named:
            self._retire(self._named.pop(command.name))
        else:
            problem = not_loaded(command.name, self.names)
        return AdapterChanged(command.name, self.names, problem)

    def find(self, name: str) -> Adapter | None:
        """The adapter of this name; None for the base model, which has none. Raises AdapterNotFoundError."""
        if not name:
            return None
        adapter = self._named.get(name)
        if adapter is None:
            raise AdapterNotFoundError(not_loaded(name, self.names), param="adapter", loaded=self.names)
        return adapter

    def take(self, adapter: Adapter | None) -> Adapter | None:
        """A sequence begins that uses `adapter`, until it gives it back."""
        if adapter is not None:
            adapter.users += 1
            self._in_use += 1
        return adapter

    def give_back(self, adapter: Adapter | None) -> None:
        """A sequence has ended."""
        if adapter is not None:
            adapter.users -= 1
            self._in_use -= 1
            self._free_unused(adapter)

    def turn(self, sequences: Collection[HasAdapter]) -> Adapter | None:
        """The adapter that the next step is for, of those that these sequences have; it is applied."""
        adapter = None
        if self._in_use and sequences:
            adapter = self._turns.of(dict.fromkeys(sequence.adapter for sequence in sequences), monotonic())
        self.apply(adapter)
        return adapter

    def apply(self, adapter: Adapter | None) -> None:
        """Let the next decodes compute with `adapter`, or with the base model alone."""
        if adapter is not self._applied:
            self._applied = adapter
            log.hush_plans()
            _set(self._context, adapter)

    def close(self) -> None:
        """Free them all; the context is still there."""
        for name in self.names:
            adapter = self._named.pop(name)
            adapter.users = 0
            self._retire(adapter)

    def _load(self, path: Path) -> Any:
        """llama.cpp's adapter. Raises AdapterError."""
        wrong = lora_file.problem(path, self._model.header.architecture)
        if wrong is not None:
            raise AdapterError(wrong)
        log.take_error()
        handle = llama_cpp.llama_adapter_lora_init(self._model.handle, str(path).encode())
        if not handle:
            why = log.take_error().rpartition("failed to apply lora adapter: ")[2] or "llama.cpp gave no reason"
            raise AdapterError(f"{path}: no adapter for this model: {why}")
        if llama_cpp.llama_adapter_get_alora_n_invocation_tokens(handle):
            llama_cpp.llama_adapter_lora_free(handle)
            raise AdapterError(f"{path}: an aLoRA, which applies from certain tokens on only; it is not supported")
        return handle

    def _check(self, adapter: Adapter, path: str) -> None:
        """Compute a token with it, in a context of its own. Raises AdapterError; then it is freed."""
        context = _small_context(self._model, llama_cpp.llama_n_threads(self._context))
        if context is None:
            llama_cpp.llama_adapter_lora_free(adapter.handle)
            raise AdapterError(f"{path}: no memory to try it: {log.take_error()}")
        _set(context, adapter)
        token = (ctypes.c_int32 * 1)(max(self._model.bos, 0))
        status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(token, 1))
        finite = False
        if status == 0:
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, 0), (self._model.n_vocab,))
            finite = bool(np.isfinite(logits).all())
        llama_cpp.llama_free(context)
        if not finite:
            llama_cpp.llama_adapter_lora_free(adapter.handle)
            raise AdapterError(f"{path}: with it the model computes no numbers (NaN). The file may be damaged.")

    def _retire(self, adapter: Adapter | None) -> None:
        if adapter is not None:
            adapter.retired = True
            self._free_unused(adapter)

    def _free_unused(self, adapter: Adapter) -> None:
        if adapter.users or not adapter.retired:
            return
        if adapter is self._applied:
            # The context would take a later adapter at the same address for this one.
            self.apply(None)
        llama_cpp.llama_adapter_lora_free(adapter.handle)


class Turns:
    """Whose turn is it, of groups that cannot be computed together? Pure."""

    def __init__(self, turn_s: float = TURN_S) -> None:
        self._turn_s = turn_s
        self._order: list[Hashable] = []
        """Groups that were there last time; the first has the turn."""
        self._until = 0.0

    def of(self, groups: Collection[Hashable], now: float) -> Any:
        """One of the `groups`, at the time `now`: the one that has the turn, or the one that waited longest."""
        order = [group for group in self._order if group in groups]
        kept = bool(order) and order[0] is self._order[0]
        order += [group for group in groups if group not in order]
        if kept and now >= self._until and len(order) > 1:
            order.append(order.pop(0))
            kept = False
        if not kept:
            self._until = now + self._turn_s
        self._order = order
        return order[0]


def _small_context(model: Model, threads: int) -> llama_cpp.llama_context_p | None:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = PROBE_CELLS
    params.n_batch = params.n_ubatch = 1
    params.n_seq_max = 1
    params.n_threads = params.n_threads_batch = threads
    params.no_perf = True
    context: llama_cpp.llama_context_p | None = llama_cpp.llama_init_from_model(model.handle, params)
    return context


def _set(context: llama_cpp.llama_context_p, adapter: Adapter | None) -> None:
    """Apply `adapter` and nothing else."""
    if adapter is None:
        llama_cpp.llama_set_adapters_lora(context, None, 0, None)
        return
    handles = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter.handle)
    scales = (ctypes.c_float * 1)(adapter.scale)
    llama_cpp.llama_set_adapters_lora(context, handles, 1, scales)
