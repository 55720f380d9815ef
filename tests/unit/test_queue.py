"""The arithmetic of the queue: places, waits, and when to come back, without a server."""

import math
import random
import time

import pytest
from nats.aio.client import Client

from golek_worker.bus import queue
from golek_worker.bus.jetstream import ServerClock
from golek_worker.bus.queue import LONGEST_WAIT_S, Queue, QueueView, Seen

SLOTS = 8


def seen(view: QueueView, at: float, *consumers: tuple[int, int, int]) -> QueueView:
    """`view` after a look at `at` that found (pending, delivered, starts) of each consumer."""
    view.observe([Seen(*consumer) for consumer in consumers], at)
    return view


@pytest.mark.parametrize(
    ("pending", "delivered", "last_seq", "seq", "position"),
    [
        (10, 90, 100, 91, 1),
        (10, 90, 100, 100, 10),
        (10, 90, 100, 90, 0),
        (0, 90, 100, 95, 0),
        (5, 90, 100, 100, 5),
        (5, 90, 100, 95, 3),
        (30, 90, 100, 95, 5),
        (10, 90, 0, 95, 5),
    ],
    ids=[
        "next", "last", "delivered", "gone", "half were deleted", "half were deleted before it", "others came later",
        "nothing known of later ones",
    ],
)  # fmt: skip
def test_a_place_is_how_many_start_until_it_is_ones_turn(
    pending: int, delivered: int, last_seq: int, seq: int, position: int
) -> None:
    """Exact where jobs are of one class and none was deleted; never more than wait."""
    view = seen(QueueView(), 0.0, (pending, delivered, delivered))
    view.last_seq = last_seq
    assert view.position(seq, 0) == position


@pytest.mark.parametrize(
    ("looks", "now", "wait_s"),
    [
        ([(0.0, (0, 90, 90))], 5.0, None),
        ([(0.0, (0, 90, 90)), (1.0, (3, 90, 90))], 5.0, 4.0),
        ([(1.0, (3, 90, 90)), (2.0, (2, 91, 91)), (3.0, (4, 92, 92))], 5.0, 4.0),
        ([(1.0, (1, 90, 90)), (2.0, (2, 90, 90)), (3.0, (1, 91, 91))], 5.0, 3.0),
        ([(1.0, (3, 90, 90)), (2.0, (0, 93, 93))], 5.0, None),
        ([(1.0, (3, 90, 90)), (4.0, (1, 90, 90))], 5.0, 1.0),
        ([(1.0, (3, 900, 900)), (4.0, (1, 2, 2))], 5.0, 1.0),
        ([(1.0, (2, 10, 10), (0, 5, 5)), (3.0, (0, 12, 12), (1, 5, 5))], 5.0, 2.0),
    ],
    ids=[
        "nobody", "since a look", "the first of them", "it was the second's turn", "all started", "some were deleted",
        "made anew", "of two classes",
    ],
)  # fmt: skip
def test_the_next_job_has_waited_since_the_look_that_first_counted_it(
    looks: list[tuple[float, *tuple[tuple[int, int, int], ...]]], now: float, wait_s: float | None
) -> None:
    """At least so long: what cannot be told is taken for less."""
    view = QueueView()
    for at, *consumers in looks:
        seen(view, at, *consumers)
    assert view.oldest_wait_s(now) == wait_s


async def test_what_is_stored_during_a_look_moves_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server counted without it."""
    view = Queue(Client(), "tiny", "inference", "fifo", 2000, ServerClock())
    view.last_seq = 100

    async def info(*_: object) -> dict[str, object]:
        view.last_seq = 130
        delivered = {"stream_seq": 90, "consumer_seq": 90}
        return {
            "ts": "2026-01-02T03:04:05Z",
            "num_pending": 10,
            "num_ack_pending": 0,
            "delivered": delivered,
            "ack_floor": delivered,
        }

    monkeypatch.setattr(queue, "api", info)
    await view.look()
    assert [view.position(seq, 2) for seq in (91, 95, 100)] == [1, 5, 10]


def test_more_urgent_jobs_are_ahead() -> None:
    """All that wait in higher classes start first, and of its own class those before it."""
    view = seen(QueueView(), 0.0, (7, 10, 10), (4, 10, 10), (2, 10, 10))
    view.last_seq = 23
    assert view.position(11, 0) == 1
    assert view.position(11, 1) == 7 + 1
    assert view.position(23, 1) == 7 + 4
    assert view.position(23, 2) == 7 + 4 + 2


def test_a_wait_is_told_once_five_jobs_started() -> None:
    """With fewer nobody knows; then it is the place divided by the rate."""
    view = seen(QueueView(), 0.0, (20, 0, 0))
    assert view.eta_s(10) is None
    seen(view, 1.0, (16, 4, 4))
    assert view.eta_s(10) is None
    seen(view, 2.0, (12, 8, 8))
    assert view.eta_s(10) == 2.5


def test_idle_time_tells_nothing_of_the_rate() -> None:
    """Neither the minutes before the queue filled nor the slots that were free then are in it."""
    view = seen(QueueView(), 0.0, (0, 0, 0))
    seen(view, 20.0, (0, 3, 3))
    seen(view, 21.0, (100, 11, 11))
    seen(view, 23.0, (90, 21, 21))
    assert view.rate == 5.0


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """What was before is forgotten; a consumer that was made anew begins at 0."""
    view = QueueView()
    for second in range(100):
        seen(view, second, (1000, 0, second * 10 if second < 50 else 500 + second))
    assert view.rate == pytest.approx(1.0)
    seen(view, 100.0, (1000, 0, 0))
    assert view.rate == 0.0


def test_a_queue_that_stands_still_says_the_longest_wait() -> None:
    """Nobody knows when a place will be free; before it was watched for a while a slow model is assumed."""
    view = seen(QueueView(), 0.0, (2000, 0, 0))
    assert view.retry_after_s(0.0, 1.0) == queue.SHORTEST_WAIT_S
    seen(view, 10.0, (2000, 0, 0))
    assert view.retry_after_s(10.0, 1.0) == LONGEST_WAIT_S


def test_each_refused_request_is_promised_a_place_of_its_own() -> None:
    """Half a second later at two starts a second; whoever takes a third of the requests promises a third of the
    places."""
    view = seen(seen(QueueView(), 0.0, (100, 0, 0)), 10.0, (100, 20, 20))
    waits = [view.retry_after_s(10.0, 1.0) for _ in range(200)]
    margin = queue.MARGIN + 1 / math.sqrt(20)
    assert waits[9] == pytest.approx(10 / 2 * margin)
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S
    assert view.retry_after_s(1000.0, 1 / 3) == pytest.approx(3 / 2 * margin)


def test_a_refusal_tells_only_what_was_seen_since_the_queue_is_full() -> None:
    """What was seen a moment before the crowd came is not told; nor is it after a pause without refusals."""
    line = Queue(Client(), "m", "inference", "fifo", 5, ServerClock())
    seen(line.view, time.monotonic(), (0, 0, 0))
    first = line.full(5)
    assert (first.message, "waiting" in first.details) == (
        "The model's queue is full: it holds 5 jobs; try again in 1 s",
        False,
    )
    seen(line.view, time.monotonic(), (3, 0, 0))
    assert "5 jobs, of which 3 wait" in line.full(5).message
    line._refused_at -= 2 * queue.LOOK_S
    assert "waiting" not in line.full(5).details


class Model:
    """A queue of 200 places before 8 slots, and the ingresses that watch it once a second; 20 ms a tick."""

    CAPACITY = 200
    TICK_S = 0.02

    def __init__(self, mean_s: float, ingresses: int) -> None:
        self.views = [QueueView() for _ in range(ingresses)]
        self.found = self.returned = 0
        self._mean_s = mean_s
        self._chance = random.Random(7)
        self._stored = self._starts = 0
        self._running: list[float] = []
        self._ticks = 0

    @property
    def now(self) -> float:
        return self._ticks * self.TICK_S

    def tick(self) -> None:
        self._ticks += 1
        ended = sum(end <= self.now for end in self._running)
        self._running = [end for end in self._running if end > self.now]
        self._stored -= ended
        while len(self._running) < min(SLOTS, self._stored):
            self._running.append(self.now + self._chance.uniform(0.5, 1.5) * self._mean_s)
            self._starts += 1
        if self._ticks % round(1 / self.TICK_S) == 0:
            for view in self.views:
                seen(view, self.now, (self._stored - len(self._running), self._starts, self._starts))

    def ask(self, *, again: bool) -> float | None:
        """A request: None when it finds a place, else when it is told to come back."""
        self.returned += again
        if self._stored < self.CAPACITY:
            self._stored += 1
            self.found += again
            return None
        return self.now + self._chance.choice(self.views).retry_after_s(self.now, 1 / len(self.views))


@pytest.mark.parametrize("mean_s", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("ingresses", [1, 3])
@pytest.mark.parametrize("crowd_at", [0.1, 3.0], ids=["never watched", "watched for 3 s"])
def test_who_comes_back_when_told_finds_a_place(mean_s: float, ingresses: int, crowd_at: float) -> None:
    """A crowd finds the queue full while others go on coming. Of those for whom there is a place within a minute, six
    in seven find it when they come back, and nearly all where more than a few starts were seen."""
    model = Model(mean_s, ingresses)
    crowd = min(300, round(36 * SLOTS / mean_s)) if crowd_at > 1 else 150
    arrivals = [(0.0, False)] * 150 + [(crowd_at, False)] * (50 + crowd)
    arrivals += [(crowd_at + n * 10 * mean_s / SLOTS, False) for n in range(round(6 * SLOTS / mean_s))]
    while model.now < 90:
        model.tick()
        due = [again for at, again in arrivals if at <= model.now]
        arrivals = [arrival for arrival in arrivals if arrival[0] > model.now]
        for again in due:
            back = model.ask(again=again)
            if back is not None and not again:
                arrivals.append((back, True))
    assert model.returned > 100
    assert model.found / model.returned > (6 / 7 if mean_s == 2.0 else 0.95)
