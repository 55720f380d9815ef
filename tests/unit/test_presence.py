"""Who is still there, by a clock that is moved and a bus that answers as told."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import pytest

from golek_client import presence
from golek_client.fleet import FleetView, Replica
from golek_client.micro import Pinged
from golek_client.presence import RollCall, is_overdue
from golek_wire.errors import BusUnavailableError, ForbiddenError, InferenceServiceError
from tests.unit.test_fleet import beat, report

HEARD = 100.0


class FakeBus:
    """Answers as told, at once unless it is held."""

    def __init__(self) -> None:
        self.stands: Hashable | None = 1
        self.answer: Pinged | InferenceServiceError = "gone"
        self.asked: list[str] = []
        self.running = 0
        self.most = 0
        self.free = asyncio.Event()
        self.free.set()

    def connection(self) -> Hashable | None:
        return self.stands

    async def ping(self, incarnation: str) -> Pinged:
        self.asked.append(incarnation)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.free.wait()
        finally:
            self.running -= 1
        if isinstance(self.answer, InferenceServiceError):
            raise self.answer
        return self.answer


class Roll:
    """A roll call over a fleet of this test."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.view = FleetView()
        self.now = HEARD
        self.pings: list[tuple[str, float]] = []
        self.call = RollCall(self.bus, self.view, lambda: self.now)

    def hear(self, worker: str = "a", incarnation: str = "i", **given: object) -> None:
        self.view.report(report(worker, incarnation=incarnation, state="online", **given), self.now)

    async def look(self) -> None:
        """One look, and all that its answers bring."""
        self.call.look()
        await asyncio.sleep(0)  # the questions are on their way
        while self.call._asked and self.bus.free.is_set():
            await asyncio.gather(*self.call._asked.values())
            await asyncio.sleep(0)

    async def until(self, moment: float) -> None:
        """Look as `run` does, up to this moment."""
        while self.now < moment:
            self.now = min(moment, self.now + presence.LOOK_S)
            await self.look()

    @property
    def found(self) -> dict[str, str]:
        return {one.worker_id: one.presence for one in self.view.everyone()}


@pytest.fixture
async def roll() -> AsyncIterator[Roll]:
    made = Roll()
    made.call.look()
    yield made
    made.bus.free.set()
    await asyncio.gather(*made.call._asked.values(), return_exceptions=True)


ONE = Replica("a", "tiny", heard_at=HEARD, told_at=HEARD, incarnation="i")


@pytest.mark.parametrize(
    ("given", "age_s", "overdue"),
    [
        ({"is_busy": True}, 3.5, False),
        ({"is_busy": True}, 3.6, True),
        ({}, 10.5, False),
        ({}, 11.1, True),
        ({"told_at": None}, 35.0, False),
        ({"told_at": None}, 35.1, True),
        ({"status": "offline"}, 60.0, False),
        ({"status": "failed"}, 60.0, False),
        ({"status": "stalled"}, 60.0, True),
        ({"incarnation": ""}, 60.0, False),
        ({"presence": "gone"}, 60.0, False),
        ({"presence": "silent"}, 0.0, True),
    ],
)
def test_who_is_overdue(given: dict[str, object], age_s: float, overdue: bool) -> None:
    """Who reports each second after three that did not come, an idle one after the one that did not; who left is not
    waited for, who is silent is asked again and again, who is gone never."""
    one = Replica(**({name: getattr(ONE, name) for name in ONE.__struct_fields__} | given))
    assert is_overdue(one, HEARD + age_s, 0.0) is overdue


def test_nobody_is_overdue_who_could_not_be_heard() -> None:
    """Everybody has a full interval from when the bus could be heard."""
    assert not is_overdue(ONE, HEARD + 500, HEARD + 495)
    assert is_overdue(ONE, HEARD + 500, HEARD + 480)


async def test_who_has_no_connection_is_gone(roll: Roll) -> None:
    """Within 12 s of its last report, found by one question; a report brings it back."""
    roll.hear()
    await roll.until(HEARD + 10.4)
    assert (roll.found, roll.bus.asked) == ({"a": "here"}, [])
    await roll.until(HEARD + 11.5)
    assert (roll.found, roll.bus.asked) == ({"a": "gone"}, ["i"])
    await roll.until(HEARD + 60)
    assert roll.bus.asked == ["i"]
    roll.hear(seq=2)
    assert roll.found == {"a": "here"}


async def test_who_does_not_answer_is_silent_and_asked_again(roll: Roll) -> None:
    """Until it answers, or is gone."""
    roll.hear(active_processing=1)
    roll.bus.answer = None
    await roll.until(HEARD + 4)
    assert roll.found == {"a": "silent"}
    roll.bus.answer = 0.01
    await roll.until(HEARD + 5)
    assert roll.found == {"a": "here"}
    roll.bus.answer = None
    await roll.until(HEARD + 9)
    assert roll.found == {"a": "silent"}
    roll.bus.answer = "gone"
    await roll.until(HEARD + 10)
    assert roll.found == {"a": "gone"}


async def test_who_answers_is_here(roll: Roll) -> None:
    """And has a full interval again before it is asked once more."""
    roll.hear()
    roll.bus.answer = 0.001
    await roll.until(HEARD + 21)
    assert (roll.found, roll.bus.asked) == ({"a": "here"}, ["i"])


@pytest.mark.parametrize("stands", [None, 2], ids=["away", "restored"])
async def test_who_lost_its_own_connection_accuses_nobody(roll: Roll, stands: Hashable | None) -> None:
    """Neither while it is away nor right after it, nor by a question of before."""
    roll.hear()
    roll.bus.free.clear()
    await roll.until(HEARD + 11.5)
    assert roll.bus.asked == ["i"]
    roll.bus.stands = stands
    roll.bus.free.set()
    await roll.until(HEARD + 22)
    roll.bus.stands = 3
    await roll.until(HEARD + 32)
    assert (roll.found, roll.bus.asked) == ({"a": "here"}, ["i"])
    await roll.until(HEARD + 34)
    assert roll.found == {"a": "gone"}


async def test_who_slept_accuses_nobody(roll: Roll) -> None:
    """What was said meanwhile is read first."""
    roll.hear()
    roll.now += 300
    await roll.look()
    await roll.until(roll.now + 10)
    assert (roll.found, roll.bus.asked) == ({"a": "here"}, [])


@pytest.mark.parametrize("error", [BusUnavailableError("away"), ForbiddenError("not permitted")])
async def test_a_question_that_cannot_be_asked_says_nothing(roll: Roll, error: InferenceServiceError) -> None:
    """Of a worker; who may not ask does not go on asking."""
    roll.hear()
    roll.bus.answer = error
    await roll.until(HEARD + 13)
    assert roll.found == {"a": "here"}
    assert (len(roll.bus.asked) == 1) is isinstance(error, ForbiddenError)


async def test_an_answer_of_before_the_restart_says_nothing(roll: Roll) -> None:
    """The process that was asked is gone, but another one is there."""
    roll.hear()
    roll.bus.free.clear()
    await roll.until(HEARD + 11.5)
    roll.hear(incarnation="j")
    roll.bus.free.set()
    await roll.look()
    assert roll.found == {"a": "here"}


async def test_a_thousand_are_asked_a_hundred_at_a_time(roll: Roll) -> None:
    """Who waits longest comes first, and all have their turn."""
    for number in range(1000):
        roll.hear(f"w{number}", f"i{number}")
    roll.bus.free.clear()
    await roll.until(HEARD + 12)
    assert (roll.bus.running, len(roll.bus.asked)) == (100, 100)
    roll.bus.answer = None
    for _ in range(12):
        roll.bus.free.set()
        await roll.look()
        roll.bus.free.clear()
        await roll.look()
    assert roll.bus.most == 100
    assert set(roll.found.values()) == {"silent"}


async def test_each_worker_is_pinged_once_a_minute(roll: Roll) -> None:
    """Spread out, and how long the answer took is told; one that is missing then is accused by nobody."""
    roll.call = RollCall(roll.bus, roll.view, lambda: roll.now, pinged=lambda *said: roll.pings.append(said))
    roll.bus.answer = 0.002
    for second in range(125):
        for number in range(20):
            roll.hear(f"w{number}", f"i{number}", seq=second + 2)
        await roll.until(HEARD + second)
        if second == 6:
            assert sorted({worker for worker, _ in roll.pings}) == sorted(f"w{number}" for number in range(20))
    assert {ms for _, ms in roll.pings} == {2.0}
    assert all([worker for worker, _ in roll.pings].count(f"w{number}") in (2, 3) for number in range(20))
    roll.bus.answer = "gone"
    for second in range(125, 190):
        for number in range(20):
            roll.hear(f"w{number}", f"i{number}", seq=second + 2)
        await roll.until(HEARD + second)
    assert set(roll.found.values()) == {"here"}


@asynccontextmanager
async def _running(call: RollCall) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(call.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_stops_takes_its_questions_along(roll: Roll, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question outlives the one who asks."""
    monkeypatch.setattr(presence, "LOOK_S", 0.0)
    monkeypatch.setattr(presence, "STOOD_STILL_S", 1000.0)
    roll.hear()
    roll.bus.free.clear()
    roll.now += 20
    async with _running(roll.call):
        async with asyncio.timeout(5):
            while not roll.bus.running:
                await asyncio.sleep(0)
    assert roll.bus.running == 0


def test_a_heartbeat_alone_makes_nobody_overdue_early() -> None:
    """A worker that downloads its model beats each 30 s and reports nothing yet."""
    view = FleetView()
    view.heartbeat(beat(status="starting", incarnation="i"), 0.0)
    (one,) = view.everyone()
    assert not is_overdue(one, 30.0, 0.0)
