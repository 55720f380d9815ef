"""Who is still there, on a real bus: workers are killed and frozen, and the broker too."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from golek_client import Golek, InferenceServiceError, NotFoundError
from golek_client.fleet import FleetView, Replica
from golek_client.watching import Watch
from golek_wire import codec
from golek_wire.signals import LoadReport
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

BUSY = {"ENGINE_STEP_MIN_MS": 50}


@asynccontextmanager
async def watched(golek: Golek) -> AsyncIterator[Watch]:
    """A watch that asks after workers."""
    watch = golek.watch(asks_after=True)
    await watch.open()
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def replica(watch: Watch, presence: str, *, is_busy: bool = False) -> Replica:
    """The only worker, once it is found so."""
    async with asyncio.timeout(30):
        while True:
            for one in watch.view.everyone():
                if one.presence == presence and (one.is_busy or not is_busy):
                    return one
            await asyncio.sleep(0.02)


@asynccontextmanager
async def busy(golek: Golek) -> AsyncIterator[None]:
    """Something runs meanwhile: then a worker reports each second."""

    async def ask() -> None:
        with contextlib.suppress(InferenceServiceError):
            async for _ in golek.stream("echo", "go", max_tokens=5000, ignore_eos=True, deadline=100):
                pass

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_killed_worker_is_gone_and_its_successor_is_here(broker: NatsServer, tmp_path: Path) -> None:
    """Within 12 s of the kill, though it said nothing; the next process of its name is another one."""
    with WorkerProcess(broker.url, tmp_path / "data", **BUSY) as worker:
        async with Golek(broker.url) as golek, watched(golek) as watch:
            async with busy(golek):
                first = await replica(watch, "here", is_busy=True)
                worker.kill()
                killed_at = time.monotonic()
                gone = await replica(watch, "gone")
                assert time.monotonic() - killed_at < 12
                assert not gone.in_rotation
            worker.start()
            back = await replica(watch, "here")
            assert back.incarnation != first.incarnation


async def test_an_idle_worker_that_is_killed_is_gone_too(broker: NatsServer, tmp_path: Path) -> None:
    """Within 12 s as well."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        async with Golek(broker.url) as golek, watched(golek) as watch:
            while (await replica(watch, "here")).told_at is None:
                await asyncio.sleep(0.02)
            worker.kill()
            killed_at = time.monotonic()
            await replica(watch, "gone")
            assert time.monotonic() - killed_at < 12


async def test_a_frozen_worker_is_gone_once_the_server_drops_it(tmp_path: Path) -> None:
    """Within 25 s, where the server looks after its connections as ours does; and when it goes on, it is here again."""
    ours = NatsServer(tmp_path, 'ping_interval: "2s"', "ping_max: 2").start()
    try:
        with WorkerProcess(ours.url, tmp_path / "data", **BUSY) as worker:
            async with Golek(ours.url) as golek, watched(golek) as watch:
                async with busy(golek):
                    await replica(watch, "here", is_busy=True)
                    worker.signal(signal.SIGSTOP)
                    frozen_at = time.monotonic()
                    assert not (await replica(watch, "gone")).in_rotation
                    assert time.monotonic() - frozen_at < 25
                worker.signal(signal.SIGCONT)
                await replica(watch, "here")
    finally:
        ours.kill()


async def test_a_frozen_worker_that_has_its_connection_is_silent(broker: NatsServer, tmp_path: Path) -> None:
    """It was asked, and did not answer; when it does, it is here again."""
    with WorkerProcess(broker.url, tmp_path / "data", **BUSY) as worker:
        async with Golek(broker.url) as golek, watched(golek) as watch, busy(golek):
            await replica(watch, "here", is_busy=True)
            worker.signal(signal.SIGSTOP)
            assert not (await replica(watch, "silent")).in_rotation
            worker.signal(signal.SIGCONT)
            await replica(watch, "here")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nats-py, connecting to a frozen server
async def test_a_broker_that_is_frozen_or_away_makes_nobody_silent(
    broker: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cannot hear anybody accuses nobody, and when it hears again, everybody has time to be heard."""
    accused: list[str] = []
    monkeypatch.setattr(FleetView, "missed", lambda _, who, presence: accused.append(f"{who} {presence}"))
    with WorkerProcess(broker.url, tmp_path / "data", **BUSY):
        async with Golek(broker.url) as golek, watched(golek) as watch, busy(golek):
            await replica(watch, "here", is_busy=True)
            os.kill(broker.pid, signal.SIGSTOP)
            await asyncio.sleep(8)  # so long a busy worker is waited for and asked, and more
            os.kill(broker.pid, signal.SIGCONT)
            broker.restart()
            heard_at = (await replica(watch, "here")).heard_at
            async with asyncio.timeout(20):
                while (await replica(watch, "here")).heard_at < heard_at + 10:
                    await asyncio.sleep(0.1)
            assert accused == []


async def test_who_left_in_order_is_not_asked_after(broker: NatsServer, tmp_path: Path) -> None:
    """Its last word says it; nobody looks for it."""
    async with raw.connected(broker.url) as bus, Golek(broker.url) as golek, watched(golek) as watch:
        asked = await bus.subscribe("$SRV.PING.golek.*")
        with WorkerProcess(broker.url, tmp_path / "data") as worker:
            await replica(watch, "here")
            worker.end()
            async with asyncio.timeout(10):
                while watch.view.everyone()[0].status != "offline":
                    await asyncio.sleep(0.02)
        said = watch.view.everyone()[0]
        late = LoadReport(
            said.model, 0, 1, "", 1, 1, "healthy", worker_id=said.worker_id, incarnation=said.incarnation, seq=99,
            state="online",
        )  # fmt: skip
        await bus.publish("monitoring.inference.echo", codec.encode(late))
        await asyncio.sleep(5)  # longer than a busy worker is waited for
        assert watch.view.everyone()[0].status == "offline"
        assert asked.pending_msgs == 0


async def test_pings_tell_how_long_an_answer_takes(broker: NatsServer, tmp_path: Path) -> None:
    """Of a worker that is here and not overdue, for who wants to know."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        async with Golek(broker.url) as golek:
            watch = golek.watch()
            await watch.open()
            pings: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
            call = golek.roll_call(watch.view, time.monotonic, pinged=lambda *said: pings.put_nowait(said))
            task = asyncio.create_task(call.run())
            async with asyncio.timeout(10):
                who, ms = await pings.get()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            said = worker.state()
            assert said is not None
            assert who == said.worker_id
            assert 0 < ms < 2000


async def test_a_worker_tells_with_which_settings_it_runs(broker: NatsServer, tmp_path: Path) -> None:
    """Those that differ from their defaults, by its incarnation or its worker id; secrets are hidden."""
    source = "https://someone:hidden-word@127.0.0.1/model.gguf?signature=hidden-word"
    with WorkerProcess(broker.url, tmp_path / "data", DRAIN_S=7, MODEL_SOURCE=source):
        async with Golek(broker.url) as golek:
            watch = golek.watch()
            await watch.open()
            said = await replica(watch, "here")
            by_incarnation, by_id = await golek.info(said.incarnation), await golek.info(said.worker_id)
            assert by_incarnation == by_id
            assert by_id.metadata["model"] == "echo"
            assert by_id.settings["DRAIN_S"] == "7"
            assert by_id.settings["ENGINE"] == "echo"
            assert by_id.settings["GOLEK_DATA"] == str(tmp_path / "data")
            assert "hidden-word" not in str(by_id.metadata)
            assert "CTX_SIZE" not in by_id.settings
            assert by_id.settings_left_out == []
            with pytest.raises(NotFoundError):
                await golek.info("nobody", timeout=1)
