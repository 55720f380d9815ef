"""What browsers are told while the fleet changes."""

import asyncio
import json
import random
from collections.abc import MutableMapping
from typing import Any

import httpx2
import pytest

from golek_monitor.picture import Picture
from golek_monitor.web import events
from golek_monitor.web.events import Feed, Reader
from golek_monitor.web.frames import Frames
from golek_program.web.departure import CONNECTION, Departure
from tests.support import fleets
from tests.support.fleets import Time


def read(data: bytes) -> list[tuple[str, Any]]:
    """The events in `data`: their names and what they say."""
    found = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.fixture
def feed(seen: Picture) -> Feed:
    """That looks at the fleet as often as it can, and beats when nothing changes for an hour."""
    seen.tick()
    return Feed(seen, Frames(seen), look_s=0.001, beat_s=3600)


async def test_the_whole_comes_first_then_what_changes(feed: Feed, seen: Picture, time: Time) -> None:
    """A worker that speaks is told alone; who stands still is not told again though ages go on."""
    async with feed.reading() as reader:
        first = await reader.next()
        assert first.startswith(b"retry: 2000\nid: ")
        ((name, whole),) = read(first)
        assert (name, len(whole["replicas"]), len(whole["services"])) == ("snapshot", 5, 5)
        time.passed += 3
        row = somebody(seen)
        seen.missed(row, "silent")
        seen.tick()
        ((name, change),) = read(await reader.next())
    assert name == "update"
    assert [one["worker_id"] for one in change["replicas"]] == [row]
    assert change["replicas"][0]["status"] == "silent"


def somebody(seen: Picture) -> str:
    """Somebody's id."""
    return seen.replicas()[0].worker_id


async def test_a_sign_of_life_is_told(feed: Feed, seen: Picture, time: Time) -> None:
    """Though nothing else changed: else a page would say of an idle worker that it was heard long ago."""
    row = seen.replicas()[0]
    health = next(one.health for one in seen.view.everyone() if one.worker_id == row.worker_id)
    assert health is not None
    async with feed.reading() as reader:
        await reader.next()
        time.passed += 10
        seen.heartbeat(health)
        seen.tick()
        ((_, change),) = read(await reader.next())
    assert [one["worker_id"] for one in change["replicas"]] == [row.worker_id]
    assert change["replicas"][0]["last_seen"] > row.last_seen


async def test_a_monitor_that_ends_ends_its_streams(feed: Feed) -> None:
    """At once, so that it can end; what a reader has is not told again."""
    async with feed.reading() as reader:
        await reader.next()
        waiting = asyncio.ensure_future(reader.next())
        await asyncio.sleep(0)
        feed.close()
        assert await waiting == b""


async def test_who_disappears_is_named(feed: Feed, seen: Picture, time: Time) -> None:
    """A replica that is forgotten, as pages would else show it for ever."""
    async with feed.reading() as reader:
        await reader.next()
        seen.view.forget(time.clock() + 10_000)
        seen.tick()
        ((_, change),) = read(await reader.next())
    assert len(change["gone_replicas"]) == 5


async def test_a_reader_that_sleeps_gets_a_snapshot_instead_of_a_heap(feed: Feed, seen: Picture) -> None:
    """It missed more updates than are kept; one that missed a few gets these."""
    ids = [row.worker_id for row in seen.replicas()]

    async def change(times: int) -> None:
        for number in range(times):
            before = feed.number
            seen.missed(ids[0], "silent" if seen.replicas()[0].presence == "here" else "here")
            seen.tick()
            while feed.number == before:
                await asyncio.sleep(0)
            assert number < times

    async with feed.reading() as slow, feed.reading() as slower:
        await slow.next()
        await slower.next()
        await change(events.BEHIND)
        assert [name for name, _ in read(await slow.next())] == ["update"] * events.BEHIND
        await change(1)
        assert [name for name, _ in read(await slower.next())] == ["snapshot"]
        assert len(feed._updates) == events.BEHIND


async def test_all_readers_share_one_encoding(feed: Feed, seen: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty that wait cost what one does."""
    async with feed.reading(), feed.reading():
        readers = [Reader(feed) for _ in range(20)]
        for reader in readers:
            await reader.next()
        written = []
        encode = events.codec.encode
        monkeypatch.setattr(events.codec, "encode", lambda said: written.append(1) or encode(said))
        waiting = [asyncio.ensure_future(reader.next()) for reader in readers]
        await asyncio.sleep(0)
        seen.missed(somebody(seen), "gone")
        seen.tick()
        told = await asyncio.gather(*waiting)
    assert (len(set(told)), len(written)) == (1, 1)


async def test_who_does_not_read_holds_a_piece_and_no_copy(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is made once for all who come within a tick, and goes out in pieces, each when the last one went."""
    async with feed.reading() as one, feed.reading() as other:
        assert await one.next() is await other.next()
    monkeypatch.setattr(events, "PIECE", 1000)
    sent: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        feed.is_closed = 0 < len(sent[-1]) < 1000

    await events.EventStream(feed)({"type": "http", CONNECTION: Departure()}, receive, send)
    assert [name for name, _ in read(b"".join(sent))] == ["snapshot"]
    assert max(map(len, sent)) == 1000


async def receive() -> MutableMapping[str, Any]:
    """Nothing comes of who asks."""
    return await asyncio.Future()


async def test_who_hears_nothing_knows_that_the_line_is_dead(seen: Picture) -> None:
    """Where nothing changes the overview is told all the same, every few seconds."""
    async with Feed(seen, Frames(seen), look_s=0.001, beat_s=0.002).reading() as reader:
        await reader.next()
        ((name, change),) = read(await reader.next())
    assert (name, [key for key in change if change[key]]) == ("update", ["overview", "connected"])


async def test_a_lost_bus_is_told(feed: Feed, seen: Picture) -> None:
    """As soon as it is, though no row changed."""
    async with feed.reading() as reader:
        await reader.next()
        seen.connected = False
        ((_, change),) = read(await reader.next())
    assert change["connected"] is False


async def test_nobody_looks_at_the_fleet_for_nobody(feed: Feed) -> None:
    """Without readers nothing is computed; who comes then begins anew."""
    for _ in range(2):
        async with feed.reading() as reader:
            assert [name for name, _ in read(await reader.next())] == ["snapshot"]
            assert feed._looking is not None
        assert feed._looking is None


async def test_too_many_readers_are_refused(web: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 503, before the stream begins."""
    monkeypatch.setattr(events, "READERS_LIMIT", 0)
    response = await web.get("/api/events")
    assert (response.status_code, response.json()["error"]["type"]) == (503, "retriable")


async def test_only_the_head_of_a_stream_ends(web: httpx2.AsyncClient) -> None:
    """Who asks for no body is not kept."""
    response = await web.head("/api/events")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")


async def test_it_is_a_stream_of_events_over_http(web: httpx2.AsyncClient, seen: Picture, time: Time) -> None:
    """Each browser reads its own; one that leaves is forgotten."""
    async with web.stream("GET", "/api/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        names = []
        fleets.say(seen, 0, random.Random(5), time, 2)
        while "update" not in names:
            line = await anext(lines)
            names += [line.removeprefix("event: ")] * line.startswith("event: ")
            seen.tick()
    assert names == ["snapshot", "update"]
