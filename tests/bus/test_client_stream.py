"""Streams against a real server and a scripted worker: whatever happens, the pieces joined are the final text."""

import asyncio
import gc

import pytest

from golek_client import Golek, JobCancelledError, PayloadTooLargeError, QueueFullError, Stream, StreamInterruptedError
from golek_wire import headers
from tests.support.scripted_worker import Job, ScriptedWorker

Chunks = list[tuple[int, int, str]]


async def begin(golek: Golek, worker: ScriptedWorker) -> tuple[Stream, Job]:
    """A stream whose request has arrived."""
    stream = await golek.stream("tiny", "hi").__aenter__()
    return stream, await worker.next()


async def test_text_comes_piece_by_piece(golek: Golek, worker: ScriptedWorker) -> None:
    """Pieces are handed out while the text is written; the reply is there after the end."""
    stream, job = await begin(golek, worker)
    assert job.request.stream
    assert stream.job_id == job.job_id
    await job.accept()
    await job.chunk(1, 0, "Hello ")
    assert await anext(stream) == "Hello "
    with pytest.raises(RuntimeError, match="has not ended"):
        assert stream.reply
    await job.chunk(1, 1, "there")
    assert await anext(stream) == "there"
    await job.final("Hello there")
    assert [delta async for delta in stream] == []
    assert stream.reply.text == "Hello there"


@pytest.mark.parametrize(
    ("chunks", "final", "pieces"),
    [
        ([(1, 0, "ab"), (1, 1, "cd")], "abcd", ["ab", "cd"]),
        ([(1, 0, "ab"), (2, 0, "a"), (2, 1, "bcd")], "abcd", ["ab", "cd"]),
        ([(1, 0, "ab"), (1, 2, "ef"), (1, 3, "gh")], "abcdefgh", ["ab", "cdefgh"]),
        ([(2, 0, "ab"), (1, 5, "zz"), (2, 1, "cd")], "abcd", ["ab", "cd"]),
        ([], "abcd", ["abcd"]),
        ([], "", []),
    ],
    ids=["in order", "a second attempt", "a lost chunk", "a late chunk", "no chunk", "no text"],
)
async def test_pieces_joined_are_the_final_text(
    golek: Golek, worker: ScriptedWorker, chunks: Chunks, final: str, pieces: list[str]
) -> None:
    """Repeated text is swallowed, late text ignored, and lost text comes with the final message."""
    stream, job = await begin(golek, worker)
    for chunk in chunks:
        await job.chunk(*chunk)
    await job.final(final)
    assert [delta async for delta in stream] == pieces
    assert stream.reply.text == final == "".join(pieces)


async def test_another_attempt_with_another_text_interrupts(golek: Golek, worker: ScriptedWorker) -> None:
    """At the first difference the stream raises what was handed out, and that job is cancelled."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "The sky ")
    await job.chunk(2, 0, "The sea")
    assert await anext(stream) == "The sky "
    with pytest.raises(StreamInterruptedError) as raised:
        await anext(stream)
    assert raised.value.details["text_so_far"] == "The sky "
    assert await worker.next_cancel() == job.job_id


async def test_a_final_text_that_differs_interrupts(golek: Golek, worker: ScriptedWorker) -> None:
    """A final message that contradicts the pieces is an error, and needs no cancel: the job has ended."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "abc")
    await job.final("abX")
    assert await anext(stream) == "abc"
    with pytest.raises(StreamInterruptedError):
        await anext(stream)
    await golek.cancel("marker")
    assert await worker.next_cancel() == "marker"


async def test_an_error_ends_the_stream(golek: Golek, worker: ScriptedWorker) -> None:
    """An error before or between pieces is raised where the next piece was awaited."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "a")
    await job.fail(QueueFullError())
    assert await anext(stream) == "a"
    with pytest.raises(QueueFullError):
        await anext(stream)


async def test_statuses_are_not_text(golek: Golek, worker: ScriptedWorker) -> None:
    """Position and other status messages are passed over."""
    stream, job = await begin(golek, worker)
    await job.say(b'{"req_id":"","status":"queued","position":3}', {headers.STATUS: "queued"})
    await job.final("ab")
    assert [delta async for delta in stream] == ["ab"]


@pytest.mark.parametrize("how", ["aclose", "async with", "break", "task"])
async def test_leaving_early_cancels_the_job(golek: Golek, worker: ScriptedWorker, how: str) -> None:
    """However a caller leaves a stream that still runs, a cancel is published."""

    async def read() -> None:
        async for _ in golek.stream("tiny", "hi"):
            if how == "break":
                break

    if how in ("aclose", "async with"):
        stream, job = await begin(golek, worker)
        await (stream.aclose() if how == "aclose" else stream.__aexit__(None, None, None))
    else:
        reading = asyncio.create_task(read())
        job = await worker.next()
        if how == "task":
            reading.cancel()
        await job.chunk(1, 0, "a")
        await asyncio.wait([reading])
        gc.collect()
    assert await worker.next_cancel() == job.job_id


async def test_a_stream_read_to_its_end_is_not_cancelled(golek: Golek, worker: ScriptedWorker) -> None:
    """Leaving after the end publishes nothing."""
    async with golek.stream("tiny", "hi") as stream:
        await (await worker.next()).final("ab")
        assert await stream.text() == "ab"
    await golek.cancel("marker")
    assert await worker.next_cancel() == "marker"


async def test_a_job_can_be_cancelled_from_elsewhere(golek: Golek, worker: ScriptedWorker) -> None:
    """`cancel` with the stream's job_id reaches the worker, and its answer ends the stream."""
    stream, job = await begin(golek, worker)
    await golek.cancel(stream.job_id)
    assert await worker.next_cancel() == job.job_id
    await job.fail(JobCancelledError())
    with pytest.raises(JobCancelledError):
        await anext(stream)


async def test_a_closed_stream_cannot_be_entered(golek: Golek, worker: ScriptedWorker) -> None:
    """Before and after its request was sent, and after an error; iterating a closed stream just ends."""
    unasked = golek.stream("tiny", "hi")
    await unasked.aclose()
    asked, _ = await begin(golek, worker)
    await asked.aclose()
    failed = golek.stream("tiny", "x" * 2_000_000)
    with pytest.raises(PayloadTooLargeError):
        await anext(failed)
    for stream in (unasked, asked, failed):
        with pytest.raises(RuntimeError, match=r"the stream (is closed|ended with an error)"):
            async with stream:
                pass
        assert [delta async for delta in stream] == []


async def test_chat_streams_too(golek: Golek, worker: ScriptedWorker) -> None:
    """`chat(stream=True)` is a stream of the next turn."""
    async with golek.chat("tiny", "u", stream=True) as stream:
        job = await worker.next()
        assert job.request.messages is not None
        assert job.request.stream
        await job.final("ab")
        assert await stream.text() == "ab"


async def test_nothing_is_sent_before_the_first_piece_is_asked_for(golek: Golek, worker: ScriptedWorker) -> None:
    """A stream that was only created has no job, and says so."""
    stream = golek.stream("tiny", "unasked")
    with pytest.raises(RuntimeError, match="not sent yet"):
        assert stream.job_id
    await stream.aclose()
    asking = asyncio.create_task(golek.ask("tiny", "asked"))
    job = await worker.next()
    assert job.request.input == "asked"
    await job.final("x")
    await asking
