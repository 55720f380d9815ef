"""How does a worker come by its model's file?

Between its connection and its engine: the file is found, or downloaded. Meanwhile the worker claims its name, answers
health, sends heartbeats and keeps its record fresh, all as `starting`; it takes no requests yet.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from nats.aio.client import Client

from golek_client.connection import publish
from golek_wire import codec, moments, subjects
from golek_wire.signals import Health, ModelInfo, ModelRecord, WorkerStatus
from golek_wire.subjects import Kind
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.registry import Registry
from golek_worker.gguf import GGUFError
from golek_worker.registry import projector
from golek_worker.registry.artifacts import fingerprint, kind_of
from golek_worker.registry.catalog import Wanted, shown_size
from golek_worker.registry.fetch import fetch
from golek_worker.registry.report import DownloadError, Progress
from golek_worker.registry.resolve import MissingModelError, missing, resolve
from golek_worker.routing import naming
from golek_worker.settings import Settings
from golek_worker.status import VERSION, Identity
from golek_worker.store.writer import LogWriter
from golek_worker.telemetry.signals import Heart

log = structlog.get_logger("worker")

SHOW_S = 0.5
"""The run file is written this often while a download goes on."""
CLAIM_PAUSE_S = 1.0
"""Before the name is claimed again."""


class Preparing:
    """A worker that has a connection and no model yet."""

    def __init__(
        self,
        chosen: Settings,
        identity: Identity,
        client: Client,
        registry: Registry,
        heart: Heart,
        log: LogWriter,
        *,
        event: Callable[[str, str], None],
        show: Callable[[Progress | None], None],
    ) -> None:
        self._settings = chosen
        self._identity = identity
        self._client = client
        self._registry = registry
        self._heart = heart
        self._log = log
        self._event = event
        self._show = show
        self._state: WorkerStatus = "starting"
        self._progress: Progress | None = None
        self._shown_at = 0.0
        has_file = chosen.model_lies_in != "none"
        self.digest: str = "" if has_file else chosen.engine
        """Fingerprint of the file, once there is one."""
        self._kind: Kind | None = None if has_file else chosen.guessed_kind
        """What the model does, once there is a file to tell."""
        self._offers = naming.first_offers(chosen, os.environ) if chosen.engine == "router" else []
        """Names that a router serves: from its first word on who asks for one is not told that nobody knows it."""

    async def model_file(self) -> Path | None:
        """The model's file or folder, downloaded when it is missing and a source is known; None for an engine without.

        Claims the model's name in the fleet. Raises RuntimeError when there is no file and none can be had, and
        MismatchError when another file is served under this name.
        """
        if self._settings.model_lies_in == "none":
            await self._registry.claim(self.record())
            return None
        try:
            found = resolve(self._settings)
        except MissingModelError as error:
            raise RuntimeError(str(error)) from None
        if isinstance(found, Wanted):
            await self._registry.claim(self.record())
            try:
                found = await self._download(found, self._settings.model_file)
            except DownloadError as error:
                way = "name another source with MODEL_SOURCE"
                raise RuntimeError(str(missing(self._settings, str(error), way))) from None
            self._look_at(found)
            await self._claim_patiently()
        else:
            self._look_at(found)
            await self._registry.claim(self.record())
        await self._fetch_eyes(found)
        return found

    async def _fetch_eyes(self, model: Path) -> None:
        """Have the file there that the model sees by, where one is named. Raises RuntimeError."""
        try:
            wanted = projector.wanted(self._settings, model)
            if wanted is not None:
                await self._download(*wanted)
        except DownloadError as error:
            raise RuntimeError(f"the eyes of {self._settings.model_name}: {error}") from None

    def _look_at(self, model: Path) -> None:
        self.digest = fingerprint(model)
        with contextlib.suppress(OSError, GGUFError):  # told when the file is opened
            self._kind = kind_of(model)

    async def beat(self) -> None:
        """One heartbeat, and the record anew."""
        await self._registry.renew(self.record())
        await publish(self._client, subjects.heartbeat(self._settings.token), codec.encode(self.health()))

    async def leave(self, state: WorkerStatus) -> None:
        """The last word of a worker that never had a model."""
        self._state = state
        await self.beat()

    def health(self) -> Health:
        """The answer on `models.<model>.health` while there is no engine."""
        chosen, identity = self._settings, self._identity
        return Health(
            model_name=chosen.model_name,
            status=self._state,
            last_activity=moments.stamp(identity.started_at),
            capabilities=[],
            endpoint=self._identity.endpoint,
            nats_topic=chosen.subject,  # where there is none, the model's file will say what is asked of it
            version=VERSION,
            model_info=ModelInfo(),
            worker_id=identity.worker_id,
            engine=chosen.engine,
            slots=chosen.worker_concurrency,
            monitor_subject=subjects.load_report(chosen.token),
            problem=f"the model's file: {self._progress}" if self._progress is not None else None,
            log_problem=self._log.problem,
            log_rows_lost=self._log.dropped,
            incarnation=identity.incarnation,
            started_at=moments.stamp(identity.started_at),
            identity=chosen.golek_nats_identity,
        )

    def record(self) -> ModelRecord:
        """The model's entry in GOLEK_MODELS while there is no engine: which kind it is shows in its file."""
        return ModelRecord(
            name=self._settings.model_name,
            kinds=[],
            state=self._state,
            deployment=self._identity.deployment,
            last_seen=moments.stamp(),
            digest=self.digest,
            worker_id=self._identity.worker_id,
            subjects=self._subjects(),
            offers=self._offers,
            identity=self._settings.golek_nats_identity,
            reject_when_full=self._settings.inference_reject_when_full,
        )

    def _subjects(self) -> list[str]:
        """Where requests will be taken; before there is a file, that is known from SUBJECT alone."""
        chosen = self._settings
        if self._kind is None and not chosen.subject:
            return []
        return list(chosen.request_subjects(self._kind or chosen.guessed_kind))

    async def _claim_patiently(self) -> None:
        """A broker that is away does not undo a download of an hour: wait until it is back. Raises MismatchError."""
        while True:
            try:
                await self._registry.claim(self.record())
            except BUS_ERRORS as error:
                log.warning("claim.failed", problem=str(error) or type(error).__name__)
                await asyncio.sleep(CLAIM_PAUSE_S)
            else:
                return

    async def _download(self, wanted: Wanted, target: Path) -> Path:
        doubt = f"; {wanted.doubt}" if wanted.doubt else ""
        self._event("model.downloading", f"{wanted.source} to {target} ({wanted.size}){doubt}")
        beating = asyncio.create_task(self._heart.run())
        try:
            done = await fetch(wanted, target, self._follow)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            self._progress = None
            self._show(None)
        now = "" if done.fetched == done.size else f", {shown_size(done.fetched)} of it by this worker"
        self._event(
            "model.downloaded",
            f"{target}: {shown_size(done.size)}{now}, in {done.seconds:.1f} s, verified: {done.checked}",
        )
        return Path(done.path)

    def _follow(self, progress: Progress) -> None:
        new_stage = self._progress is None or self._progress.stage != progress.stage
        self._progress = progress
        if new_stage or time.monotonic() >= self._shown_at + SHOW_S:
            self._shown_at = time.monotonic()
            self._show(progress)
