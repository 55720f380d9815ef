"""What are the programs that `golek serve` keeps running, a worker and the gateway?"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from golek_program.settings.http import Gateway
from golek_wire.signals import TAKES_REQUESTS
from golek_worker import settings
from golek_worker.machine import check, gateway, lifecycle, runfile
from golek_worker.machine.runfile import RunState
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


class GatewayProgram:
    """The fleet's gateway."""

    name = "gateway"
    drain_s = gateway.DRAIN_S - 2

    def __init__(self, chosen: Gateway, module: str = gateway.MODULE) -> None:
        self._chosen = chosen
        self._module = module

    async def launch(self, *, again: bool) -> Launched:
        """Start it. A port that is taken may be free again, once it had it."""
        known = gateway.running(self._chosen.data)
        if known is not None:
            raise RunsElsewhereError(f"runs already at {known.url} (pid {known.pid})")
        if not again and (wrong := gateway.problems(self._chosen)):
            raise LaunchError("\n".join(wrong))
        child, state = gateway.spawn(self._chosen, [*TIED, self._module])
        return Launched(child, state.id, Path(state.log))

    async def is_ready(self) -> bool:
        return await gateway.answers(gateway.url(self._chosen))

    def how_far(self) -> str:
        return ""

    def problem(self, launched: Launched) -> str:
        return gateway.problem_in(str(launched.log))

    def forget(self) -> None:
        gateway.forget(self._chosen.data)
