"""On which devices does a model run: what is there, what was asked for, and what became of it?

What is there is ggml's list. What became of it is read from what llama.cpp says while it loads, for it may put fewer
layers on a GPU than it was asked to. A GPU that cannot be used is no reason not to serve: the model is loaded on the
CPU, and `Ready` says why.

    python -m golek_worker.engine.llamacpp.devices

tells before a start: an EngineConfig on stdin, an `Outlook` on stdout.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import llama_cpp
import msgspec
from llama_cpp._ggml import libggml

from golek_worker.engine.base import Engine, EngineConfig, EngineFactory, EngineLoadError
from golek_worker.engine.llamacpp import log
from golek_worker.engine.outlook import Outlook

_GPU, _IGPU = 1, 2
"""Of ggml's `ggml_backend_dev_type`."""
_NO_GPU_BACKENDS = ("CPU", "BLAS", "RPC")
_USED = re.compile(r"using device (\S+) \((.*?)\) \(.*\) - \d+ MiB free")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
NO_SUPPORT = (
    "this build of llama.cpp has no GPU support; `make build-llama` on a machine with a GPU compiles it for that"
)


class Device(NamedTuple):
    """A GPU that llama.cpp can use."""

    name: str
    """ggml's, such as `CUDA0`."""
    description: str
    """The driver's, such as `NVIDIA H100`."""
    handle: int = 0
    free: int = 0
    """Bytes that its driver says are free on it now."""

    def __str__(self) -> str:
        return f"{self.name} ({self.description})"


class Placement(NamedTuple):
    """Where a loaded model lies."""

    devices: tuple[Device, ...]
    """GPUs with layers on them; none for a CPU."""
    offloaded: int = 0
    """Layers on them."""
    layers: int = 0
    """All that could be on them; 0 where llama.cpp did not say."""

    @property
    def text(self) -> str:
        """As `Ready.device` tells it."""
        return ", ".join(map(str, self.devices)) or "cpu"


def gpus() -> list[Device]:
    """The GPUs that llama.cpp can use here, in ggml's order; integrated ones only where there are no others."""
    found: dict[int, list[Device]] = {_GPU: [], _IGPU: []}
    for i in range(_ggml("ggml_backend_dev_count", ctypes.c_size_t)()):
        handle = _ggml("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)(i)
        kind = _ggml("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle)
        if kind in found:
            name, description = (_text(f"ggml_backend_dev_{what}", handle) for what in ("name", "description"))
            found[kind].append(Device(name, description, handle, _free_bytes(handle)))
    return found[_GPU] or found[_IGPU]


def why_none() -> str:
    """Why there is no GPU: llama.cpp was not built for one, or finds none; a sentence."""
    count = _ggml("ggml_backend_reg_count", ctypes.c_size_t)()
    get = _ggml("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    backends = [_text("ggml_backend_reg_name", get(i)) for i in range(count)]
    built_for = [name for name in backends if name not in _NO_GPU_BACKENDS]
    if not built_for:
        return NO_SUPPORT
    said = log.take_error() or "is its driver installed?"
    return f"llama.cpp is built for {', '.join(built_for)}, but finds no device: {said}"


def choose(there: list[Device], wanted: list[str]) -> list[Device]:
    """Those of the devices `there` that are `wanted` by name or number; all when nothing is. Raises EngineLoadError."""
    by_name = {device.name.lower(): device for device in there} | {str(i): there[i] for i in range(len(there))}
    missing = [name for name in wanted if name.lower() not in by_name]
    if missing:
        listed = "; ".join(f"{i}: {device}" for i, device in enumerate(there))
        raise EngineLoadError(
            f"GPU_DEVICES={','.join(wanted)}: no device {', '.join(missing)} here. There are {listed}"
        )
    return list(dict.fromkeys(by_name[name.lower()] for name in wanted)) or there


def ask(params: Any, config: EngineConfig) -> list[Any]:
    """Say in llama.cpp's `params` what goes on which device; what must live until the model is loaded.

    Raises EngineLoadError for devices that are not there.
    """
    params.n_gpu_layers = config.gpu_layers
    devices = choose(gpus(), config.gpu_devices) if config.gpu_layers != 0 else []
    handles = (ctypes.c_void_p * (len(devices) + 1))(*[device.handle for device in devices])
    if config.gpu_devices or not devices:  # else llama.cpp's own choice, which knows more of them
        params.devices = ctypes.cast(handles, ctypes.c_void_p)
    if not devices:
        return [handles]
    listed = ", ".join(map(str, devices))
    if config.main_gpu >= len(devices):
        raise EngineLoadError(f"MAIN_GPU={config.main_gpu}: the devices are 0 to {len(devices) - 1}: {listed}")
    if len(config.tensor_split) > len(devices):
        raise EngineLoadError(
            f"TENSOR_SPLIT has {len(config.tensor_split)} shares for {len(devices)} devices: {listed}"
        )
    if config.main_gpu >= 0:
        params.main_gpu = config.main_gpu
        params.split_mode = llama_cpp.LLAMA_SPLIT_MODE_NONE
    shares = (ctypes.c_float * llama_cpp.llama_max_devices())(*config.tensor_split)
    if config.tensor_split:
        params.tensor_split = shares
    return [handles, shares]


def placement(said: Iterable[str]) -> Placement:
    """Where the model lies, by what llama.cpp `said` while it loaded."""
    devices: list[Device] = []
    offloaded = layers = 0
    for line in said:
        if used := _USED.search(line):
            devices.append(Device(used[1], used[2]))
        elif count := _OFFLOADED.search(line):
            offloaded, layers = int(count[1]), int(count[2])
    return Placement(tuple(devices) if offloaded else (), offloaded, layers)


def with_fallback(build: EngineFactory) -> EngineFactory:
    """`build`, and where that fails with a GPU, the same without one; `Ready` then says why.

    Raises EngineLoadError when it fails without a GPU as well, and with GPU_REQUIRED as soon as there is none.
    """

    def factory(config: EngineConfig, progress: Callable[[int, int], None]) -> Engine:
        if config.gpu_layers == 0:
            return build(config, progress)
        log.install()
        llama_cpp.llama_backend_init()
        there = gpus()
        if there:
            choose(there, config.gpu_devices)
            try:
                return build(config, progress)
            except EngineLoadError as error:
                if config.gpu_required:
                    raise
                failure = error
            why = f"not on {', '.join(map(str, there))}: {failure}"
        else:
            failure = None
            why = without_any(config)
        try:
            engine = build(without_gpu(config), progress)
        except EngineLoadError as error:
            raise failure or error from None
        if why:
            engine.ready = msgspec.structs.replace(engine.ready, device_problem=why)
        return engine

    return factory


def without_any(config: EngineConfig) -> str:
    """What to tell of a machine without a GPU; empty where nothing asks for one and llama.cpp is not built for any.

    Raises EngineLoadError with GPU_REQUIRED.
    """
    why, asked = why_none(), config.asks_for_gpu
    if config.gpu_required:
        raise EngineLoadError(f"GPU_REQUIRED=true: {why}")
    if asked:
        return f"{asked}: {why}"
    return "" if why == NO_SUPPORT else why


def outlook(config: EngineConfig) -> Outlook:
    """What an engine with this configuration will find."""
    log.install()
    llama_cpp.llama_backend_init()
    there = gpus()
    names, free = list(map(str, there)), [device.free for device in there]
    try:
        if not there:
            return Outlook(names, remark=without_any(config))
        ask(llama_cpp.llama_model_default_params(), config)
    except EngineLoadError as error:
        return Outlook(names, free, problem=str(error))
    return Outlook(names, free)


def _free_bytes(handle: int) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    size = ctypes.POINTER(ctypes.c_size_t)
    _ggml("ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)(handle, free, total)
    return free.value


def without_gpu(config: EngineConfig) -> EngineConfig:
    """The same on the CPU."""
    return msgspec.structs.replace(config, gpu_layers=0, gpu_devices=[], main_gpu=-1, tensor_split=[])


def _ggml(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(libggml, name)
    function.restype, function.argtypes = result, arguments
    return function


def _text(name: str, handle: int) -> str:
    return str(_ggml(name, ctypes.c_char_p, ctypes.c_void_p)(handle).decode("utf-8", "replace"))


if __name__ == "__main__":
    told = outlook(msgspec.json.decode(sys.stdin.buffer.read(), type=EngineConfig))
    sys.stdout.buffer.write(msgspec.json.encode(told))
