"""The monitor's terminal without a terminal: sample fleets on screens of any size, and what stands there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from golek_monitor.picture import Picture
from golek_monitor.tui.app import Monitor
from tests.support import fleets
from tests.support.desks import SampleDesk

SMALL = (80, 24)
LARGE = (160, 50)


@asynccontextmanager
async def monitor(
    shown: int | Picture, size: tuple[int, int] = SMALL, desk: SampleDesk | None = None, **options: Any
) -> AsyncIterator[tuple[Monitor, Pilot[int]]]:
    """A terminal that watches a fleet of so many workers, and looks when it is told to."""
    picture = shown if isinstance(shown, Picture) else fleets.picture(shown)
    app = Monitor(picture, desk or SampleDesk(), url="nats://127.0.0.1:4222", every_s=0, **options)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


def text(app: App[Any]) -> str:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"
