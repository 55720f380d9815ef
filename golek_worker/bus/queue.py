"""How long is the model's queue, when is whose turn, and when may somebody who was refused come back?

`QueueView` is arithmetic on what the server says of the model's consumers. `Queue` asks the server, at most once a
second, and only while somebody wants to know.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct
from nats.aio.client import Client

from golek_wire import subjects
from golek_wire.errors import QueueFullError
from golek_worker.bus.jetstream import ServerClock, api

LOOK_S = 1.0
"""The queue is looked at this often at most."""
WINDOW_S = 30.0
"""Jobs that started in the last so many seconds give the rate."""
FEWEST_STARTS = 5
"""With fewer starts seen nothing is said of the wait."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Bounds of what a refused caller is told to wait."""
STANDSTILL_S = 5.0
"""When no job started for so long while others waited, nobody knows when a place will be free."""
GUESSED_RATE = 4.0
"""Starts a second that are assumed before any was seen: rather too few, so that a crowd does not come back as one."""
MARGIN = 1.1
"""A refused caller is sent back so much later than its place is expected, for others come meanwhile; and later by the
error of a rate that is counted from few starts, which is one in the root of their number."""
HEADS_KEPT = 3600
"""Looks at the end of a queue; who waits for longer is said to wait since the oldest of them."""
SMALLEST_SHARE = 0.1
"""An ingress that just began knows little of its share of the requests; it is taken for at least this."""

NORMAL = "normal"
URGENCY = tuple(subjects.PRIORITIES.values())
"""Classes of jobs, the most urgent first."""


class Seen(Struct, frozen=True):
    """What the server says of one consumer."""

    pending: int
    """Jobs never delivered."""
    delivered: int
    """Sequence in the stream of the newest job delivered."""
    starts: int
    """Deliveries so far; a job delivered again counts again."""
    done: int = 0
    """All jobs up to this sequence in the stream have ended."""
    unacked: int = 0
    """Jobs delivered that have not ended: they run somewhere, or wait for their next attempt."""


class OnLanes(Struct, frozen=True):
    """Jobs that routers gave to single replicas."""

    pending: int = 0
    unacked: int = 0


class _Heads:
    """When jobs of one class came, by how the end of its queue moved: exact to a look, too late where the sequences of
    several classes mix.
    """

    def __init__(self) -> None:
        self._tails: deque[tuple[float, int]] = deque(maxlen=HEADS_KEPT)
        """Looks, and the sequence that was the newest of this class then, at least."""

    def observe(self, seen: Seen, at: float) -> None:
        tail = seen.delivered + seen.pending
        if self._tails and tail < self._tails[-1][1]:
            self._tails.clear()  # the consumer was made anew, or jobs were deleted
        if not self._tails or tail > self._tails[-1][1]:
            self._tails.append((at, tail))
        while self._tails and self._tails[0][1] <= seen.delivered:
            self._tails.popleft()

    def wait_s(self, now: float) -> float | None:
        """How long the next job has waited, at least; None where none waits."""
        return now - self._tails[0][0] if self._tails else None


class _Sample(Struct, frozen=True):
    at: float
    starts: int
    backlogged: bool


class QueueView:
    """The consumers of a model, the most urgent first, as they were last seen. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.seen: Sequence[Seen] = ()
        self.at = -math.inf
        """When that was asked for."""
        self.last_seq = 0
        """The newest sequence of the stream that was known of then: what was stored since is in no count."""
        self.on_lanes = OnLanes()
        """What lies at single replicas, as it was last seen."""
        self._samples: deque[_Sample] = deque()
        self._heads: list[_Heads] = []
        self._starts = 0
        self._watched_s = 0.0
        self._rate = GUESSED_RATE
        self._promised_until = 0.0

    @property
    def pending(self) -> int:
        """Jobs that wait, of all classes and lanes."""
        return sum(consumer.pending for consumer in self.seen) + self.on_lanes.pending

    @property
    def unacked(self) -> int:
        """Jobs that run or wait for their next attempt, of all classes and lanes."""
        return sum(consumer.unacked for consumer in self.seen) + self.on_lanes.unacked

    def oldest_wait_s(self, now: float) -> float | None:
        """How long the next job of a class has waited, at least: of the class where that is longest."""
        return max((wait for heads in self._heads if (wait := heads.wait_s(now)) is not None), default=None)

    @property
    def rate(self) -> float:
        """Starts a second while jobs waited. Then every start follows an end, so it is the rate of ends as well."""
        return self._starts / self._watched_s if self._watched_s else 0.0

    def observe(self, seen: Sequence[Seen], at: float) -> None:
        """The consumers as they were at `at`."""
        self.seen, self.at = seen, at
        self._heads = self._heads or [_Heads() for _ in seen]
        for heads, consumer in zip(self._heads, seen, strict=True):
            heads.observe(consumer, at)
        starts = sum(consumer.starts for consumer in seen)
        if self._samples and starts < self._samples[-1].starts:
            self._samples.clear()  # the consumers were made anew
        self._samples.append(_Sample(at, starts, any(consumer.pending for consumer in seen)))
        while self._samples[0].at < at - WINDOW_S:
            self._samples.popleft()
        # Between two looks of which the first found nobody waiting, slots may have been idle: that tells nothing.
        busy = [(first, second) for first, second in pairwise(self._samples) if first.backlogged]
        self._starts = sum(second.starts - first.starts for first, second in busy)
        self._watched_s = sum(second.at - first.at for first, second in busy)
        self._rate = self.rate or self._rate

    def position(self, seq: int, place: int) -> int:
        """How many starts until the job `seq` of class number `place` starts; 0 when it was delivered or is gone.

        Sequences count the jobs of all classes, and those that were deleted; so the share of this class in them is
        taken from what waits. Without classes and deletions the answer is exact.
        """
        if not self.seen:
            return 0
        own = self.seen[place]
        if seq <= own.delivered or not own.pending:
            return 0
        before, known = seq - own.delivered, max(seq, self.last_seq) - own.delivered
        ahead = min(before, own.pending, math.ceil(own.pending * before / known))
        return ahead + sum(consumer.pending for consumer in self.seen[:place])

    def eta_s(self, position: int) -> float | None:
        """Seconds until so many jobs have started; None while too few starts were seen."""
        return round(position / self.rate, 1) if self._starts >= FEWEST_STARTS else None

    def retry_after_s(self, now: float, share: float) -> float:
        """When a request that finds the queue full should be sent again: each is promised a place of its own.

        `share` is the part of all requests that this ingress takes: others promise places too.
        """
        if not self._starts and self._watched_s >= STANDSTILL_S:
            return LONGEST_WAIT_S
        margin = MARGIN + 1 / math.sqrt(max(1, self._starts))
        place_s = margin / (self._rate * max(share, SMALLEST_SHARE))
        self._promised_until = min(max(self._promised_until, now) + place_s, now + LONGEST_WAIT_S)
        return max(SHORTEST_WAIT_S, self._promised_until - now)


class Queue:
    """One model's queue as its server knows it."""

    def __init__(self, client: Client, token: str, kind: str, strategy: str, capacity: int, clock: ServerClock) -> None:
        """`clock` learns the server's time from each answer."""
        self.classes = classes(strategy)
        """The classes of jobs that there are, the most urgent first."""
        self.capacity = capacity
        self.view = QueueView()
        self.last_seq = 0
        """The newest sequence of the stream that is known of."""
        self._client = client
        self._clock = clock
        self._full_since = self._refused_at = -math.inf
        self._infos = [
            f"CONSUMER.INFO.{subjects.job_stream(token)}.{subjects.consumer(token, kind, name)}"
            for name in self.classes
        ]
        self.job_subjects = {
            number: subjects.job(token, kind, self.classes[self.place(number)]) for number in subjects.PRIORITIES
        }
        """Where a job of each priority is stored."""

    def place(self, priority: int) -> int:
        """The number of the class of jobs with this priority."""
        return self.classes.index(subjects.PRIORITIES[priority]) if len(self.classes) > 1 else 0

    async def look(self, older_than_s: float = LOOK_S) -> None:
        """Ask the server, unless that was done less than `older_than_s` ago. Raises as `api` does."""
        at, last_seq, seen = time.monotonic(), self.last_seq, []
        if at - self.view.at < older_than_s:
            return
        for call in self._infos:
            sent_at = time.time()
            info = await api(self._client, call)
            self._clock.observe(info["ts"], sent_at, time.time())
            delivered, done = info["delivered"], info["ack_floor"]["stream_seq"]
            unacked = info["num_ack_pending"]
            seen.append(Seen(info["num_pending"], delivered["stream_seq"], delivered["consumer_seq"], done, unacked))
        if at > self.view.at:  # two may have asked at once
            self.view.observe(seen, at)
            self.view.last_seq = last_seq

    def position(self, seq: int, priority: int) -> int:
        """The place of a job when the queue was last looked at, 1 is next; 0 when it was delivered or is gone."""
        return self.view.position(seq, self.place(priority))

    def is_delivered(self, seq: int, priority: int) -> bool:
        """Whether a worker had been given the job when the queue was last looked at."""
        return bool(self.view.seen) and seq <= self.view.seen[self.place(priority)].delivered

    def is_done(self, seq: int, priority: int) -> bool:
        """Whether the job is known to have ended; one that waits keeps only its own class from being known."""
        return bool(self.view.seen) and seq <= self.view.seen[self.place(priority)].done

    def full(self, accepted: int) -> QueueFullError:
        """The refusal of a request that finds no place, at an ingress that has `accepted` of those in the queue."""
        now = time.monotonic()
        wait_s = self.view.retry_after_s(now, min(1.0, accepted / self.capacity))
        if now - self._refused_at >= 2 * LOOK_S:
            self._full_since = now
        self._refused_at = now
        # What was seen before it was full is no news of a full queue.
        known = {"waiting": self.view.pending} if self._full_since < self.view.at > now - 2 * LOOK_S else {}
        waiting = f", of which {known['waiting']} wait" if known else ""
        return QueueFullError(
            f"The model's queue is full: it holds {self.capacity} jobs{waiting}; try again in {wait_s:.0f} s",
            retry_after_ms=round(wait_s * 1000),
            capacity=self.capacity,
            **known,
        )


def classes(strategy: str) -> tuple[str, ...]:
    """The classes of jobs with this INFERENCE_QUEUE_STRATEGY, the most urgent first: in `fifo` all are one."""
    return URGENCY if strategy == "priority" else (NORMAL,)
