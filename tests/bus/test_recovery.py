"""The client, its connection cut while an answer is on its way; and jobs that it leaves and fetches later."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from golek_client import (
    BadRequestError,
    DeadlineExceededError,
    Golek,
    IdempotencyMismatchError,
    InferenceReply,
    InternalError,
    JobCancelledError,
    Receipt,
    recovery,
)
from golek_wire import subjects
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.proxy import Proxy
from tests.support.workers import WorkerProcess

PACED = {"ENGINE_STEP_MIN_MS": 20, "STREAM_GATHER_MS": 0}
NUMBERED = "a" + "".join(f" #{n}" for n in range(1, 50))


@pytest.fixture
def paced(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that takes 20 ms for a token."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        yield worker


@pytest.fixture
async def proxy(nats_server: str) -> AsyncIterator[Proxy]:
    """What stands between the client and the server."""
    async with Proxy(nats_server) as between:
        yield between


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Golek]:
    """A client behind the proxy."""
    async with Golek(proxy.url, deadline=30) as client:
        yield client


async def ended(url: str) -> int:
    """How many requests the worker has ended."""
    async with raw.connected(url) as client:
        stats, _ = await raw.ask(client, "$SRV.STATS.golek", {})
    return int(stats["endpoints"][0]["num_requests"])


async def until_ended(url: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await ended(url) < count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_answer_sent_into_a_cut_connection_is_fetched(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek, key: str | None
) -> None:
    """Cut in place of the final message, back a second later: the answer comes, and it was computed once."""
    proxy.cut_before = b'"tokens_out"'
    asking = asyncio.create_task(far.ask("echo", "a", max_tokens=50, ignore_eos=True, idempotency_key=key))
    await until_ended(nats_server, 1)
    await asyncio.sleep(0.3)
    await proxy.heal()
    start = time.monotonic()
    assert (await asking).text == NUMBERED
    assert time.monotonic() - start < 2
    assert await ended(nats_server) == 1


async def test_a_connection_cut_before_accepted_costs_nothing(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek
) -> None:
    """Neither `accepted` nor the answer arrives; both are over when the connection is back."""
    proxy.cut_before = b"accepted"
    asking = asyncio.create_task(far.ask("echo", "a", max_tokens=10, ignore_eos=True))
    await until_ended(nats_server, 1)
    await proxy.heal()
    assert (await asking).text.startswith("a #1")
    assert await ended(nats_server) == 1


@pytest.mark.parametrize(("away_s", "tokens"), [(0.3, 50), (3.5, 200)])
async def test_a_stream_cut_in_the_middle_ends_whole(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek, away_s: float, tokens: int
) -> None:
    """For a moment, and for longer than its worker believes in the caller: pieces joined are the whole text once."""
    answer = far.stream("echo", "a", max_tokens=tokens, ignore_eos=True, temperature=0)
    pieces = [await anext(answer) for _ in range(10)]
    proxy.cut()
    await asyncio.sleep(away_s)
    await proxy.heal()
    pieces += [piece async for piece in answer]
    assert "".join(pieces) == answer.reply.text == "a" + "".join(f" #{n}" for n in range(1, tokens))


async def test_an_error_sent_into_a_cut_connection_is_fetched(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek
) -> None:
    """What the job ended in is raised as if it had come."""
    proxy.cut_before = b"CANCELLED"
    answer = far.stream("echo", "a", max_tokens=500, ignore_eos=True)
    await anext(answer)
    async with Golek(nats_server) as other:
        await other.cancel(answer.job_id)
    await until_ended(nats_server, 1)
    await proxy.heal()
    with pytest.raises(JobCancelledError):
        async for _ in answer:
            pass


async def test_a_lost_job_is_asked_again(paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek) -> None:
    """Gone from the queue, and no result: the same question becomes another job."""
    proxy.cut_before = b'"tokens_out"'
    asking = asyncio.create_task(far.ask("echo", "a", max_tokens=10, ignore_eos=True))
    await until_ended(nats_server, 1)
    async with raw.connected(nats_server) as client:
        await client.jetstream().purge_stream(subjects.RESULTS_STREAM)
    await proxy.heal()
    assert (await asking).text.startswith("a #1")
    assert await ended(nats_server) == 2


async def test_who_may_not_read_the_queue_asks_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sees neither queue nor results takes its job for lost after a while."""
    monkeypatch.setattr(recovery, "BLIND_S", 0.5)
    users = (
        "authorization { users: [ {user: w, password: w}, {user: c, password: c, permissions: "
        '{publish: {deny: ["$JS.API.STREAM.MSG.GET.GOLEK_JOBS_echo"]}}} ] }'
    )
    server = NatsServer(tmp_path, users).start()
    try:
        with WorkerProcess(server.url.replace("//", "//w:w@"), tmp_path / "data", **PACED):
            async with Proxy(server.url) as proxy, Golek(proxy.url.replace("//", "//c:c@"), deadline=20) as far:
                proxy.cut_before = b'"tokens_out"'
                asking = asyncio.create_task(far.ask("echo", "a", max_tokens=10, ignore_eos=True))
                worker_url = server.url.replace("//", "//w:w@")
                await until_ended(worker_url, 1)
                async with raw.connected(worker_url) as client:
                    await client.jetstream().purge_stream(subjects.RESULTS_STREAM)
                await proxy.heal()
                assert (await asking).text.startswith("a #1")
                assert await ended(worker_url) == 2
    finally:
        server.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_call_with_a_key_survives_the_worker_that_joined_it(
    nats_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """The job runs here, the caller joined it there, and there ends: killed, the caller looks for the answer itself;
    stopped, the worker says so and the caller asks again.
    """
    monkeypatch.setattr(recovery, "STEADY_S", 0.5)
    with WorkerProcess(nats_server, tmp_path / "data", **PACED):
        async with Golek(nats_server, deadline=30) as golek:
            ask = {"max_tokens": 150, "ignore_eos": True, "idempotency_key": "k", "deadline": 30}
            first = asyncio.create_task(golek.ask("echo", "a", **ask))
            while (await golek.health("echo")).active == 0:
                await asyncio.sleep(0.02)
            with WorkerProcess(nats_server, tmp_path / "data", "echo", 2, WORKER_CONCURRENCY=1, **PACED) as other:
                others = [asyncio.create_task(golek.ask("echo", "a", **ask)) for _ in range(8)]
                await asyncio.sleep(0.3)
                other.signal(how)
                replies = await asyncio.gather(first, *others)
    assert len({reply.text for reply in replies}) == 1
    assert {reply.tokens_out for reply in replies} == {150}


async def test_a_key_is_a_header_of_every_call(paced: WorkerProcess, nats_server: str) -> None:
    """ask, stream and submit: a repeat has the first one's answer, another question is refused."""
    async with Golek(nats_server) as golek:
        first = await golek.ask("echo", "a", idempotency_key="a")
        assert await golek.ask("echo", "a", idempotency_key="a") == first
        with pytest.raises(IdempotencyMismatchError):
            await golek.ask("echo", "b", idempotency_key="a")
        streams = [golek.stream("echo", "a b", idempotency_key="s") for _ in range(2)]
        assert [await stream.text() for stream in streams] == ["a b", "a b"]
        assert streams[0].reply == streams[1].reply
        receipts = [await golek.submit("echo", "a", idempotency_key="x") for _ in range(2)]
        assert receipts[0].job_id == receipts[1].job_id
        for wrong in ("", "x" * 257, "é"):
            with pytest.raises(BadRequestError, match="idempotency_key: 1 to 256"):
                await golek.ask("echo", "a", idempotency_key=wrong)


async def test_a_caller_with_a_key_leaves_the_job_running(paced: WorkerProcess, nats_server: str) -> None:
    """Its answer is there for the next one who asks."""
    async with Golek(nats_server) as golek:
        ask = {"max_tokens": 50, "ignore_eos": True, "idempotency_key": "k"}
        asking = asyncio.create_task(golek.ask("echo", "a", **ask))
        while (await golek.health("echo")).active == 0:
            await asyncio.sleep(0.02)
        asking.cancel()
        assert (await golek.ask("echo", "a", **ask)).text == NUMBERED
    assert await ended(nats_server) == 1


async def test_a_job_is_left_and_fetched_later(paced: WorkerProcess, nats_server: str) -> None:
    """A receipt at once; no result yet; the answer when waited for, by receipt or id, also in another process."""
    async with Golek(nats_server) as golek:
        receipt = await golek.submit("echo", "a", max_tokens=50, ignore_eos=True, req_id="left")
        assert isinstance(receipt, Receipt)
        assert (receipt.req_id, receipt.position, receipt.principal) == ("left", 1, "anonymous")
        assert await golek.result(receipt) is None
        with pytest.raises(DeadlineExceededError, match="it may still come"):
            await golek.wait(receipt, 0.1)
    async with Golek(nats_server) as another:
        start = time.monotonic()
        reply = await another.wait(receipt)
        assert time.monotonic() - start < 3
        assert isinstance(reply, InferenceReply)
        assert reply.text == NUMBERED
        assert await another.result(receipt.job_id) == reply
        assert await another.result("n" * 26) is None
        late = await another.submit("echo", "a", max_tokens=500, ignore_eos=True, deadline=0.2)
        with pytest.raises(DeadlineExceededError):
            await another.wait(late)
        with pytest.raises(DeadlineExceededError):
            await another.result(late)


async def test_waiting_outlives_the_connection(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek
) -> None:
    """The answer came while the connection was away."""
    receipt = await far.submit("echo", "a", max_tokens=50, ignore_eos=True)
    waiting = asyncio.create_task(far.wait(receipt))
    await asyncio.sleep(0.1)
    proxy.cut()
    await until_ended(nats_server, 1)
    await proxy.heal()
    start = time.monotonic()
    reply = await waiting
    assert isinstance(reply, InferenceReply)
    assert reply.text == NUMBERED
    assert time.monotonic() - start < 2


async def test_a_lost_receipt_is_asked_for_again(
    paced: WorkerProcess, nats_server: str, proxy: Proxy, far: Golek
) -> None:
    """Cut in place of the receipt: the copy brings it, and there is one job."""
    await far.models()
    proxy.cut_before = b'"position"'
    submitting = asyncio.create_task(far.submit("echo", "a", max_tokens=5, ignore_eos=True))
    await until_ended(nats_server, 1)
    await proxy.heal()
    receipt = await submitting
    assert await far.result(receipt) is not None
    assert await ended(nats_server) == 1


async def test_what_no_message_carries_is_submitted_repeated_and_kept(nats_server: str, tmp_path: Path) -> None:
    """A body of 2 MB by reference, an answer in pieces; a repeat under the key leaves no body behind."""
    text = "x" * 2_000_000
    async with Golek(nats_server, deadline=30) as golek:
        with WorkerProcess(nats_server, tmp_path / "data", CTX_SIZE=4_000_000):
            receipt = await golek.submit("echo", text)
            reply = await golek.wait(receipt)
            assert isinstance(reply, InferenceReply)
            assert reply.text == text
            assert await golek.result(receipt) == reply
            for _ in range(2):
                assert (await golek.ask("echo", text, idempotency_key="k")).text == text
            assert await ended(nats_server) == 2
            async with raw.connected(nats_server) as client, asyncio.timeout(5):
                while (await client.jetstream().stream_info("OBJ_GOLEK_OBJECTS")).state.messages:
                    await asyncio.sleep(0.02)


async def test_requests_wait_for_the_connection_whatever_their_size(
    paced: WorkerProcess, proxy: Proxy, far: Golek
) -> None:
    """More than the 2 MiB that nats-py keeps while the connection is away: what did not fit is sent afterwards."""
    await far.models()
    proxy.cut()
    await asyncio.sleep(0.05)
    asking = [asyncio.create_task(far.ask("echo", "x" * 900_000, max_tokens=1)) for _ in range(5)]
    await asyncio.sleep(0.3)
    await proxy.heal()
    assert {reply.text[:5] for reply in await asyncio.gather(*asking)} == {"xxxxx"}


@pytest.mark.parametrize("job", ["", ">", "*", "a b", "a..b", "a" * 25, "a" * 27, "A" * 26, "0" * 26])
async def test_what_is_no_job_id_finds_no_answer(paced: WorkerProcess, nats_server: str, job: str) -> None:
    """A wildcard would find another job's."""
    async with Golek(nats_server) as golek:
        await golek.wait(await golek.submit("echo", "a"))
        with pytest.raises(BadRequestError, match="job: "):
            await golek.result(job)
        with pytest.raises(BadRequestError, match="principal: "):
            await golek.wait("a" * 26, principal=f"{job[:1]}.*")


async def test_what_is_no_result_is_said_to_be_none(paced: WorkerProcess, nats_server: str) -> None:
    """Somebody else wrote under the key."""
    async with Golek(nats_server) as golek, raw.connected(nats_server) as client:
        key = f"$KV.{subjects.RESULTS_BUCKET}.anonymous.{'a' * 26}"
        await client.jetstream().publish(key, b"a", headers={"Golek-Part": "none"})
        with pytest.raises(InternalError, match="not Golek's"):
            await golek.result("a" * 26)


async def test_a_job_of_a_model_asked_by_its_subject_is_not_taken_for_lost(nats_server: str, tmp_path: Path) -> None:
    """Who knows the subject alone does not know the queue's name: the connection breaks, the job runs once."""
    with WorkerProcess(nats_server, tmp_path / "data", SUBJECT="inference.request.fast", **PACED):
        async with Proxy(nats_server) as proxy, Golek(proxy.url, deadline=20) as far:
            ask = far.ask("fast", "a", subject="inference.request.fast", max_tokens=100, ignore_eos=True)
            asking = asyncio.create_task(ask)
            await asyncio.sleep(0.5)
            proxy.cut()
            await proxy.heal()
            assert (await asking).tokens_out == 100
        assert await ended(nats_server) == 1
