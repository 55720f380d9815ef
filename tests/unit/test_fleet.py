"""The picture of the fleet, from messages alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from golek_client.discovery import ALIVE_S
from golek_client.fleet import SILENT_S, FleetView, ModelState
from golek_wire.signals import Health, LoadReport, ModelInfo, ModelRecord

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def beat(worker: str = "tiny-a-1", model: str = "tiny", **given: Any) -> Health:
    said: dict[str, Any] = {
        "status": "online", "last_activity": "", "capabilities": [], "endpoint": "", "nats_topic": "",
        "version": "1", "model_info": ModelInfo(), "slots": 4,
    }  # fmt: skip
    return Health(model, **(said | given), worker_id=worker)


def report(worker: str = "tiny-a-1", model: str = "tiny", **given: Any) -> LoadReport:
    said: dict[str, Any] = {
        "pending_messages": 0, "active_processing": 0, "timestamp": "", "worker_count": 4, "queue_capacity": 2000,
        "status": "healthy", "incarnation": "i", "seq": 1,
    }  # fmt: skip
    return LoadReport(model, **(said | given), worker_id=worker)


def record(model: str = "tiny", seen_s: float = 0.0, **given: Any) -> ModelRecord:
    seen = (NOW - timedelta(seconds=seen_s)).isoformat()
    return ModelRecord(
        model, **({"kinds": ["inference"], "state": "online", "deployment": model} | given), last_seen=seen
    )


def only(view: FleetView, now: float = 0.0) -> ModelState:
    (model,) = view.models(now, NOW)
    return model


def test_replicas_are_summed_and_the_queue_is_the_models() -> None:
    """Each replica tells its own slots and jobs; of the queue, which all of them see, the newest word counts."""
    view = FleetView()
    view.report(report("a", active_processing=3, pending_messages=9), 0.0)
    view.report(report("b", active_processing=4, pending_messages=7, worker_count=8), 0.5)
    model = only(view, 1.0)
    assert (model.active, model.slots, model.pending, model.capacity) == (7, 12, 7, 2000)
    assert model.utilization == 14 / 2000
    assert [one.worker_id for one in model.replicas] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "status", "takes"),
    [
        (["online", "loading"], "online", True),
        (["stalled", "unloaded"], "unloaded", True),
        (["stalled"], "stalled", False),
        (["loading", "draining"], "loading", False),
        (["draining"], "draining", False),
    ],
)
def test_a_model_is_as_well_as_its_best_replica(said: list[str], status: str, takes: bool) -> None:
    """One replica that serves is enough; where none does, the one that is nearest to it."""
    view = FleetView()
    for number, one in enumerate(said):
        view.heartbeat(beat(f"w{number}", status=one), 0.0)
    model = only(view)
    assert (model.status, model.takes_requests) == (status, takes)


@pytest.mark.parametrize(("age_s", "alive"), [(0.0, True), (ALIVE_S, True), (ALIVE_S + 1, False)])
def test_who_is_silent_for_long_is_gone(age_s: float, alive: bool) -> None:
    """After three heartbeats that did not come a replica is not counted any more, nor is its model known."""
    view = FleetView()
    view.heartbeat(beat(), 100.0)
    view.report(report(), 100.0)
    assert bool(view.models(100.0 + age_s, NOW)) is alive
    (one,) = view.replicas(100.0)
    assert not view.is_silent(one, 100.0 + SILENT_S)
    assert view.is_silent(one, 100.1 + SILENT_S)
    view.forget(100.0 + age_s)
    assert bool(view.replicas(100.0)) is alive
    assert view.knows("tiny") is alive


def test_last_words_end_a_replica_and_a_new_process_begins_it_again() -> None:
    """Offline takes it out at once; a report of the old process is late, one of another incarnation is a new one."""
    view = FleetView()
    view.report(report(seq=7), 0.0)
    view.heartbeat(beat(status="offline"), 1.0)
    assert view.models(1.0, NOW) == []
    view.report(report(seq=8), 1.5)
    assert view.models(1.5, NOW) == []
    view.report(report(incarnation="j"), 2.0)
    assert only(view, 2.0).status == "online"


def test_an_older_report_changes_nothing() -> None:
    """Reports are counted by their process, so that one that was overtaken is known."""
    view = FleetView()
    view.report(report(seq=5, active_processing=2), 0.0)
    view.report(report(seq=4, active_processing=0), 0.1)
    assert only(view).active == 2


def test_a_heartbeat_does_not_forget_what_reports_said_nor_the_other_way_round() -> None:
    """Both tell of one replica: the status comes from the one, the count of its process from the other."""
    view = FleetView()
    view.report(report(seq=5), 0.0)
    view.heartbeat(beat(status="stalled", active=4), 1.0)
    view.report(report(seq=6, status="critical", active_processing=4), 2.0)
    (one,) = view.replicas(2.0)
    assert (one.is_stalled, one.seq, one.level, one.told_at, one.heard_at) == (True, 6, "critical", 2.0, 2.0)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (record(), "online"),
        (record(seen_s=ALIVE_S + 10), "offline"),
        (record(seen_s=ALIVE_S + 10, state="loading"), "loading"),
        (record(state="failed"), "failed"),
    ],
)
def test_where_nobody_was_heard_the_record_counts(known: ModelRecord, status: str) -> None:
    """As long as its worker is expected back."""
    view = FleetView()
    view.know([known], 0.0)
    assert only(view).status == status


def test_a_record_that_is_older_than_its_replicas_last_words_does_not_count() -> None:
    """What left after the bucket was read is offline at once; what is written afterwards counts again."""
    view = FleetView()
    view.know([record()], 0.0)
    view.heartbeat(beat(), 1.0)
    view.heartbeat(beat(status="offline"), 2.0)
    assert only(view, 2.0).status == "offline"
    view.know([record()], 3.0)
    assert only(view, 3.0).status == "online"


def test_a_model_is_found_by_name() -> None:
    """One that nobody knows is None."""
    view = FleetView()
    view.heartbeat(beat(), 0.0)
    found = view.model("tiny", 0.0, NOW)
    assert found is not None
    assert found.is_loaded
    assert view.model("other", 0.0, NOW) is None
