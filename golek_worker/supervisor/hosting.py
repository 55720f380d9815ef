"""How does a supervisor hear that a model shall be started, and tell what its machine could start?

On `hosts.start` one supervisor of the fleet hears an order, and passes it on, as it came, to the one that can obey it:
itself, or another. On `hosts.start.<host>` that one alone hears it, starts the model and answers as a worker does that
is ordered to load (bus/orders.py). On `hosts.list` every one answers.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from nats.aio.msg import Msg

from golek_client import Golek
from golek_client.connection import close, connect, publish
from golek_client.starting import chosen, nowhere
from golek_program.settings.fleet import Fleet
from golek_wire import codec, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.hosts import HostReport, StartOrder
from golek_wire.signals import TAKES_REQUESTS, Residence, WorkerStatus
from golek_worker.bus import identity
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.keys import KeyBook
from golek_worker.bus.orders import Orders, Task
from golek_worker.bus.replies import send_error
from golek_worker.machine import runfile, startable
from golek_worker.machine.runfile import RunState
from golek_worker.supervisor.child import Child
from golek_worker.supervisor.programs import REPLICA, WorkerProgram

NAME: Final = "golek-serve"
LOOK_S: Final = 0.2
HEALTH_S: Final = 0.5
GOODBYE_S: Final = 1.0


class Hosting:
    """The orders of one supervisor. `open` begins to hear them."""

    def __init__(self, fleet: Fleet, envs: Path, start: Callable[[str], Child]) -> None:
        """`start` starts the worker of a deployment unless it runs."""
        self.host = f"{startable.machine()}-{secrets.token_hex(3)}"
        self._fleet = fleet
        self._envs = envs
        self._start = start
        self._keys: KeyBook | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Hear orders and questions until `stack` closes. Raises BUS_ERRORS."""
        fleet = self._fleet
        self._client = await connect(fleet.nats_url, NAME, login=fleet.login)
        stack.push_async_callback(close, self._client)
        self._client.replicas = fleet.nats_replicas
        self._golek = Golek(fleet.nats_url, login=fleet.login, key="")
        stack.push_async_callback(self._golek.close)
        if fleet.golek_nats_identity != "accounts":
            self._keys = await KeyBook.open(self._client, fleet.key_file)
            following = asyncio.create_task(self._keys.run())
            stack.callback(following.cancel)
        self._orders = Orders(self._client, self._callers(""), lambda: "starting")
        stack.push_async_callback(self._orders.finish, GOODBYE_S)
        await self._client.subscribe(subjects.hosts("list"), cb=self._on_list)
        await self._client.subscribe(subjects.hosts("start"), queue=subjects.QUEUE_GROUP, cb=self._on_any)
        await self._client.subscribe(subjects.hosts("start", self.host), cb=self._on_order)

    def _callers(self, model: str) -> identity.Callers:
        """Who may have `model` started: who may order a worker of it to load."""
        if self._keys is None:
            return identity.Accounts()
        mode = identity.Keys if self._fleet.golek_nats_identity == "keys" else identity.Open
        return mode(model, self._keys)

    # -- what it could start -----------------------------------------------------------------------------------

    async def _on_list(self, message: Msg) -> None:
        if subjects.is_reply_inbox(message.reply):
            with contextlib.suppress(*BUS_ERRORS):
                await publish(self._client, message.reply, codec.encode(await self._report()))

    async def _report(self) -> HostReport:
        return HostReport(self.host, startable.machine(), await asyncio.to_thread(startable.here, self._envs))

    # -- orders ------------------------------------------------------------------------------------------------

    async def _on_any(self, message: Msg) -> None:
        """Pass an order on, as it came, to who can obey it: this machine when it can, else the best of the others."""
        with contextlib.suppress(*BUS_ERRORS):
            try:
                host = await self._who_can(codec.decode_body(message.data, StartOrder).model)
                await publish(self._client, subjects.hosts("start", host), message.data, message.headers, message.reply)
            except InferenceServiceError as error:
                if subjects.is_reply_inbox(message.reply):
                    await send_error(self._client, message.reply, "", error, stream=False)

    async def _who_can(self, model: str) -> str:
        """The supervisor that can start `model`. Raises ModelNotFoundError."""
        if await asyncio.to_thread(startable.deployment_of, model, self._envs) is not None:
            return self.host
        reports = await self._golek.startable()
        if (host := chosen(reports, model)) is None:
            raise nowhere(reports, model)
        return host

    async def _on_order(self, message: Msg) -> None:
        try:
            model = codec.decode_body(message.data, StartOrder).model
        except InferenceServiceError:
            model = ""  # `_read` answers what is wrong
        self._orders.take(message, self._read, self._callers(model))

    def _read(self, _: str, body: bytes) -> Task | None:
        """Raises BadRequestError and ModelNotFoundError."""
        model = codec.decode_body(body, StartOrder).model
        deployment = startable.deployment_of(model, self._envs)
        if deployment is None:
            there = startable.here(self._envs)
            raise nowhere([HostReport(self.host, startable.machine(), there)], model)
        starting = _Starting(self._start(deployment), model, deployment, self._golek)
        return Task(starting.wait, starting.report)


class _Starting:
    """One model on its way, as whoever ordered it is told."""

    def __init__(self, child: Child, model: str, deployment: str, golek: Golek) -> None:
        self._child = child
        self._model = model
        self._deployment = deployment
        self._golek = golek
        self._began = time.monotonic()
        self._progress: float | None = None

    async def wait(self) -> str | None:
        """Why it is not online; None when it is."""
        while True:
            known = self._known()
            if known is not None and known.state in TAKES_REQUESTS and runfile.alive(known):
                return None
            if self._child.state == "given up":
                return self._child.problem
            if self._child.state == "ended" or (self._child.state == "elsewhere" and known is None):
                return "it was stopped before it was online"
            if known is not None and known.state == "failed" and self._child.state == "elsewhere":
                return known.problem or f"it failed; its log is {known.log}"
            self._progress = await self._how_far(known)
            await asyncio.sleep(LOOK_S)

    def report(self, problem: str | None) -> Residence:
        """What is so now."""
        known = self._known()
        status: WorkerStatus = known.state if known is not None else "starting"
        return Residence(
            model_name=known.model_name if known is not None and known.model_name else self._model,
            worker_id=runfile.worker_id(self._deployment, REPLICA),
            status="failed" if problem else status,
            seconds=round(time.monotonic() - self._began, 3),
            problem=problem,
            progress=self._progress,
        )

    def _known(self) -> RunState | None:
        program = self._child.program
        return program.known() if isinstance(program, WorkerProgram) else None

    async def _how_far(self, known: RunState | None) -> float | None:
        """The share of its download, or of its load, that is done."""
        if known is None:
            return None
        if known.progress is not None:
            return known.progress.done / known.progress.total if known.progress.total else None
        if known.state != "loading":
            return None
        with contextlib.suppress(InferenceServiceError):
            return (await self._golek.health(known.model_name, HEALTH_S)).progress
        return self._progress
