"""What do callers notice while workers die, freeze and stop? Short rounds of bench/chaos.py and bench/drain.py."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from golek_client import Golek
from tests.support.faults import Faults
from tests.support.load import Load, Overhearing, Tally, inboxes_of, left_in_queue, numbered
from tests.support.workers import WorkerProcess

ASK = {"max_tokens": 20, "ignore_eos": True}
PACED = {"ENGINE_STEP_MIN_MS": 5, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 8, "POISON_STRIKES": 10}


@pytest.fixture
def workers(nats_server: str, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """Two replicas."""
    with ExitStack() as stack:
        yield [stack.enter_context(WorkerProcess(nats_server, tmp_path / "data", "echo", n, **PACED)) for n in (1, 2)]


def callers(heard: Overhearing, url: str) -> Load:
    """Eight of golek_client and two of nats-py alone."""
    return Load(heard, url, "echo", numbered(20), clients=8, raws=2, **ASK)


def _unhurt(tally: Tally) -> bool:
    """True when callers noticed nothing; else the lists show in the failure."""
    assert tally.seconds, "nobody was answered"
    assert tally.lost == []
    assert tally.broken == []
    return tally.hung == 0


async def test_callers_are_answered_while_engines_and_workers_are_killed(
    nats_server: str, workers: list[WorkerProcess]
) -> None:
    """Six seconds of kills: nothing lost, no text broken, no final message twice, nothing left behind."""
    faults = Faults(workers, seed=1)
    async with (
        Overhearing(nats_server) as heard,
        callers(heard, nats_server) as load,
    ):
        await faults.kill(6.0, child_every_s=0.5, worker_every_s=2.9)
    assert len(faults.blows) > 8
    assert _unhurt(load.tally)
    assert heard.gaps, "no stream was hit"
    assert heard.duplicate_finals == 0
    assert await left_in_queue(nats_server, "echo") == 0


async def test_a_worker_that_slept_does_not_answer_again(nats_server: str, tmp_path: Path) -> None:
    """It wakes with jobs in its socket that were answered elsewhere meanwhile; it sends none of its own answers."""
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data) as first, WorkerProcess(nats_server, data, "echo", 2):
        async with Overhearing(nats_server) as heard, Golek(nats_server, deadline=30) as golek:
            await heard.listen(inboxes_of(golek))
            first.signal(signal.SIGSTOP)
            replies = await asyncio.gather(*(golek.ask("echo", f"{n}") for n in range(16)))
            assert [reply.text for reply in replies] == [f"{n}" for n in range(16)]
            first.signal(signal.SIGCONT)
            await asyncio.sleep(1.0)
            assert heard.duplicate_finals == 0


async def test_stopping_one_replica_after_the_other_is_not_noticed(
    nats_server: str, workers: list[WorkerProcess]
) -> None:
    """A rolling restart under load: no error, no attempt twice, each replica gone soon."""
    faults = Faults(workers, seed=1)
    async with (
        Overhearing(nats_server) as heard,
        callers(heard, nats_server) as load,
    ):
        took = await faults.stop(4.0, every_s=2.0)
    assert max(took) < 3
    assert _unhurt(load.tally)
    assert load.tally.raw_lost == 0
    assert heard.gaps == []
    assert heard.duplicate_finals == 0


async def test_a_second_sigterm_ends_a_worker_at_once(nats_server: str, tmp_path: Path) -> None:
    """The first waits for a long job, the second does not."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with Golek(nats_server) as golek:
            asked = asyncio.create_task(golek.ask("echo", "a b", max_tokens=2000, ignore_eos=True))
            while (await golek.health("echo")).active == 0:
                await asyncio.sleep(0.02)
            assert worker.process is not None
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert worker.process.poll() is None
            worker.signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, 2) != 0
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
