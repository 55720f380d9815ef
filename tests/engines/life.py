"""What every engine promises of its life: it begins, ends, fails and comes back as its worker expects."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import msgspec
import psutil
import pytest

from golek_worker.engine.base import EngineConfig, Refused, Stopped, frame
from golek_worker.engine.host import EngineDied, EngineHost
from tests.engines.subject import WAIT_S, Served, Subject, needs, rest
from tests.support.leaving import left

GONE_S = 5.0
"""So soon after its end nothing of an engine is left."""
SILENT_S = 1.5
"""A second, as promised, and what a busy machine takes."""


@pytest.mark.asyncio(loop_scope="module")
class Life:
    """Load, refusals, signs of life, death and end."""

    async def test_it_says_what_it_is(self, served: Served) -> None:
        """Slots, context, device and capabilities, of which no worker can do without one."""
        ready = served.ready
        assert ready.slots >= 1
        assert ready.device
        assert ready.capabilities
        assert ready.info.architecture
        assert "classes" in served.subject.can or ready.ctx_size > 0
        await served.works()

    async def test_a_job_of_another_kind_is_refused(self, served: Served) -> None:
        """The engine lives on."""
        child = served.child
        refused = await served.done(served.strange(), Refused)
        assert refused.code == "BAD_REQUEST", refused
        assert refused.message
        await served.works()
        assert served.child == child

    async def test_a_job_is_cancelled(self, served: Served) -> None:
        """It ends so, and the next one runs."""
        command = served.much()
        run = served.host.submit(command)
        served.host.cancel(command.job_id)
        await rest(run, Stopped)
        await served.works()

    async def test_it_makes_progress_while_it_has_nothing_to_do(self, served: Served) -> None:
        """A sign of life at least once a second, or its worker would take it for stuck."""
        age = served.host.progress_age_s
        while (now := served.host.progress_age_s) >= age:
            assert now < SILENT_S
            age = now
            await asyncio.sleep(0.02)

    @needs("gauges")
    async def test_its_gauges_move(self, served: Served) -> None:
        """What was read and written is counted, and nothing runs any more."""
        await _gauges(served)
        before = served.host.gauges[-1][1]
        await served.works()
        await _gauges(served)
        after = served.host.gauges[-1][1]
        assert after.prompt_tokens > before.prompt_tokens
        assert after.busy_s >= before.busy_s
        assert (after.running, after.waiting) == (0, 0)
        if "text" in served.subject.can:
            assert after.tokens_out == before.tokens_out + 8

    async def test_a_killed_engine_is_replaced(self, served: Served) -> None:
        """Its jobs hear of it at once; what it is stays known, and the next one serves."""
        runs = [served.host.submit(served.much()) for _ in range(2)]
        killed = served.child
        killed.send_signal(signal.SIGKILL)
        for run in runs:
            _, died = await rest(run, EngineDied)
            assert died.ran
        await served.until_serving()
        assert served.child != killed
        assert served.host.problem is None
        await served.works()

    async def test_nothing_is_left_of_an_engine_that_is_unloaded(self, served: Served) -> None:
        """Not with a job in it either, which ends; loaded again it serves."""
        processes = served.processes
        run = served.host.submit(served.much())
        began = time.monotonic()
        await served.host.unload()
        assert time.monotonic() - began < GONE_S
        await rest(run, EngineDied)
        assert left(processes, GONE_S) == []
        served.host.load()
        await served.until_serving()
        await served.works()

    async def test_nothing_is_left_of_an_engine_whose_worker_was_killed(self, served: Served, tmp_path: Path) -> None:
        """The kernel tells it, so also by SIGKILL."""
        file = tmp_path / "config"
        file.write_bytes(frame(served.config))
        command = [sys.executable, "-m", "tests.engines.parent", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            await asyncio.to_thread(_until_serving, parent.stdout)
            processes = psutil.Process(parent.pid).children(recursive=True)
            parent.kill()
        assert processes
        assert left(processes, GONE_S) == []

    @needs("file")
    async def test_a_model_that_is_not_there_is_said(self, served: Served, tmp_path: Path) -> None:
        """With its path and the setting to look at; no other attempt is made."""
        missing = tmp_path / f"missing{Path(served.config.model_path).suffix}"
        said = await _load_failure(served.subject, msgspec.structs.replace(served.config, model_path=str(missing)))
        assert str(missing) in said
        assert "MODEL_PATH" in said

    @needs("file")
    async def test_a_model_that_is_none_is_said(self, served: Served, tmp_path: Path) -> None:
        """A file of something else where a file is wanted, an empty folder where a folder is."""
        other = tmp_path / f"other{Path(served.config.model_path).suffix}"
        if Path(served.config.model_path).is_dir():
            other.mkdir()
        else:
            other.write_bytes(b"This is a text. " * 100)
        said = await _load_failure(served.subject, msgspec.structs.replace(served.config, model_path=str(other)))
        assert str(other) in said


@pytest.mark.asyncio(loop_scope="module")
@needs("grandchildren")
class Runtime:
    """Of an engine whose runtime is a process of its own."""

    async def test_an_engine_whose_runtime_was_killed_is_replaced(self, served: Served) -> None:
        """Though its own process is well: its jobs hear of it, and the next one serves."""
        child, *others = served.processes
        runs = [served.host.submit(served.much()) for _ in range(2)]
        for other in others:
            other.send_signal(signal.SIGKILL)
        for run in runs:
            await rest(run, EngineDied)
        await served.until_serving()
        assert served.child != child
        await served.works()


def _until_serving(lines: IO[str]) -> None:
    assert "serving\n" in lines


async def _gauges(served: Served) -> None:
    """Wait for the next ones."""
    known = served.host.gauges[-1] if served.host.gauges else None
    async with asyncio.timeout(WAIT_S):
        while not served.host.gauges or served.host.gauges[-1] is known:
            await asyncio.sleep(0.02)


async def _load_failure(subject: Subject, config: EngineConfig) -> str:
    """Why an engine of this configuration cannot be loaded."""
    host = EngineHost(config, 10.0, lambda: None)
    try:
        async with asyncio.timeout(subject.load_s):
            with pytest.raises(RuntimeError) as raised:
                await host.run()
    finally:
        await host.close()
    return str(raised.value)
