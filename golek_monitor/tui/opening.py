"""How does the terminal come up, and what keeps it from that?

`main` is what `golek monitor tui` calls. It needs no broker to begin with: a bus that is away is said on the screen and
tried again. What no waiting mends, such as a wrong login, is said in a sentence instead.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TextIO

from golek_client import Golek
from golek_client.connection import shown
from golek_monitor.logs.explorer import Explorer
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_monitor.rules import Limits
from golek_monitor.tui.desk import FleetDesk
from golek_program.settings.monitor import Monitor as Settings
from golek_wire.errors import InferenceServiceError, NonRetriableError

USAGE: Final = 2
NO_BUS: Final = 3
"""The exit status of a login or an address that is wrong; `golek monitor status` has the same."""
GOODBYE_S: Final = 2.0
"""So long it may take to end in order after SIGHUP."""
CONNECT_S: Final = 3.0
"""So long the first look waits for the broker before the screen comes up without it."""
_PLAIN_TERMINALS: Final = ("linux", "vt100", "vt102", "vt220", "ansi")
"""Their fonts have few characters beyond ASCII."""


def main(settings: Settings) -> int:
    """Show the fleet until somebody quits; the exit status.

    0 after q, 2 where there is no terminal that it could be shown in, 3 for a login or an address that is wrong.
    """
    if problem := unfit(os.environ, terminal=sys.stdin.isatty() and sys.stdout.isatty()):
        print(problem, file=sys.stderr)
        return USAGE
    logging.getLogger().addHandler(logging.NullHandler())  # a line on stderr would stand in the midst of the screen
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run(settings))
    return 130


def unfit(environment: Mapping[str, str], *, terminal: bool) -> str:
    """Why there is no screen to draw on; empty when there is one."""
    if not terminal:
        return "golek monitor tui: needs a terminal; `golek monitor status` prints the same once"
    if environment.get("TERM", "") in ("", "dumb"):
        return (
            f"golek monitor tui: TERM={environment.get('TERM', '')} is no terminal that a screen can be drawn on;"
            " `golek monitor status` prints the same once"
        )
    return ""


def needs_ascii(environment: Mapping[str, str]) -> bool:
    """Whether the terminal shows ASCII alone: by its locale, or because its font has no more."""
    locale = next((value for key in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environment.get(key))), "")
    other = bool(locale) and "utf-8" not in locale.lower() and "utf8" not in locale.lower()
    return other or environment.get("TERM", "") in _PLAIN_TERMINALS


async def _run(settings: Settings) -> int:
    from golek_monitor.tui.app import Monitor

    golek = Golek(settings.nats_url, login=settings.login)
    try:
        if refused := await _refused(golek):
            print(f"golek monitor tui: {refused}", file=sys.stderr)
            return NO_BUS
        picture = Picture(limits=Limits.of(settings))
        async with Observer(golek, picture) as observer:
            app = Monitor(
                picture,
                FleetDesk(golek, Explorer(settings.data, golek=golek)),
                url=shown(settings.nats_url),
                theme=settings.monitor_theme,
                ascii_only=needs_ascii(os.environ),
                no_color=bool(os.environ.get("NO_COLOR")),
                show_prompts=settings.monitor_show_prompts,
                problem=lambda: observer.problem or "",
            )
            watching = asyncio.create_task(observer.run())
            watching.add_done_callback(lambda task: _ended(task, app.exit))
            for number in (signal.SIGTERM, signal.SIGHUP):  # else the terminal stays as a screen needs it
                asyncio.get_running_loop().add_signal_handler(number, partial(app.exit, return_code=128 + number))
            threading.Thread(target=_end_with_terminal, args=(sys.__stdout__,), daemon=True).start()
            try:
                await app.run_async()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        return app.return_code or 0
    finally:
        await golek.close()


def _end_with_terminal(terminal: TextIO | None) -> None:
    """End the process once its terminal is gone, also where nobody sends SIGHUP: Textual's writer dies of it, and then
    all waits for the writer for ever.
    """
    if terminal is None:
        return
    hung_up = select.poll()
    hung_up.register(terminal, 0)  # POLLHUP and POLLERR are told unasked
    hung_up.poll()
    time.sleep(GOODBYE_S)
    os._exit(128 + signal.SIGHUP)


async def _refused(golek: Golek) -> str:
    """Why this login or this address will never do; empty when it does, or when the bus is only away."""
    try:
        async with asyncio.timeout(CONNECT_S):
            await golek.models()
    except NonRetriableError as error:
        return error.message
    except (InferenceServiceError, TimeoutError):
        return ""
    return ""


def _ended(watching: asyncio.Task[None], leave: Callable[..., None]) -> None:
    """Nobody looks at a picture that nothing feeds."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        leave(return_code=1, message=f"golek monitor tui: it stopped listening: {error!r}")
