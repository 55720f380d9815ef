"""What is a monitor, as a process?

It opens its connection, serves HTTP, follows the fleet, and closes in reverse. It needs no broker to begin: it says on
its page and in its log that it waits for one. What it does beside serving may not end: a part that dies ends all.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
import uvloop

from golek_client import Golek
from golek_client.connection import shown
from golek_monitor.events import EventLevel
from golek_monitor.logs.explorer import Explorer
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_monitor.publishing import Publisher
from golek_monitor.rules import Limits
from golek_monitor.web import door, requests
from golek_monitor.web.access import Access
from golek_monitor.web.app import application
from golek_monitor.web.door import Note
from golek_program import logging
from golek_program.garbage import settle_garbage
from golek_program.settings import monitor as settings
from golek_program.settings.http import Address, is_loopback
from golek_program.settings.monitor import Monitor
from golek_program.web import server
from golek_program.web.server import AddressError, TakenError

log = structlog.get_logger("monitor")

DRAIN_S: Final = 3.0
"""So long answers that have begun may take at the end; streams of events are ended at once."""
NOTICE_S: Final = 0.25
"""So soon it is told that the bus is away, or back."""

Say = Callable[[str], None]


class MonitorProcess:
    """A monitor until it is told to stop."""

    def __init__(
        self,
        chosen: Monitor,
        also: Sequence[Address] = (),
        *,
        on_ready: Callable[[list[str], list[str]], None] = lambda _served, _refused: None,
        on_bus: Say = lambda _: None,
    ) -> None:
        """It serves at MONITOR_ADDR, and at the addresses in `also` as far as they are free.

        `on_ready` is called with the URLs that are served and with sentences on those that are not, `on_bus` with a
        sentence whenever the bus goes away or comes back.
        """
        self._settings = chosen
        self._also = also
        self._on_ready = on_ready
        self._on_bus = on_bus
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop. Raises AddressError, and what a part of it ended in."""
        chosen, loop = self._settings, asyncio.get_running_loop()
        if wrong := settings.open_to_all(chosen):
            raise AddressError(wrong)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        async with AsyncExitStack() as stack:
            golek = Golek(chosen.nats_url, login=chosen.login, key="")
            stack.push_async_callback(golek.close)
            name, where = f"{socket.gethostname()}-{secrets.token_hex(3)}", shown(chosen.nats_url)
            picture = Picture(name, limits=Limits.of(chosen), broker=where)
            picture.connected = False
            observer = Observer(golek, picture, remembers=True)
            ended = await self._serve(stack, picture, golek)
            publisher = Publisher(golek, picture)
            settle_garbage()
            await self._until_stopped([*ended, self._follow(observer, picture), publisher.run()])
            log.info("monitor.stops")

    async def _serve(self, stack: AsyncExitStack, picture: Picture, golek: Golek) -> list[Coroutine[Any, Any, None]]:
        """Serve on all addresses; what waits for each of them to end. Raises AddressError for the first."""
        chosen = self._settings
        access = Access(chosen.monitor_key, public=not is_loopback(chosen.where.host))
        shown_too = chosen.monitor_show_prompts
        explorer = Explorer(chosen.data, golek=golek, show_prompts=shown_too)
        more = requests.routes(explorer, golek, show_prompts=shown_too)
        web = application(picture, golek, access, note=_noting(picture), more=more)
        first = await server.serve(web, chosen.where, chosen)
        serving, refused = [first], []
        stack.push_async_callback(first.close, DRAIN_S)
        for where in self._also:
            try:
                serving.append(await server.serve(web, where, chosen))
            except TakenError as error:
                refused.append(str(error))
            else:
                stack.push_async_callback(serving[-1].close, DRAIN_S)
        stack.callback(web.close)
        urls = [chosen.url(one.where) for one in serving]
        log.info("monitor.ready", url=urls[0], broker=shown(chosen.nats_url))
        self._on_ready(urls, refused)
        return [one.ended() for one in serving]

    async def _follow(self, observer: Observer, picture: Picture) -> None:
        async with observer, asyncio.TaskGroup() as tasks:
            tasks.create_task(observer.run())
            tasks.create_task(self._tell_of_bus(observer, picture))

    async def _tell_of_bus(self, observer: Observer, picture: Picture) -> None:
        """Say in the log when the bus goes away and comes back."""
        known: bool | None = None
        where = shown(self._settings.nats_url)
        while True:
            if (heard := picture.connected) != known:
                known = heard
                if heard:
                    log.info("bus.heard", broker=where)
                    self._on_bus(f"the fleet is heard at {where}")
                else:
                    problem = observer.problem or "the connection broke"
                    log.warning("bus.away", broker=where, problem=problem)
                    self._on_bus(f"no fleet is heard, and waited for: {problem}")
            await asyncio.sleep(NOTICE_S)

    async def _until_stopped(self, sides: list[Coroutine[Any, Any, None]]) -> None:
        """Wait for the order to stop. Raises what one of `sides` ended in before."""
        tasks = [asyncio.create_task(self._stop.wait()), *(asyncio.create_task(side) for side in sides)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        if not self._stop.is_set():
            raise RuntimeError("a part of the monitor ended by itself")

    def _on_signal(self) -> None:
        """The first SIGTERM or SIGINT ends it in order, the second at once."""
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()


def _noting(picture: Picture) -> Note:
    """Writes what people ordered into the log of this process and into that of the fleet's events."""

    def note(level: EventLevel, code: str, message: str, model: str = "", worker_id: str = "") -> None:
        door.told(level, code, message, model, worker_id)
        picture.note(code, level, message, model, worker_id, alone=True)

    return note


def run(process: Callable[[], MonitorProcess]) -> int:
    """Run the process that is made in its event loop; the exit status is 0 after a stop, 1 when it could not go on.

    Raises AddressError where it cannot serve.
    """

    async def main() -> None:
        await process().run()

    try:
        uvloop.run(main())
    except AddressError:
        raise
    except Exception as error:
        cause = _cause(error)
        log.exception("monitor.failed", problem=f"a part of it failed: {type(cause).__name__}: {cause}")
        return 1
    return 0


def _cause(error: BaseException) -> BaseException:
    """What failed first, of tasks that failed together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def serve(chosen: Monitor, *, into_file: bool = False, remarks: Sequence[str] = ()) -> int:
    """A monitor that logs to stderr, a file perhaps, `remarks` on its settings and what becomes of it.

    Its exit status.
    """
    configure_log(chosen, into_file=into_file)
    for remark in remarks:
        log.warning("settings.remark", problem=remark)
    try:
        return run(lambda: MonitorProcess(chosen))
    except AddressError as error:
        log.error("monitor.failed", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
        return 1


def configure_log(chosen: Monitor, level: str = "", *, into_file: bool = False) -> None:
    """Lines on stderr, from GOLEK_LOG_LEVEL on unless `level` is given; JSON where that is a file."""
    level = level or chosen.golek_log_level
    logging.configure(level, form=chosen.golek_log_format, into_file=into_file, worker_id="monitor")
