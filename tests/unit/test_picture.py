"""What the monitor knows, from messages alone."""

import random
from collections.abc import Iterable

import msgspec
import pytest

from golek_monitor.picture import Picture
from golek_wire.moments import stamp
from golek_wire.signals import Health, LoadReport, ModelInfo, WorkerStatus
from tests.support import fleets
from tests.support.fleets import NOON, Time, picture


@pytest.mark.parametrize("workers", [0, 1, 5, 200])
def test_every_worker_and_model_stands_in_the_picture(workers: int) -> None:
    """A row for each worker, a service for each model, and figures of all together."""
    seen = picture(workers)
    now = seen.now()
    assert len(now.replicas) == now.overview.workers == workers
    assert len(now.services) == now.overview.models == min(workers, 5)
    assert sum(row.in_rotation for row in now.replicas) == now.overview.workers_online
    assert msgspec.json.decode(msgspec.json.encode(now), type=type(now)) == now


def test_a_zero_that_is_known_is_told() -> None:
    """An idle worker has `"active": 0`, not nothing, as programs count with it; what is not known is absent."""
    time = Time()
    seen = Picture(clock=time.clock, wall=time.wall)
    seen.heartbeat(Health("echo", "online", "", [], "", "", "", ModelInfo(), worker_id="echo-1", slots=4))
    seen.report(LoadReport("echo", 0, 0, "2026-01-02T11:59:59.999Z", 4, 200, "healthy", worker_id="echo-1"))
    told = msgspec.json.decode(msgspec.json.encode(seen.now()))
    (worker,), (service,) = told["replicas"], told["services"]
    assert (worker["active"], worker["pending"], worker["slots"]) == (0, 0, 4)
    assert (service["dead_letters"], service["replicas"], service["adapters"]) == (0, 1, [])
    assert not {"ttft_ms", "progress", "problem", "log_lag_s"} & worker.keys()
    assert str(worker["clock_skew_s"]) == "0.0"


def second(seen: Picture, time: Time, said: Iterable[int] = (), seq: int = 1) -> None:
    """A second passes, in which these workers say something."""
    time.passed += 1
    for number in said:
        fleets.say(seen, number, random.Random(1), time, seq)
    seen.tick()


def test_only_what_people_see_counts_as_changed() -> None:
    """Ages that grow are no change; of a worker that said something new the row and its model's are."""
    time = Time()
    seen = picture(4, time)
    for _ in range(4):  # so long a flood is gathered
        second(seen, time)
    begun = seen.version
    assert len(seen.changes(0).replicas) == 4
    for _ in range(5):
        second(seen, time)
    still = seen.changes(begun)
    assert (still.replicas, still.services, still.gateways, still.alerts, still.events) == ([], [], [], [], [])
    assert still.overview.timestamp > seen.changes(0).services[0].first_seen
    second(seen, time, [2], seq=2)
    changed = seen.changes(seen.version - 1)
    assert [one.worker_id for one in changed.replicas] == ["gpt-oss-20b-host1-1"]
    assert [one.model_name for one in changed.services] == ["gpt-oss-20b"]
    assert [one.worker_id for one in seen.changes(begun).replicas] == ["gpt-oss-20b-host1-1"]


def test_since_when_the_bus_is_not_heard() -> None:
    """Told with what is known of before, and of which broker; nothing while it is heard."""
    time = Time()
    seen = Picture("m", clock=time.clock, wall=time.wall, broker="nats://b:4222")
    seen.tick()
    assert (seen.now().broker, seen.now().unheard_since) == ("nats://b:4222", "")
    seen.connected = False
    time.passed += 7
    seen.tick()
    at = stamp(NOON)
    assert (seen.now().unheard_since, seen.changes(0).unheard_since, seen.changes(0).connected) == (at, at, False)
    seen.connected = True
    assert (seen.now().unheard_since, seen.changes(0).connected) == ("", True)


@pytest.mark.parametrize("status", ["offline", "failed"])
def test_who_left_does_nothing_any_more(status: WorkerStatus) -> None:
    """Its last figures are not told as if it still worked."""
    time = Time()
    seen = picture(1, time)
    for seq in range(2, 22):
        second(seen, time, [0], seq)
    (one,), (row,) = seen.view.everyone(), seen.replicas()
    assert one.health is not None
    assert row.tokens_per_s
    assert row.level
    seen.heartbeat(msgspec.structs.replace(one.health, status=status))
    seen.tick()
    (row,) = seen.replicas()
    told = (row.tokens_per_s, row.requests_per_s, row.response_ms, row.ttft_ms, row.level, row.last_token_age_ms)
    assert (row.status, row.active, told) == (status, 0, (None,) * 6)


def test_who_is_lost_is_missed() -> None:
    """The fleet has as many workers as the table shows, but for those that left in order."""
    seen = picture(5)
    before = seen.overview()
    seen.missed(seen.replicas()[0].worker_id, "gone")
    seen.tick()
    assert seen.replicas()[0].status == "lost"
    assert (seen.overview().workers, seen.overview().workers_online) == (before.workers, before.workers_online - 1)
    one = seen.view.everyone()[1]
    assert one.health is not None
    seen.heartbeat(msgspec.structs.replace(one.health, status="offline"))
    seen.tick()
    assert seen.overview().workers == before.workers - 1


def test_who_is_forgotten_is_told_as_gone() -> None:
    """A worker that is gone stays a row for 15 minutes, then its going is a change; so with gateways."""
    time = Time()
    seen = picture(2, time)
    for _ in range(3):  # then rates are known
        second(seen, time)
    seen.missed("gemma3-270m-host1-1", "gone")
    second(seen, time)
    (row,) = seen.changes(seen.version - 1).replicas
    assert (row.status, row.presence, row.in_rotation) == ("lost", "gone", False)
    for passed in range(912):
        second(seen, time, [1], seq=2 + passed)
    assert [one.worker_id for one in seen.replicas()] == ["qwen3-4b-host1-1"]
    gone = seen.changes(seen.version - 20)
    assert (gone.gone_replicas, gone.gone_gateways) == (["gemma3-270m-host1-1"], ["gateway-host1"])


def test_rates_stand_in_rows_and_sums_and_history() -> None:
    """Two workers that count a hundred requests in each second, of which one fails; the second refuses three."""
    time = Time()
    seen = picture(2, time)
    for seq in range(2, 22):
        second(seen, time, [0, 1], seq)
        fleets.gateway(seen, time, seq)
    (row, refusing), (service, _), overview = seen.replicas(), seen.services(), seen.overview()
    assert (row.requests_per_s, row.errors_per_s, row.response_ms, row.refused_per_s) == (100.0, 1.0, 850.0, 0.0)
    assert (service.requests_per_s, service.response_ms, refusing.refused_per_s) == (100.0, 850.0, 3.0)
    assert (overview.requests_per_s, overview.errors_per_s, overview.tokens_per_s) == (200.0, 2.0, 8000.0)
    assert overview.refused_per_s == 3.0
    for told, requests, refused in ((seen.history("qwen3-4b", 60), 100.0, 3.0), (seen.history("", 60), 200.0, 3.0)):
        assert len(told.at) == 20
        figures = [told.series[name][-1] for name in ("requests_per_s", "refused_per_s", "response_ms")]
        assert figures == [requests, refused, 850.0]


def test_tokens_are_counted_and_not_guessed() -> None:
    """What an engine wrote in its last minute is no figure of now: a worker that comes adds what it writes, and one in
    which nothing goes on falls to nothing within ten seconds, whether it speaks or is frozen."""
    time = Time()
    seen = picture(2, time)
    for seq in range(2, 32):
        second(seen, time, [0, 1], seq)
    assert seen.overview().tokens_per_s == 8000.0
    for seq in range(32, 44):  # the second one is frozen
        second(seen, time, [0], seq)
        assert seen.overview().tokens_per_s <= 8000.0
    assert [row.tokens_per_s for row in seen.replicas()] == [4000.0, 0.0]
    for seq in range(44, 56):  # a second replica of the first one's model comes
        second(seen, time, [0, 5], seq)
        assert seen.services()[0].tokens_per_s <= 8000.0  # type: ignore[operator]
    assert seen.services()[0].tokens_per_s == pytest.approx(8000.0, rel=0.1)


def test_what_happened_while_nobody_listened_is_no_burst() -> None:
    """After the bus was away rates begin anew."""
    time = Time()
    seen = picture(1, time)
    for seq in range(2, 12):
        second(seen, time, [0], seq)
    seen.connected = False
    second(seen, time)
    time.passed += 600
    seen.connected = True
    for seq in range(611, 616):
        second(seen, time, [0], seq)
        assert seen.overview().requests_per_s in (0.0, 100.0)
    assert seen.overview().requests_per_s == 100.0


def test_a_model_is_as_fast_as_its_workers_were_also_those_that_left() -> None:
    """What a worker answered in the last ten seconds was answered, though it is gone."""
    time = Time()
    seen = picture(6, time)
    for seq in range(2, 22):
        second(seen, time, [0, 5], seq)
    seen.missed("gemma3-270m-host2-1", "gone")
    seen.tick()
    (service,) = [one for one in seen.services() if one.model_name == "gemma3-270m"]
    assert (service.replicas, service.requests_per_s) == (1, 200.0)
    assert seen.history("nobody").at == []


def left(seen: Picture, number: int) -> None:
    """Worker `number` says that it leaves."""
    health = seen.view.everyone()[number].health
    assert health is not None
    seen.heartbeat(msgspec.structs.replace(health, status="offline", active=0))


def test_a_model_that_was_stopped_is_missed_by_nobody() -> None:
    """All its workers left in order: it is healthy, keeps what is known of its file, and is no model that is down."""
    time = Time()
    seen = picture(2, time)
    second(seen, time)
    left(seen, 1)
    second(seen, time)
    row, service = seen.replicas()[1], seen.services()[1]
    assert (row.status, row.presence, row.in_rotation) == ("offline", "left", False)
    assert (service.status, service.backpressure_status.level, service.problem) == ("offline", "healthy", None)
    assert (service.model_info.parameter_count, service.is_stopped) == ("4.0B", True)
    assert (seen.overview().models, seen.overview().models_online) == (1, 1)
    for _ in range(920):
        second(seen, time, [0])
    assert len(seen.replicas()) == 1
    assert seen.services()[1].model_info.parameter_count == "4.0B"


def test_a_model_whose_workers_are_gone_is_missed() -> None:
    """It is critical and says why; also where one was lost before the others left."""
    time = Time()
    seen = picture(7, time)
    second(seen, time)
    seen.missed("qwen3-4b-host1-1", "gone")
    left(seen, [one.worker_id for one in seen.replicas()].index("qwen3-4b-host2-1"))
    second(seen, time)
    (service,) = [one for one in seen.services() if one.model_name == "qwen3-4b"]
    assert (service.backpressure_status.level, service.is_stopped) == ("critical", False)
    assert (service.problem or "").startswith("its workers are gone without a word, or failed; last heard at 2026-")
    assert seen.overview().models == 5


def test_a_fleet_that_is_not_heard_stands_still() -> None:
    """While the bus is away everything is as it was, for however long, and an alert says so; ages are true."""
    time = Time()
    seen = picture(3, time)
    second(seen, time)
    seen.connected = False
    for _ in range(120):
        second(seen, time)
    assert not seen.now().connected
    assert seen.overview().workers_online == 3
    assert seen.replicas()[0].last_seen_s == 121.0
    (alert,) = seen.alerts()
    assert (alert.kind, alert.severity) == ("bus_lost", "critical")
    assert len(seen.history("", 300).at) == 1
    seen.connected = True
    second(seen, time)
    assert [one.state for one in seen.alerts()] == ["resolved"]
    assert seen.overview().workers_online == 3
    assert [one.code for one in seen.events()][:2] == ["alert.resolved", "bus.back"]


def test_a_clock_that_is_wrong_is_seen_through_late_messages() -> None:
    """The least difference of the last reports counts."""
    time = Time()
    seen = picture(1, time)
    for late_s in (5, 4, 9):
        time.passed += late_s
        seen.report(LoadReport("m", 0, 0, "2026-01-02T12:00:03.000Z", 4, 2000, "healthy", "w"))
        time.passed -= late_s
    (row,) = [one for one in seen.replicas() if one.worker_id == "w"]
    assert row.clock_skew_s == -1.0


def test_when_a_model_was_first_seen_is_the_brokers_word() -> None:
    """Until it says so, this monitor's own."""
    time = Time()
    seen = picture(1, time)
    assert seen.services()[0].first_seen == "2026-01-02T12:00:00.000Z"
    seen.first_seen({"gemma3-270m": NOON - 3600})
    assert (seen.services()[0].first_seen, seen.services()[0].uptime) == ("2026-01-02T11:00:00.000Z", 3_600 * 10**9)


@pytest.mark.parametrize(("told", "shown"), [(1e15, "9999-01-01T00:00:00.000Z"), (-1e15, "1970-01-01T00:00:00.000Z")])
def test_a_moment_that_cannot_be_is_none(told: float, shown: str) -> None:
    """What somebody wrote into the broker keeps no monitor from telling the fleet."""
    seen = picture(1, Time())
    seen.first_seen({"gemma3-270m": told})
    seen.tick()
    assert seen.services()[0].first_seen == shown


def test_names_that_nobody_serves_are_forgotten_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the names that ever came."""
    monkeypatch.setattr("golek_monitor.models.FIRST_SEEN_KEPT", 5)
    time = Time()
    seen = picture(1, time)
    seen.first_seen({f"gone-{number}": NOON for number in range(100)})
    for _ in range(11):
        second(seen, time)
    assert list(seen.seen_by_us()) == ["gemma3-270m"]


def test_what_lay_there_while_the_process_slept_was_not_said_later() -> None:
    """The last words of a worker that died meanwhile do not keep it alive for as long as the sleep was."""
    time = Time()
    seen = picture(1, time)
    second(seen, time)
    time.passed += 3600
    second(seen, time, [0])
    assert seen.replicas()[0].presence == "here"
    for _ in range(40):
        second(seen, time)
    assert seen.replicas()[0].presence == "silent"


def test_a_bus_that_was_not_heard_yet_was_not_lost() -> None:
    """A monitor that is there before its broker says when it hears it, and what it waits for is an alert."""
    time = Time()
    seen = Picture("mon", clock=time.clock, wall=time.wall)
    seen.connected = False
    for _ in range(7):
        second(seen, time)
    assert [one.kind for one in seen.alerts()] == ["bus_lost"]
    seen.connected = True
    second(seen, time)
    told = [one for one in seen.events() if one.code.startswith("bus.")]
    assert [one.message for one in told] == ["the bus is heard"]
