"""Steps of a router: at the replica that knows how they begin, and never behind one that does not begin them."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from golek_client.connection import close, connect
from golek_wire import subjects
from golek_wire.replies import InferenceReply
from golek_worker.bus.hedging import HedgedStep, Hedging
from golek_worker.bus.pulse import Pulse
from golek_worker.bus.roll_call import Answered, RollCall
from golek_worker.bus.steps import Steps, Wanted
from golek_worker.job import Job
from tests.support import raw
from tests.support.workers import WorkerProcess


class Asker:
    """What a router asks with."""

    def __init__(self, hedging: Hedging, calls: RollCall) -> None:
        self.hedging = hedging
        self.calls = calls
        self._count = 0

    def begin(self, text: str = "a b c", key: str = "", *, streamed: bool = False, **fields: Any) -> HedgedStep:
        """A step that is stored once it is read."""
        self._count += 1
        parent = Job(
            job_id=subjects.job_id(f"parent {self._count}"), req_id="r", reply="", stream=False, principal="anonymous",
            seed=1, budget_ms=20_000, msg_id="m", trace={},
        )  # fmt: skip
        payload = json.dumps({"input": text, **fields}).encode()
        return self.hedging.begin(Wanted("echo", "inference", parent, payload, 20.0, streamed), key)

    async def ask(self, text: str = "a b c", key: str = "", **fields: Any) -> tuple[InferenceReply, str, float]:
        """The reply, who wrote it, and how long that took."""
        step = self.begin(text, key, **fields)
        began = time.monotonic()
        reply = [event async for event in step.answer()][-1]
        assert isinstance(reply, InferenceReply)
        return reply, step.worker, time.monotonic() - began

    async def heard(self, count: int) -> list[Answered]:
        """Wait until so many replicas have answered."""
        async with asyncio.timeout(10):
            while len(found := self.calls.lanes("echo")) < count:
                await self.calls.answered(1)
        return found


def named(key: str, lanes: Sequence[Answered]) -> str:
    """The replica whose id is the key, else any that is free."""
    able = sorted(one.worker_id for one in lanes if one.free > 0)
    return key if key in able else next(iter(able), "")


async def incarnations(url: str) -> dict[str, str]:
    """Of all replicas, by worker id, as they say themselves."""
    found: dict[str, str] = {}
    async with raw.connected(url) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(subjects.micro("PING"), b"", reply=inbox)
        while len(found) < 2:
            said = json.loads((await answers.next_msg(10)).data)
            found[said["metadata"]["worker_id"]] = said["id"]
    return found


@asynccontextmanager
async def asker(url: str) -> AsyncIterator[Asker]:
    known = await incarnations(url)
    client = await connect(url, "router")
    calls = RollCall(client)
    await calls.start()
    asking = asyncio.create_task(calls.run())
    try:
        pulse = Pulse(client, lambda worker: known.get(worker, ""))
        yield Asker(Hedging(client, await Steps.open(client), calls, pulse, named), calls)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await close(client)


async def stored(url: str) -> int:
    """How many jobs were stored so far."""
    async with raw.connected(url) as client:
        info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{subjects.job_stream('echo')}", b"")).data)
        return int(info["state"]["last_seq"])


def two(url: str, data: Path, **settings: object) -> list[WorkerProcess]:
    return [WorkerProcess(url, data, replica=number, **settings) for number in (1, 2)]


async def test_a_step_goes_to_the_replica_for_its_key(nats_server: str, tmp_path: Path) -> None:
    """And to another one where that has no free slot, by what this router gave it since it was heard."""
    first, second = two(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, ENGINE_STEP_MIN_MS=20)
    with first, second:
        async with asker(nats_server) as router:
            await router.heard(2)
            for worker in (first, second) * 3:
                _, who, _ = await router.ask(key=worker.worker_id)
                assert who == worker.worker_id
            both = await asyncio.gather(*(router.ask("a " * 20, key=first.worker_id) for _ in range(2)))
            assert {who for _, who, _ in both} == {first.worker_id, second.worker_id}


async def test_a_frozen_replica_does_not_keep_a_step(nats_server: str, tmp_path: Path) -> None:
    """It was heard a moment ago and has all slots free: the step is answered by another one soon, and the
    frozen one is asked for nothing more until it is heard again.
    """
    first, second = two(nats_server, tmp_path / "data")
    with first, second:
        async with asker(nats_server) as router:
            await router.heard(2)
            await router.ask(key=first.worker_id)
            first.signal(signal.SIGSTOP)
            _, who, took = await router.ask(key=first.worker_id)
            assert who == second.worker_id
            assert took < 3.0  # half a second, on a machine that does nothing else; a lease ends after six
            before = await stored(nats_server)
            _, who, _ = await router.ask(key=first.worker_id)
            assert who == second.worker_id
            assert await stored(nats_server) == before + 1
            first.signal(signal.SIGCONT)
            await router.heard(2)
            _, who, _ = await router.ask(key=first.worker_id)
            assert who == first.worker_id


async def test_a_frozen_replica_does_not_keep_everybodys_steps(nats_server: str, tmp_path: Path) -> None:
    """It has pulls at the server, which gives it jobs as long as these last: each is given to a replica that speaks."""
    first, second = two(nats_server, tmp_path / "data")
    with first, second:
        async with asker(nats_server) as router:
            for _ in range(4):
                await router.ask()
            first.signal(signal.SIGSTOP)
            answers = await asyncio.gather(*(router.ask(f"number {n}") for n in range(8)))
            assert [reply.text for reply, _, _ in answers] == [f"number {n}" for n in range(8)]
            assert {who for _, who, _ in answers} == {second.worker_id}
            assert max(took for _, _, took in answers) < 4.0


async def test_a_step_that_waits_its_turn_is_left_where_it_is(nats_server: str, tmp_path: Path) -> None:
    """Both replicas are busy for longer than a step may take to begin: each step is stored once."""
    first, second = two(nats_server, tmp_path / "data", WORKER_CONCURRENCY=1, ENGINE_STEP_MIN_MS=20)
    with first, second:
        async with asker(nats_server) as router:
            await router.ask()
            answers = await asyncio.gather(*(router.ask("a " * 50) for _ in range(6)))
            assert max(took for _, _, took in answers) > 2.0
        assert await stored(nats_server) == 7


class Freezer:
    """Reads a step, and freezes whoever runs it at a certain event."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._workers = {worker.worker_id: worker for worker in workers}
        self.frozen: WorkerProcess | None = None
        self.pieces: list[str] = []
        self.took = 0.0

    async def read(self, step: HedgedStep, *, pieces: int = 0) -> InferenceReply:
        """The reply. Who runs the step is frozen once it has begun, and so many pieces were written."""
        reply: InferenceReply | None = None
        async with aclosing(step.answer()) as events:
            async for event in events:
                if isinstance(event, str):
                    self.pieces.append(event)
                if self.frozen is None and len(self.pieces) >= pieces:
                    self.frozen = self._workers[step.worker]
                    self.frozen.signal(signal.SIGSTOP)
                    began = time.monotonic()
                if isinstance(event, InferenceReply):
                    self.took, reply = time.monotonic() - began, event
        assert reply is not None
        return reply


async def test_a_step_that_runs_is_taken_from_a_replica_that_freezes(nats_server: str, tmp_path: Path) -> None:
    """On everybody's queue of a model whose lanes nobody used before. What it has to say when it thaws goes nowhere."""
    first, second = two(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=10)
    with first, second:
        async with asker(nats_server) as router:
            freezer = Freezer((first, second))
            step = router.begin("a " * 20)
            reply = await freezer.read(step)
            assert reply.text == "a " * 20
            assert freezer.frozen is not None
            assert step.worker != freezer.frozen.worker_id
            assert freezer.took < 3.0  # a second, on a machine that does nothing else; a lease ends after six
            freezer.frozen.signal(signal.SIGCONT)
            await router.heard(2)
            for worker in (first, second):
                _, who, _ = await router.ask(key=worker.worker_id)
                assert who == worker.worker_id
        assert await stored(nats_server) == 4


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "text"}}, {"params": {"n": 2}}])
async def test_pieces_go_on_where_they_were(nats_server: str, tmp_path: Path, fields: dict[str, Any]) -> None:
    """Behind a plain text; where there are several texts, by another attempt whose beginning is left out."""
    first, second = two(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=10, STREAM_GATHER_MS=0)
    text = " ".join(f"word{number}" for number in range(30))
    with first, second:
        async with asker(nats_server) as router:
            freezer = Freezer((first, second))
            reply = await freezer.read(router.begin(text, first.worker_id, streamed=True, **fields), pieces=5)
            assert "".join(freezer.pieces) == reply.text == text
            assert reply.tokens_out == 30 * fields.get("params", {}).get("n", 1)
        assert await stored(nats_server) == 2


async def test_a_slow_replica_keeps_its_step(nats_server: str, tmp_path: Path) -> None:
    """Its engine takes longer for a token than a frozen replica is waited for: its worker says that it lives."""
    first, second = two(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=1500)
    with first, second:
        async with asker(nats_server) as router:
            await router.heard(2)
            reply, who, took = await router.ask(key=first.worker_id)
            assert (reply.text, who) == ("a b c", first.worker_id)
            assert took > 3
        assert await stored(nats_server) == 1


async def test_a_late_answer_is_a_sign_of_life(nats_server: str) -> None:
    """Of two questions the second one is answered; a replica that nobody knows how to ask counts as alive as well."""
    async with raw.connected(nats_server) as replica:
        asked = 0

        async def late(message: Any) -> None:
            nonlocal asked
            asked += 1
            if asked % 2 == 0:
                await message.respond(b"{}")

        await replica.subscribe(subjects.micro("PING", "late"), cb=late)
        await replica.subscribe(subjects.micro("PING", "frozen"))
        await replica.flush()
        client = await connect(nats_server, "router")
        try:
            names = {"late": "late", "frozen": "frozen", "gone": "gone", "unknown": ""}
            pulse, woken = Pulse(client, names.__getitem__), set[str]()
            frozen, gone = asyncio.Event(), asyncio.Event()
            for name, wake in (
                ("late", woken.clear),
                ("frozen", frozen.set),
                ("gone", gone.set),
                ("unknown", woken.clear),
            ):
                assert not pulse.is_silent(name, 0.0, wake)
            async with asyncio.timeout(10):
                await asyncio.gather(frozen.wait(), gone.wait())
            now = asyncio.get_running_loop().time()
            found = {name: pulse.is_silent(name, 0.0, woken.clear) for name in names}
            assert found == {"late": False, "frozen": True, "gone": True, "unknown": False}
            assert not pulse.is_silent("frozen", now, woken.clear)  # something came of it since it was asked
        finally:
            await close(client)
