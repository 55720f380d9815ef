"""What does a child with vLLM find around it?

A folder of its own: the packages that it shares with the worker (and none beside them, for vLLM's environment has
others), the guard where vLLM looks for plugins, and the sockets between its processes. The worker removes it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from golek_worker.engine import spins
from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.engine.vllm.interpreter import PROJECT

CONFIG = "config.json"
_PREFIX = "golek-vllm-"
"""Of the folder's name; the worker's process follows."""
SHARED = ("golek_wire", "golek_worker")
GUARD = "golek_guard"
_number = re.compile(r"\d+$")
"""A GPU by its number, or by llama.cpp's name, such as CUDA1."""
_METADATA = f"Metadata-Version: 2.1\nName: {GUARD}\nVersion: 0\n"
_ENTRY_POINTS = f"[vllm.general_plugins]\n{GUARD} = golek_worker.engine.vllm.guard:register\n"


def check(model: Path) -> None:
    """Raise EngineLoadError for what is no model of Hugging Face's; what is in the folder, vLLM will say."""
    if (model / CONFIG).is_file():
        return
    what = "a file" if model.is_file() else f"no {CONFIG} in this folder" if model.is_dir() else "no such folder"
    raise EngineLoadError(
        f"{model}: {what}. With ENGINE=vllm MODEL_PATH is a folder of Hugging Face's: {CONFIG}, the tokenizer's files, "
        "and weights as safetensors."
    )


def make() -> Path:
    """A new folder with all of it."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    packages = folder / "packages"
    packages.mkdir()
    for name in SHARED:
        (packages / name).symlink_to(PROJECT / name)
    about = packages / f"{GUARD}-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(_METADATA)
    (about / "entry_points.txt").write_text(_ENTRY_POINTS)
    return folder


def _sweep() -> None:
    """Remove what workers left that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def variables(config: EngineConfig, folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The child's environment; what `given` says wins where it is a wish."""
    plugins = given.get("VLLM_PLUGINS")
    return {
        **_defaults(config),
        **given,
        "PYTHONPATH": str(folder / "packages"),
        "VLLM_RPC_BASE_PATH": str(folder),
        **({} if plugins is None else {"VLLM_PLUGINS": f"{plugins},{GUARD}"}),
    }


def _defaults(config: EngineConfig) -> dict[str, str]:
    arguments = config.vllm.arguments
    processes = arguments.get("tensor_parallel_size", 1) * arguments.get("pipeline_parallel_size", 1)
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if processes == 1 else {}
    devices = [found[0] for name in config.gpu_devices if (found := _number.search(name))]
    here = {} if arguments.get("distributed_executor_backend") == "ray" else {"VLLM_HOST_IP": "127.0.0.1"}
    threads = thread_count(config.threads, usable_cores(), _weights(Path(config.model_path)))
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",  # the guard begins with such a process
        "OMP_NUM_THREADS": str(threads),
        **spins(threads),
        **alone,
        **here,
        **({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}),
    }


def _weights(folder: Path) -> int:
    """Bytes of the model's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
