"""Keys with limits on a real bus: nobody gets more than a key allows, whoever serves and whatever dies."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from golek_client import Golek, InferenceServiceError
from golek_client.connection import connect
from golek_wire.errors import OverLimitError, RateLimitedError
from golek_wire.keys import Key, digest
from golek_wire.replies import InferenceReply
from golek_worker.admission.quota import Ledger, Spent
from golek_worker.bus.quota import stored_records
from tests.support import raw
from tests.support.workers import WorkerProcess

Found = TypeVar("Found")
KEY = "a-key-with-limits-0123456789abcdef"


@contextmanager
def fleet(url: str, data: Path, line: str, *, workers: int = 1, **settings: object) -> Iterator[list[WorkerProcess]]:
    """Workers of one model, and a key file with this line behind `ann`'s key."""
    data.mkdir(exist_ok=True)
    write(data, f"ann:{KEY} {line}\n")
    with ExitStack() as stack:
        yield [
            stack.enter_context(WorkerProcess(url, data, "echo", number, **settings))
            for number in range(1, workers + 1)
        ]


def write(data: Path, text: str) -> None:
    file = data / "api_keys.txt"
    file.write_text(text)
    file.chmod(0o600)


async def ledger(url: str, principal: str = "ann") -> Ledger:
    """The one account of a principal, with what has expired left out."""
    client = await connect(url, "test")
    try:
        found = [one for key, one in (await stored_records(client, Ledger)).items() if key.startswith(f"{principal}.")]
        assert len(found) <= 1, found
        return found[0].seen(time.time()) if found else Ledger()
    finally:
        await client.close()


async def settled(url: str, seconds: float = 5.0) -> Ledger:
    """The account once nothing is held any more."""
    return await until(seconds, lambda: ledger(url), lambda found: not found.holds and found.spent.requests > 0)


async def until(seconds: float, look: Callable[[], Awaitable[Found]], wanted: Callable[[Found], bool]) -> Found:
    """What is found, once it is as `wanted`."""
    async with asyncio.timeout(seconds):
        while not wanted(found := await look()):
            await asyncio.sleep(0.02)
    return found


async def outcome(golek: Golek, text: str = "hi", **options: object) -> str:
    """`ok`, or the code of the error, of a limit with its name."""
    try:
        await golek.ask("echo", text, **options)  # type: ignore[arg-type]
    except InferenceServiceError as error:
        return ":".join([error.code, *([error.details["limit"]] if "limit" in error.details else [])])
    return "ok"


async def test_a_burst_over_two_workers_spends_the_budget_and_no_more(nats_server: str, tmp_path: Path) -> None:
    """200 calls at once of a key that may make 20: 20 are answered, 180 refused, and no hold is left."""
    with fleet(nats_server, tmp_path / "data", "budget=20req/month", workers=2):
        async with Golek(nats_server, key=KEY, deadline=30) as golek:
            met = Counter(await asyncio.gather(*(outcome(golek) for _ in range(200))))
        assert met == {"ok": 20, "RATE_LIMITED:budget": 180}
        assert (await settled(nats_server)).spent.requests == 20


async def test_a_caller_is_told_what_is_left(nats_server: str, tmp_path: Path) -> None:
    """With `accepted`, and with the refusal, which says when to come back; also in a fleet that is open."""
    with fleet(nats_server, tmp_path / "data", "rpm=2 tpm=5000 budget=100000/day", ENGINE_STEP_MIN_MS=20):
        async with Golek(nats_server, key=KEY, deadline=10) as golek:
            body = json.dumps({"input": "one two", "params": {"max_tokens": 50}}).encode()
            exchange = await golek.passed("echo", "inference", body, InferenceReply, deadline=10)
            async with exchange:
                reply = await exchange.reply()
                told = exchange.allowances
            assert told is not None
            assert told.requests is not None
            assert (told.requests.limit, told.requests.remaining) == (2, 1)
            assert told.tokens is not None
            assert (told.tokens.limit, told.tokens.remaining) == (5000, 5000 - 52)
            assert told.budget is not None
            assert told.budget.remaining == 100000 - 52
            found = await settled(nats_server)
            assert found.spent == Spent(1, reply.tokens_in + reply.tokens_out)
            assert found.minutes.now.tokens + found.minutes.before.tokens == found.spent.tokens
            assert await outcome(golek) == "ok"
            with pytest.raises(RateLimitedError, match="The key ann may send 2 requests in a minute") as refused:
                await golek.ask("echo", "third")
            assert refused.value.details["allowances"]["requests"]["remaining"] == 0
            assert 1000 <= refused.value.retry_after_ms <= 120_000
        async with Golek(nats_server, key="", deadline=10) as anonymous:
            assert await outcome(anonymous) == "ok"


@pytest.mark.timeout(90)
async def test_a_kill_leaves_no_hold(nats_server: str, tmp_path: Path) -> None:
    """What a killed worker had reserved is free again 30 s after the request's deadline, and can be spent."""
    with fleet(nats_server, tmp_path / "data", "budget=3req/total", ENGINE_STEP_MIN_MS=500) as (worker,):
        async with Golek(nats_server, key=KEY, deadline=1) as golek:
            calls = [asyncio.create_task(outcome(golek, "a b c d e f g h")) for _ in range(3)]
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) == 3)
            worker.kill()
            killed_at = time.monotonic()
            assert await asyncio.gather(*calls) == ["DEADLINE_EXCEEDED"] * 3
        await until(35, lambda: ledger(nats_server), lambda found: not found.holds)
        assert time.monotonic() - killed_at <= 35
        with WorkerProcess(nats_server, tmp_path / "data"):
            async with Golek(nats_server, key=KEY, deadline=10) as golek:
                assert [await outcome(golek) for _ in range(4)] == ["ok"] * 3 + ["OVER_LIMIT:budget"]


async def test_what_is_cancelled_is_paid_as_far_as_it_went(nats_server: str, tmp_path: Path) -> None:
    """A stream that its caller leaves costs what was read and written until then."""
    with fleet(nats_server, tmp_path / "data", "tpm=100000", ENGINE_STEP_MIN_MS=20):
        async with (
            Golek(nats_server, key=KEY, deadline=30) as golek,
            golek.stream("echo", " ".join("abcdefgh" * 40), max_tokens=300) as stream,
        ):
            async for _ in stream:
                if (await ledger(nats_server)).holds:
                    break
        found = await settled(nats_server)
        assert found.spent.requests == 1
        assert 320 < found.spent.tokens < 600


async def test_a_job_that_runs_twice_is_paid_once(nats_server: str, tmp_path: Path) -> None:
    """When the worker that ran it dies, another one answers and settles."""
    data = tmp_path / "data"
    with fleet(nats_server, data, "budget=5req/total", workers=2, ENGINE_STEP_MIN_MS=100) as workers:
        async with Golek(nats_server, key=KEY, deadline=30) as golek:
            call = asyncio.create_task(golek.ask("echo", "a b c d e f g h i j k l m n o p"))
            async with raw.connected(nats_server) as client:
                reports = await client.subscribe("monitoring.inference.echo")

                async def busy() -> str:
                    report = json.loads((await reports.next_msg(5)).data)
                    return str(report["worker_id"]) if report["active_processing"] else ""

                worker_id = await until(10, busy, bool)
            (running,) = [worker for worker in workers if worker_id.endswith(f"-{worker.replica}")]
            running.kill()
            assert (await call).text.strip() == "a b c d e f g h i j k l m n o p"
        assert (await settled(nats_server)).spent.requests == 1


async def test_a_repeat_with_the_same_key_costs_nothing(nats_server: str, tmp_path: Path) -> None:
    """Neither while the first runs nor when it is answered; submitted ones neither."""
    with fleet(nats_server, tmp_path / "data", "budget=2req/total", ENGINE_STEP_MIN_MS=50):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            together = [outcome(golek, "a b c d", idempotency_key="one") for _ in range(5)]
            assert await asyncio.gather(*together) == ["ok"] * 5
            assert await outcome(golek, "a b c d", idempotency_key="one") == "ok"
            receipts = [await golek.submit("echo", "later", idempotency_key="two") for _ in range(3)]
            assert len({receipt.job_id for receipt in receipts}) == 1
            await golek.wait(receipts[0], 10)
            found = await until(5, lambda: ledger(nats_server), lambda found: found.spent.requests == 2)
            assert not found.holds
            with pytest.raises(OverLimitError):
                await golek.submit("echo", "a third")


async def test_a_copy_that_comes_late_holds_nothing_for_long(nats_server: str, tmp_path: Path) -> None:
    """The answered job's own message id says that it is a copy; its hold ends soon, and it is not paid."""
    with fleet(nats_server, tmp_path / "data", "concurrent=1"):
        async with raw.connected(nats_server) as client:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            about = {"Authorization": f"Bearer {KEY}", "Golek-Accept": "1"}
            await client.publish("inference.request.echo", b'{"input": "hi"}', reply=inbox, headers=about)
            assert (await answers.next_msg(5)).headers["Golek-Status"] == "accepted"
            assert json.loads((await answers.next_msg(5)).data)["text"]
            await settled(nats_server)
            await client.publish("inference.request.echo", b'{"input": "hi"}', reply=inbox, headers=about)
            assert (await answers.next_msg(5)).headers["Golek-Status"] == "accepted"
            found = await until(10, lambda: ledger(nats_server), lambda found: not found.holds)
            assert found.spent.requests == 1


@pytest.mark.parametrize("reject", ["true", "false"])
async def test_what_finds_no_place_in_the_queue_costs_nothing(nats_server: str, tmp_path: Path, reject: str) -> None:
    """Refused at once, or kept in the overflow until its deadline: it was never stored."""
    settings = {"QUEUE_CAPACITY": 1, "ENGINE_STEP_MIN_MS": 300, "INFERENCE_REJECT_WHEN_FULL": reject}
    with fleet(nats_server, tmp_path / "data", "budget=50req/total", **settings):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            first = asyncio.create_task(outcome(golek, "a b c d e f g h"))
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) == 1)
            async with raw.connected(nats_server) as client:
                body = {"input": "b", "deadline_ms": 700}
                asked = [
                    raw.ask(client, "inference.request.echo", body, Authorization=f"Bearer {KEY}") for _ in range(3)
                ]
                codes = [said["error"]["code"] for said, _ in await asyncio.gather(*asked)]
                assert codes == (["QUEUE_FULL"] if reject == "true" else ["DEADLINE_EXCEEDED"]) * 3
            assert await first == "ok"
            assert (await settled(nats_server)).spent.requests == 1


async def test_what_no_worker_was_given_costs_nothing(nats_server: str, tmp_path: Path) -> None:
    """A job that waits behind others until its deadline, or is cancelled there, gives its hold back."""
    settings = {"WORKER_CONCURRENCY": 1, "ENGINE_STEP_MIN_MS": 300}
    with fleet(nats_server, tmp_path / "data", "concurrent=3 budget=3req/total", **settings):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            first = asyncio.create_task(outcome(golek, "a b c d e f g h"))
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) == 1)
            late = asyncio.create_task(outcome(golek, deadline=0.5))
            left = asyncio.create_task(outcome(golek))
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) == 3)
            assert await outcome(golek) in ("RATE_LIMITED:concurrent", "OVER_LIMIT:budget", "RATE_LIMITED:budget")
            left.cancel()
            assert await late == "DEADLINE_EXCEEDED"
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) <= 1)
            assert await first == "ok"
            assert (await settled(nats_server)).spent.requests == 1


async def test_without_the_ledger_keys_with_limits_are_refused(nats_server: str, tmp_path: Path) -> None:
    """Nothing is let through uncounted; who has no limits notices nothing, and the ledger's return ends it."""
    with fleet(nats_server, tmp_path / "data", "rpm=100"):
        async with raw.connected(nats_server) as client:
            await client.jetstream().delete_key_value("GOLEK_QUOTA")
            about = {"Authorization": f"Bearer {KEY}"}
            said, _ = await raw.ask(client, "inference.request.echo", {"input": "hi", "deadline_ms": 500}, **about)
            assert said["error"]["code"] == "BUS_UNAVAILABLE"
            assert said["error"]["details"]["may_run"] is False
            assert (await raw.ask(client, "inference.request.echo", {"input": "hi"}))[0]["text"]
            await client.jetstream().create_key_value(bucket="GOLEK_QUOTA", history=1)
            await client.jetstream().update_stream(
                (await client.jetstream().stream_info("KV_GOLEK_QUOTA")).config.evolve(allow_msg_ttl=True)
            )
            assert (await raw.ask(client, "inference.request.echo", {"input": "hi"}, **about))[0]["text"]


ASKED = {
    "none": {"open": "ok", "keys": "UNAUTHORIZED"},
    "wrong": {"open": "UNAUTHORIZED", "keys": "UNAUTHORIZED"},
    "unlimited": {"open": "ok", "keys": "ok"},
    "revoked": {"open": "UNAUTHORIZED", "keys": "UNAUTHORIZED"},
    "expired": {"open": "UNAUTHORIZED", "keys": "UNAUTHORIZED"},
    "other-model": {"open": "FORBIDDEN", "keys": "FORBIDDEN"},
    "spent": {"open": "OVER_LIMIT:budget", "keys": "OVER_LIMIT:budget"},
}


@pytest.mark.parametrize("mode", ["open", "keys"])
async def test_who_may_ask_over_nats(nats_server: str, tmp_path: Path, mode: str) -> None:
    """Each way to ask, by each kind of caller: a request, a stream, a submit, and a body in the object store."""
    data = tmp_path / "data"
    data.mkdir()
    rest = "unlimited:unlimited\nexpired:expired expires=2020-01-01\nother-model:other-model models=x\n"
    write(data, f"revoked:revoked\nspent:spent budget=1req/total\n{rest}")
    with WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY=mode):
        async with Golek(nats_server, key="spent", deadline=10) as golek:
            assert await outcome(golek) == "ok"
            await until(5, lambda: ledger(nats_server, "spent"), lambda found: found.spent.requests == 1)
        write(data, f"spent:spent budget=1req/total\n{rest}")
        async with Golek(nats_server, key="revoked", deadline=10) as golek:
            began = time.monotonic()
            await until(2, lambda: outcome(golek), lambda code: code == "UNAUTHORIZED")
            assert time.monotonic() - began < 2
        met = {key: await codes(nats_server, "" if key == "none" else key) for key in ASKED}
        assert met == {key: {wanted[mode]} for key, wanted in ASKED.items()}


async def codes(url: str, key: str) -> set[str]:
    """What a key meets on every way to ask."""
    async with Golek(url, key=key, deadline=10) as golek:
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: golek.ask("echo", "hi"),
            lambda: golek.ask("echo", "hi", idempotency_key=f"{key}-1"),
            lambda: streamed(golek),
            lambda: golek.submit("echo", "hi"),
            lambda: golek.ask("echo", "hi", metadata={"large": "x" * 1_200_000}),
        ]
        found = set()
        for way in ways:
            try:
                await way()
                found.add("ok")
            except InferenceServiceError as error:
                found.add(":".join([error.code, *([error.details["limit"]] if "limit" in error.details else [])]))
        return found


async def streamed(golek: Golek) -> None:
    async for _ in golek.stream("echo", "hi"):
        pass


async def test_a_key_made_a_moment_ago_works_at_once(nats_server: str, tmp_path: Path) -> None:
    """A worker that does not know it yet asks the bucket; what it denies, it is not asked again for a second."""
    data = tmp_path / "data"
    with WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY="keys"):
        async with raw.connected(nats_server) as client:
            bucket = await client.jetstream().key_value("GOLEK_KEYS")
            for number in range(20):
                fresh = f"fresh-{number}"
                await bucket.put(digest(fresh), msgspec.json.encode(Key(f"id-{number}")))
                said, _ = await raw.ask(
                    client, "inference.request.echo", {"input": "hi"}, Authorization=f"Bearer {fresh}"
                )
                assert said.get("text"), said
            reads = await client.subscribe("$JS.API.STREAM.MSG.GET.KV_GOLEK_KEYS")
            wrong = [
                raw.ask(client, "inference.request.echo", {"input": "hi"}, Authorization="Bearer wrong")
                for _ in range(50)
            ]
            met = Counter(said["error"]["code"] for said, _ in await asyncio.gather(*wrong))
            assert met == {"UNAUTHORIZED": 50}
            asked = [json.loads((await reads.next_msg(1)).data) for _ in range(reads.pending_msgs)]
            assert sum("last_by_subj" in query for query in asked) == 1


async def test_a_frozen_worker_holds_up_nobody_else(nats_server: str, tmp_path: Path) -> None:
    """Its account's next change finds another's word and goes on from there: no answer is lost, none paid twice."""
    with fleet(nats_server, tmp_path / "data", "budget=100req/total", workers=2) as (first, _):
        async with Golek(nats_server, key=KEY, deadline=30) as golek:
            assert await asyncio.gather(*(outcome(golek) for _ in range(10))) == ["ok"] * 10
            first.signal(signal.SIGSTOP)
            calls = [asyncio.create_task(outcome(golek)) for _ in range(10)]
            await until(10, lambda: ledger(nats_server), lambda found: found.spent.requests >= 12)
            first.signal(signal.SIGCONT)
            assert await asyncio.gather(*calls) == ["ok"] * 10
        # A copy that lay in its socket has a hold of its own for some seconds.
        assert (await settled(nats_server, 10)).spent.requests == 20


async def test_what_was_used_can_be_looked_up(nats_server: str, tmp_path: Path) -> None:
    """`golek keys usage`: spent, in flight and what is left, for one and for all, for people and for programs."""
    with fleet(nats_server, tmp_path / "data", "rpm=10 tpm=9000 budget=20req/total", ENGINE_STEP_MIN_MS=200):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            await golek.ask("echo", "one", max_tokens=5)
            await settled(nats_server)
            second = asyncio.create_task(golek.ask("echo", "a b c d e f " * 20, max_tokens=500))
            await until(5, lambda: ledger(nats_server), lambda found: len(found.holds) == 1)
            said = json.loads(await keys(nats_server, "usage", "ann", "--json"))
            head, row = (await keys(nats_server, "usage")).splitlines()
            assert not second.done()
            second.cancel()
            await asyncio.wait([second])
    (one,) = said
    assert (one["window"], one["requests"], one["in_flight"], one["reserved"]) == ("total", 1, 1, 560)
    assert one["allowances"]["budget"]["remaining"] == 18
    assert one["allowances"]["requests"]["remaining"] == 8
    assert head.split() == ["KEY_ID", "WINDOW", "USED", "IN", "FLIGHT", "BUDGET", "RESETS", "REQUESTS", "TOKENS"]
    assert "18/20" in row
    assert "never" in row
    assert "nobody in this fleet knows a key of eve" in await keys(nats_server, "usage", "eve", status=1)


async def keys(url: str, *words: str, status: int = 0) -> str:
    """What `golek keys` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "golek_worker.cli", "keys", *words, "--server", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == status, out
    return out.decode()
