"""How is a TFLite file computed?

The interpreter of `ai-edge-litert` does, on the CPU. Where the file leaves its first dimension open, or has it larger
than one, several rows are computed together; a last batch that is smaller is filled up.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golek_worker import tflite
from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.litert import TO_INSTALL
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.tflite import Tensor, TFLiteError

BATCH = 8
"""Rows of a step where the file leaves that open."""
Rows = NDArray[Any]


class Model:
    """One file, ready to be computed."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        """Raises EngineLoadError: no such file, no TFLite file, damaged, or with operators that the runtime lacks."""
        self.path = Path(config.model_path)
        progress(0, 1)
        self.told = _read(self.path)
        threads = thread_count(config.threads, usable_cores(), self.told.size_bytes)
        self._interpreter = _interpreter(self.path, threads)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.inputs = self.told.inputs
        self.outputs = self.told.outputs
        first = {tensor.shape[0] for tensor in self.inputs if tensor.shape}
        self._is_open = first == {-1}
        self.batch = BATCH if self._is_open else max(first, default=1)
        """Rows that are computed together."""
        progress(1, 1)

    def fail(self, why: str) -> EngineLoadError:
        """What to raise of a model that is not understood; it names what goes in and comes out."""
        shown = f"in: {', '.join(map(str, self.inputs))}; out: {', '.join(map(str, self.outputs))}"
        return EngineLoadError(f"{self.path}: {why}. It has {shown}")

    def compute(self, values: Sequence[Rows], output: int) -> Rows:
        """What output number `output` gives for each row of `values`, which has one entry for each input."""
        count = len(values[0])
        rows = count if self._is_open else self.batch
        resized = False
        for detail, value in zip(self._inputs, values, strict=True):
            shape = [rows, *value.shape[1:]]
            if list(detail["shape"]) != shape:
                self._interpreter.resize_tensor_input(detail["index"], shape)
                detail["shape"] = np.array(shape)
                resized = True
        if resized:
            self._interpreter.allocate_tensors()
        for detail, value in zip(self._inputs, values, strict=True):
            missing = rows - count
            whole = np.concatenate([value, np.repeat(value[-1:], missing, axis=0)]) if missing else value
            self._interpreter.set_tensor(detail["index"], whole.astype(detail["dtype"], copy=False))
        self._interpreter.invoke()
        detail = self._outputs[output]
        return _real(self._interpreter.get_tensor(detail["index"]), detail)[:count]

    def close(self) -> None:
        """Free the interpreter."""
        del self._interpreter


def only(tensors: list[Tensor], ranks: tuple[int, ...]) -> int | None:
    """The number of the only tensor with so many dimensions, the first of `ranks` that one has."""
    for rank in ranks:
        found = [i for i, tensor in enumerate(tensors) if len(tensor.shape) == rank]
        if len(found) == 1:
            return found[0]
    return None


def _read(path: Path) -> tflite.Model:
    if not path.is_file():
        raise EngineLoadError(f"{path}: no such file. Set MODEL_PATH to a .tflite file.")
    try:
        return tflite.read(path)
    except OSError as error:
        raise EngineLoadError(f"{path}: cannot be read: {error.strerror}") from None
    except TFLiteError as error:
        raise EngineLoadError(f"{path}: {error}. Set MODEL_PATH to a whole .tflite file.") from None


def _interpreter(path: Path, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EngineLoadError(f"ENGINE=litert: ai-edge-litert is not installed ({error}). {TO_INSTALL}") from None
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise EngineLoadError(
            f"{path}: LiteRT cannot load it: {error}. If it needs operators of its own, a model that has only "
            "TensorFlow Lite's built-in ones is wanted."
        ) from None
    return interpreter


def _real(values: Rows, detail: dict[str, Any]) -> Rows:
    """The numbers that quantized `values` stand for."""
    scale, zero = detail["quantization"]
    real = values.astype(np.float32)
    return np.asarray((real - zero) * scale, np.float32) if scale else real
