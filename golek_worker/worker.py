"""What is a worker, from start to stop?

    python -m golek_worker.worker NAME [--replica N] [--log FILE]

`Worker.run` opens everything in order and closes it in reverse. A side task that dies stops the worker: one that serves
without a heartbeat would be worse than none.
"""

import argparse
import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, TextIO

import structlog
import uvloop
from nats.aio.client import Client

from golek_client.connection import close, connect, flush, publish, shown
from golek_program import logging as worker_logging
from golek_program import tracing
from golek_program.garbage import settle_garbage
from golek_program.settings import SettingsError
from golek_program.settings.http import address
from golek_program.web.server import TakenError
from golek_wire import codec, subjects
from golek_wire.signals import Health, WorkerStatus
from golek_worker import kinds, process, settings, structure
from golek_worker.building import Parts, build
from golek_worker.bus import endpoints, identity, streams
from golek_worker.bus.grammars import GrammarBook
from golek_worker.bus.jetstream import BUS_ERRORS, patiently
from golek_worker.bus.keys import KeyBook
from golek_worker.bus.registry import Registry
from golek_worker.cache_orders import CacheOrders
from golek_worker.engine.base import Ready
from golek_worker.engine.host import CannotLoadError
from golek_worker.front import FRONT_ERRORS, Front, open_front
from golek_worker.gguf import GGUFError
from golek_worker.grammars import gbnf
from golek_worker.ground import Ground
from golek_worker.log_answers import LogAnswers
from golek_worker.machine import gateway, logfiles, monitor, runfile, services
from golek_worker.machine.logfiles import EngineLog
from golek_worker.orders import ModelOrders
from golek_worker.preparing import Preparing
from golek_worker.registry.report import Progress
from golek_worker.settings import Settings, explain
from golek_worker.status import VERSION, Identity, loaded
from golek_worker.store.database import StoreError
from golek_worker.store.writer import LogWriter
from golek_worker.telemetry.signals import Heart, Reports

log = structlog.get_logger("worker")

START_ERRORS = (*FRONT_ERRORS, streams.MismatchError, StoreError, SettingsError, GGUFError, RuntimeError)
"""What keeps a worker from starting and is not a bug: shown as a sentence, without a traceback."""
SETTINGS_ERRORS = (CannotLoadError, SettingsError, GGUFError)
"""Those that another start would meet again."""


class Worker:
    """One replica of one deployment."""

    def __init__(self, chosen: Settings, identity: Identity, remarks: list[str]) -> None:
        self._settings = chosen
        self._identity = identity
        self._remarks = remarks
        self._stop = asyncio.Event()
        self._closed = asyncio.Event()
        self._close_reason = ""
        self._engine_changed = asyncio.Event()
        self._heart = Heart(lambda: _best_effort(self._beat()))
        self._model: Path | None = None
        self._parts: Parts | None = None
        """None until there is a model."""

    async def run(self) -> None:
        """Serve until told to stop. Raises one of START_ERRORS when that is not possible."""
        self._listen_for_signals()
        self._write_state("starting")
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            try:
                if not await self._has_model():
                    return
                parts = await self._open(stack)
            except START_ERRORS:
                await _best_effort(self._preparing.leave("failed"))
                raise
            await self._serve(parts)

    # -- opening, in order -------------------------------------------------------------------------------------

    async def _connect(self, stack: AsyncExitStack) -> None:
        """The log, the broker, and answers to who asks how far this worker is."""
        chosen = self._settings
        self._log = await LogWriter.open(
            chosen.log_file, worker_id=self._identity.worker_id, retention_days=chosen.golek_log_retention_days
        )
        stack.push_async_callback(self._log.close)
        self._event("startup", f"{self._identity.worker_id} starts, pid {os.getpid()}")
        self._tracing = tracing.start(chosen, "worker", self._identity.worker_id)
        if self._tracing is not None:
            stack.push_async_callback(self._tracing.close)
        for remark in self._remarks:
            self._event("settings.remark", remark, level="warning")
        self._engine_log = EngineLog(Path(self._identity.engine_log))
        stack.callback(self._engine_log.close)
        self._engine_log.write(f"worker_id={self._identity.worker_id} engine={chosen.engine}")
        self._client = await connect(
            chosen.nats_url, self._identity.worker_id, login=chosen.login,
            on_reconnect=self._reconnected, on_closed=self._closed_for_good,
        )  # fmt: skip
        self._client.replicas = chosen.nats_replicas
        stack.push_async_callback(_disconnect, self._client)
        me = self._identity
        await endpoints.serve_ping(self._client, me.incarnation, VERSION, me.worker_id)
        self._registry = await Registry.open(self._client, chosen.token)
        self._preparing = Preparing(
            chosen, self._identity, self._client, self._registry, self._heart, self._log,
            event=self._event, show=lambda progress: self._write_state("starting", progress),
        )  # fmt: skip
        await self._know_callers()
        self._grammars = await GrammarBook.open(self._client, structure.built_in(), gbnf.check)
        await self._grammars.serve(self._callers)
        await endpoints.serve_health(self._client, chosen.model_name, self._health)
        await self._serve_http(stack)

    async def _serve_http(self, stack: AsyncExitStack) -> None:
        """HTTP for this model, of a router for all, at replica 1 alone: an address can be bound once."""
        self._http: Front | None = None
        chosen, where = self._settings, address(self._settings.http_addr)
        if where is None:
            return
        if not self._identity.endpoint:
            self._event("http.elsewhere", f"replica 1 serves {chosen.http_addr}; this one serves the bus alone")
            return
        try:
            self._http = await open_front(
                stack, where, chosen, self._keys, self._tracing, auto=chosen.inference_auto_route_enabled,
                served="" if chosen.engine == "router" else chosen.model_name, own=self._health,
            )  # fmt: skip
        except TakenError as error:
            who = services.holder(chosen.data, where.port, gateway.KIND, monitor.KIND)
            raise TakenError(f"HTTP_ADDR={chosen.http_addr}: {error}{f', {who}' if who else ''}") from None
        self._event("http.ready", self._identity.endpoint)

    async def _know_callers(self) -> None:
        """Who may ask, and whose keys have limits: that is known before the first question."""
        chosen = self._settings
        self._keys: KeyBook | None = None
        self._callers: identity.Callers
        if chosen.golek_nats_identity == "accounts":
            self._callers = identity.Accounts()
            return
        needed = chosen.golek_nats_identity == "keys"
        self._keys = await KeyBook.open(self._client, chosen.key_file, needed=needed)
        mode = identity.Keys if needed else identity.Open
        self._callers = mode(chosen.model_name, self._keys)

    async def _look_for_key(self, digest: str) -> None:
        if self._keys is not None:
            await self._keys.look(digest)

    async def _has_model(self) -> bool:
        """Find or download the model's file; False when told to stop meanwhile."""
        finding = asyncio.create_task(self._preparing.model_file())
        stop = asyncio.create_task(self._stop.wait())
        tasks: list[asyncio.Task[Any]] = [finding, stop, asyncio.create_task(self._watch_connection())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if stop in done:
            self._event("shutdown", "told to stop before there was a model")
            await _best_effort(self._preparing.leave("offline"))
            return False
        for task in done - {finding}:
            task.result()
        self._model = finding.result()
        return True

    async def _open(self, stack: AsyncExitStack) -> Parts:
        """The model's queue, its record and the parts; needs a model, whose file says what is asked of it."""
        kind = kinds.find(self._settings, self._model)
        ground = Ground(
            self._settings,
            self._identity,
            self._client,
            self._callers,
            self._look_for_key,
            self._grammars,
            self._log,
            self._engine_log,
            self._event,
            self._tracing,
        )
        parts = await build(ground, kind, self._model, self._preparing.digest, self._engine_changed.set)
        self._parts = parts
        await patiently(self._client, parts.queue.look)
        stack.push_async_callback(parts.objects.close)
        if parts.sessions is not None:
            stack.push_async_callback(parts.sessions.close)
            await parts.sessions.serve(self._client, self._callers, self._look_for_key)
        if parts.router is not None:
            stack.push_async_callback(parts.router.close)
        stack.push_async_callback(parts.charging.close)
        stack.push_async_callback(parts.answers.close)
        if parts.alike is not None:
            stack.push_async_callback(parts.alike.close)
        stack.push_async_callback(parts.host.close)
        return parts

    # -- serving -----------------------------------------------------------------------------------------------

    async def _serve(self, parts: Parts) -> None:
        """Start taking requests, load the engine, and go on until told to stop; then drain."""

        async def cancel(job_id: str) -> None:
            if not parts.serving.cancel(job_id):
                parts.ingress.cancel(job_id)

        await parts.serving.start()
        await parts.adapters.start()
        await endpoints.serve_cancels(self._client, cancel, self._callers.cancelled)

        self._reports = Reports(
            lambda: _best_effort(self._report_load(parts)), lambda: parts.is_busy, lambda: parts.serving.tally.requests
        )

        async def tell() -> None:
            await _best_effort(self._tell_health())
            self._reports.report_now()

        await endpoints.serve_watchers(self._client, tell)
        await endpoints.serve_micro(
            self._client, parts.status.micro_identity(), parts.status.micro_metadata,
            explain.differing(self._settings), parts.status.micro_counts,
        )  # fmt: skip
        self._orders = ModelOrders(
            parts.orders, parts.residency, parts.status, self._stop.set, parts.caching.invalidate
        )
        await self._orders.start()
        await CacheOrders(
            parts.orders, self._settings.model_name, self._identity.worker_id, parts.caching, parts.serving.tally,
            parts.router.deciding.means if parts.router is not None else None,
        ).start()  # fmt: skip
        await LogAnswers(
            parts.orders, self._settings.model_name, self._identity.worker_id, self._settings.log_file
        ).start()
        await parts.consumer.start()
        await parts.ingress.start()
        self._event("services.init", "requests are taken; they wait for the model")
        patience = "; vLLM takes half a minute and more" if self._settings.engine == "vllm" else ""
        self._event("model.loading", f"{self._model or self._settings.engine}{patience}")
        self._write_state("loading")
        sides: list[Coroutine[Any, Any, None]] = [
            parts.host.run(),
            parts.residency.run(),
            self._follow_engine(parts),
            parts.ingress.run(),
            parts.consumer.run(),
            parts.keeper.run(),
            self._heart.run(),
            self._reports.run(),
            self._watch_connection(),
        ]
        sides.append(self._grammars.run())
        if self._keys is not None:
            sides.append(self._keys.run())
        if parts.router is not None:
            sides.append(parts.router.run())
        if self._http is not None:
            sides.append(self._http.ended())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(side) for side in sides]
        stop = asyncio.create_task(self._stop.wait())
        self._event("health.started", f"heartbeats on {subjects.heartbeat(self._settings.token)}")
        self._event("monitoring.started", f"load reports on {subjects.load_report(self._settings.token)}")
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        try:
            await self._drain(parts, failed=stop not in done)
        finally:
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
        for task in done - {stop}:
            task.result()
            raise RuntimeError("a side task of the worker ended")

    async def _follow_engine(self, parts: Parts) -> None:
        """Pull while an engine is ready, and only then."""
        said: WorkerStatus = "loading"
        first = True
        while True:
            await self._engine_changed.wait()
            self._engine_changed.clear()
            if parts.residency.may_pull:
                await _best_effort(parts.consumer.resume())
                await _best_effort(flush(self._client))
                if said == "loading":
                    self._tell_loaded(parts.host.ready)
                if first:
                    settle_garbage()
                    self._event("server.ready", f"serving {', '.join(parts.status.served)}")
                    first = False
            else:
                parts.residency.tell(self._event)
                await _best_effort(parts.consumer.pause())
            said = parts.status.state
            if parts.host.adapters.is_settled or said != "online":
                self._write_state(said, remarks=parts.status.remarks())
            self._heart.beat_now()
            self._reports.report_now()

    def _tell_loaded(self, ready: Ready | None) -> None:
        """On which devices the model is, and why not on others."""
        if ready is not None:
            self._event("model.loaded", loaded(ready))
            if ready.device_problem:
                self._event("device.fallback", f"0 layers on a GPU: {ready.device_problem}", level="warning")

    async def _drain(self, parts: Parts, *, failed: bool) -> None:
        """Stop taking and pulling, finish what runs, give the rest back, say goodbye."""
        parts.status.leaving = "draining"
        self._write_state("draining")
        await _best_effort(self._tell_health())  # not in the record: there, who leaves is soon not waited for
        self._reports.report_now()
        if parts.router is not None:
            await _best_effort(parts.router.leave())
        parts.residency.close()
        closing = asyncio.create_task(self._http.close(self._settings.drain_s)) if self._http is not None else None
        for leave in (parts.ingress.stop, parts.consumer.pause):
            await _best_effort(leave())
        self._event("shutdown", f"draining {parts.serving.active} jobs")  # from here on it takes nothing more
        given_back = await parts.serving.drain(self._settings.drain_s)
        if given_back:
            self._event(
                "jobs.given_back", f"{given_back} jobs did not end in time and go to another replica", level="warning"
            )
        await _best_effort(parts.ingress.leave())
        parts.status.leaving = "failed" if failed else "offline"
        await _best_effort(self._beat())
        await self._orders.leave()
        if closing is not None:
            await closing

    # -- what is asked of it meanwhile -------------------------------------------------------------------------

    async def _reconnected(self) -> None:
        log.info("nats.reconnected")
        if self._parts is not None:
            self._parts.keeper.doubt()
            self._parts.serving.reconnected()
            await _best_effort(self._parts.consumer.reconnected())
            if self._parts.router is not None:
                await _best_effort(self._parts.router.reconnected())
        self._heart.beat_now()
        if self._parts is not None:
            if self._parts.kind == "inference":
                await _best_effort(self._parts.tokens.reconnected())
            await _best_effort(patiently(self._client, self._parts.adapters.sync))

    def _health(self) -> Health:
        return self._parts.status.health() if self._parts is not None else self._preparing.health()

    async def _beat(self) -> None:
        if self._parts is None:
            await self._preparing.beat()
            return
        # Apart: while JetStream is away, others should hear that this worker is not.
        await _best_effort(self._registry.renew(self._parts.status.record()))
        await self._tell_health()

    async def _tell_health(self) -> None:
        await publish(self._client, subjects.heartbeat(self._settings.token), codec.encode(self._health()))

    async def _report_load(self, parts: Parts) -> None:
        await _best_effort(parts.queue.look())
        view = parts.queue.view
        report = parts.status.load_report(view.pending, view.oldest_wait_s(time.monotonic()))
        await publish(self._client, subjects.load_report(self._settings.token), codec.encode(report))

    async def _watch_connection(self) -> None:
        """A connection that the server refuses is not restored: then this worker can do nothing but end.

        Raises RuntimeError.
        """
        await self._closed.wait()
        raise RuntimeError(f"{shown(self._settings.nats_url)}: {self._close_reason}")

    def _closed_for_good(self, reason: str) -> None:
        self._close_reason = reason
        self._closed.set()

    def _event(self, code: str, message: str, *, level: str = "info") -> None:
        """One line in the log, one row among the events."""
        self._log.event(level, code, message)
        getattr(log, level)(code, detail=message)

    def _write_state(self, state: WorkerStatus, progress: Progress | None = None, remarks: Sequence[str] = ()) -> None:
        try:
            write_state(self._settings, self._identity, state, progress=progress, remarks=remarks)
        except OSError as error:
            log.warning("state.unwritten", state=state, problem=str(error))

    def _listen_for_signals(self) -> None:
        """The first SIGTERM or SIGINT drains, the second ends the worker at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()


def write_state(
    chosen: Settings,
    identity: Identity,
    state: WorkerStatus,
    problem: str | None = None,
    progress: Progress | None = None,
    remarks: Sequence[str] = (),
) -> None:
    """Tell `make start` and `make list-workers` how far this replica is."""
    me = process.identify()
    runfile.write(
        chosen.data,
        runfile.RunState(
            worker_id=identity.worker_id,
            deployment=identity.deployment,
            replica=identity.replica,
            pid=me.pid,
            created=me.created,
            state=state,
            problem=problem,
            progress=progress,
            remarks=list(remarks),
            model_name=chosen.model_name,
            nats_url=shown(chosen.nats_url),
            log=identity.log,
            engine_log=identity.engine_log,
        ),
    )


async def _disconnect(client: Client) -> None:
    """Send what is pending, then close."""
    await _best_effort(flush(client))
    await close(client)


async def _best_effort(step: Coroutine[Any, Any, None]) -> None:
    """Do `step`; while the connection is being restored it may fail, and what follows must not."""
    try:
        await step
    except BUS_ERRORS as error:
        log.warning("step.failed", problem=str(error) or type(error).__name__)


def main() -> int:
    """Run one replica; the exit status is 0 after a stop, MISCONFIGURED when its settings are wrong, else 1."""
    parser = argparse.ArgumentParser(prog="golek_worker.worker", description="Run one replica in the foreground.")
    parser.add_argument("name", help="deployment: envs/worker.NAME.env")
    parser.add_argument("--replica", type=int, default=1, help="its number, from 1")
    parser.add_argument("--log", help="the file that stderr goes to; without it the worker makes one beside stderr")
    arguments = parser.parse_args()
    file = settings.env_file(arguments.name)
    try:
        chosen, remarks = settings.load(file), settings.remarks(file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    with ExitStack() as stack:
        try:
            identity = _identify(arguments, chosen, stack)
        except OSError as error:
            print(f"GOLEK_DATA={chosen.data}: no log can be written there: {error}", file=sys.stderr)
            return 1
        return _serve(chosen, identity, remarks)


def _identify(arguments: argparse.Namespace, chosen: Settings, stack: ExitStack) -> Identity:
    """Who this replica is and where it logs; logging is set up."""
    name, replica = arguments.name, arguments.replica
    streams: list[TextIO] = []
    log_file = arguments.log
    if not log_file:
        log_file = logfiles.create(logfiles.boot_folder(chosen.data), "boot")
        raw = stack.enter_context(logfiles.open_to_write(log_file))
        streams.append(io.TextIOWrapper(raw, "utf-8", write_through=True))
    engine_log = logfiles.create(logfiles.engine_folder(chosen.data, chosen.worker_type or name), "server")
    worker_id = runfile.worker_id(name, replica)
    worker_logging.configure(
        chosen.golek_log_level,
        *streams,
        form=chosen.golek_log_format,
        into_file=bool(arguments.log),
        worker_id=worker_id,
    )
    where = address(chosen.http_addr) if replica == 1 else None
    endpoint = chosen.url(where) if where is not None else ""
    return Identity(name, replica, worker_id, endpoint=endpoint, log=str(log_file), engine_log=str(engine_log))


def _serve(chosen: Settings, identity: Identity, remarks: list[str]) -> int:
    try:
        uvloop.run(Worker(chosen, identity, remarks).run())
    except START_ERRORS as error:
        log.error("worker.failed", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
        write_state(chosen, identity, "failed", str(error))
        return process.MISCONFIGURED if isinstance(error, SETTINGS_ERRORS) else 1
    runfile.remove(chosen.data, identity.deployment, identity.replica)
    return 0


if __name__ == "__main__":
    sys.exit(main())
