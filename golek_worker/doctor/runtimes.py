"""Which engines work here, and what would have to be installed for the others?"""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from typing import Final

from golek_worker import settings
from golek_worker.doctor.finding import Finding
from golek_worker.engine.names import EngineName
from golek_worker.engine.server import commands
from golek_worker.engine.server.dialects import DIALECTS
from golek_worker.engine.vllm import interpreter, probe
from golek_worker.machine import engine_check
from golek_worker.settings import Settings

PROGRAMS: Final[dict[EngineName, str]] = {"ollama": "ollama", "trtllm": "trtllm-serve"}
"""The program of an engine that is a server of its own."""


def findings() -> Iterator[Finding]:
    """A line for each engine."""
    yield llama_cpp()
    yield vllm()
    yield llama_server()
    for engine, program in PROGRAMS.items():
        yield _server(engine, program)
    yield litert()


def of(chosen: Settings) -> Iterator[Finding]:
    """The line of the engine that a deployment asks for; none where there is nothing to install."""
    match chosen.engine:
        case "llamacpp":
            yield llama_cpp()
        case "vllm":
            yield vllm(chosen.vllm_python)
        case "llama-server" if not chosen.server_url:
            yield llama_server(chosen.llama_server)
        case "ollama" | "trtllm" if not chosen.server_url:
            yield _server(chosen.engine, PROGRAMS[chosen.engine])
        case "litert":
            yield litert()
        case _:
            return


def llama_cpp() -> Finding:
    """The engine of GGUF files, and whether it has a GPU."""
    if importlib.util.find_spec("llama_cpp") is None:
        return Finding("llama.cpp", "could be", "not installed", "make setup")
    version = importlib.metadata.version("llama-cpp-python")
    gpus, why_none = engine_check.all_devices()
    if gpus:
        return Finding("llama.cpp", "ok", f"llama-cpp-python {version}, on {', '.join(gpus)}")
    return Finding("llama.cpp", "ok", f"llama-cpp-python {version}, on the CPU; {why_none}")


def vllm(wanted: str | None = None) -> Finding:
    """vLLM, where a worker would find it, asked in that environment; `wanted` is its VLLM_PYTHON."""
    if not sys.platform.startswith("linux"):
        return Finding("vLLM", "cannot", "it runs on Linux alone")
    wanted = (settings.shared("VLLM_PYTHON") or "") if wanted is None else wanted
    python = interpreter.find(wanted)
    if python is None:
        says = f"VLLM_PYTHON={wanted}: no program" if wanted else f"neither in {sys.prefix} nor in .venv-vllm"
        return Finding("vLLM", "could be", says, "make build-vllm")
    found = probe.ask(str(python))
    if found.problem:
        return Finding("vLLM", "could be", f"{python}: {found.problem}", "make build-vllm")
    return Finding("vLLM", "ok", f"{found.version} for {found.platform}, {python}")


def llama_server(named: str | None = None) -> Finding:
    """llama.cpp's own server, as an engine; `named` is its LLAMA_SERVER."""
    named = (settings.shared("LLAMA_SERVER") or "") if named is None else named
    found = shutil.which(named or commands.llama_server())
    if found is None:
        return Finding("llama-server", "could be", f"no {named or 'llama-server'} here", "make build-llama-server")
    return Finding("llama-server", "ok", found)


def litert() -> Finding:
    """The engine of .tflite files."""
    lacks = engine_check.missing_for_litert()
    if lacks:
        return Finding("LiteRT", "could be", f"not installed: {', '.join(lacks)}", "make setup")
    return Finding("LiteRT", "ok", f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}")


def _server(engine: EngineName, program: str) -> Finding:
    found = shutil.which(program)
    if found is not None:
        return Finding(engine, "ok", found)
    if engine == "trtllm" and shutil.which("nvidia-smi") is None:
        return Finding(engine, "cannot", "TensorRT-LLM wants an NVIDIA GPU")
    return Finding(engine, "could be", f"no {program} here", DIALECTS[engine].to_install)
