"""How does one model run in a program, without a bus?

As in a worker: the same settings, file, engine child and executors. What is not there is all that a bus brings: a
queue that outlives the program, other replicas, callers with keys, conversations that are kept.
"""

import asyncio
import difflib
import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from golek_program.settings import SettingsError
from golek_wire import moments, parts
from golek_wire.errors import BadRequestError, BusUnavailableError, EngineFailedError, ModelNotFoundError
from golek_wire.requests import InferenceRequest, Request
from golek_wire.signals import TAKES_REQUESTS, Health, ModelInfo, ModelRecord, WorkerStatus
from golek_wire.subjects import Kind
from golek_worker import adapters, kinds, settings
from golek_worker.admission import gate
from golek_worker.engine.host import EngineHost
from golek_worker.engine_config import engine_config
from golek_worker.executor import Executor
from golek_worker.gatekeeper import DECODERS
from golek_worker.gguf import GGUFError
from golek_worker.job import Job
from golek_worker.registry.artifacts import fingerprint
from golek_worker.registry.resolve import MissingModelError, resolve
from golek_worker.settings import Settings
from golek_worker.status import VERSION
from golek_worker.structure import built_in
from golek_worker.vision.fetching import Fetcher

log = structlog.get_logger("local")

ASKED_BY: Final[dict[Kind, str]] = {"inference": "ask", "embedding": "embed", "rerank": "rerank", "vision": "classify"}
"""What of a client's methods a model of a kind is asked by."""
CLOSE_S: Final = 1.0
"""So long who keeps the engine running may take to see that it shall not; it may be waiting to start it again."""
PLACE: Final = "this process"


def quiet() -> None:
    """Where the program has not said how structlog logs: warnings to the logger `golek.local`, and nothing else."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=lambda *_: logging.getLogger("golek.local"),
        )


def check_settings(given: Iterable[str]) -> None:
    """Raise BadRequestError for keys that are no settings: a mistyped one would count for nothing."""
    for key in given:
        if key not in settings.KNOWN:
            near = difflib.get_close_matches(key.upper(), settings.KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else "envs/worker.example.env lists all"
            raise BadRequestError(f"settings: {key[:64]!r} is no setting; {hint}", param="settings")


def configured(name: str, given: Mapping[str, str]) -> Settings:
    """The settings of a model: `given`, else as of a worker of this name. Raises BadRequestError with all mistakes."""
    try:
        return settings.load(settings.env_file(name), {"MODEL_NAME": name, **given})
    except SettingsError as error:
        raise BadRequestError(f"{name}: {error}", param="settings") from None


class LocalModel:
    """A model with an engine child of this process. Loaded by `start`."""

    def __init__(self, chosen: Settings) -> None:
        """Raises ModelNotFoundError where its file is not there; nothing is downloaded. BadRequestError for settings
        that do not fit the file.
        """
        self.name = chosen.model_name
        self.settings = chosen
        file = _file(chosen)
        try:
            found = kinds.find(chosen, file)
            book = adapters.book(chosen, file, _told)
        except (OSError, GGUFError, SettingsError, RuntimeError) as error:
            raise BadRequestError(f"{self.name}: {error}", param="settings") from None
        assert found is not None
        self.kind: Kind = found
        self._change = asyncio.Event()
        """Set when the engine comes or goes."""
        self.digest = fingerprint(file) if file is not None else chosen.engine
        self.host = EngineHost(engine_config(chosen, found, file), chosen.stall_s, self._change.set, adapters=book)
        grammars = built_in()
        self.executor: Executor = kinds.executor(
            found, self.host, chosen, file, parts.WHOLE_LIMIT,
            lambda name: grammars[name].content if name in grammars else None,
        )  # fmt: skip
        self.fetcher = Fetcher(chosen.image_limits)
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._random = random.Random()
        self._running: asyncio.Task[None] | None = None
        self._is_closed = False
        self._started_at = self._last_at = moments.stamp(time.time())

    async def ready(self, until: float = float("inf")) -> None:
        """Wait until the engine takes sequences; the first one who asks has it started.

        Raises TimeoutError when the monotonic time `until` comes first, EngineFailedError with the words of an engine
        that cannot load the model, BusUnavailableError after `close`.
        """
        while self._is_closed or not self.host.serving:
            if self._is_closed:
                raise BusUnavailableError("this LocalGolek is closed: make another one")
            if self._running is None:
                self._running = asyncio.create_task(self.host.run())
            elif self._running.done():
                cause, self._running = self._running.exception(), None
                raise EngineFailedError(f"{self.name} could not be loaded: {cause}", model=self.name)
            self._change.clear()
            await self._changed(self._running, until)

    async def _changed(self, running: asyncio.Task[None], until: float) -> None:
        changed = asyncio.create_task(self._change.wait())
        left_s = None if until == float("inf") else max(0.0, until - time.monotonic())
        done, _ = await asyncio.wait((changed, running), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if not done:
            raise TimeoutError

    async def close(self) -> None:
        """End the engine; its memory is free when this returns. Its jobs end in BusUnavailableError."""
        self._is_closed = True
        await self.host.close()
        if self._running is not None:
            await asyncio.wait((self._running,), timeout=CLOSE_S)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            await self.host.close()  # of a child that was on its way
        self._change.set()

    def admit(self, payload: bytes, kind: Kind) -> Job:
        """The job that a request becomes. Raises as a worker's gate does, and BadRequestError for what only a fleet can
        do.
        """
        if kind != self.kind and (self.kind, kind) != ("inference", "vision"):
            raise BadRequestError(
                f"{self.name} is no model for {kind}: ask it with `{ASKED_BY[self.kind]}`",
                param="model",
                kinds=[self.kind],
            )
        limits = gate.Limits(
            parts.WHOLE_LIMIT, round(self.settings.inference_request_timeout * 1000), able=self._able
        )  # fmt: skip
        if kind == "inference":
            return gate.check(payload, None, "", limits, lambda: self._random.getrandbits(31), _name)
        job = gate.check_whole(DECODERS[kind], payload, None, "", limits, _name)
        return job if kind == self.kind else msgspec.structs.replace(job, asked=kind)

    async def enter(self) -> None:
        """Wait for one of the engine's places, in order."""
        if self.active < self.settings.worker_concurrency and not self._waiting:
            self.active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to who waits for longest."""
        self.active -= 1
        self._last_at = moments.stamp(time.time())
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self.active += 1
                turn.set_result(None)
                return

    @property
    def state(self) -> WorkerStatus:
        if self._is_closed:
            return "offline"
        if self.host.stalled:
            return "stalled"
        if self.host.serving:
            return "online"
        return "starting" if self.host.ready is None and self.host.problem is None else "loading"

    def record(self) -> ModelRecord:
        """What a fleet would know of it."""
        ready = self.host.ready
        info = ready.info if ready is not None else ModelInfo()
        return ModelRecord(
            self.name, [self.kind], self.state, self.name, moments.stamp(time.time()), info.context_size, self.digest,
            PLACE, [], self.executor.capabilities if self.state in TAKES_REQUESTS else [],
        )  # fmt: skip

    def health(self) -> Health:
        """How it is."""
        ready = self.host.ready
        return Health(
            self.name, self.state, self._last_at, self.executor.capabilities, "", "", VERSION,
            ready.info if ready is not None else ModelInfo(),
            worker_id=PLACE,
            engine=self.settings.engine,
            device=ready.device if ready is not None else "",
            layers=ready.layers if ready is not None else 0,
            offloaded_layers=ready.offloaded_layers if ready is not None else 0,
            device_problem=(ready.device_problem or None) if ready is not None else None,
            adapters=self.host.adapters.loaded,
            adapter_problems=self.host.adapters.problems,
            slots=self.settings.worker_concurrency,
            active=self.active,
            problem=self.host.problem,
            progress=self.host.loading,
            started_at=self._started_at,
        )  # fmt: skip

    def _able(self, request: Request) -> None:
        """Raises BadRequestError for what needs a fleet, and as the executor's check does."""
        lacks: dict[str, object] = {"reply_to": request.reply_to}
        if isinstance(request, InferenceRequest):
            lacks |= {"session_id": request.session_id, "resumable": request.resumable or None}
        for field, value in lacks.items():
            if value is not None:
                raise BadRequestError(f"{field}: only a fleet has this; this model runs in your program", param=field)
        if isinstance(request, InferenceRequest) and request.orchestration_mode not in (None, "single"):
            raise BadRequestError(
                f"orchestration_mode: {request.orchestration_mode} needs several models and a router of a fleet "
                "(`make start WORKER=router`); this model runs in your program, by itself",
                param="orchestration_mode",
            )
        self.executor.check(request)


def _file(chosen: Settings) -> Path | None:
    if chosen.engine == "router":
        raise BadRequestError("ENGINE=router: a router needs a fleet", param="settings")
    if chosen.model_lies_in == "none":
        return None
    try:
        found = resolve(chosen)
    except MissingModelError as error:
        raise ModelNotFoundError(str(error), model=chosen.model_name, did_you_mean=[], available=[]) from None
    if not isinstance(found, Path):
        raise ModelNotFoundError(
            f"{chosen.model_name}: its file is not here yet; download it with `golek pull {chosen.model_name}`",
            model=chosen.model_name,
            did_you_mean=[],
            available=[],
        )
    return found


def _told(code: str, message: str, *, level: str = "info") -> None:
    log.log(logging.INFO if level == "info" else logging.ERROR, code, problem=message)


def _name() -> str:
    return uuid4().hex
