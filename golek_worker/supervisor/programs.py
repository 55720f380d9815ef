"""What are the programs that `golek serve` keeps running, a worker, the gateway and the monitor?"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from golek_program.settings.http import Gateway
from golek_program.settings.monitor import Monitor
from golek_program.web import ping
from golek_wire.signals import TAKES_REQUESTS
from golek_worker import settings
from golek_worker.machine import check, gateway, lifecycle, monitor, runfile, services
from golek_worker.machine.runfile import RunState
from golek_worker.machine.services import Kind, Place
from golek_worker.process import ProcessId
from golek_worker.settings import Settings
from golek_worker.supervisor.child import Launched, LaunchError, RunsElsewhereError

REPLICA: Final = 1
TIED: Final = [sys.executable, "-m", "golek_worker.orphan"]
"""Before a module: it ends with the one who starts it."""


class WorkerProgram:
    """One replica of a deployment."""

    def __init__(self, deployment: str, envs: Path, module: str = lifecycle.WORKER_MODULE) -> None:
        self.deployment = deployment
        self.name = f"{deployment}-{REPLICA}"
        self._file = settings.env_file(deployment, envs)
        self._module = module
        self._settings: Settings | None = None

    @property
    def drain_s(self) -> float:
        return (self._settings or Settings(model_name=self.deployment)).drain_s

    @property
    def model_name(self) -> str:
        return self._settings.model_name if self._settings is not None else self.deployment

    @property
    def worker_id(self) -> str:
        return runfile.worker_id(self.deployment, REPLICA)

    def known(self) -> RunState | None:
        """What it says of itself; None while it says nothing."""
        return runfile.read(self._settings.data, self.deployment, REPLICA) if self._settings is not None else None

    async def launch(self, *, again: bool) -> Launched:
        """Start it. What only the first start looks at may pass: a broker that is away is no reason to give up."""
        chosen, mistakes = settings.read(self._file)
        if chosen is None or mistakes or not again:
            mistakes = await asyncio.to_thread(asyncio.run, check.problems(self._file))
        if chosen is None or mistakes:
            raise LaunchError("\n".join(mistakes))
        self._settings = chosen
        with lifecycle.start_lock(chosen.data):
            known = self.known()
            if known is not None and known.state != "failed" and runfile.alive(known):
                raise RunsElsewhereError(f"runs already ({known.state}, pid {known.pid})")
            state, child = lifecycle.spawn(self.deployment, REPLICA, chosen, [*TIED, self._module])
        return Launched(child, ProcessId(state.pid, state.created), Path(state.log))

    async def is_ready(self) -> bool:
        known = self.known()
        return known is not None and known.state in TAKES_REQUESTS

    def how_far(self) -> str:
        known = self.known()
        return str(known.progress) if known is not None and known.progress is not None else ""

    def problem(self, launched: Launched) -> str:
        known = self.known()
        return (known.problem or "") if known is not None and known.pid == launched.id.pid else ""

    def forget(self) -> None:
        if self._settings is not None:
            runfile.remove(self._settings.data, self.deployment, REPLICA)


class ServiceProgram:
    """The gateway, or the monitor."""

    def __init__(self, kind: Kind, place: Place, problems: Callable[[], list[str]], module: str = "") -> None:
        """`problems` says why it cannot serve; it is asked before the first start."""
        self.name = kind.name
        self.drain_s = kind.drain_s - 2
        self._kind = kind
        self._place = place
        self._problems = problems
        first, *rest = kind.command
        self._command = [*TIED, module or first, *rest]

    async def launch(self, *, again: bool) -> Launched:
        """Start it. A port that is taken may be free again, once it had it."""
        known = services.running(self._kind, self._place.data)
        if known is not None:
            raise RunsElsewhereError(f"runs already at {known.url} (pid {known.pid})")
        if not again and (wrong := self._problems()):
            raise LaunchError("\n".join(wrong))
        child, state = services.spawn(self._kind, self._place, self._command)
        return Launched(child, state.id, Path(state.log))

    async def is_ready(self) -> bool:
        return await ping.answers(self._place.url, self._kind.ping)

    def how_far(self) -> str:
        return ""

    def problem(self, launched: Launched) -> str:
        return services.problem_in(str(launched.log))

    def forget(self) -> None:
        services.forget(self._kind, self._place.data)


def gateway_program(chosen: Gateway, module: str = "") -> ServiceProgram:
    """The fleet's gateway."""
    return ServiceProgram(gateway.KIND, gateway.place(chosen), lambda: gateway.problems(chosen), module)


def monitor_program(chosen: Monitor, module: str = "") -> ServiceProgram:
    """The fleet's monitor."""
    return ServiceProgram(monitor.KIND, monitor.place(chosen), lambda: monitor.problems(chosen), module)
