"""One run and its readers, step by step, without an engine."""

from typing import Any

import pytest

from golek_wire.requests import InferenceRequest
from golek_worker.cache.base import CacheKey
from golek_worker.engine.base import Finished, Refused, Stopped
from golek_worker.engine.host import EngineDied, Run, RunEvent
from golek_worker.sharing import AT_ONCE_S, KEPT_RUNS, KEPT_S, Flight, Flights

KEY = CacheKey("tiny", "1")
END = Finished("a", "one two", "stop", 3, 2, prefill_ms=5.0, decode_ms=7.0)


class Work:
    """What a job is told of the cache; nothing else of it is asked here."""

    def __init__(self) -> None:
        self.cache: Any = None
        self.asks_cache = True
        self.shared = False
        self.request = InferenceRequest(input="x")


class Desk:
    """Writes down what becomes of slots."""

    def __init__(self) -> None:
        self.stored: dict[str, float] = {}
        self.told: list[tuple[str, ...]] = []

    def stored_at(self, job_id: str) -> float:
        return self.stored.get(job_id, 0.0)

    def free_slot(self, job_id: str) -> None:
        self.told.append(("free", job_id))

    def pass_slot(self, job_id: str, to: str) -> None:
        self.told.append(("pass", job_id, to))


def events(run: Run) -> list[RunEvent]:
    """All that lies in a run."""
    found: list[RunEvent] = []
    run.redirect(found.append)
    return found


class Table:
    """Flights with a clock and a desk."""

    def __init__(self) -> None:
        self.now = 0.0
        self.flights = Flights(lambda: self.now)
        self.desk = self.flights.desk = Desk()
        self.works: dict[str, Work] = {}

    def join(self, flight: Flight, job_id: str) -> Run:
        self.works[job_id] = Work()
        return self.flights.join(flight, job_id, self.works[job_id])  # type: ignore[arg-type]

    def flight(self, key: CacheKey = KEY, *, streamed: bool = True) -> Flight:
        flight = Flight(key, "miss", streamed=streamed)
        self.flights.open(flight)
        return flight

    def begun(self, flight: Flight) -> None:
        flight.runs, flight.origin = True, flight.leader[0]

    def end(self, flight: Flight, event: RunEvent) -> None:
        flight.take(event)
        flight.ended_at = self.now
        self.flights.ended(flight)


@pytest.fixture
def table() -> Table:
    return Table()


def test_who_comes_later_hears_it_from_the_beginning(table: Table) -> None:
    """The leader's end has its times; a follower's has none, because nothing was computed for it."""
    flight = table.flight()
    first = table.join(flight, "a")
    flight.take("one ")
    second = table.join(flight, "b")
    flight.take("two")
    table.end(flight, END)
    assert events(first) == ["one ", "two", END]
    *text, end = events(second)
    assert text == ["one ", "two"]
    assert isinstance(end, Finished)
    assert (end.text, end.prefill_ms, end.decode_ms) == ("one two", 0.0, 0.0)
    assert (table.works["a"].cache, table.works["b"].cache) == ("miss", "hit")
    assert table.desk.told == [("free", "b")]


def test_a_leader_that_leaves_hands_on_slot_and_bill(table: Table) -> None:
    """The next one leads; the last one to leave ends the run."""
    flight = table.flight()
    first, second, third = (table.join(flight, name) for name in "abc")
    table.begun(flight)
    assert table.flights.leave("a") is None
    assert events(first) == [Stopped("a", 0, 0)]
    assert table.works["b"].cache == "miss"
    assert table.flights.leave("c") is None
    assert events(third) == [Stopped("c", 0, 0)]
    assert table.flights.leave("b") is flight
    flight.take(Stopped("a", 3, 1))
    assert table.desk.told == [("free", "b"), ("free", "c"), ("pass", "a", "b")]
    assert events(second) == [EngineDied(ran=False)], "what was stopped under another's name lets it run anew"
    assert table.flights.find(KEY, "d", streams=True) is None


@pytest.mark.parametrize(
    ("end", "others"),
    [
        (EngineDied(ran=True), EngineDied(ran=False)),
        (Stopped("a", 1, 1), EngineDied(ran=False)),
        (Refused("a", "DEADLINE_EXCEEDED", "late"), EngineDied(ran=False)),
        (Refused("a", "CANCELLED", "left"), EngineDied(ran=False)),
        (Refused("a", "PROVIDER_FAILED", "a cloud", {"cost_usd": 0.5}), Refused("a", "PROVIDER_FAILED", "a cloud")),
        (Refused("a", "CONTEXT_BUDGET_EXCEEDED", "long"), Refused("a", "CONTEXT_BUDGET_EXCEEDED", "long")),
    ],
    ids=lambda one: getattr(one, "code", type(one).__name__),
)
def test_what_may_be_the_leaders_affair_is_not_the_others(table: Table, end: Any, others: Any) -> None:
    """They run anew, without a strike; what equal requests would meet again they hear at once, at no cost. Neither is
    kept.
    """
    flight = table.flight()
    first, second = table.join(flight, "a"), table.join(flight, "b")
    table.begun(flight)
    table.end(flight, end)
    assert events(first) == [end]
    assert events(second) == [others]
    assert table.flights.find(KEY, "c", streams=False) is None


def test_an_end_is_for_those_who_were_there_before(table: Table) -> None:
    """A job that was stored before the end reads it for KEPT_S; one that was stored later runs."""
    flight = table.flight()
    table.join(flight, "a")
    table.now = 10.0
    table.end(flight, END)
    table.desk.stored = {"before": 9.9, "at once": 10.0 - AT_ONCE_S / 2, "after": 10.1}
    found = {name: table.flights.find(KEY, name, streams=True) is flight for name in table.desk.stored}
    assert found == {"before": True, "at once": False, "after": False}
    *text, _ = events(table.join(flight, "before"))
    assert text == ["one two"]
    table.now = 10.0 + KEPT_S + 0.1
    assert table.flights.find(KEY, "before", streams=True) is None


def test_few_ends_are_kept(table: Table) -> None:
    """Of many the newest; large ones not at all."""
    for number in range(KEPT_RUNS + 5):
        flight = table.flight(CacheKey("tiny", str(number)))
        table.join(flight, f"j{number}")
        table.now += 0.001
        table.end(flight, END)
    assert table.flights.find(CacheKey("tiny", "4"), "x", streams=True) is None
    assert table.flights.find(CacheKey("tiny", "5"), "x", streams=True) is not None
    large = table.flight()
    table.join(large, "large")
    table.end(large, Finished("a", "x" * 100_000, "stop", 1, 1))
    assert table.flights.find(KEY, "x", streams=True) is None


def test_a_stream_waits_for_no_whole_answer(table: Table) -> None:
    """A run of which nothing is heard before its end is no help to a stream, unless the engine has its job's id."""
    flight = table.flight(streamed=False)
    table.join(flight, "a")
    table.begun(flight)
    assert table.flights.find(KEY, "b", streams=False) is flight
    assert table.flights.find(KEY, "b", streams=True) is None
    assert table.flights.find(KEY, "a", streams=True) is flight


def test_jobs_of_other_hops_do_not_share() -> None:
    """What a router asks another one for may come back to it: it must not wait for itself."""
    flights = Flights()
    flight = Flight(KEY, None, streamed=True, hops=1)
    flights.open(flight)
    flights.join(flight, "a", Work())
    assert flights.find(KEY, "b", streams=True, hops=1) is flight
    assert flights.find(KEY, "b", streams=True, hops=2) is None
