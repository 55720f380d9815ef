"""What is configured of a monitor?

`envs/monitor.env`, the environment and `.env` say it, under these names in capitals.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import fields

from golek_program import settings as program
from golek_program.settings.fleet import Fleet


class Monitor(Fleet, frozen=True, kw_only=True):
    """Settings of the monitor."""

    monitor_addr: str = ":5780"
    """Where REST, events, figures and the page are served; without a host this machine alone."""
    monitor_dashboard_addr: str = "127.0.0.1:8080"
    """Where `make monitor-dashboard` serves the page as well, if nobody else listens there; empty for nowhere."""
    monitor_key: str = ""
    """Key for looking from other machines and for giving orders; an address that others reach needs one."""
    monitor_show_prompts: bool = False
    """Show what callers asked and what they were answered, where the request log keeps it."""


KEYS: tuple[str, ...] = tuple(field.name.upper() for field in fields(Monitor))


def load(project: Path = Path(), environment: Mapping[str, str] = os.environ) -> Monitor:
    """Raises SettingsError with all that is wrong."""
    return program.load(Monitor, project, environment, project / "envs" / "monitor.env", KEYS)
