"""The monitor hears a fleet on a real bus, and says what it sees."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import KeyNotFoundError, NotFoundError

from golek_client import Golek
from golek_client.login import Login
from golek_monitor import rules, status
from golek_monitor.first_seen import FirstSeen
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_monitor.publishing import Publisher
from golek_wire.errors import InferenceServiceError
from golek_wire.signals import Aggregate, Alert, DeadLetter, ModelRecord
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

Found = TypeVar("Found")


async def until(look: Callable[[], Found], seconds: float = 15.0) -> Found:
    """What `look` finds, once it finds something."""
    async with asyncio.timeout(seconds):
        while not (found := look()):
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def observing(url: str, *, remembers: bool = False, speaks: bool = False) -> AsyncIterator[Picture]:
    """A picture that is kept up to date, as the monitor's is. What comes late on a busy machine is no wrong clock."""
    picture = Picture(limits=rules.Limits(clock_skew_s=60.0))
    golek = Golek(url)
    async with Observer(golek, picture, remembers=remembers) as observer:
        runs = [observer.run(), *([Publisher(golek, picture, every_s=0.2).run()] if speaks else [])]
        tasks = [asyncio.create_task(run) for run in runs]
        try:
            yield picture
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await golek.close()


def alerts(said: list[Aggregate | Alert]) -> list[Alert]:
    return [one for one in said if isinstance(one, Alert)]


async def test_a_fleet_is_seen_at_once_and_as_it_changes(broker: NatsServer, tmp_path: Path) -> None:
    """Workers say at once how they are; a job moves the figures; a worker that leaves in order is an event and no
    alert. A message that is none of ours is passed over."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        async with observing(broker.url) as picture:
            (row,) = await until(lambda: [row for row in picture.replicas() if row.engine], 3)
            assert (row.model_name, row.status, row.presence, row.in_rotation) == ("echo", "online", "here", True)
            assert (row.slots, row.engine) == (64, "echo")
            assert picture.connected
            async with raw.connected(broker.url) as client:
                await client.publish("models.echo.heartbeat", b"\xff")
                await client.publish("monitoring.gateway.x", b'{"gateway_id": 3}')
                await raw.ask(client, "inference.request.echo", {"input": "one two three"})
            await until(picture.events)
            (service,) = picture.services()
            assert (service.model_name, service.in_rotation, service.replicas) == ("echo", True, 1)
            worker.end()
            await until(lambda: picture.replicas()[0].status == "offline")
            codes = await until(
                lambda: found if "worker.left" in (found := [one.code for one in picture.events()]) else None
            )
            assert "worker.joined" in codes
            assert picture.alerts() == []


async def test_what_the_broker_tells_is_an_event(broker: NatsServer, tmp_path: Path) -> None:
    """A stream that is made or deleted stands in the event log."""
    async with observing(broker.url) as picture, raw.connected(broker.url) as client:
        await until(lambda: picture.connected)
        await client.jetstream().add_stream(name="THINGS", subjects=["things"])
        await client.jetstream().delete_stream("THINGS")
        events = await until(lambda: [one for one in picture.events() if one.code == "stream.deleted"])
        assert events[0].message == "stream THINGS was deleted"


async def test_dead_letters_are_counted_as_they_come_and_when_they_go(broker: NatsServer, tmp_path: Path) -> None:
    """Those that lie there already, one that comes, with its alert; and fewer once they are dropped."""
    letter = DeadLetter("j1", "r1", "echo", "echo-x-1", "2026-01-02T12:00:00Z", 3, "00", [])
    async with raw.connected(broker.url) as client:
        js = client.jetstream()
        await js.add_stream(name="GOLEK_DLQ", subjects=["golek.dlq.>"])
        await js.publish("golek.dlq.echo", msgspec.json.encode(letter))
        picture = Picture()
        async with Golek(broker.url) as golek, Observer(golek, picture) as observer:
            assert picture.overview().dead_letters == 1
            await js.publish("golek.dlq.echo", msgspec.json.encode(letter))
            await until(lambda: picture.overview().dead_letters == 2)
            picture.tick()
            (alert,) = picture.alerts()
            assert (alert.kind, alert.value) == ("dead_letters", 1)
            await js.purge_stream("GOLEK_DLQ")
            await observer.look()
            picture.tick()
            assert picture.overview().dead_letters == 0


async def test_the_picture_is_right_again_after_the_broker_was_away(broker: NatsServer, tmp_path: Path) -> None:
    """While the bus is away it says so, and nobody is accused for it; within one round of heartbeats after it is back
    all is fresh."""
    with WorkerProcess(broker.url, tmp_path / "data"):
        async with observing(broker.url) as picture:
            await until(lambda: picture.replicas() and picture.services())
            broker.stop()
            await until(lambda: not picture.connected)
            await until(lambda: [one for one in picture.alerts() if one.kind == "bus_lost"], 10)
            assert picture.replicas()[0].presence == "here"
            broker.start()
            await until(lambda: picture.connected)
            await until(lambda: picture.replicas()[0].last_seen_s < 2, 10)
            alerts = await until(lambda: [one for one in picture.alerts() if one.state == "resolved"], 5)
            assert [(one.kind, one.message) for one in alerts] == [("bus_lost", "the bus is heard again")]
            assert not [one for one in picture.events() if one.code in ("worker.silent", "worker.lost")]


async def test_a_look_while_the_bus_is_away_does_not_make_it_heard(broker: NatsServer) -> None:
    """Only the connection does: nothing says in between that the bus is back."""
    picture = Picture()
    async with Golek(broker.url) as golek, Observer(golek, picture) as observer:
        running = asyncio.create_task(observer.run())
        try:
            await until(lambda: picture.version)
            broker.stop()
            await until(lambda: not picture.connected)
            with pytest.raises(InferenceServiceError):
                await observer.look()
            seen = picture.version
            await until(lambda: picture.version > seen + 1)
            assert "bus.back" not in [one.code for one in picture.events()]
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_who_may_not_look_sees_no_empty_fleet(tmp_path: Path) -> None:
    """A login without rights is connected and hears nothing: it is told so, and sees no fleet without workers."""
    denied = 'permissions: {publish: {deny: "$JS.>"}, subscribe: {deny: ["models.>", "monitoring.>"]}}'
    server = NatsServer(tmp_path, f"authorization {{ users: [{{user: u, password: p, {denied}}}] }}").start()
    picture = Picture()
    try:
        async with (
            Golek(server.url, login=Login(user="u", password="p")) as golek,
            Observer(golek, picture) as observer,
        ):
            running = asyncio.create_task(observer.run())
            try:
                await until(lambda: picture.version > 2)
                assert not picture.connected
                assert "does not let this login" in (observer.problem or "")
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    finally:
        server.kill()


async def test_a_monitor_may_be_there_before_its_broker(broker: NatsServer, tmp_path: Path) -> None:
    """It says why it sees nothing, and sees the fleet as soon as there is one."""
    broker.stop()
    picture, golek = Picture(), Golek(broker.url)
    async with Observer(golek, picture) as observer:
        assert not picture.connected
        assert "no NATS server answers" in (observer.problem or "")
        running = asyncio.create_task(observer.run())
        try:
            broker.start()
            with WorkerProcess(broker.url, tmp_path / "data"):
                await until(lambda: picture.connected and picture.replicas())
                assert observer.problem is None
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await golek.close()


async def test_first_seen_survives_the_monitor(broker: NatsServer, tmp_path: Path) -> None:
    """Whoever saw a model first wrote it down: the next monitor, and one that only looks, tell the same."""
    with WorkerProcess(broker.url, tmp_path / "data"):
        async with observing(broker.url, remembers=True) as picture, raw.connected(broker.url) as client:
            first = (await until(picture.services))[0].first_seen
            await until(lambda: picture.connected)
            async with asyncio.timeout(15):
                while True:
                    try:
                        bucket = await client.jetstream().key_value("GOLEK_MONITOR")
                        value = (await bucket.get("echo")).value
                        break
                    except (NotFoundError, KeyNotFoundError):
                        await asyncio.sleep(0.05)
            assert msgspec.json.decode(value or b"") == {"name": "echo", "first_seen": first}
        for remembers in (True, False):
            async with observing(broker.url, remembers=remembers) as later:
                assert (await until(later.services))[0].first_seen == first


async def test_of_two_monitors_the_first_writes(broker: NatsServer, tmp_path: Path) -> None:
    """The other one reads what stands there; a key that somebody deleted is written anew."""
    async with Golek(broker.url) as golek, raw.connected(broker.url) as client:
        line = await golek._opening.line()
        ours, theirs = _saw("m", 1_000.0), _saw("m", 2_000.0)
        first, second = FirstSeen(ours, writes=True), FirstSeen(theirs, writes=True)
        await asyncio.gather(first.look(line), second.look(line))
        assert ours.seen_by_us()["m"] == theirs.seen_by_us()["m"]
        await (await client.jetstream().key_value("GOLEK_MONITOR")).delete("m")
        late = _saw("m", 3_000.0)
        await FirstSeen(late, writes=True).look(line)
        assert late.seen_by_us() == {"m": 3_000.0}
        again = _saw("m", 4_000.0)
        await FirstSeen(again, writes=False).look(line)
        assert again.seen_by_us() == {"m": 3_000.0}


def _saw(model: str, at: float) -> Picture:
    """A picture that saw this model at this moment."""
    picture = Picture(wall=lambda: at)
    picture.know([ModelRecord(model, ["inference"], "online", model, "2026-01-02T12:00:00Z")])
    return picture


async def test_who_may_not_write_has_a_picture(tmp_path: Path) -> None:
    """A login that may only look sees the fleet, with the moments at which it saw it itself."""
    denied = 'publish: {deny: ["$KV.GOLEK_MONITOR.>", "$JS.API.STREAM.CREATE.>"]}'
    users = f"users: [{{user: op, password: op}}, {{user: eye, password: eye, permissions: {{{denied}}}}}]"
    server = NatsServer(tmp_path, f"authorization {{{users}}}").start()
    try:
        owner, looker = (server.url.replace("//", f"//{user}:{user}@") for user in ("op", "eye"))
        with WorkerProcess(owner, tmp_path / "data"):
            async with observing(looker, remembers=True) as picture:
                await until(lambda: picture.services() and picture.replicas())
                async with Golek(looker) as golek:
                    await FirstSeen(picture, writes=True).look(await golek._opening.line())
                assert picture.services()[0].first_seen
                assert picture.connected
    finally:
        server.kill()


@pytest.fixture
async def said(broker: NatsServer) -> AsyncIterator[list[Aggregate | Alert]]:
    """What monitors say on the bus."""
    heard: list[Aggregate | Alert] = []

    async def hear(message: Msg) -> None:
        kind = Aggregate if message.subject.endswith("aggregate") else Alert
        heard.append(msgspec.json.decode(message.data, type=kind))

    async with raw.connected(broker.url) as client:
        await client.subscribe("monitoring.aggregate", cb=hear)
        await client.subscribe("monitoring.alerts", cb=hear)
        yield heard


async def test_one_monitor_speaks_and_the_next_takes_over(broker: NatsServer, said: list[Aggregate | Alert]) -> None:
    """Of two monitors the elder alone speaks; soon after it is gone, the other one."""
    async with AsyncExitStack() as both:
        elder_alone = await both.enter_async_context(AsyncExitStack())
        elder = await elder_alone.enter_async_context(observing(broker.url, speaks=True))
        await until(lambda: said, 8)
        younger = await both.enter_async_context(observing(broker.url, speaks=True))
        await until(lambda: len(said) >= 7, 12)
        assert {one.monitor_id for one in said} == {elder.monitor_id}
        await elder_alone.aclose()
        await until(lambda: said[-1].monitor_id == younger.monitor_id, 8)


async def test_one_look_shows_what_a_monitor_says(broker: NatsServer, tmp_path: Path) -> None:
    """Who looks after a worker was lost was not there: the monitor's alert is told, with another replica as a warning.
    A model whose last worker is lost is critical, told once; rates are known."""
    data = tmp_path / "data"
    async with observing(broker.url, speaks=True) as picture, Golek(broker.url) as golek:
        with WorkerProcess(broker.url, data, replica=1) as one, WorkerProcess(broker.url, data, replica=2) as two:
            await until(lambda: picture.overview().workers_online == 2)
            one.kill()
            await until(picture.alerts, 20)
            seen = await status.look(golek, "nats://b:4222")
            assert [(alert.kind, alert.severity) for alert in seen.found] == [("worker_lost", "warning")]
            assert (seen.status, seen.now.overview.alerts, seen.now.alerts) == (status.HEALTHY, 1, seen.found)
            assert [row.requests_per_s for row in seen.now.replicas if row.status == "online"] == [0.0]
            assert (seen.now.broker, picture.overview().workers) == ("nats://b:4222", 2)
            two.kill()
            await until(lambda: [alert for alert in picture.alerts() if alert.severity == "critical"], 20)
        async with Golek(broker.url) as later:
            seen = await status.look(later)
        assert {(alert.kind, alert.worker_id != "") for alert in seen.found} == {("worker_lost", True)}
        assert seen.status == status.ATTENTION


async def test_alerts_are_told_when_they_fire_and_when_they_are_resolved(
    broker: NatsServer, tmp_path: Path, said: list[Aggregate | Alert]
) -> None:
    """Once each, with the same id."""
    async with observing(broker.url, speaks=True) as picture:
        with WorkerProcess(broker.url, tmp_path / "data") as worker:
            await until(lambda: [one for one in picture.replicas() if one.in_rotation])
            await until(lambda: [one for one in said if isinstance(one, Aggregate) and one.workers_online == 1])
            worker.kill()
            await until(lambda: [one for one in picture.replicas() if one.status == "lost"], 12)
            (fired,) = await until(lambda: alerts(said), 3)
            assert (fired.kind, fired.state, fired.severity) == ("worker_lost", "firing", "critical")
            assert [one.status for one in said if isinstance(one, Aggregate)][-1] != "healthy"
            worker.start()
            _, resolved = await until(lambda: found if len(found := alerts(said)) == 2 else None)
            assert (resolved.id, resolved.state) == (fired.id, "resolved")
            assert "is back: " in resolved.message  # online, or loading still


async def test_who_looks_after_a_death_is_told_of_it(
    broker: NatsServer, tmp_path: Path, said: list[Aggregate | Alert]
) -> None:
    """What fires is said again at once when somebody begins to watch: a picture that never knew the worker shows it."""
    async with observing(broker.url, speaks=True) as picture:
        with WorkerProcess(broker.url, tmp_path / "data") as worker:
            await until(lambda: [one for one in picture.replicas() if one.in_rotation])
            await until(lambda: [one for one in said if isinstance(one, Aggregate) and one.workers_online == 1])
            worker.kill()
            (fired,) = await until(lambda: alerts(said), 15)
            async with observing(broker.url) as later:
                (told,) = await until(later.alerts, 3)
                assert (told.id, told.state, told.monitor_id) == (fired.id, "firing", picture.monitor_id)
                assert (later.replicas(), later.overview().alerts) == ([], 1)


async def test_alerts_outlive_the_monitor_that_told_them(
    broker: NatsServer, tmp_path: Path, said: list[Aggregate | Alert]
) -> None:
    """The next one does not tell them anew, shows them, and says when they are over."""
    with WorkerProcess(broker.url, tmp_path / "data") as worker:
        async with observing(broker.url, speaks=True) as picture:
            await until(lambda: [one for one in said if isinstance(one, Aggregate) and one.workers_online == 1])
            worker.kill()
            (fired,) = await until(lambda: alerts(said), 15)
            async with raw.connected(broker.url) as client:
                await until_kept(client, fired.id)
        count = len(said)
        async with observing(broker.url, speaks=True) as later:
            await until(lambda: len(said) > count + 2)
            (shown,) = later.own_alerts()
            assert (shown.id, shown.since, shown.monitor_id) == (fired.id, fired.since, later.monitor_id)
            assert later.monitor_id != picture.monitor_id
            worker.start()
            await until(lambda: [one for one in alerts(said) if one.state == "resolved"], 15)
            assert [(one.id, one.state) for one in alerts(said)] == [(fired.id, "firing"), (fired.id, "resolved")]
            async with raw.connected(broker.url) as client:
                await until_kept(client, None)


async def until_kept(client: Client, alert_id: str | None) -> None:
    """Until this alert is the one that the broker keeps; None for none."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(NotFoundError):
                bucket = await client.jetstream().key_value("GOLEK_MONITOR")
                kept = msgspec.json.decode((await bucket.get("alerts.firing")).value or b"")
                if [one["id"] for one in kept["alerts"]] == ([alert_id] if alert_id else []):
                    return
            await asyncio.sleep(0.05)
