"""Keys with limits on a real bus: nobody gets more than a key allows, whoever serves and whatever dies."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from golek_client import Golek, InferenceServiceError
from golek_client.connection import connect
from golek_wire.errors import RateLimitedError
from golek_wire.replies import InferenceReply
from golek_worker.admission.quota import Ledger, Spent
from golek_worker.bus.quota import stored_records
from tests.support.workers import WorkerProcess

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


async def until[Found](seconds: float, look: Callable[[], Awaitable[Found]], wanted: Callable[[Found], bool]) -> Found:
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
    with fleet(nats_server, tmp_path / "data", "budget=20req/total", workers=2):
        async with Golek(nats_server, key=KEY, deadline=30) as golek:
            met = Counter(await asyncio.gather(*(outcome(golek) for _ in range(200))))
        assert met == {"ok": 20, "RATE_LIMITED:budget": 180}
        assert (await settled(nats_server)).spent.requests == 20


async def test_a_caller_is_told_what_is_left(nats_server: str, tmp_path: Path) -> None:
    """With `accepted`, and with the refusal, which says when to come back; also in a fleet that is open."""
    with fleet(nats_server, tmp_path / "data", "rpm=2 tpm=5000 budget=100000/day"):
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
