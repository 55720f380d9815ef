"""Streams that are read again, by their first reader's successor, while real workers write them."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from golek_client import (
    BadRequestError,
    DeadlineExceededError,
    Golek,
    JobCancelledError,
    NotFoundError,
    Stream,
    StreamInterruptedError,
)
from golek_client.reopening import Reopened
from golek_wire import headers, subjects
from tests.bus.test_resumable_worker import whole_log_of
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.proxy import Proxy
from tests.support.scripted_worker import ScriptedWorker
from tests.support.workers import ROOT, WorkerProcess

PACED = {"ENGINE_STEP_MIN_MS": 20}
QUICK = {"ENGINE_STEP_MIN_MS": 2, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 4}
READER = """
import asyncio, sys
from golek_client import Golek

async def main(url, model, tokens):
    async with Golek(url) as golek:
        stream = golek.stream(model, "Tell a story", max_tokens=tokens, ignore_eos=True, seed=7, resumable=True)
        async with stream:
            print(stream.job_id, flush=True)
            async for piece in stream.pieces():
                print(repr(piece), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def counting(golek: Golek, tokens: int = 100, **more: Any) -> Stream:
    """A resumable stream of echo, which numbers its tokens."""
    return golek.stream("echo", "a", max_tokens=tokens, ignore_eos=True, resumable=True, **more)


def numbered(tokens: int) -> str:
    return "a" + "".join(f" #{n}" for n in range(1, tokens))


async def pieces(stream: Stream | Reopened) -> list[str]:
    """All pieces, as they can be compared."""
    return [repr(piece) async for piece in stream.pieces()]


async def test_a_stream_is_read_on_after_its_reader_was_killed(nats_server: str, tmp_path: Path) -> None:
    """kill -9 at tokens 5, 50 and 150: another process reads the same pieces, and joined they are the final text."""
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", **PACED):
        async with Golek(nats_server) as golek:
            for at in (5, 50, 150):
                command = (sys.executable, "-c", READER, nats_server, "golek-tiny", "200")
                reader = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
                assert reader.stdout is not None
                job_id = (await reader.stdout.readline()).decode().strip()
                seen = [(await reader.stdout.readline()).decode().rstrip("\n") for _ in range(at)]
                reader.send_signal(signal.SIGKILL)
                await reader.wait()
                async with golek.reopen(job_id) as stream:
                    again = [piece async for piece in stream.pieces()]
                assert [repr(piece) for piece in again[:at]] == seen
                assert "".join(piece.text for piece in again) == stream.reply.text
                assert stream.reply.tokens_out == 200


async def test_all_readers_are_given_the_same_pieces_when_the_engine_dies(nats_server: str, tmp_path: Path) -> None:
    """Killed in mid-text: who read from the start, who came in the middle and who comes at the end see one text."""
    with WorkerProcess(nats_server, tmp_path / "data", **QUICK) as worker:
        async with Golek(nats_server) as golek, Golek(nats_server) as other:
            stream = counting(golek)
            first: list[str] = []
            others: list[asyncio.Task[list[str]]] = []
            async for piece in stream.pieces():
                first.append(repr(piece))
                if len(first) == 5:
                    others.append(asyncio.create_task(pieces(other.reopen(stream.job_id))))
                if len(first) == 30:
                    worker.child.kill()
                    others.append(asyncio.create_task(pieces(other.reopen(stream.job_id))))
            assert stream.reply.text == numbered(100)
            assert len(first) == 100
            assert len(worker.log_lines("engine.died")) == 1
            async with other.reopen(stream.job_id) as late:
                assert await pieces(late) == first
                assert late.reply == stream.reply
                assert late.worker == stream.worker == worker_id(worker)
            assert [await task for task in others] == [first, first]


def worker_id(worker: WorkerProcess) -> str:
    said = worker.state()
    assert said is not None
    return said.worker_id


async def test_a_worker_is_replaced_under_two_readers(nats_server: str, tmp_path: Path) -> None:
    """It is killed with its engine; what the next one writes goes on for both, each piece once."""
    first, second = (WorkerProcess(nats_server, tmp_path / "data", "echo", n, **QUICK) for n in (1, 2))
    try:
        first.start()
        async with Golek(nats_server, deadline=40) as golek:
            stream = counting(golek)
            seen: list[str] = []
            async for piece in stream.pieces():
                seen.append(repr(piece))
                if len(seen) == 40:
                    also = asyncio.create_task(pieces(golek.reopen(stream.job_id)))
                    first.kill()
                    second.start(wait=False)
            assert stream.reply.text == numbered(100)
            assert await also == seen
    finally:
        first.end()
        second.end()


async def test_a_long_stream_and_one_of_several_texts_are_read_again(nats_server: str, tmp_path: Path) -> None:
    """A thousand tokens in several hundred messages; with `n` each piece is its text's."""
    with WorkerProcess(nats_server, tmp_path / "data", STREAM_GATHER_MS=0):
        async with Golek(nats_server) as golek:
            stream = counting(golek, 1000)
            first = await pieces(stream)
            assert len(first) == 1000
            again = golek.reopen(stream.job_id)
            assert await again.text() == numbered(1000)
            assert await pieces(golek.reopen(stream.job_id)) == first
            several = counting(golek, 20, n=2)
            assert await pieces(several) == await pieces(golek.reopen(several.job_id))


async def test_what_was_asked_is_told_and_only_to_who_asked(nats_server: str, tmp_path: Path) -> None:
    """Another principal, an unknown job and a stream that was not resumable are one and the same: not found."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=20):
        async with Golek(nats_server) as golek:
            stream = counting(golek, 5, metadata={"surface": "chat"})
            await stream.text()
            assert stream.principal == "anonymous"
            async with golek.reopen(stream.job_id, principal=stream.principal) as again:
                opened = again.opened
                assert (opened.model, opened.job_id) == ("echo", stream.job_id)
                assert opened.metadata == {"surface": "chat"}
            plain = golek.stream("echo", "a")
            await plain.text()
            unknown = subjects.job_id("_INBOX.nobody")
            for job_id, who in ((stream.job_id, "ann"), (unknown, None), (plain.job_id, None)):
                with pytest.raises(NotFoundError) as raised:
                    await golek.reopen(job_id, principal=who).text()
                assert raised.value.details == {"job_id": job_id}
            with pytest.raises(BadRequestError):
                golek.reopen("*")


async def test_a_log_that_is_gone_or_lost_its_beginning_is_not_found(nats_server: str, tmp_path: Path) -> None:
    """As after five minutes; or when a stream of more messages than are kept has pushed its beginning out."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        async with Golek(nats_server) as golek, raw.connected(nats_server) as client:
            stream = counting(golek, 50)
            await stream.text()
            kept = await whole_log_of(client, stream.job_id)
            about = kept[0].headers
            assert about is not None
            await client.jetstream().delete_msg(subjects.TOKENS_STREAM, int(about[headers.NATS_SEQUENCE]))
            with pytest.raises(NotFoundError, match="beginning"):
                await golek.reopen(stream.job_id).text()
            await client.jetstream().purge_stream(subjects.TOKENS_STREAM, subject=subjects.tokens(stream.job_id))
            with pytest.raises(NotFoundError, match="ended a while ago"):
                await golek.reopen(stream.job_id).text()


async def test_readers_are_told_when_the_broker_lost_the_log(broker: NatsServer, tmp_path: Path) -> None:
    """A restart forgets it: who reads it again hears so; its first reader has the whole text from the final message."""
    with WorkerProcess(broker.url, tmp_path / "data", ENGINE_STEP_MIN_MS=30, STREAM_GATHER_MS=0):
        async with Golek(broker.url, deadline=40) as golek:
            stream = counting(golek)
            joined: list[str] = []
            async for piece in stream:
                joined.append(piece)
                if len(joined) == 10:
                    again = golek.reopen(stream.job_id)
                    await anext(again)
                    also = asyncio.create_task(again.text())
                if len(joined) == 12:
                    await asyncio.to_thread(broker.restart)
            assert "".join(joined) == stream.reply.text == numbered(100)
            with pytest.raises(StreamInterruptedError, match="broker was restarted") as raised:
                await also
            assert numbered(100).startswith(raised.value.details["text_so_far"])
            with pytest.raises(NotFoundError):
                await golek.reopen(stream.job_id).text()


async def test_a_waiting_job_is_kept_over_a_restart_of_the_broker(broker: NatsServer, tmp_path: Path) -> None:
    """Nothing of it was written yet: its log begins anew when its turn comes, and who reads it reads on."""
    with WorkerProcess(broker.url, tmp_path / "data", WORKER_CONCURRENCY=1, ENGINE_STEP_MIN_MS=50):
        async with Golek(broker.url, deadline=40) as golek:
            busy, waiting = counting(golek, 100), counting(golek, 10)
            await anext(busy)
            first = asyncio.create_task(pieces(waiting))
            await until_it_waits(waiting)
            again = await golek.reopen(waiting.job_id).__aenter__()
            also = asyncio.create_task(pieces(again))
            await asyncio.to_thread(broker.restart)
            await golek.cancel(busy.job_id)
            assert await first == await also
            assert waiting.reply.text == numbered(10)


async def until_it_waits(stream: Stream) -> None:
    """Return once the stream, which is being read, was told its place."""
    async with asyncio.timeout(10):
        while stream.position is None:
            await asyncio.sleep(0.01)


@pytest.fixture
async def two(nats_server: str) -> AsyncIterator[tuple[Golek, Golek]]:
    """Two programs."""
    async with Golek(nats_server, deadline=20) as one, Golek(nats_server, deadline=20) as another:
        yield one, another


async def test_who_leaves_last_cancels(two: tuple[Golek, Golek], nats_server: str, tmp_path: Path) -> None:
    """A reader that leaves is waited for: while somebody else reads the job goes on, and the last one ends it."""
    golek, other = two
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=20):
        stream = counting(golek, 2000)
        await anext(stream)
        again = other.reopen(stream.job_id)
        await anext(again)
        assert not await stream.leave(patience_s=0.1)
        assert await anext(again)
        listening = other.reopen(stream.job_id)
        assert await again.leave(patience_s=0.1)
        with pytest.raises(JobCancelledError):
            await listening.text()


async def test_a_reader_that_comes_in_time_keeps_the_job(
    two: tuple[Golek, Golek], nats_server: str, tmp_path: Path
) -> None:
    """It comes while the first one is still patient, and reads to the end; then there is nothing to cancel."""
    golek, other = two
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=10):
        stream = counting(golek, 50)
        await anext(stream)
        leaving = asyncio.create_task(stream.leave())
        again = other.reopen(stream.job_id)
        assert await again.text() == numbered(50)
        assert not await asyncio.wait_for(leaving, 5)
        assert not await again.leave()


async def test_leaving_without_a_connection_ends_the_reading_alone(nats_server: str, tmp_path: Path) -> None:
    """Whether somebody else reads cannot be told: the job goes on to its end, and leaving is no error."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=10):
        async with Golek(nats_server) as golek:
            first = counting(golek, 50)
            await anext(first)
            again = golek.reopen(first.job_id)
            await anext(again)
        for stream in (first, again):
            assert not await stream.leave(patience_s=0.1)
            with pytest.raises(RuntimeError, match="closed"):
                await stream.__aenter__()
        async with Golek(nats_server) as other:
            assert await other.reopen(first.job_id).text() == numbered(50)


async def test_closing_cancels_nothing(nats_server: str, tmp_path: Path) -> None:
    """Neither `async with` nor closing the client ends a resumable job; the next reader has all of it."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=10):
        async with Golek(nats_server) as golek:
            async with counting(golek, 50) as left:
                await anext(left)
            abandoned = counting(golek, 50)
            await anext(abandoned)
            job_ids = left.job_id, abandoned.job_id
        async with Golek(nats_server) as other:
            for job_id in job_ids:
                assert await other.reopen(job_id).text() == numbered(50)


async def test_a_reader_waits_no_longer_than_the_job_has(nats_server: str, tmp_path: Path) -> None:
    """Its worker is gone for good: `wait_s` ends the reading, with word that the job may still run."""
    worker = WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=20).start()
    async with Golek(nats_server) as golek:
        stream = counting(golek, 500)
        await anext(stream)
        worker.kill()
        with pytest.raises(DeadlineExceededError):
            await golek.reopen(stream.job_id, wait_s=0.5).text()
        await stream.aclose()


async def test_without_a_log_the_first_reader_reads_its_inbox(golek: Golek, worker: ScriptedWorker) -> None:
    """A fleet that keeps nothing still streams, and leaving such a stream cancels it."""
    stream = golek.stream("tiny", "hi", resumable=True)
    reading = asyncio.create_task(stream.text())
    job = await worker.next()
    await job.accept()
    for seq, delta in enumerate(("On", "ce")):
        await job.chunk(1, seq, delta)
    await job.final("Once upon")
    assert await reading == "Once upon"
    left = golek.stream("tiny", "hi", resumable=True)
    first = asyncio.create_task(anext(left))
    job = await worker.next()
    await job.chunk(1, 0, "On")
    assert await first == "On"
    assert await left.leave()
    assert await worker.next_cancel() == left.job_id


async def test_a_refused_request_is_told_at_once(golek: Golek, worker: ScriptedWorker) -> None:
    """What never became a job has no log to wait for."""
    stream = golek.stream("tiny", "hi", resumable=True)
    reading = asyncio.create_task(stream.text())
    job = await worker.next()
    await job.fail(BadRequestError("input: is wrong", param="input"))
    with pytest.raises(BadRequestError):
        await reading
    assert not await stream.leave()


@pytest.mark.parametrize("who", ["first", "reopened"])
async def test_a_reader_whose_connection_was_away_misses_nothing(nats_server: str, tmp_path: Path, who: str) -> None:
    """What was written meanwhile is fetched: its pieces are those of a reader that was there all the time."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=20, STREAM_GATHER_MS=0):
        async with Proxy(nats_server) as proxy, Golek(proxy.url, deadline=30) as far, Golek(nats_server) as near:
            stream = await counting(far if who == "first" else near).__aenter__()
            # It is stored once a first piece is there, and whoever reads it gets that piece, too.
            first = repr(await anext(stream.pieces()))
            again = await (near if who == "first" else far).reopen(stream.job_id).__aenter__()
            there, away = (again, stream) if who == "first" else (stream, again)
            missed = asyncio.create_task(pieces(away))
            seen: list[str] = []
            async for piece in there.pieces():
                seen.append(repr(piece))
                if len(seen) == 20:
                    proxy.cut()
                if len(seen) == 40:
                    await proxy.heal()
            got = await missed
            if who == "first":
                assert [first, *got] == seen
            else:
                assert got == [first, *seen]
            assert len({*got, *seen}) == 100
