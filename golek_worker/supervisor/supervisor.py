"""What does `golek serve` do, from its start to Ctrl-C?

It ensures the broker, keeps the workers, the gateway and the monitor running, starts other models when it is asked to,
and ends all that it started in the reverse order: what runs already is used, and left running.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from golek_client.connection import shown
from golek_program.settings.monitor import Monitor
from golek_worker.bus import embedded
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.machine import gateway, lifecycle, supervised
from golek_worker.machine import monitor as machine_monitor
from golek_worker.machine.services import ServiceError
from golek_worker.settings.service import Service
from golek_worker.supervisor.child import KILL_AFTER_DRAIN_S, Child, Program
from golek_worker.supervisor.hosting import Hosting
from golek_worker.supervisor.programs import WorkerProgram, gateway_program, monitor_program

SELF: Final = "serve"
BROKER_LOOK_S: Final = 2.0
KILLED_S: Final = 5.0
POLL_S: Final = 0.1

Say = Callable[[str], None]


class Supervisor:
    """All that one `golek serve` started."""

    def __init__(
        self,
        service: Service,
        deployments: Sequence[str],
        *,
        with_gateway: bool = True,
        monitor: Monitor | None = None,
        envs: Path = lifecycle.ENVS,
        say: Say = print,
        worker_module: str = lifecycle.WORKER_MODULE,
        gateway_module: str = "",
    ) -> None:
        """Without `monitor`, its settings, there is none among them."""
        self._service = service
        self._deployments = list(deployments)
        self._with_gateway = with_gateway
        self._monitor = monitor
        self._envs = envs
        self._out = say
        self._worker_module = worker_module
        self._gateway_module = gateway_module
        self._width = len(SELF)
        self._workers: dict[str, Child] = {}
        self._beside: list[Child] = []
        """What runs beside the workers."""
        self._running: set[asyncio.Task[None]] = set()
        """One for each child."""
        self._sides: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._owns_broker = False
        self._failed = False

    async def run(self) -> int:
        """Serve until told to stop; the exit status, which is 1 when nothing was left to serve.

        Raises SupervisedError, StartError and ServiceError before anything was started.
        """
        data = self._service.data
        with supervised.hold(data) as left:
            self._listen_for_signals()
            self._refuse_gateway()
            ensured = await self._ensure_broker()
            was_ours = left is not None and left.owns_broker
            self._owns_broker = ensured.started or (was_ours and embedded.running(data) is not None)
            supervised.note(data, owns_broker=self._owns_broker)
            try:
                return await self._serve()
            finally:
                await self._end()

    def start(self, deployment: str) -> Child:
        """The worker of `deployment`, started unless it is on its way or runs."""
        child = self._workers.get(deployment)
        if child is None or child.over.is_set():
            program = WorkerProgram(deployment, self._envs, self._worker_module)
            child = Child(program, self._teller(program.name))
            self._workers[deployment] = child
            self._keep(child)
        return child

    # -- serving -----------------------------------------------------------------------------------------------

    async def _serve(self) -> int:
        hosting = Hosting(self._service, self._envs, self.start)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await hosting.open(stack)
            except (*BUS_ERRORS, KeyFileError) as error:
                raise lifecycle.StartError(str(error)) from error
            for deployment in self._deployments:
                self.start(deployment)
            for program in self._programs():
                child = Child(program, self._teller(program.name))
                self._beside.append(child)
                self._keep(child)
            if self._owns_broker:
                self._own(self._watch_broker(), self._sides)
            self._own(self._tell_when_ready(), self._sides)
            while not self._stop.is_set():
                if self._nothing_is_left():
                    self._say("nothing is left to serve")
                    return 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), POLL_S)
        return 1 if self._failed else 0

    def _programs(self) -> list[Program]:
        """What runs beside the workers, in the order in which it ends: who needs others stands before them."""
        found: list[Program] = []
        if self._with_gateway:
            found.append(gateway_program(self._service, self._gateway_module))
        if self._monitor is not None:
            found.append(monitor_program(self._monitor))
        return found

    def _nothing_is_left(self) -> bool:
        """Whether no worker came up, and none is on its way."""
        return bool(self._workers) and all(child.state == "given up" for child in self._workers.values())

    async def _tell_when_ready(self) -> None:
        """One line when all that was asked for is there, or will not be."""
        began = time.monotonic()
        children = [*self._workers.values(), *self._beside]
        for child in children:
            await child.settled.wait()
        if self._nothing_is_left():
            return
        there = [child.name for child in children if child.state in ("ready", "elsewhere")]
        if there:
            where = f" at {gateway.url(self._service)}" if gateway.KIND.name in there else ""
            self._say(f"ready{where} after {time.monotonic() - began:.1f} s: {', '.join(there)}; Ctrl-C ends all")
            if self._monitor is not None and machine_monitor.KIND.name in there:
                self._say(f"to watch it: {self._monitor.page_url}, or `golek monitor tui`")
            if where and (reach := gateway.reached_by_others(self._service)):
                self._say(reach)

    async def _watch_broker(self) -> None:
        """A broker that was started here and died is started again."""
        data = self._service.data
        while not self._stop.is_set():
            await asyncio.sleep(BROKER_LOOK_S)
            if embedded.running(data) is not None or self._stop.is_set():
                continue
            self._teller("broker")("died; it is started again")
            with contextlib.suppress(lifecycle.StartError):
                await self._ensure_broker()

    async def _ensure_broker(self) -> embedded.Ensured:
        """Raises StartError."""
        say, service = self._teller("broker"), self._service
        return await lifecycle.ensure_broker(
            service.nats_url, service.data, lambda line: say(line.removeprefix("broker ")), service.login
        )

    # -- ending ------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """What needs the workers first, then these side by side, the broker last."""
        for task in self._sides:
            task.cancel()
        for child in self._beside:
            await self._end_children([child])
        await self._end_children(list(self._workers.values()))
        await asyncio.gather(*self._sides, *self._running, return_exceptions=True)
        if self._owns_broker and (stopped := await asyncio.to_thread(embedded.stop, self._service.data)) is not None:
            self._teller("broker")(f"{shown(stopped.url)} stopped")

    async def _end_children(self, children: list[Child]) -> None:
        """Tell them to end, and kill who takes too long."""
        if not children:
            return
        for child in children:
            child.tell_to_end()
        waiting = [asyncio.create_task(child.over.wait()) for child in children]
        killing = asyncio.create_task(self._kill.wait())
        patience = max(child.program.drain_s for child in children) + KILL_AFTER_DRAIN_S
        over = asyncio.create_task(asyncio.wait(waiting))
        await asyncio.wait([over, killing], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for child in children:
            if not child.over.is_set():
                self._teller(child.name)("killed" if self._kill.is_set() else f"killed: it took over {patience:g} s")
                child.kill()
        await asyncio.wait(waiting, timeout=KILLED_S)
        for task in (over, killing, *waiting):
            task.cancel()

    def _listen_for_signals(self) -> None:
        """The first one ends all in order, the second kills."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._kill.set()
            return
        self._say("ends what it started; once more kills it")
        self._stop.set()

    # -- small -------------------------------------------------------------------------------------------------

    def _refuse_gateway(self) -> None:
        """A port that is taken is told before anything starts. Raises ServiceError."""
        if not self._with_gateway or gateway.running(self._service.data) is not None:
            return
        if wrong := gateway.problems(self._service):
            raise ServiceError("\n".join(wrong))

    def _keep(self, child: Child) -> None:
        self._own(child.run(), self._running)

    def _own(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        """Run it until it ends, or all does; one that fails ends all."""

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._say(f"a part of it failed: {type(error).__name__}: {error}")
                self._failed = True
                self._stop.set()

        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)

    def _say(self, text: str) -> None:
        self._teller(SELF)(text)

    def _teller(self, name: str) -> Say:
        """Says lines with this name before each."""
        self._width = max(self._width, len(name))

        def say(text: str) -> None:
            for line in text.splitlines():
                self._out(f"{name:<{self._width}} | {line}")

        return say
