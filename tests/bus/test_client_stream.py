"""Streams against a real server and a scripted worker: whatever happens, the pieces joined are the final text."""

import asyncio
import gc
import time

import pytest

from golek_client import (
    BadRequestError,
    Golek,
    InferenceServiceError,
    JobCancelledError,
    PayloadTooLargeError,
    QueueFullError,
    Stream,
    StreamInterruptedError,
)
from golek_client.resuming import RESUMES
from golek_wire import headers
from golek_wire.errors import EngineFailedError
from golek_wire.replies import Delta, FunctionCall, ToolCall, ToolCallDelta
from golek_wire.requests import Resume
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


async def resumed(worker: ScriptedWorker, text: str) -> Job:
    """The request that asks for what follows `text`."""
    job = await worker.next()
    assert job.request.resume == Resume(text)
    return job


async def test_another_attempt_with_another_text_is_left_for_a_job_that_goes_on(
    golek: Golek, worker: ScriptedWorker
) -> None:
    """That job is cancelled; the same question comes as a new one, for what follows the text, under one deadline."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "The sky ")
    await job.chunk(2, 0, "The sea")
    assert await anext(stream) == "The sky "
    rest = asyncio.create_task(stream.text())
    assert await worker.next_cancel() == job.job_id
    again = await resumed(worker, "The sky ")
    assert again.job_id != job.job_id
    assert again.request.stream
    assert (again.request.input, again.request.req_id) == (job.request.input, job.request.req_id)
    assert 0 < (again.request.deadline_ms or 0) < (job.request.deadline_ms or 0)
    await again.chunk(1, 0, "is ")
    await again.chunk(2, 0, "is bl")  # the same text once more, from another attempt
    await again.chunk(2, 1, "ue")
    await again.final("The sky is blue.")
    assert await rest == "is blue."
    assert stream.job_id == again.job_id
    assert stream.reply.text == "The sky is blue."


async def test_a_final_text_that_differs_is_left_too(golek: Golek, worker: ScriptedWorker) -> None:
    """A final message that contradicts the pieces is not the answer; its job has ended and needs no cancel."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "abc")
    await job.final("abX")
    assert await anext(stream) == "abc"
    rest = asyncio.create_task(stream.text())
    await (await resumed(worker, "abc")).final("abcd")
    assert await rest == "d"
    await golek.cancel("marker")
    assert await worker.next_cancel() == "marker"


async def test_without_replay_a_newer_attempt_is_not_waited_for(nats_server: str, worker: ScriptedWorker) -> None:
    """Even one that would write the same; before anything was handed out it is simply read."""
    async with Golek(nats_server, deadline=10.0, replay=False) as golek:
        stream, job = await begin(golek, worker)
        await job.chunk(1, 1, "lost its first piece")
        await job.chunk(2, 0, "ab")
        assert await anext(stream) == "ab"
        await job.chunk(3, 0, "a")
        rest = asyncio.create_task(stream.text())
        assert await worker.next_cancel() == job.job_id
        await (await resumed(worker, "ab")).final("abc")
        assert await rest == "c"


async def test_a_text_that_never_fits_interrupts_in_the_end(golek: Golek, worker: ScriptedWorker) -> None:
    """After five more jobs the stream raises what was handed out: enough to go on from by hand."""
    stream, job = await begin(golek, worker)
    reading = asyncio.create_task(stream.text())
    text = ""
    for number in range(RESUMES + 1):
        if number:
            job = await resumed(worker, text)
        await job.chunk(1, 0, "ab")
        await job.chunk(2, 0, "aX")
        text += "ab"
    with pytest.raises(StreamInterruptedError) as raised:
        await reading
    assert raised.value.details["text_so_far"] == text
    assert raised.value.details["resumes"] == RESUMES


async def test_a_text_that_nobody_goes_on_with_interrupts(golek: Golek, worker: ScriptedWorker) -> None:
    """A refusal that another job would get as well is not tried again; it is named."""
    stream, job = await begin(golek, worker)
    reading = asyncio.create_task(stream.text())
    await job.chunk(1, 0, "ab")
    await job.chunk(2, 0, "X")
    await (await resumed(worker, "ab")).fail(BadRequestError("resume.text: no", param="resume.text"))
    with pytest.raises(StreamInterruptedError, match=r"BAD_REQUEST: resume\.text: no") as raised:
        await reading
    assert raised.value.details["text_so_far"] == "ab"


async def test_a_full_queue_is_waited_for_before_going_on(golek: Golek, worker: ScriptedWorker) -> None:
    """Text was handed out already: the caller cannot begin anew, so the refusal's own time is kept."""
    stream, job = await begin(golek, worker)
    reading = asyncio.create_task(stream.text())
    await job.chunk(1, 0, "ab")
    await job.chunk(2, 0, "X")
    refused = await resumed(worker, "ab")
    start = time.monotonic()
    await refused.fail(QueueFullError(retry_after_ms=300))
    again = await resumed(worker, "ab")
    assert time.monotonic() - start >= 0.29
    await again.final("abc")
    assert await reading == "abc"


@pytest.mark.parametrize(
    "loss",
    [StreamInterruptedError("the answer was lost"), EngineFailedError(), JobCancelledError("gone", caller_gone=True)],
)
async def test_a_lost_job_is_gone_on_from(golek: Golek, worker: ScriptedWorker, loss: InferenceServiceError) -> None:
    """The bus lost its answer, its engine failed, or the worker took the caller for gone: the text goes on."""
    stream, job = await begin(golek, worker)
    reading = asyncio.create_task(stream.text())
    await job.chunk(1, 0, "ab")
    await job.fail(loss)
    await (await resumed(worker, "ab")).final("abc")
    assert await reading == "abc"


async def test_a_job_lost_before_its_first_piece_begins_anew(golek: Golek, worker: ScriptedWorker) -> None:
    """Nothing was handed out, so there is nothing to go on from; what an engine refuses at once is raised."""
    stream, job = await begin(golek, worker)
    reading = asyncio.create_task(stream.text())
    await job.fail(StreamInterruptedError("the answer was lost"))
    again = await worker.next()
    assert again.request.resume is None
    await again.fail(JobCancelledError())
    with pytest.raises(JobCancelledError):
        await reading
    stream, job = await begin(golek, worker)
    await job.fail(EngineFailedError())
    with pytest.raises(EngineFailedError):
        await anext(stream)


async def test_a_stream_may_begin_behind_a_text(golek: Golek, worker: ScriptedWorker) -> None:
    """With `resume` only what follows is handed out; the reply is the whole, like what a later job goes on from."""
    stream = await golek.stream("tiny", "hi", resume=Resume("Once ", 2)).__aenter__()
    job = await worker.next()
    assert job.request.resume == Resume("Once ", 2)
    await job.chunk(1, 0, "upon ")
    await job.chunk(2, 0, "more")
    reading = asyncio.create_task(stream.text())
    await (await resumed(worker, "Once upon ")).final("Once upon a time")
    assert await reading == "upon a time"
    assert stream.reply.text == "Once upon a time"


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


async def test_pieces_tell_more_than_text(golek: Golek, worker: ScriptedWorker) -> None:
    """Thoughts and calls come as they are written; the text alone is what the stream itself gives."""
    stream, job = await begin(golek, worker)
    written = [
        Delta(reasoning_content="Hm"),
        Delta("Let me see."),
        Delta(tool_calls=[ToolCallDelta(0, "call_1", "look")]),
        Delta(tool_calls=[ToolCallDelta(0, arguments="{}")]),
    ]
    for seq, piece in enumerate(written):
        await job.chunk(1, seq, piece)
    calls = [ToolCall("call_1", FunctionCall("look", "{}"))]
    await job.final("Let me see.", reasoning_content="Hm", tool_calls=calls)
    assert [piece async for piece in stream.pieces()] == written
    assert stream.reply.tool_calls == calls
    assert stream.reply.reasoning_content == "Hm"


async def test_a_call_that_was_begun_is_not_asked_for_again(golek: Golek, worker: ScriptedWorker) -> None:
    """Another attempt that calls another tool ends the stream with the text so far."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, "Well: ")
    await job.chunk(1, 1, Delta(tool_calls=[ToolCallDelta(0, "call_1", "look")]))
    await job.chunk(2, 0, Delta("Well: ", tool_calls=[ToolCallDelta(0, "call_1", "go")]))
    with pytest.raises(StreamInterruptedError, match="calls of tools had begun") as raised:
        await stream.text()
    assert raised.value.details["text_so_far"] == "Well: "


async def test_thoughts_stay_with_a_text_that_another_job_goes_on_with(golek: Golek, worker: ScriptedWorker) -> None:
    """The text is gone on from; what was thought before it is in the reply, as it was handed out."""
    stream, job = await begin(golek, worker)
    await job.chunk(1, 0, Delta(reasoning_content="Hm."))
    await job.chunk(1, 1, "The sky ")
    await job.chunk(2, 0, Delta("The sea", reasoning_content="Hm."))
    rest = asyncio.create_task(stream.text())
    assert await worker.next_cancel() == job.job_id
    await (await resumed(worker, "The sky ")).final("The sky is blue.")
    assert await rest == "The sky is blue."
    assert (stream.reply.text, stream.reply.reasoning_content) == ("The sky is blue.", "Hm.")
