"""What does `make monitor-dashboard` do? It serves the page in the foreground, for whoever typed it to look at.

Besides MONITOR_ADDR it is at MONITOR_DASHBOARD_ADDR, where people look for it, unless somebody else is.
"""

import asyncio
import sys
from collections.abc import Callable

from golek_monitor import service
from golek_monitor.service import MonitorProcess
from golek_program.settings.http import address
from golek_program.settings.monitor import MARK, Monitor
from golek_program.web import ping
from golek_program.web.server import AddressError

Say = Callable[[str], None]


def run(chosen: Monitor, *, say: Say) -> int:
    """Serve until Ctrl-C; one that runs already is told of, and left alone. The exit status."""
    if asyncio.run(ping.answers(chosen.page_url, MARK)):
        say(f"the monitor runs already: {chosen.page_url}")
        return 0
    second = address(chosen.monitor_dashboard_addr)
    also = [second] if second is not None and second != chosen.where else []

    def tell(urls: list[str], refused: list[str]) -> None:
        for why in refused:
            say(f"MONITOR_DASHBOARD_ADDR={chosen.monitor_dashboard_addr}: {why}")
        say(f"the page is at {' and '.join(urls)}; Ctrl-C ends it")

    service.configure_log(chosen, "error")
    try:
        return service.run(lambda: MonitorProcess(chosen, also, on_ready=tell, on_bus=say))
    except AddressError as error:
        print(
            f"MONITOR_ADDR={chosen.monitor_addr}: {str(error).removeprefix(f'MONITOR_ADDR={chosen.monitor_addr}: ')}",
            file=sys.stderr,
        )
        return 1
