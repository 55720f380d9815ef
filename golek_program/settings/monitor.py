"""What is configured of a monitor?

`envs/monitor.env`, the environment and `.env` say it, under these names in capitals. Who starts one reads them, too.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from golek_program import settings
from golek_program.settings import SettingsError, sources
from golek_program.settings.http import Address, Http, address, is_loopback

FILE: Final = "monitor.env"
"""In the folder of deployments."""
MARK: Final = "/api/access"
"""A path that only monitors answer, and to everybody."""


OURS: Final = "MONITOR_"
LONG_KEY: Final = 16
NOWHERE: Final = "off"
"""MONITOR_DASHBOARD_ADDR for no second address."""


class Monitor(Http, frozen=True, kw_only=True):
    """Settings of the monitor."""

    monitor_addr: str = ":5780"
    """Where REST, events, figures and the page are served; without a host this machine alone."""
    monitor_dashboard_addr: str = "127.0.0.1:8080"
    """Where `make monitor-dashboard` serves the page as well, if nobody else listens there; `off` for nowhere."""
    monitor_key: str = ""
    """Key for giving orders, and for looking where others reach MONITOR_ADDR; such an address needs one."""
    monitor_show_prompts: bool = False
    """Show what callers asked and what they were answered, where the request log keeps it."""
    monitor_theme: Literal["dark", "light"] = "dark"
    """How the terminal begins: `dark` or `light`; the key t turns it."""
    monitor_queue_critical: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Alert when so large a share of a model's queue is taken."""
    monitor_error_rate: Annotated[float, Meta(gt=0, le=1)] = 0.05
    """Alert when so large a share of a model's requests failed in the last minute."""
    monitor_error_requests: Annotated[int, Meta(ge=1)] = 20
    """So many requests must have ended in that minute."""
    monitor_dead_letters: Annotated[int, Meta(ge=1)] = 1
    """Alert when a model had so many new dead letters in ten minutes."""
    monitor_log_lag_s: Annotated[float, Meta(gt=0)] = 5.0
    """Alert when a request log is so many seconds behind."""
    monitor_clock_skew_s: Annotated[float, Meta(gt=0)] = 2.0
    """Alert when a worker's clock differs from the monitor's by so many seconds."""
    monitor_refusals: Annotated[int, Meta(ge=1)] = 60
    """Alert when somebody was refused so often in a minute, with 401, 403 or 429."""

    @property
    def where(self) -> Address:
        """What MONITOR_ADDR says. Raises ValueError when that is no address, which `load` does not let through."""
        if (found := address(self.monitor_addr)) is None:
            raise ValueError(self.monitor_addr)
        return found

    @property
    def url_for_others(self) -> str:
        """The page for other machines, by this one's name; empty where `page_url` is for them as well, or none is."""
        if self.where.host not in ("0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
            return ""
        return self.url(Address(socket.gethostname(), self.where.port))

    @property
    def page_url(self) -> str:
        """Where the page is, for people of this machine."""
        return self.url(self.where)


KEYS: Final[dict[str, str]] = {name.upper(): name for name in Monitor.__struct_fields__}
OWN_KEYS: Final[tuple[str, ...]] = tuple(key for key, name in KEYS.items() if name not in Http.__struct_fields__)
"""Those that no other program reads."""


def load(project: Path = Path(), environment: Mapping[str, str] = os.environ) -> Monitor:
    """Raises SettingsError with all that is wrong."""
    loaded = settings.load(Monitor, project, environment, project / "envs" / FILE, tuple(KEYS))
    if mistakes := _wrong_addresses(loaded):
        raise SettingsError(mistakes)
    return loaded


def remarks(chosen: Monitor, project: Path = Path()) -> list[str]:
    """What its operator should know though it runs with these settings; a sentence each.

    Keys of `.env` that look like the monitor's and are none, and a key that is guessed soon.
    """
    dotenv = project / ".env"
    written = sources.read_file(dotenv)[0] if dotenv.is_file() else {}
    found = [sources.unknown(key, dotenv, tuple(KEYS)) for key in written if key.startswith(OURS) and key not in KEYS]
    if not is_loopback(chosen.where.host) and 0 < len(chosen.monitor_key) < LONG_KEY:
        found.append(
            f"MONITOR_KEY: {len(chosen.monitor_key)} characters, and others reach MONITOR_ADDR={chosen.monitor_addr}; "
            f"{LONG_KEY} or more that nobody guesses keep them out, e.g. of `openssl rand -hex 16`"
        )
    return found


def open_to_all(chosen: Monitor) -> str:
    """Why it must not be served where it should be: others reach it, and nobody needs a key; empty when it may."""
    if is_loopback(chosen.where.host) or chosen.monitor_key:
        return ""
    return (
        f"MONITOR_ADDR={chosen.monitor_addr}: others reach it, and MONITOR_KEY is empty; give a key, which whoever "
        "looks or acts then needs, or 127.0.0.1 for this machine alone"
    )


def _wrong_addresses(loaded: Monitor) -> list[str]:
    given = {"MONITOR_ADDR": loaded.monitor_addr, "MONITOR_DASHBOARD_ADDR": loaded.monitor_dashboard_addr}
    mistakes = [
        f"{key}={text}: host:port, :port or port, from 1 to 65535, e.g. 127.0.0.1:5780"
        for key, text in given.items()
        if address(text) is None and (key, text) != ("MONITOR_DASHBOARD_ADDR", NOWHERE)
    ]
    page = address(loaded.monitor_dashboard_addr)
    if page is not None and not is_loopback(page.host):
        mistakes.append(
            f"MONITOR_DASHBOARD_ADDR={loaded.monitor_dashboard_addr}: an address of this machine alone, such as "
            "127.0.0.1:8080; MONITOR_ADDR is what others may reach"
        )
    return mistakes
