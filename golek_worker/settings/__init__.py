"""Which settings does a worker have, and what do they mean?

`envs/worker.example.env` is the manual of these keys; a test holds it equal to this file. They are read by
golek_program/settings.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from golek_client import duration
from golek_program import settings as program
from golek_program.settings import SettingsError, monitor, names, sources, wrong_url
from golek_program.settings.fleet import Positive, Seconds
from golek_program.settings.http import Gateway, Http, address
from golek_program.settings.names import AnotherGateway
from golek_program.settings.sources import Found, Source
from golek_program.settings.values import convert, hidden
from golek_wire import subjects
from golek_wire.keys import Budget, parse_budget
from golek_wire.orchestration import ROUNDS_LIMIT, STAGES_LIMIT, Mode
from golek_wire.routing import Strategy
from golek_wire.signals import CRITICAL_UTILIZATION
from golek_worker.engine.names import FORMATS, SERVERS, USUAL_FILES, Answering, Format
from golek_worker.settings import adapters, made, servers, vision, vllm
from golek_worker.settings.adapters import AdapterFile
from golek_worker.settings.service import Service
from golek_worker.settings.vision import Vision

ENGINE_SLOTS: Final = 256
USUAL_STAGES: Final = "draft,refine,validate"
Rounds = Annotated[int, Meta(ge=1, le=ROUNDS_LIMIT)]
Share = Annotated[float, Meta(ge=0, le=1)]
ROUTER_SLOTS: Final = 1024
"""Of a router, whose jobs wait for others."""


class Settings(Vision, frozen=True, kw_only=True):
    """One deployment, read from `envs/worker.<name>.env` and the environment. Keys are these names in capitals."""

    model_name: str
    """Name clients ask for: `inference.request.<MODEL_NAME>`."""
    engine: Answering = "llamacpp"
    """`llamacpp` runs a GGUF file, `echo` repeats the prompt; with `router` other workers and clouds answer."""
    model_path: str = ""
    """GGUF file, or the folder for vLLM; below `data/` it lies in GOLEK_DATA. Default in `data/models/<MODEL_NAME>`."""
    inference_models_dir: str = ""
    """Folder with a folder per model, `<MODEL_NAME>/*.gguf`; looked at when MODEL_PATH is not given."""
    model_source: str = ""
    """Where a missing file is downloaded from; default the entry of MODEL_NAME in `data/catalog/models.yaml`."""
    models_file: str = ""
    """A list of models in the form of other services; default `config/models.yaml`, if it is there."""
    model_sha256: str = ""
    """SHA-256 the downloaded file must have; default what the source says."""
    mmproj_path: str = ""
    """GGUF file of the model's eyes; default `mmproj*.gguf` beside the model's file. `none`: it reads no images."""
    golek_offline: bool = False
    """Download nothing: a missing model is an error."""
    model_format: Literal["template", "gguf", "harmony", "raw"] = "template"
    """How a conversation becomes a prompt: `template` by PROMPT_TEMPLATE or else as `gguf`, by the file's template."""
    prompt_template: str = ""
    """Turn markers as JSON; default `prompt_template.json` beside the model's file."""
    harmony_reasoning_level: Literal["low", "medium", "high"] = "medium"
    """With MODEL_FORMAT=harmony: how long the model thinks."""
    harmony_extract_final: bool = True
    """With MODEL_FORMAT=harmony: answer with the final channel alone; false passes on all channels."""
    harmony_model_identity: str = "ChatGPT, a large language model trained by OpenAI"
    """With MODEL_FORMAT=harmony: who the model is told to be."""
    harmony_knowledge_cutoff: str = "2024-06"
    """With MODEL_FORMAT=harmony: up to when the model is told to know things."""
    subject: str = ""
    """Request subject, instead of `<kind>.request.<MODEL_NAME>`; the kind is inference, embedding, rerank or vision."""
    worker_concurrency: Annotated[int, Meta(ge=1, le=1024)] = 4
    """Slots: sequences decoded together by one replica, at most 256; a router's jobs at once, 1024 unless given."""
    http_addr: str = ""
    """Address of the worker's HTTP interface; without a host 127.0.0.1. Empty: this worker serves no HTTP."""
    golek_session_store: str = "kv"
    """Where conversations are kept: `kv` in the broker, `memory` in this worker, or a `redis://` URL."""
    golek_session_ttl: str = "24h"
    """A conversation that nobody goes on with for so long is forgotten."""
    golek_quota_reserve: Positive = 1024
    """Tokens reserved for the answer of a request without `max_tokens`, where its key has a limit of tokens."""
    model_threads: Annotated[int, Meta(ge=0)] = 0
    """CPU threads of a decode step; 0 is one per physical core, fewer for a small model."""
    ctx_size: Annotated[int, Meta(ge=0)] = 0
    """Tokens of one sequence, prompt and answer together; 0 is the model's own."""
    gpu_layers: Annotated[int, Meta(ge=-1)] = -1
    """Layers put on a GPU where there is one; -1 is all, 0 none."""
    gpu_devices: str = ""
    """GPUs to use, by llama.cpp's name or by number; default all."""
    main_gpu: Annotated[int, Meta(ge=-1)] = -1
    """Of these the one that takes the whole model, counted from 0; -1 spreads the model over all."""
    tensor_split: str = ""
    """Shares of the model for these, in their order; default by free memory."""
    gpu_required: bool = False
    """Do not start where no GPU can be used; false takes the CPU then, and says so."""
    adapters: str = ""
    """LoRA adapters loaded at the start, for requests with `adapter`; paths below `data/` lie in GOLEK_DATA."""
    litert_pixels: str = ""
    """What the darkest and the brightest pixel become for ENGINE=litert; default what the model says, else 0,1."""
    queue_capacity: Positive = 2000
    """Jobs a model holds, waiting and running; the same for all replicas."""
    golek_critical_utilization: Annotated[float, Meta(gt=0, le=1)] = CRITICAL_UTILIZATION
    """A load report says `critical` when so large a share of the queue is taken."""
    golek_critical_wait_s: Annotated[float, Meta(ge=0)] = 0.0
    """And when the next job has waited for so many seconds; 0 is half of INFERENCE_REQUEST_TIMEOUT."""
    inference_reject_when_full: bool = True
    """A full queue refuses with 429 at once; false keeps the request and tries again until its deadline."""
    inference_queue_strategy: Literal["fifo", "priority"] = "fifo"
    """Order in which waiting jobs are taken: as they came, or the most urgent first; the same for all replicas."""
    inference_priority_enabled: bool = False
    """Says again what the strategy says: true goes with `priority`, false with `fifo`; need not be given."""
    inference_priority_levels: Literal[3] = 3
    """Number of priorities: 1 low, 2 normal, 3 high."""
    inference_default_priority: Annotated[int, Meta(ge=1, le=3)] = 2
    """Priority of a request that brings none."""
    golek_objects: bool = True
    """Requests that no message can carry lie in the bucket GOLEK_OBJECTS; false refuses them with 413."""
    stream_gather_ms: Annotated[float, Meta(ge=0)] = 20.0
    """Later tokens of a stream are gathered for at most this long; 0 sends each alone."""
    engine_step_min_ms: Annotated[float, Meta(ge=0)] = 0.0
    """Stretches each decode step, for demos and tests."""
    echo_cache_tokens: Annotated[int, Meta(ge=0)] = 0
    """Tokens of prompts that the echo engine keeps, as a model's KV cache would; 0 is none. For demos and tests."""
    stall_s: Annotated[float, Meta(ge=2)] = 10.0
    """An engine without progress for this long counts as stalled; for twice as long it is restarted."""
    drain_s: Seconds = 30.0
    """A worker told to stop finishes its jobs for at most this long."""
    model_ttl: str = "0"
    """Unload the model when nobody asked it for so long; the next request loads it again. 0 keeps it loaded."""
    poison_strikes: Positive = 2
    """Crashes of the engine under a job, on trial or alone in it, that make the job poison."""
    db_path: str = ""
    """Request log; default `<GOLEK_DATA>/logs/<MODEL_NAME>.sqlite`."""
    golek_audit_body: Literal["auto", "full", "hash", "none"] = "auto"
    """How prompts are logged: in full, as SHA-256, or not; `auto` is `full` with a broker on loopback, else `hash`."""
    golek_log_retention_days: Positive = 30
    """Rows older than this are deleted from the log."""
    inference_auto_route_enabled: bool = False
    """Whether a request over HTTP that names no model asks for `auto`, which a router answers."""
    inference_auto_route_strategy: Strategy = "least_busy"
    """In which order the router asks targets where its routes do not say."""
    inference_auto_route_fallback: bool = True
    """Whether it may ask another target when the first one cannot answer."""
    inference_model_roles: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])
    """Which model takes which roles, as JSON; it wins over ROLES_FILE."""
    inference_config: str = ""
    """Preset that `auto` stands for, and whose models `golek serve` starts; `golek presets list` has all."""
    inference_preload_models: str = ""
    """Models that `golek serve` starts; they answer `auto` in INFERENCE_ORCHESTRATION_MODE, not INFERENCE_CONFIG."""
    inference_orchestration_mode: Mode = "single"
    """How several models answer `auto`, and presets that say no mode, where the request does not say it."""
    inference_critique_max_rounds: Rounds = 2
    """Mode critique: most rounds of critique and revision."""
    inference_critique_threshold: Share = 0.8
    """Mode critique: an answer with this score is taken as it is."""
    inference_debate_max_rounds: Rounds = 3
    """Mode debate: most rounds until the models agree."""
    inference_debate_reconcile_model: str = "primary"
    """Mode debate: role or model that makes one answer of theirs."""
    inference_ensemble_min_agreement: Share = 0.7
    """Mode ensemble: an answer with less agreement is flagged. Mode debate: answers with as much agree."""
    inference_ensemble_synthesis_model: str = "primary"
    """Mode ensemble: role or model that makes one answer of all."""
    inference_pipeline_stages: str = USUAL_STAGES
    """Mode pipeline: its stages in order, with commas."""
    presets_file: str = ""
    """Presets beside those of `data/catalog/presets.yaml`; default `config/presets.yaml`, if it is there."""
    routes_file: str = ""
    """The router's names, aliases and policies; default `data/catalog/routes.yaml`."""
    roles_file: str = ""
    """What task types stand for; default `data/catalog/roles.yaml`."""
    providers_file: str = ""
    """Clouds; default `data/catalog/providers.yaml`."""
    prices_file: str = ""
    """Prices that are not the library's; default `data/catalog/prices.yaml`."""
    router_spill: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """From this share of a model's queue on its jobs may go to other targets."""
    router_budget: str = ""
    """What all clouds together may take: `20usd/day`. Without it only budgets of keys count."""
    golek_lanes: bool = True
    """Whether a router may send jobs to one replica, where their beginnings are in its KV cache."""
    golek_cache: Literal["off", "exact", "semantic"] = "off"
    """Whether this model's answers are kept, for requests that do not say."""
    golek_cache_ttl: str = "1h"
    """How long an answer is kept."""
    golek_cache_mb: Positive = 64
    """MiB of answers kept in this worker's memory; the least recently used ones give way."""
    golek_semantic_model: str = "all-minilm-l6-v2"
    """Embedding model that says which questions are alike, for the semantic cache."""
    golek_semantic_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """Questions with at least this cosine are alike."""
    worker_type: str = ""
    """The engine's log lies in `<GOLEK_DATA>/logs/llama-<WORKER_TYPE>/`; default the deployment's name."""

    @property
    def critical_wait_s(self) -> float:
        """From when on a wait is critical, in seconds."""
        return self.golek_critical_wait_s or self.inference_request_timeout / 2

    @property
    def fleet_budget(self) -> Budget | None:
        """What all clouds together may take; None without ROUTER_BUDGET. Raises ValueError."""
        return parse_budget(self.router_budget) if self.router_budget else None

    @property
    def token(self) -> str:
        """The model's name as one subject token."""
        return subjects.model_token(self.model_name)

    @property
    def default_model_file(self) -> Path:
        """Where the model lies when nothing else is said, and where it is downloaded to; perhaps a folder."""
        found = shipped(f"data/models/{self.model_name}/{USUAL_FILES[self.model_lies_in]}", self.data)
        return found.parent if self.model_lies_in == "folder" else found

    @property
    def model_file(self) -> Path:
        return Path(self.model_path) if self.model_path else self.default_model_file

    @property
    def gpu_names(self) -> list[str]:
        """What GPU_DEVICES lists."""
        return [name.strip() for name in self.gpu_devices.split(",") if name.strip()]

    @property
    def gpu_shares(self) -> list[float]:
        """What TENSOR_SPLIT lists. Raises ValueError."""
        return [float(share) for share in self.tensor_split.split(",") if share.strip()]

    @property
    def pixel_range(self) -> list[float]:
        """What LITERT_PIXELS says: two numbers, or none. Raises ValueError."""
        return [float(number) for number in self.litert_pixels.split(",") if number.strip()]

    @property
    def adapter_files(self) -> list[AdapterFile]:
        """What ADAPTERS lists, with the places of the files. Raises ValueError."""
        listed = adapters.read(self.adapters)
        return [msgspec.structs.replace(one, path=str(shipped(one.path, self.data))) for one in listed]

    @property
    def audit_body(self) -> Literal["full", "hash", "none"]:
        """What GOLEK_AUDIT_BODY comes to: strangers' prompts are not kept unless somebody says so."""
        if self.golek_audit_body != "auto":
            return self.golek_audit_body
        from golek_client.connection import is_loopback  # brings nats-py, which `golek --help` need not wait for

        return "full" if is_loopback(self.nats_url) else "hash"

    @property
    def log_file(self) -> Path:
        return Path(self.db_path) if self.db_path else self.data / "logs" / f"{self.model_name}.sqlite"

    @property
    def model_ttl_s(self) -> float:
        """MODEL_TTL in seconds; 0 for never."""
        return _seconds(self.model_ttl)

    @property
    def session_ttl_s(self) -> float:
        """GOLEK_SESSION_TTL in seconds."""
        return _seconds(self.golek_session_ttl)

    @property
    def cache_ttl_s(self) -> float:
        """GOLEK_CACHE_TTL in seconds."""
        return _seconds(self.golek_cache_ttl)

    @property
    def model_lies_in(self) -> Format:
        """What the model of this engine is made of; a server that others run has it where it is."""
        return "none" if self.engine in SERVERS and self.server_url else FORMATS[self.engine]

    @property
    def guessed_kind(self) -> subjects.Kind:
        """What SUBJECT says of the model, while there is no file to ask."""
        starts = (kind for kind in subjects.SERVED if self.subject.startswith(subjects.request("", kind)))
        return next(starts, "inference")

    def usual_subjects(self, kind: subjects.Kind) -> tuple[str, ...]:
        """Where requests for a model of this kind are taken unless SUBJECT says otherwise: its name and its token."""
        return tuple(subjects.request(name, kind) for name in subjects.spellings(self.model_name))

    def request_subjects(self, kind: subjects.Kind) -> tuple[str, ...]:
        """Where a model of this kind takes requests: at the usual places, or at SUBJECT alone when that is another."""
        usual = self.usual_subjects(kind)
        return (self.subject,) if self.subject and self.subject not in usual else usual


_OWN = [name for name in Settings.__struct_fields__ if name not in Http.__struct_fields__]
KEYS: dict[str, str] = {name.upper(): name for name in (*_OWN, *Http.__struct_fields__)}
"""A deployment's, its own first."""
GATEWAY_KEYS: dict[str, str] = {name.upper(): name for name in Gateway.__struct_fields__}
SERVICE_KEYS: dict[str, str] = {name.upper(): name for name in Service.__struct_fields__}
"""The gateway's and those of `golek serve`."""
KNOWN: tuple[str, ...] = (
    *dict.fromkeys((*KEYS, *SERVICE_KEYS, *monitor.KEYS)), *names.OWN_NAME, *names.NOT_READ,
)  # fmt: skip
"""Every key that may stand in an env file."""


def env_file(name: str, folder: Path = Path("envs")) -> Path:
    """The file of deployment `name`."""
    return folder / f"worker.{name}.env"


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from `environment`, `file` and the `.env` beside its folder; `sources` says which value wins.

    Raises SettingsError with all mistakes: unreadable file, unknown keys, wrong values.
    """
    loaded, mistakes = read(file, environment)
    if loaded is None or mistakes:
        raise SettingsError(mistakes)
    return loaded


def read(file: Path, environment: Mapping[str, str] = os.environ) -> tuple[Settings | None, list[str]]:
    """What can be told of the settings in `file`, with defaults for what is wrong, and all mistakes.

    None when not even the model's name is known.
    """
    given = find(file, environment)
    if given is None:
        return None, [f"{file.absolute()}: no such file; {_nearest(file)}`make list-workers` shows what there is"]
    found, wrong = of_model(given, file.parent.parent)
    mistakes = [*found.mistakes, *wrong]
    if file.is_file():
        mistakes += [sources.unknown(key, file, KNOWN) for key in sources.read_file(file)[0] if key not in KNOWN]
    converted = convert(found, Settings, mistakes, quiet=str(file))
    convert(found, AnotherGateway, mistakes, quiet=str(file))
    if "model_name" not in converted:
        return None, [*mistakes, "MODEL_NAME: missing; the name clients ask for, e.g. MODEL_NAME=golek-tiny"]
    if converted.get("engine") == "router":
        converted.setdefault("worker_concurrency", ROUTER_SLOTS)
    loaded = _in_place(Settings(**converted))
    mistakes += _wrong_stages(loaded, file.parent.parent)
    mistakes += _strategy_mistakes(loaded, converted.get("inference_priority_enabled"))
    return loaded, mistakes + _contradictions(loaded)


def find(file: Path, environment: Mapping[str, str] = os.environ) -> Found | None:
    """Where the values of the deployment `file` stand; None when there is no such deployment.

    A deployment needs no file: it is there too when environment or `.env` name its model, by MODEL_NAME or MODEL_PATH,
    or when a model of its name is written down.
    """
    project = file.parent.parent
    if file.is_file():
        return sources.find(project, environment, file, KNOWN)
    found = sources.find(project, environment, None, KNOWN)
    name = file.name.removeprefix("worker.").removesuffix(".env")
    own = made.source(name, found, project)
    return found._replace(sources=(found.sources[0], own, *found.sources[1:])) if own is not None else None


def load_service(project: Path = Path(), environment: Mapping[str, str] = os.environ) -> Service:
    """The settings of `golek serve`: from where the gateway has its own. Raises SettingsError as `load` does."""
    return program.load(Service, project, environment, project / "envs" / "gateway.env", KNOWN)


def load_gateway(project: Path = Path(), environment: Mapping[str, str] = os.environ) -> Gateway:
    """The gateway's settings from `environment`, `envs/gateway.env` if there is one, and `.env`.

    Raises SettingsError as `load` does.
    """
    return program.load(Gateway, project, environment, project / "envs" / "gateway.env", KNOWN)


def of_model(found: Found, project: Path) -> tuple[Found, list[str]]:
    """`found` with what the catalogue and a list of models say of its model, which counts least; and what is wrong."""
    given = found.of("MODEL_NAME")
    if not given:
        return found, []
    from golek_worker.registry import entries  # its package needs the settings
    from golek_worker.registry.entries import CatalogError

    lists = found.of("MODELS_FILE")
    try:
        written = entries.read(project, lists[0].value if lists else "")
    except CatalogError as error:
        return found, [str(error)]
    weakest = []
    for one in written:
        if one.file == project / entries.CATALOG and _is_another_file(found, given[0].value):
            continue
        says = one.gives.get(given[0].value, {})
        values = {key: str(value) for key, value in says.items() if not found.of(key)}  # an alias counts more, too
        weakest.append(Source(str(one.file), values))
    return found._replace(sources=(*found.sources, *weakest)), []


def _is_another_file(found: Found, model: str) -> bool:
    """True when the deployment's file need not be the one that the catalogue tells of."""
    path, source = found.of("MODEL_PATH"), found.of("MODEL_SOURCE")
    usual = [Path(f"data/models/{model}"), *(Path(f"data/models/{model}/{name}") for name in USUAL_FILES.values())]
    return bool(source and source[0].value) or bool(path and path[0].value and Path(path[0].value) not in usual)


def _nearest(file: Path) -> str:
    """The deployment beside `file` that may have been meant, as a question; empty when none is near."""
    import difflib

    name, *others = (
        path.name.removeprefix("worker.").removesuffix(".env") for path in (file, *file.parent.glob("worker.*.env"))
    )
    near = difflib.get_close_matches(name, [other for other in others if other != "example"], n=1)
    return f"did you mean {near[0]}? " if near else ""


def remarks(file: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What whoever wrote the settings should know though a worker runs with them: keys of `.env` that look mistyped; a
    sentence each.
    """
    found = find(file, environment)
    return found.remarks if found is not None else []


DOES: Final[dict[subjects.Kind, str]] = {
    "inference": "writes text",
    "embedding": "turns texts into vectors",
    "rerank": "ranks documents by a query",
    "vision": "says what images show",
}


def wrong_family(settings: Settings, kind: subjects.Kind) -> str | None:
    """What is wrong with SUBJECT for a model of this kind; None when nothing is."""
    if not settings.subject or settings.subject.startswith(subjects.request("", kind)):
        return None
    return (
        f"SUBJECT={settings.subject}: {settings.model_name} {DOES[kind]}, so its subject lies below "
        f"{subjects.request('', kind)}"
    )


def shared(key: str, environment: Mapping[str, str] = os.environ, project: Path = Path()) -> str | None:
    """The value of `key` for what belongs to no deployment, from `environment` and `.env`; None when none is given."""
    given = sources.find(project, environment, None, KNOWN).of(key)
    return given[0].value if given else None


def in_data(path: str, data: Path) -> Path:
    """`path`, where a leading folder `data` stands for GOLEK_DATA."""
    parts = Path(path).parts
    return data.joinpath(*parts[1:]) if parts[:1] == ("data",) else Path(path)


def shipped(path: str, data: Path) -> Path:
    """`in_data`, or `path` as it stands when only there is something: models that ship lie in the project's folder."""
    moved = in_data(path, data)
    return Path(path) if not moved.exists() and Path(path).exists() else moved


def _in_place(loaded: Settings) -> Settings:
    """The settings with their paths below GOLEK_DATA; what the worker writes is never looked for elsewhere."""
    rules: dict[str, Callable[[str, Path], Path]] = {
        "model_path": shipped,
        "inference_models_dir": shipped,
        "prompt_template": shipped,
        "mmproj_path": shipped,
        "db_path": in_data,
        "golek_key_file": in_data,
    }
    given = {name: (rule, getattr(loaded, name)) for name, rule in rules.items()}
    moved = {name: str(rule(path, loaded.data)) for name, (rule, path) in given.items() if path}
    return msgspec.structs.replace(loaded, **moved)


def _contradictions(settings: Settings) -> list[str]:
    """What a single value's type cannot say."""
    mistakes = []
    if not subjects.is_model_name(settings.model_name):
        mistakes.append(
            f"MODEL_NAME={settings.model_name}: at most {subjects.MODEL_NAME_LIMIT} of A-Z a-z 0-9 _ - . : / @ +, "
            "no empty part between dots"
        )
    if settings.engine != "router" and settings.worker_concurrency > ENGINE_SLOTS:
        mistakes.append(
            f"WORKER_CONCURRENCY={settings.worker_concurrency}: at most {ENGINE_SLOTS} with ENGINE={settings.engine}"
        )
    families = tuple(subjects.request("", kind) for kind in subjects.SERVED)
    if settings.subject and not (settings.subject.startswith(families) and subjects.is_plain(settings.subject)):
        mistakes.append(f"SUBJECT={settings.subject}: a subject below {', '.join(families)} without wildcards")
    try:
        _seconds(settings.model_ttl)
    except ValueError:
        mistakes.append(f"MODEL_TTL={settings.model_ttl}: seconds, or a duration such as 90s, 10m or 1h30m; 0 is never")
    mistakes += _wrong_store(settings)
    mistakes += _not_lasting("GOLEK_CACHE_TTL", settings.golek_cache_ttl)
    mistakes += wrong_url(settings.nats_url)
    if (problem := settings.login.problem()) is not None:
        mistakes.append(problem)
    mistakes += vision.mistakes(settings)
    mistakes += _wrong_shares(settings)
    mistakes += _wrong_pixels(settings)
    mistakes += _wrong_budget(settings)
    mistakes += adapters.mistakes(settings.adapters)
    mistakes += servers.mistakes(settings, settings.engine)
    mistakes += vllm.mistakes(settings)
    if settings.http_addr and address(settings.http_addr) is None:
        mistakes.append(f"HTTP_ADDR={settings.http_addr}: host:port, :port or port, from 1 to 65535, e.g. :5770")
    return mistakes


def _wrong_store(settings: Settings) -> list[str]:
    """What is wrong with where conversations are kept, and for how long."""
    mistakes = []
    store, ttl = settings.golek_session_store, settings.golek_session_ttl
    if store not in ("kv", "memory") and not store.startswith(("redis://", "rediss://", "unix://")):
        mistakes.append(f"GOLEK_SESSION_STORE={hidden(store)}: kv, memory, or a URL such as redis://127.0.0.1:6379/0")
    return mistakes + _not_lasting("GOLEK_SESSION_TTL", ttl)


def _not_lasting(key: str, ttl: str) -> list[str]:
    """What is wrong with how long something is kept."""
    try:
        lasts = _seconds(ttl) > 0
    except ValueError:
        lasts = False
    return [] if lasts else [f"{key}={ttl}: seconds above 0, or a duration such as 90s, 10m or 24h"]


def _wrong_budget(settings: Settings) -> list[str]:
    said = f"ROUTER_BUDGET={settings.router_budget}"
    try:
        budget = settings.fleet_budget
    except ValueError:
        budget = Budget(0)
    if budget is not None and budget.unit != "usd":
        return [f"{said}: dollars and for how long, as 20usd/day or 0.5usd/hour"]
    return []


def _wrong_shares(settings: Settings) -> list[str]:
    """What is wrong with TENSOR_SPLIT, or with MAIN_GPU beside it."""
    said = f"TENSOR_SPLIT={settings.tensor_split}"
    try:
        shares = settings.gpu_shares
    except ValueError:
        return [f"{said}: numbers with commas, such as 2,1"]
    if shares and not (all(0 <= share < math.inf for share in shares) and any(shares)):
        return [f"{said}: no share below 0, and one above it"]
    if shares and settings.main_gpu >= 0:
        return [f"{said}: shares are for several GPUs, MAIN_GPU={settings.main_gpu} puts all on one; give one of both"]
    return []


def _wrong_pixels(settings: Settings) -> list[str]:
    try:
        found = settings.pixel_range
    except ValueError:
        found = [math.nan]
    if not found or (len(found) == 2 and math.isfinite(sum(found)) and found[0] < found[1]):
        return []
    return [f"LITERT_PIXELS={settings.litert_pixels}: two numbers with a comma, the smaller one first, such as -1,1"]


def _wrong_stages(settings: Settings, project: Path) -> list[str]:
    """What is wrong with INFERENCE_PIPELINE_STAGES; the usual ones are not looked up, which takes reading a file."""
    said = settings.inference_pipeline_stages
    if said == USUAL_STAGES:
        return []
    from golek_worker.orchestration import prompts  # brings YAML, which few settings need

    names = prompts.stages(said)
    try:
        wrong = prompts.read(project / prompts.PROMPTS).unknown_stages(names)
    except prompts.PromptsError as error:
        wrong = str(error)
    if not names or len(names) > STAGES_LIMIT:
        wrong = f"1 to {STAGES_LIMIT} stages with commas, such as {USUAL_STAGES}"
    return [f"INFERENCE_PIPELINE_STAGES={said}: {wrong}"] if wrong else []


def _strategy_mistakes(settings: Settings, enabled: bool | None) -> list[str]:
    """What is wrong when INFERENCE_PRIORITY_ENABLED is given and says otherwise than the strategy."""
    strategy = settings.inference_queue_strategy
    if enabled is None or enabled == (strategy == "priority"):
        return []
    said = f"INFERENCE_PRIORITY_ENABLED={str(enabled).lower()}"
    return [f"{said}: contradicts INFERENCE_QUEUE_STRATEGY={strategy}, which decides whether priorities count"]


def _seconds(text: str) -> float:
    """A number is seconds, anything else a duration. Raises ValueError."""
    return float(text) if text.isdecimal() else duration.parse(text)
