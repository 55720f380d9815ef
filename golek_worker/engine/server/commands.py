"""With which command is a server started?"""

import shutil
from pathlib import Path

from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.engine.server.dialects import Dialect
from golek_worker.gguf import GGUFError, Header, read_header

HOST = "127.0.0.1"
ALL_LAYERS = 99
KINDS = {"embedding": "--embedding", "rerank": "--reranking"}
BUILT = Path("bin/llama-server")
"""Where `make build-llama-server` puts it."""


def command(config: EngineConfig, dialect: Dialect, port: int) -> list[str]:
    """The program and its arguments. Raises EngineLoadError where the program is missing."""
    server = config.server
    known = {"host": HOST, "port": str(port), "model": server.model or config.model_path}
    if server.command:
        parts = [_filled(part, known) for part in server.command]
    elif config.engine == "llama-server":
        parts = _llama_server(config, known)
    else:
        parts = [_filled(part, known) for part in dialect.command]
    program = shutil.which(parts[0])
    if program is None:
        hint = f"; {dialect.to_install}" if dialect.to_install and not server.command else ""
        raise EngineLoadError(
            f"{parts[0]}: there is no such program{hint}; name it with SERVER_COMMAND, or a server that runs already "
            "with SERVER_URL"
        )
    return [program, *parts[1:], *server.args]


def surroundings(dialect: Dialect, port: int, key: str) -> dict[str, str]:
    """What is put into its environment."""
    return {name: value.format(host=HOST, port=port, key=key) for name, value in dialect.surroundings.items()}


def _filled(part: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _llama_server(config: EngineConfig, known: dict[str, str]) -> list[str]:
    """Its context is that of all its slots together."""
    path, header = Path(config.model_path), header_of(config)
    size = config.ctx_size or header.context_length
    layers = ALL_LAYERS if config.gpu_layers < 0 else config.gpu_layers
    threads = thread_count(config.threads, usable_cores(), path.stat().st_size)
    parts = [
        config.server.program or llama_server(), "-m", str(path), "--host", known["host"], "--port", known["port"],
        "-c", str(size * config.slots), "-ngl", str(layers), "-np", str(config.slots), "-t", str(threads), "--metrics",
    ]  # fmt: skip
    if config.kind != "inference":
        parts += [KINDS[config.kind], "-ub", str(size)]  # such a text is read at once
    if config.gpu_devices:
        parts += ["--device", ",".join(config.gpu_devices)]
    if config.main_gpu >= 0:
        parts += ["--split-mode", "none", "--main-gpu", str(config.main_gpu)]
    if config.tensor_split:
        parts += ["--tensor-split", ",".join(f"{share:g}" for share in config.tensor_split)]
    if config.projector_path:
        parts += ["--mmproj", config.projector_path]
    return parts


def header_of(config: EngineConfig) -> Header:
    """What the model's file says of itself. Raises EngineLoadError."""
    try:
        return read_header(Path(config.model_path))
    except OSError as error:
        raise EngineLoadError(f"MODEL_PATH={config.model_path}: {error.strerror}") from None
    except GGUFError as error:
        raise EngineLoadError(f"MODEL_PATH={config.model_path}: {error}") from None


def llama_server() -> str:
    """llama.cpp's own server: that of the PATH, else what was built here."""
    return shutil.which("llama-server") or str(BUILT)
