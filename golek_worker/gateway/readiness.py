"""May requests be sent here?

A decision on what is known: the bus, the models, and whether their engines make progress. A worker answers for its own
model. The gateway answers for the fleet: it waits for the models that are on their way when it starts, and from then on
one that takes requests is enough, so that a model added later does not take a serving gateway out of its balancer.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

from golek_client import discovery
from golek_client.fleet import ModelState
from golek_client.watching import Watch
from golek_wire.signals import TAKES_REQUESTS, Health

LOOK_S: Final = 5.0


class Ready(Struct, frozen=True):
    """Requests may come."""

    loaded_models: list[str]
    """Models that are in memory and make progress, by name."""
    status: Literal["ready"] = "ready"
    config: str = ""
    """The preset; empty where none is configured."""
    orchestration_mode: str = "single"


class NotReady(Struct, frozen=True):
    """They may not, and why."""

    reason: str
    progress: str
    """Models that take requests, of those that are expected: `1/2`."""
    status: Literal["not_ready"] = "not_ready"


class Judge:
    """Says it whenever asked, of a worker where `own` tells how that is, else of the fleet."""

    def __init__(self, watch: Watch, own: Callable[[], Health] | None) -> None:
        self._watch = watch
        self._own = own
        self._begun = False

    async def run(self) -> None:
        """Look now and then, so that what it was is known when somebody asks. Until cancelled."""
        while True:
            self()
            await asyncio.sleep(LOOK_S)

    def __call__(self) -> Ready | NotReady:
        if self._own is not None:
            return of_worker(self._own(), self._watch.is_connected)
        found = of_fleet(self._watch.models(), self._watch.is_connected, begun=self._begun)
        self._begun = self._begun or isinstance(found, Ready)
        return found


def of_worker(own: Health, connected: bool) -> Ready | NotReady:
    """A worker's word for its own model.

    1. no bus 2. its engine makes no progress 3. it loads, leaves or failed
    """
    if not connected:  # 1
        return NotReady("The connection to NATS is away", "0/1")
    if own.status == "stalled":  # 2
        return NotReady("The engine makes no progress", "0/1")
    if own.status not in TAKES_REQUESTS:  # 3
        return NotReady(_why(own), "0/1")
    return Ready([own.model_name] if own.status == "online" else [])


def of_fleet(models: Collection[ModelState], connected: bool, *, begun: bool) -> Ready | NotReady:
    """The gateway's word for the fleet; `begun` once it was ready.

    1. no bus 2. no model is known, or none is expected 3. none takes requests 4. at the start some are on their way
    """
    expected = [one for one in models if one.takes_requests or one.is_coming or one.status == "stalled"]
    serving = [one for one in expected if one.takes_requests]
    progress = f"{len(serving)}/{len(expected)}"
    if not connected:  # 1
        return NotReady("The connection to NATS is away", progress)
    if not expected:  # 2
        return NotReady("No models are served", progress)
    if not serving and not any(one.is_coming for one in expected):  # 3
        return NotReady("The engines make no progress", progress)
    if not serving or (not begun and any(one.is_coming for one in expected)):  # 3, 4
        return NotReady("Models still loading", progress)
    records = (one.record for one in serving if one.record is not None)
    config, mode = discovery.usual(records, datetime.now(UTC))
    return Ready([one.name for one in serving if one.is_loaded], config=config, orchestration_mode=mode)


def _why(own: Health) -> str:
    if own.status in ("starting", "loading"):
        share = f", {own.progress:.0%} of it is done" if own.progress is not None else ""
        return f"Models still loading{share}" if own.problem is None else f"Models still loading: {own.problem}"
    return f"The worker is {own.status}" + (f": {own.problem}" if own.problem else "")
