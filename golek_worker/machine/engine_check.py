"""What would keep a deployment's engine from loading its model, and what would it do otherwise than asked?

Told by the file's header and by the devices of this machine. Those only llama.cpp knows: it is asked in a process of
its own, and only where the answer depends on them.
"""

import functools
import importlib.util
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from golek_wire.subjects import Kind
from golek_worker.engine import litert
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp import memory
from golek_worker.engine.outlook import Outlook
from golek_worker.engine.server import commands
from golek_worker.engine.server.dialects import DIALECTS
from golek_worker.engine_config import engine_config
from golek_worker.gguf import GGUFError, read_header
from golek_worker.machine import runfile, vllm_check
from golek_worker.machine.fitting import Device
from golek_worker.registry import projector
from golek_worker.registry.artifacts import kind_of
from golek_worker.registry.report import DownloadError
from golek_worker.settings import Settings

DEVICES_MODULE = "golek_worker.engine.llamacpp.devices"
LITERT = {"ai-edge-litert": "ai_edge_litert", "pillow": "PIL", "tokenizers": "tokenizers"}
"""Packages, and what they are imported as."""
PATIENCE_S = 60.0


def missing(chosen: Settings) -> Iterator[str]:
    """What the engine itself lacks here; a sentence each."""
    if chosen.engine == "llamacpp" and importlib.util.find_spec("llama_cpp") is None:
        yield "ENGINE=llamacpp: the package llama-cpp-python is missing; `make setup` installs it"
    elif chosen.engine == "litert":
        if lacks := missing_for_litert():
            yield f"ENGINE=litert: not installed: {', '.join(lacks)}. {litert.TO_INSTALL}"
    elif chosen.engine == "vllm":
        yield from vllm_check.missing(chosen)
    elif chosen.server_command:
        yield from _missing_command(chosen)
    elif chosen.engine in DIALECTS and not chosen.server_url:
        yield from _missing_program(chosen)


def _missing_program(chosen: Settings) -> Iterator[str]:
    """What starts a server that is an engine, where that is not here."""
    assert chosen.engine != "router"
    dialect = DIALECTS[chosen.engine]
    usual = [chosen.llama_server or commands.llama_server()] if chosen.engine == "llama-server" else dialect.command
    if usual and shutil.which(usual[0]) is None:
        yield f"ENGINE={chosen.engine}: no program {usual[0]} here; {dialect.to_install}"


def _missing_command(chosen: Settings) -> Iterator[str]:
    program = shlex.split(chosen.server_command)[0]
    if shutil.which(program) is None:
        yield f"SERVER_COMMAND={chosen.server_command}: there is no program {program} here"


def missing_for_litert() -> list[str]:
    """Packages that ENGINE=litert lacks here."""
    return [name for name, module in LITERT.items() if importlib.util.find_spec(module) is None]


def problems(chosen: Settings, model: Path) -> Iterator[str]:
    """What keeps the engine from loading this file or folder; a sentence each. Raises OSError, GGUFError."""
    if chosen.engine == "vllm":
        yield from vllm_check.problems(chosen, model)
    if chosen.model_lies_in == "gguf":
        yield from _eyes(chosen, model)
    if chosen.engine != "llamacpp":
        return
    header = read_header(model)
    config = engine_config(chosen, kind_of(model), model)
    yield from devices(chosen, config.kind).problems
    too_long = memory.context_problem(config.ctx_size, header.context_length, model)
    if too_long is not None:
        yield too_long
    too_large = memory.problem(config, header, model, on_gpu=False)
    if too_large is None or _is_loaded(chosen):
        return
    if config.gpu_layers != 0 and _ask(msgspec.json.encode(config)).gpus:
        too_large = memory.problem(config, header, model, on_gpu=True)
    if too_large is not None:
        yield too_large


def _eyes(chosen: Settings, model: Path) -> Iterator[str]:
    """What is wrong with the model's projector. Raises OSError."""
    try:
        if kind_of(model) != "inference" or projector.wanted(chosen, model) is not None:
            return
    except DownloadError as error:
        yield str(error)
        return
    file = projector.find(chosen, model)
    if file is None:
        return
    if not file.is_file():
        yield (
            f"MMPROJ_PATH={file}: no such file. Set it to the model's projector (mmproj), or leave it out: then one "
            "beside the model's file is used, if there is one"
        )
        return
    try:
        header = read_header(file)
    except GGUFError as error:
        yield f"MMPROJ_PATH={file}: {error}"
        return
    if header.architecture != projector.ARCHITECTURE:
        yield (
            f"MMPROJ_PATH={file}: no projector but a model ({header.architecture}); set it to the file that was made "
            f"for {model}, or to `none`: then it reads no images"
        )


def devices(chosen: Settings, kind: Kind) -> Outlook:
    """What the settings come to on the devices of this machine; nothing where they say nothing of devices."""
    if chosen.engine != "llamacpp":
        return Outlook()
    config = engine_config(chosen, kind, None)
    if config.gpu_layers == 0 or not (config.asks_for_gpu or config.gpu_required):
        return Outlook()
    return _ask(msgspec.json.encode(config))


def all_devices() -> tuple[list[str], str]:
    """The GPUs that llama.cpp can use here, or why there is none."""
    found = _ask(msgspec.json.encode(EngineConfig("llamacpp", "", 1, 0, 0, gpu_required=True)))
    return found.gpus, found.problem.partition(": ")[2] or "it cannot be asked for GPUs"


def gpus() -> list[Device]:
    """The GPUs that llama.cpp can use here, with what is free on each; none where it cannot be asked."""
    found = _ask(msgspec.json.encode(EngineConfig("llamacpp", "", 1, 0, 0)))
    named = (name.partition(" ")[0] for name in found.gpus)
    return [Device(name, free) for name, free in zip(named, found.free, strict=False)]


def _is_loaded(chosen: Settings) -> bool:
    """Whether a worker of this machine has the model in the memory that is missing now."""
    states = runfile.read_all(chosen.data)
    return any(state.model_name == chosen.model_name and runfile.alive(state) for state in states)


@functools.lru_cache(maxsize=8)
def _ask(config: bytes) -> Outlook:
    """What llama.cpp finds for an EngineConfig. Where it cannot be asked a start will tell more."""
    command = [sys.executable, "-m", DEVICES_MODULE]
    try:
        done = subprocess.run(command, input=config, capture_output=True, timeout=PATIENCE_S, check=True)
        return msgspec.json.decode(done.stdout, type=Outlook)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return Outlook()
