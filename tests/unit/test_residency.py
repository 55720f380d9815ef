"""When a worker without an engine looks for jobs, and what a worker that ends still does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from golek_worker import residency
from golek_worker.residency import Residency


class Engine:
    """Stands in for the engine's host."""

    def __init__(self) -> None:
        self.serving, self.unloaded = True, False
        self.stalled, self.problem, self.stays = False, None, ""

    def load(self) -> None:
        self.serving, self.unloaded = True, False

    async def unload(self) -> None:
        self.serving, self.unloaded = False, True


class Pulls:
    """Stands in for the worker's consumer."""

    def __init__(self) -> None:
        self.resumed = 0

    async def pause(self) -> None:
        pass

    async def resume(self) -> None:
        self.resumed += 1


class Scene:
    """A worker in which `running` jobs run, and a queue in which `pending` wait and another replica has one."""

    def __init__(self, pending: int = 0) -> None:
        self.engine, self.pulls = Engine(), Pulls()
        self.running = 0
        self.looks = 0
        self.view = SimpleNamespace(pending=0, unacked=1, last_seq=0)
        self.pending = pending
        serving: Any = SimpleNamespace(finish=self._finish, active=0)
        queue: Any = SimpleNamespace(look=self._look, view=self.view, last_seq=0)
        engine: Any = self.engine
        self.residency = Residency(engine, serving, queue, self.pulls, lambda: 0, self._finds_job, ttl_s=0, drain_s=0.1)

    async def _finish(self, _: float) -> int:
        return self.running

    async def _look(self, older_than_s: float) -> None:
        if self.engine.unloaded:
            self.view.pending = self.pending

    async def _finds_job(self) -> bool:
        self.looks += 1
        return True

    async def unloaded_for(self, seconds: float) -> None:
        """Unload, and let it look for jobs for so long."""
        assert await self.residency.unload() is None
        running = asyncio.create_task(self.residency.run())
        await asyncio.sleep(seconds)
        running.cancel()


@pytest.mark.parametrize(("pending", "wakes"), [(0, True), (1, False)])
async def test_a_look_for_a_returned_job_takes_no_other(monkeypatch: Any, pending: int, wakes: bool) -> None:
    """While jobs wait behind a busy replica a look would be handed one of them, and load the model for it."""
    monkeypatch.setattr(residency, "SCOUT_S", 0.01)
    scene = Scene(pending)
    await scene.unloaded_for(0.2)
    assert (scene.looks > 0, scene.engine.serving) == (wakes, wakes)


async def test_a_worker_that_ends_pulls_and_loads_nothing() -> None:
    """An order to unload that was refused while it drains does not make it pull again."""
    scene = Scene()
    scene.running = 1
    assert "1 job still ran" in (await scene.residency.unload() or "")
    assert (scene.residency.may_pull, scene.pulls.resumed) == (True, 1)
    scene.residency.close()
    assert "1 job still ran" in (await scene.residency.unload() or "")
    assert (scene.residency.may_pull, scene.pulls.resumed) == (False, 1)
    assert "ends" in (await scene.residency.load() or "")
