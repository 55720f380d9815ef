"""How is the fleet, by one look?

The bus is asked, so that no monitor need run: workers that are asked say at once how they are, and a second later once
more, for rates. Alerts are from monitors, where there are some. What was found decides the exit status.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from golek_client import Golek
from golek_client.connection import shown
from golek_client.fleet import LEFT
from golek_monitor import findings, screen
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_monitor.records import FleetNow, ReplicaRow
from golek_program.settings.monitor import MARK, Monitor
from golek_program.web import ping
from golek_wire import codec
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import Alert, Level

HEALTHY: Final = 0
ATTENTION: Final = 1
NO_BUS: Final = 3
CONNECT_S: Final = 5.0
QUIET_S: Final = 0.2
"""When nobody has said anything new for so long, those who wanted to have."""
APART_S: Final = 1.0
"""They are asked twice, so far apart: two counts make a rate (rates.THIN_S)."""
SECOND_S: Final = 0.4
"""So long the second answers are waited for."""
LOOK_S: Final = 1.2
"""Whoever is expected and says nothing for so long is taken as away."""
AGAIN_S: Final = 1.0
"""While it is waited for, it is looked so often."""
POLL_S: Final = 0.04
MONITOR_S: Final = 0.5
_RATES: Final = ("requests_per_s", "tokens_per_s", "errors_per_s")
OTHER_LINES: Final = 10
"""Of the screen, beside the table."""


class Look(msgspec.Struct, frozen=True):
    """What was seen."""

    now: FleetNow
    found: Sequence[Alert]
    problem: str = ""
    """Why the bus was not heard; empty when it was."""

    @property
    def status(self) -> int:
        """The exit status."""
        if self.problem or not self.now.connected:
            return NO_BUS
        return HEALTHY if findings.is_healthy(self.found) else ATTENTION


def run(chosen: Monitor, *, as_json: bool = False, wait_s: float = 0.0, everything: bool = False) -> int:
    """Look, print what was seen, and tell the exit status. It looks again until `wait_s` passed or all is healthy."""
    look, monitor_there = asyncio.run(_look(chosen, wait_s))
    if as_json:
        print(_json(look.now))
    elif not look.problem:
        print("\n".join(screen.lines(look.now, look.found, _where(chosen, monitor_there), _form(everything))))
    if look.problem:
        print(f"the fleet cannot be seen: {look.problem}", file=sys.stderr)
    return look.status


def nothing() -> str:
    """What `--json` prints where the settings are so wrong that nobody was asked."""
    return _json(_unheard(Picture()))


def told(now: FleetNow) -> dict[str, Any]:
    """It as JSON has it: sums of rates that nobody knows are absent."""
    said: dict[str, Any] = msgspec.to_builtins(now)
    for name in _RATES:
        if not screen.is_known(now, name):
            del said["overview"][name]
    return said


async def look(golek: Golek, broker: str = "") -> Look:
    """Ask the bus, at `broker`, once. What keeps it from being asked is the `problem`."""
    picture = Picture(broker=broker)
    observer = Observer(golek, picture)
    try:
        async with asyncio.timeout(CONNECT_S):
            await observer.open()
    except InferenceServiceError as error:
        return Look(_unheard(picture), [], error.message)
    except TimeoutError:
        return Look(_unheard(picture), [], f"the broker did not answer within {CONNECT_S:g} s")
    asked = time.monotonic()
    await _settle(picture)
    if picture.replicas():
        with contextlib.suppress(InferenceServiceError):  # then rates are not known
            await _count(observer, picture, asked + APART_S)
    now = picture.now()
    firing = [alert for alert in now.alerts if alert.state == "firing"]
    found = findings.together(findings.of(now, picture.view.left()), firing)
    return Look(_told(now, found), found, "" if now.connected else "the connection to the broker broke")


async def _look(chosen: Monitor, wait_s: float) -> tuple[Look, bool]:
    """What was seen last, and whether a monitor answers here."""
    until = time.monotonic() + wait_s
    there = asyncio.create_task(ping.answers(chosen.page_url, MARK, MONITOR_S))
    seen = await _look_once(chosen)
    while seen.status != HEALTHY and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(AGAIN_S, left))
        seen = await _look_once(chosen)
    return seen, await there


async def _look_once(chosen: Monitor) -> Look:
    """Over a connection of its own, which takes with it what was subscribed for this look."""
    golek = Golek(chosen.nats_url, login=chosen.login, key="")
    try:
        return await look(golek, shown(chosen.nats_url))
    finally:
        await golek.close()


async def _settle(picture: Picture) -> None:
    """Wait until all who were asked have spoken, as far as that can be told."""
    began = changed = time.monotonic()
    heard = (0, 0, 0, 0)
    while (now := time.monotonic()) - began < LOOK_S:
        if (newest := _heard(picture)) != heard:
            heard, changed = newest, now
        if now - changed >= QUIET_S and not any(_missing(picture)):
            return
        await asyncio.sleep(POLL_S)


async def _count(observer: Observer, picture: Picture, at: float) -> None:
    """Ask once more at this moment, and wait until rates are known. Raises as `Observer.ask` does."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    await observer.ask()
    until = time.monotonic() + SECOND_S
    while not all(_is_counted(one) for one in picture.replicas()):
        await asyncio.sleep(POLL_S)
        if time.monotonic() >= until:
            return


def _is_counted(one: ReplicaRow) -> bool:
    return one.presence != "here" or one.status in LEFT or one.requests_per_s is not None


def _heard(picture: Picture) -> tuple[int, int, int, int]:
    """Who spoke: whoever is busy speaks every second, and that is no news."""
    everyone = picture.view.everyone()
    beats = sum(one.health is not None for one in everyone)
    reports = sum(one.told_at is not None for one in everyone)
    return beats, reports, len(picture.gateways()), len(picture.alerts())


def _missing(picture: Picture) -> Iterator[str]:
    """Models that should be served, by their records, and of whose workers nobody was heard."""
    left = set(picture.view.left())
    return (one.model_name for one in picture.services() if not one.replicas and one.model_name not in left)


def _json(now: FleetNow) -> str:
    return msgspec.json.format(codec.encode(told(now)), indent=2).decode()


def _unheard(picture: Picture) -> FleetNow:
    picture.connected = False
    now = picture.now()
    return msgspec.structs.replace(now, overview=msgspec.structs.replace(now.overview, status="critical"))


def _told(now: FleetNow, found: Sequence[Alert]) -> FleetNow:
    """`now` with all that was found as its alerts."""
    levels: set[Level] = {one.backpressure_status.level for one in now.services if one.replicas}
    levels |= {one.severity for one in found}
    level: Level = "critical" if "critical" in levels else "warning" if "warning" in levels else "healthy"
    overview = msgspec.structs.replace(now.overview, status=level, alerts=len(found))
    return msgspec.structs.replace(now, overview=overview, alerts=list(found))


def _where(chosen: Monitor, monitor_there: bool) -> str:
    seen = f"monitor {chosen.page_url}" if monitor_there else "no monitor runs here (golek monitor start)"
    return f"broker {shown(chosen.nats_url)} · {seen}"


def _form(everything: bool) -> screen.Form:
    """As the terminal is; what goes elsewhere is neither cut nor coloured."""
    if not sys.stdout.isatty():
        return screen.Form()
    size = shutil.get_terminal_size()
    colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return screen.Form(size.columns, None if everything else max(5, size.lines - OTHER_LINES), colours)
