"""When something counts as an alert, and what is said of it."""

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from golek_monitor import rules
from golek_monitor.alerts import Alerts, Trouble, told_of
from golek_monitor.picture import Picture
from golek_monitor.publishing import Turn
from golek_monitor.records import BackpressureStatus, QueueMetrics, ReplicaRow, Service
from golek_monitor.rules import Limits, Seen
from golek_wire.moments import stamp
from golek_wire.signals import Aggregate, Alert, AlertKind, GatewayReport, LoadReport, ModelInfo, Refusals, Traffic
from tests.support import fleets
from tests.support.fleets import Time


def row(worker_id: str = "w", **given: Any) -> ReplicaRow:
    said: dict[str, Any] = {
        "model_name": "m", "status": "online", "presence": "here", "in_rotation": True, "last_seen": "",
        "last_seen_s": 12.0,
    }  # fmt: skip
    return ReplicaRow(worker_id=worker_id, **(said | given))


def service(serving: int = 1, pending: int = 0, active: int = 0, capacity: int = 100) -> Service:
    return Service(
        model_name="m", status="online", model_info=ModelInfo(), first_seen="", uptime=0, uptime_seconds=0.0,
        queue_metrics=QueueMetrics(pending, active, capacity), last_seen="", in_rotation=serving > 0,
        backpressure_status=BackpressureStatus("healthy", (pending + active) / capacity),
        replicas_in_rotation=serving,
    )  # fmt: skip


def found(seen: Seen, limits: Limits = Limits()) -> dict[str, tuple[str, bool]]:  # noqa: B008
    return {one.id: (one.severity, one.over) for one in rules.troubles(seen, limits)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen([row()], [service()]), {}),
        (Seen([row(status="lost", presence="gone")], [service()]), {"worker_lost:w": ("warning", True)}),
        (Seen([row(status="lost", presence="gone")], [service(0)]), {"worker_lost:w": ("critical", True)}),
        (Seen([row(status="silent", presence="silent")], [service(0)]), {"worker_lost:w": ("critical", True)}),
        (Seen([row(status="offline", presence="gone")], [service(0)]), {}),
        (Seen([row(status="draining")], [service(0)]), {}),
        (Seen([row(status="failed", presence="gone")], [service(0)]), {"worker_failed:w": ("critical", True)}),
        (Seen([row(status="stalled")], [service(2)]), {"worker_stalled:w": ("warning", True)}),
        (Seen([], [service(1, 59, 0)]), {}),
        (Seen([], [service(1, 61, 0)]), {"queue_critical:m": ("critical", False)}),
        (Seen([], [service(1, 70, 10)]), {"queue_critical:m": ("critical", True)}),
        (Seen([], [], ended={"m": (100, 2)}), {}),
        (Seen([], [], ended={"m": (100, 3)}), {"error_rate:m": ("warning", False)}),
        (Seen([], [], ended={"m": (100, 5)}), {"error_rate:m": ("warning", True)}),
        (Seen([], [], ended={"m": (19, 19)}), {"error_rate:m": ("critical", False)}),
        (Seen([], [], new_letters={"m": 1}), {"dead_letters:m": ("warning", True)}),
        (Seen([row(log_lag_s=0.5)], []), {}),
        (Seen([row(log_lag_s=2.0)], []), {"slow_log:w": ("warning", False)}),
        (Seen([row(log_lag_s=6.0)], []), {"slow_log:w": ("warning", True)}),
        (Seen([row()], [], log_problems={"w": "no space"}), {"slow_log:w": ("warning", True)}),
        (Seen([row(clock_skew_s=-0.9)], []), {}),
        (Seen([row(clock_skew_s=-1.5)], []), {"clock_skew:w": ("warning", False)}),
        (Seen([row(clock_skew_s=3.0)], []), {"clock_skew:w": ("warning", True)}),
        (
            Seen([row(f"w{number}", clock_skew_s=5.0) for number in range(3)] + [row("x")], []),
            {"clock_skew:monitor": ("warning", True)},
        ),
        (Seen([], [], refusals={("k", 429): 29}), {}),
        (Seen([], [], refusals={("k", 429): 30}), {"refusals:k:429": ("warning", False)}),
        (Seen([], [], refusals={("k", 401): 60}), {"refusals:k:401": ("warning", True)}),
    ],
)  # fmt: skip
def test_rules_name_what_is_wrong(seen: Seen, expected: Mapping[str, tuple[str, bool]]) -> None:
    """Each cause once, how severe it is, and whether it is past the limit at which it begins to count."""
    assert found(seen) == expected


def test_limits_are_settings() -> None:
    """Another limit, another verdict; and it stands in the sentence."""
    seen = Seen([], [service(1, 40, 0)], ended={"m": (10, 1)})
    assert found(seen, Limits(queue=0.4, error_share=0.1, error_requests=10)) == {
        "queue_critical:m": ("critical", True), "error_rate:m": ("warning", True),
    }  # fmt: skip
    said = [one.message for one in rules.troubles(seen, Limits(queue=0.4))]
    assert said[0].startswith("the queue of m is 40% full (limit 40%): 40 wait and 0 run of 100;")


def trouble(**given: Any) -> Trouble:
    said: dict[str, Any] = {"over": True, "hold_s": 5.0, "clear_s": 10.0}
    return Trouble("q", "queue_critical", "critical", "full", **(said | given))


OVER, BETWEEN = trouble(), trouble(over=False)


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ({0: OVER, 3: OVER, 4: None, 9: OVER, 13: OVER}, []),
        ({0: OVER, 5: OVER, 6: OVER}, [(5, "firing")]),
        ({0: BETWEEN, 9: BETWEEN}, []),
        ({0: OVER, 4: BETWEEN, 6: OVER, 10: OVER, 11: OVER}, [(11, "firing")]),
        ({0: OVER, 5: OVER, 6: BETWEEN, 99: BETWEEN}, [(5, "firing")]),
        ({0: OVER, 5: OVER, 6: None, 15: None, 16: None}, [(5, "firing"), (16, "resolved")]),
        ({0: OVER, 5: OVER, 6: None, 15: OVER, 16: None, 25: None, 26: None}, [(5, "firing"), (26, "resolved")]),
        ({0: trouble(hold_s=0.0, clear_s=0.0), 1: None, 2: trouble(hold_s=0.0)},
         [(0, "firing"), (1, "resolved"), (2, "firing")]),
    ],
    ids=[
        "too short", "held", "between the limits it does not begin", "it must hold all the time",
        "between the limits it does not end", "it ends after a while", "it comes back meanwhile", "without holds",
    ],
)  # fmt: skip
def test_an_alert_begins_and_ends_once(moments: dict[int, Trouble | None], expected: list[tuple[int, str]]) -> None:
    """What the limits and times promise, second by second."""
    alerts = Alerts("mon", lambda: "now")
    told = []
    for now, one in moments.items():
        told += [
            (now, alert.state) for alert in alerts.judge([one] if one else [], float(now), lambda _: "it has room")
        ]
    assert told == expected


def test_an_alert_that_goes_on_is_said_as_it_is() -> None:
    """Its sentence and value follow within five seconds, its severity at once; that it fires is told once."""
    stamps = iter("abcdefgh")
    alerts = Alerts("mon", lambda: next(stamps))
    fired = []
    for now in range(12):
        one = Trouble("q", "queue_critical", "critical" if now > 6 else "warning", f"{now} wait", value=now)
        fired += alerts.judge([one], float(now), lambda _: "")
        (alert,) = alerts.firing()
        assert alert.value is not None
        assert now - alert.value < 5
        assert alert.message == f"{alert.value} wait"
        assert alert.severity == one.severity
    assert (len(fired), alert.since, alert.timestamp > "b") == (1, "a", True)


@pytest.mark.parametrize(
    ("given", "value", "said"),
    [
        ({"status": "stalled", "last_token_age_ms": 10_068}, 10.1, "no progress for 10 s"),
        ({"status": "lost", "presence": "gone"}, 12.0, "last heard 12 s ago"),
        ({"status": "silent", "presence": "silent"}, 12.0, "last heard 12 s ago"),
    ],
)
def test_what_was_measured_is_in_the_unit_that_is_named(given: dict[str, Any], value: float, said: str) -> None:
    """Seconds everywhere."""
    (one,) = rules.troubles(Seen([row(**given)], [service()]), Limits())
    assert one.value == value
    assert said in one.message


@pytest.mark.parametrize(
    ("serving", "jobs"), [(1, "Its jobs go to other replicas"), (0, "Its jobs wait for a replica")]
)
def test_where_jobs_go_is_said_as_it_is(serving: int, jobs: str) -> None:
    """Only where there are other replicas."""
    (one,) = rules.troubles(Seen([row(status="lost", presence="gone")], [service(serving)]), Limits())
    assert jobs in one.message


def test_a_bus_that_is_away_is_an_alert_from_its_limit_on() -> None:
    """Not before, though it came back for a moment that nobody saw."""
    alerts = Alerts("mon", lambda: "now")
    fired = [
        alert.value
        for now, away_s in enumerate((0.0, 1.0, 2.0, 3.0, 0.4, 1.4, 2.4, 3.4, 4.4, 5.4, 6.4))
        for alert in alerts.judge([rules.bus_lost(away_s)], float(now), lambda _: "")
    ]
    assert fired == [5.4]


def test_what_was_resolved_is_shown_for_a_while() -> None:
    """The firing ones first; one that fires again is not shown as resolved too."""
    alerts = Alerts("mon", lambda: "now")
    at_once = trouble(hold_s=0.0, clear_s=0.0)
    alerts.judge([at_once], 0.0, lambda _: "")
    alerts.judge([], 1.0, lambda _: "room again")
    (over,) = told(alerts)
    assert (over.state, over.message, over.resolved_at) == ("resolved", "room again", "now")
    alerts.judge([at_once], 2.0, lambda _: "")
    assert [one.state for one in told(alerts)] == ["firing"]
    alerts.judge([], 3.0, lambda _: "")
    alerts.judge([], 904.0, lambda _: "")
    assert told(alerts) == []


def told(alerts: Alerts) -> list[Alert]:
    return told_of(alerts.firing(), alerts.resolved())


def said(state: str, alert_id: str = "worker_lost:w", monitor_id: str = "other") -> Alert:
    return Alert(
        alert_id, "worker_lost", "critical", state, "gone", "12:00", "12:00", monitor_id=monitor_id,  # type: ignore[arg-type]
    )  # fmt: skip


def test_what_another_monitor_says_is_shown_until_it_is_over() -> None:
    """An alert of a worker that this one never knew counts here, too; it ends when that is said."""
    time = Time()
    seen = fleets.picture(1, time)
    seen.alert_said(said("firing"))
    seen.alert_said(said("firing", "worker_lost:x", seen.monitor_id))
    seconds(seen, time, 1)
    assert [(one.id, one.state) for one in seen.alerts()] == [("worker_lost:w", "firing")]
    assert (seen.overview().alerts, seen.overview().status, seen.own_alerts()) == (1, "critical", [])
    seen.alert_said(said("resolved"))
    seconds(seen, time, 1)
    assert [(one.id, one.state) for one in seen.alerts()] == [("worker_lost:w", "resolved")]
    assert [one.state for one in seen.changes(seen.version - 1).alerts] == ["resolved"]
    assert seen.overview().alerts == 0


@pytest.mark.parametrize(
    ("alerts", "after_s", "state"), [(1, 29, "firing"), (0, 1, "resolved"), (None, 31, "resolved")]
)
def test_what_another_monitor_said_ends_with_its_word(alerts: int | None, after_s: int, state: str) -> None:
    """While it is heard and says that something fires it counts; when it says that nothing does, or is silent for half
    a minute, it does not."""
    time = Time()
    seen = fleets.picture(1, time)
    seconds(seen, time, 1)
    seen.alert_said(said("firing"))
    if alerts is not None:
        seconds(seen, time, 20)
        seen.aggregate_said(msgspec.structs.replace(heard("11:00", "other"), alerts=alerts))
    seconds(seen, time, after_s)
    assert [one.state for one in seen.alerts() if one.id == "worker_lost:w"] == [state]


def before(seconds_ago: float, alert_id: str, kind: str, **about: str) -> Alert:
    """What a monitor said so long ago."""
    moment = stamp(fleets.NOON - seconds_ago)
    return Alert(
        alert_id, kind, "warning", "firing", "as it was", moment, moment, monitor_id="old", **about,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_new_monitor_goes_on_with_what_fired() -> None:
    """What still holds is not told anew and keeps its beginning; what does no longer is resolved, each in its time."""
    time, told = Time(), list[tuple[int, str, str]]()
    seen = fleets.picture(2, time)
    seen.on_alert = lambda alert: told.append((round(time.passed), alert.id, alert.state))
    gone, back = "gemma3-270m-host1-1", "qwen3-4b-host1-1"
    kept = [
        before(60, f"worker_lost:{gone}", "worker_lost", worker_id=gone),
        before(60, f"worker_lost:{back}", "worker_lost", worker_id=back),
        before(60, "worker_lost:never", "worker_lost", worker_id="never"),
        before(60, "queue_critical:m", "queue_critical", model="m"),
        before(570, "dead_letters:m", "dead_letters", model="m"),
        before(60, "bus_lost", "bus_lost"),
    ]
    seen.missed(gone, "gone")
    seen.go_on_with(kept)
    seconds(seen, time, 1)
    assert {one.id for one in seen.own_alerts()} == {one.id for one in kept} - {f"worker_lost:{back}", "bus_lost"}
    assert {one.since for one in seen.own_alerts() if one.worker_id == gone} == {kept[0].since}
    for _ in range(91):
        fleets.say(seen, 1, random.Random(1), time, 2)
        seconds(seen, time, 10)
    assert told == [
        (1, f"worker_lost:{back}", "resolved"),
        (15, "queue_critical:m", "resolved"),
        (30, "dead_letters:m", "resolved"),
        (840, "worker_lost:never", "resolved"),
        (911, f"worker_lost:{gone}", "resolved"),
    ]


def test_a_cause_that_two_monitors_see_is_one_alert() -> None:
    """This one's own word counts."""
    time = Time()
    seen = fleets.picture(1, time)
    seconds(seen, time, 1)
    seen.missed("gemma3-270m-host1-1", "gone")
    seen.alert_said(said("firing", "worker_lost:gemma3-270m-host1-1"))
    seconds(seen, time, 1)
    assert [one.monitor_id for one in seen.alerts()] == [seen.monitor_id]
    assert seen.overview().alerts == 1


NUMBERS = {"gemma3-270m-host1-1": 0}


def worker_said(seen: Picture, seq: int, traffic: Traffic) -> None:
    seen.report(LoadReport("m", 0, 0, "", 4, 2000, "healthy", "w", seq, "i", traffic=traffic))


def gateway_said(seen: Picture, seq: int, traffic: Traffic) -> None:
    seen.gateway(
        GatewayReport("g", "", "", seq, "i", "1", ready=True, open_requests=0, open_streams=0, traffic=traffic)
    )


def seconds(seen: Picture, time: Time, count: int) -> None:
    for _ in range(count):
        time.passed += 1
        seen.tick()


def test_a_machine_that_takes_its_workers_with_it() -> None:
    """An alert for each worker, one line in the event log; resolved by their return, or once they are not counted."""
    time = Time()
    seen = fleets.picture(8, time)
    seconds(seen, time, 5)
    ids = [one.worker_id for one in seen.replicas()][:6]
    for worker_id in ids:
        seen.missed(worker_id, "gone")
    seconds(seen, time, 3)
    firing = [one for one in seen.alerts() if one.state == "firing"]
    assert sorted(one.worker_id for one in firing) == sorted(ids)
    lost = [one for one in seen.events() if one.code == "worker.lost"]
    assert [one.message[:37] for one in lost] == ["6 workers are gone without a word: ge"]
    assert seen.overview().status == "critical"
    back = seen.replicas()[0].worker_id
    fleets.say(seen, NUMBERS[back], random.Random(1), time, 2)
    seconds(seen, time, 1)
    assert [(one.worker_id, one.message) for one in seen.alerts() if one.state == "resolved"] == [
        (back, f"worker {back} is back: online")
    ]
    seconds(seen, time, 915)
    assert seen.replicas() == []
    assert {one.state for one in seen.alerts()} == {"resolved"}
    assert seen.alerts()[-2].message.endswith("was not heard for 15 min and is not counted any more")


def test_who_left_in_order_is_no_alert_and_a_monitor_that_slept_accuses_nobody() -> None:
    """A worker that says offline; and an hour in which this process stood still."""
    time = Time()
    seen = fleets.picture(3, time)
    seconds(seen, time, 2)
    time.passed += 3600
    fleets.say(seen, 0, random.Random(1), time, 2)  # which waited, and is handled first
    seconds(seen, time, 2)
    assert {one.presence for one in seen.replicas()} == {"here"}
    assert [one.last_seen_s for one in seen.replicas()] == [2.0, 3604.0, 3604.0]
    assert seen.alerts() == []
    seconds(seen, time, 40)
    assert {one.presence for one in seen.replicas()} == {"silent"}


def test_refusals_by_gateways_and_workers_are_added() -> None:
    """Each counts those that it made itself: a gateway before a model is asked, a worker when one is."""
    time = Time()
    seen = Picture("mon", clock=time.clock, wall=time.wall)
    for seq, by_worker, by_gateway in ((1, 0, 0), (2, 40, 19), (3, 41, 19)):
        time.passed += 1
        worker_said(seen, seq, refused(by_worker))
        gateway_said(seen, seq, refused(by_gateway))
        seen.tick()
        assert [one.value for one in seen.alerts()] == ([60] if seq == 3 else [])
    assert [one.principal for one in seen.alerts()] == ["k"]


def refused(count: int) -> Traffic:
    return Traffic(requests=count, refused=count, refusals=[Refusals("k", 429, count)] if count else [])


def heard(began: str, monitor_id: str) -> Aggregate:
    numbers = dict.fromkeys(
        ("models", "models_online", "workers", "workers_online", "gateways", "slots", "active_processing",
         "pending_messages", "queue_capacity", "utilization", "requests_per_s", "tokens_per_s", "errors_per_s",
         "dead_letters", "alerts"), 0,
    )  # fmt: skip
    return Aggregate(
        timestamp="",
        status="healthy",
        monitor_id=monitor_id,
        monitor_started_at=began,
        **numbers,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("words", "now", "speaks"),
    [
        ([], 2.9, False),
        ([], 3.0, True),
        ([(2.0, "11:00", "z")], 4.9, False),
        ([(2.0, "11:00", "z")], 5.0, True),
        ([(2.0, "12:00", "a")], 3.0, False),
        ([(2.0, "12:00", "n")], 3.0, True),
        ([(2.0, "13:00", "a")], 3.0, True),
        ([(2.0, "12:00", "m")], 3.0, True),
    ],
    ids=[
        "it listens first", "nobody is there", "an elder one is", "it fell silent", "of an age, and a smaller id",
        "of an age, and a larger id", "a younger one", "its own word",
    ],
)  # fmt: skip
def test_the_eldest_monitor_speaks(words: list[tuple[float, str, str]], now: float, speaks: bool) -> None:
    """Of those that are heard within three seconds; here one of 12:00, called m."""
    turn = Turn("12:00", "m", 0.0, 3.0)
    for at, began, monitor_id in words:
        turn.heard(heard(began, monitor_id), at)
    assert turn.is_ours(now) is speaks


def test_who_could_hear_nobody_listens_first() -> None:
    """After the bus was away."""
    turn = Turn("12:00", "m", 0.0, 3.0)
    turn.deaf(10.0)
    assert not turn.is_ours(12.0)
    assert turn.is_ours(13.0)


def test_alert_messages_survive_the_wire() -> None:
    """What is told is what the contract says."""
    alerts = Alerts("mon", lambda: "now")
    (alert,) = alerts.judge([trouble(hold_s=0.0, value=0.9, limit=0.8, model="m")], 0.0, lambda _: "")
    assert alert == Alert(
        "q", "queue_critical", "critical", "firing", "full", "now", "now", "m", value=0.9, limit=0.8, monitor_id="mon"
    )


def test_every_kind_stands_in_the_manual_and_with_the_messages() -> None:
    """Whoever hears alerts finds what each means."""
    listed = Path("docs/monitor.md").read_text("utf-8").partition("## Alerts\n")[2].partition("A monitor watches")[0]
    assert re.findall(r"`(\w+)`", listed) == list(get_args(AlertKind))
    told = Path("docs/subjects.md").read_text("utf-8").partition("## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE) == list(get_args(AlertKind))
