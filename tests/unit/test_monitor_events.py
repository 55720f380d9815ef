"""The monitor's event log: what becomes of workers, in few lines."""

from typing import Any

import pytest

from golek_client.fleet import Presence
from golek_monitor import advisories, notices
from golek_monitor.events import KEPT, EventLog, Happening
from golek_monitor.notices import Known
from golek_wire.signals import WorkerStatus


def log() -> EventLog:
    return EventLog(lambda: "2026-01-02T12:00:00.000Z")


def joined(number: int) -> Happening:
    return Happening("worker.joined", "info", f"w{number} is there", "workers joined", "m", f"w{number}")


def test_few_events_have_a_line_each() -> None:
    """Numbered from one on, the newest first."""
    events = log()
    for number in range(3):
        events.add(joined(number))
    events.settle(0.0)
    assert [(one.seq, one.worker_id) for one in events.read()] == [(3, "w2"), (2, "w1"), (1, "w0")]
    assert [one.seq for one in events.read(after=2)] == [3]
    assert [one.seq for one in events.read(limit=1)] == [3]


def test_a_flood_is_one_line_with_its_number() -> None:
    """200 workers that join within two seconds are told together; others are told meanwhile."""
    events = log()
    for second in range(2):
        for number in range(100):
            events.add(joined(100 * second + number))
        events.add(Happening("other", "info", "something else"))
        events.settle(float(second))
    events.settle(2.0)
    told = [(one.code, one.message) for one in events.read() if one.code != "other"]
    assert told == [("worker.joined", "200 workers joined: w0, w1, w2 and 197 more")]
    assert len([one for one in events.read() if one.code == "other"]) == 2


def test_what_goes_on_for_long_is_gathered_too() -> None:
    """A worker that flaps each second for five minutes fills no log."""
    events = log()
    for second in range(300):
        events.add(joined(second % 2))
        events.settle(float(second))
    assert len(events.read(limit=KEPT)) < 60


def test_the_newest_line_has_the_latest_time() -> None:
    """Also where lines were kept to be told together: they have the time and place of their end."""
    now = [0.0]
    events = EventLog(lambda: f"{now[0]:04.1f}")
    for second in range(30):
        now[0] = float(second)
        for number in range(second % 5):
            events.add(joined(number))
        now[0] += 0.4
        events.add(Happening("other", "info", "something else"))
        if second == 20:
            events.add(Happening("worker.lost", "error", "w9 is gone"))
        events.settle(now[0])
    told = events.read()
    assert any("workers joined" in one.message for one in told)
    assert [one.timestamp for one in told] == sorted((one.timestamp for one in told), reverse=True)
    assert [one.seq for one in told] == list(range(len(told), 0, -1))


def test_a_line_that_was_kept_says_how_long_ago_it_was() -> None:
    """One that turns out to be alone, of a kind that had many lines before."""
    events = log()
    for number in range(6):
        events.add(joined(number))
        events.settle(float(number))
    events.add(joined(6))
    events.settle(6.0)
    events.settle(16.0)
    assert events.read(limit=1)[0].message == "w6 is there, 10 s ago"


def test_orders_are_never_summed_up() -> None:
    """Ten that people give within a second are ten lines, for each says who gave it."""
    events = log()
    for number in range(10):
        events.add(Happening("model.unload.ordered", "info", f"somebody ordered: unload of m{number}", alone=True))
    events.settle(0.0)
    assert [one.message[-2:] for one in events.read()] == [f"m{number}" for number in reversed(range(10))]


def test_the_log_is_bounded() -> None:
    """The newest thousand stay."""
    events = log()
    for second in range(KEPT + 100):
        events.add(Happening(f"code{second}", "info", "x"))
        events.settle(float(second))
    assert [len(events.read(limit=5000)), events.last_seq] == [KEPT, KEPT + 100]


def known(status: WorkerStatus = "online", presence: Presence = "here", incarnation: str = "i") -> Known:
    return Known("m", status, presence, incarnation)


@pytest.mark.parametrize(
    ("before", "now", "code"),
    [
        (None, known(), "worker.joined"),
        (None, known("offline"), None),
        (None, known(presence="gone"), None),
        (known(), known(), None),
        (known(), known(presence="silent"), "worker.silent"),
        (known(presence="silent"), known(presence="gone"), "worker.lost"),
        (known(), known(presence="gone"), "worker.lost"),
        (known(presence="gone"), known(), "worker.back"),
        (known(presence="gone"), known(incarnation="j"), "worker.back"),
        (known(), known("offline"), "worker.left"),
        (known("offline"), known("offline", "gone"), None),
        (known("draining"), known("failed"), "worker.failed"),
        (known("offline"), known("loading", incarnation="j"), "worker.back"),
        (known(), known(incarnation="j"), "worker.restarted"),
        (known(incarnation=""), known(incarnation="j"), None),
        (known(), known("stalled"), "worker.stalled"),
        (known("stalled"), known(), "worker.recovered"),
        (known(), known("draining"), "worker.status"),
    ],
)
def test_what_becomes_of_a_worker_is_told_once(before: Known | None, now: Known, code: str | None) -> None:
    """A line where something changed, and none where nothing did or where nobody knew the worker."""
    happening = notices.of_worker("w", before, now)
    assert (happening.code if happening else None) == code


@pytest.mark.parametrize(
    ("before", "now", "code"),
    [
        (None, "ready", "gateway.joined"), ("ready", "ready", None), ("ready", "silent", "gateway.silent"),
        ("silent", "ready", "gateway.status"), ("not ready", None, "gateway.left"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_gateway_is_told_once(before: str | None, now: str | None, code: str | None) -> None:
    """As of a worker."""
    happening = notices.of_gateway("g", before, now)
    assert (happening.code if happening else None) == code


@pytest.mark.parametrize(
    ("subject", "data", "told"),
    [
        ("STREAM.CREATED.S", b'{"stream": "S"}', "stream S was made"),
        ("STREAM.LEADER_ELECTED.S", b'{"stream": "S", "leader": "n1"}', "server n1 leads stream S now"),
        ("CONSUMER.LEADER_ELECTED.S.c", b'{"stream": "S", "consumer": "c"}', "server ? leads consumer c of S now"),
        ("STREAM.SNAPSHOT_CREATE.S", b'{"stream": "S"}', None),
        ("API", b"{}", None),
        ("STREAM.DELETED.S", b"\xff", None),
        ("STREAM.DELETED.S", b'{"stream": 4}', None),
    ],
)
def test_advisories_are_put_into_words(subject: str, data: bytes, told: str | None) -> None:
    """What means something to people; everyday life and what is no advisory is passed over."""
    happening: Any = advisories.told(f"$JS.EVENT.ADVISORY.{subject}", data)
    assert (happening.message if happening else None) == told
