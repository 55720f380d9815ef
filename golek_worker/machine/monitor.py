"""What does this machine know of the monitor: where it serves, and why it cannot? `services` starts it."""

import importlib.util
from pathlib import Path
from typing import Final

from golek_client.connection import shown
from golek_program.settings import monitor as settings
from golek_program.settings.monitor import Monitor
from golek_program.web import ping
from golek_worker.machine import gateway, services
from golek_worker.machine.services import Kind, Place, Say, ServiceError, State

MODULE: Final = "golek_monitor"
KIND: Final = Kind(
    name="monitor", command=(MODULE, "serve"), ping="/healthz", start_s=30.0, drain_s=7.0, host_key="MONITOR_ADDR"
)
EXTRA: Final = "pip install 'golek[monitor]'"


def is_installed() -> bool:
    """Whether there is one to be started here."""
    return importlib.util.find_spec(MODULE) is not None


def place(chosen: Monitor) -> Place:
    """Where it shall serve."""
    return Place(data=chosen.data, url=chosen.page_url, host=chosen.where.host, nats_url=shown(chosen.nats_url))


def running(data: Path) -> State | None:
    """The monitor that was started here and still runs."""
    return services.running(KIND, data)


def problems(chosen: Monitor) -> list[str]:
    """Why it cannot serve; each names the setting, and who has the port if that is known."""
    if not is_installed():
        return [f"the monitor is not installed: {EXTRA}"]
    if wrong := settings.open_to_all(chosen):
        return [wrong]
    said, where = f"MONITOR_ADDR={chosen.monitor_addr}", chosen.where
    if (why := services.unknown_host(where.host)) is not None:
        return [f"{said}: {why}"]
    if (why := services.taken(where.host, where.port)) is None:
        return []
    who = services.holder(chosen.data, where.port, KIND, gateway.KIND)
    return [f"{said}: {why} by {who}" if who else f"{said}: {why}"]


async def start(chosen: Monitor, *, module: str = "", say: Say = print) -> State:
    """Start it and wait until it answers; one that runs already is taken as it is.

    It needs no broker, and waits for one. Raises ServiceError.
    """
    return await services.start(KIND, place(chosen), lambda: problems(chosen), say, module=module)


async def shall_run(chosen: Monitor, *, wanted: bool | None, say: Say = print) -> bool:
    """Whether `golek serve` has one beside its workers: yes or no as `wanted`, else where it can serve.

    Raises ServiceError where it is wanted and cannot.
    """
    if wanted is False:
        return False
    if running(chosen.data) is not None or not (wrong := problems(chosen)):
        return True
    if await is_there(chosen):
        say(f"a monitor answers at {chosen.page_url} already, and is used")
        return False
    if wanted:
        raise ServiceError("\n".join(wrong))
    say(f"without a monitor: {wrong[0]}")
    return False


async def is_there(chosen: Monitor) -> bool:
    """Whether a monitor answers where one shall serve, whoever started it."""
    return await ping.answers(chosen.page_url, settings.MARK)
