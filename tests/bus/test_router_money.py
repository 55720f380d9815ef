"""What clouds cost through real routers, a real ledger and real prices; the cloud is a stand-in that takes no money."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from golek_client import Golek, InferenceServiceError, UnauthorizedError
from golek_client.connection import connect
from golek_monitor.logs.asking import Query
from golek_monitor.logs.explorer import Explorer
from golek_wire.keys import dollars, micros
from golek_wire.logs import LoggedRequest
from golek_worker.admission.quota import Ledger, Spent
from golek_worker.bus.quota import stored_records
from tests.bus.test_quota import keys, until
from tests.support import raw
from tests.support.clouds import KEY as CLOUD_KEY
from tests.support.clouds import Cloud
from tests.support.fronts import GatewayProcess
from tests.support.workers import WorkerProcess

KEY = "a-key-with-money-0123456789abcdef"
MODEL = "openai:gpt-5-mini"
TEXT = "Forty-four bytes, which are eleven tokens. ."
"""The stand-in counts eleven tokens read, three of them from its cache, and seventeen written."""
COST = 37
"""Millionths of a dollar, the last one begun: 8 x 0.25 + 3 x 0.025 + 17 x 2; as much is held for 17 tokens."""
ASK = {"max_tokens": 17}
Routers = list[WorkerProcess]


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with Cloud() as one:
        yield one


@contextmanager
def fleet(url: str, data: Path, cloud: Cloud, line: str, *, routers: int = 1, **settings: object) -> Iterator[Routers]:
    """An echo worker, routers that may ask the cloud, and a key file with this line behind `ann`'s key."""
    data.mkdir()
    file = data / "api_keys.txt"
    file.write_text(f"ann:{KEY} {line}\n")
    file.chmod(0o600)
    (data / "providers.yaml").write_text(
        f"providers:\n  openai: {{dialect: openai, base_url: '{cloud.base_url}', key_env: CLOUD_KEY,\n"
        "    models: [{id: gpt-5-mini}, {id: nobody-knows-it}]}\n"
    )
    (data / "routes.yaml").write_text(
        f"routes:\n  thrifty: {{policy: cloud_first, targets: ['{MODEL}'], fallback: ['local:echo']}}\n"
    )
    settings |= {
        "PROVIDERS_FILE": data / "providers.yaml", "ROUTES_FILE": data / "routes.yaml", "CLOUD_KEY": CLOUD_KEY
    }  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(WorkerProcess(url, data))
        yield [
            stack.enter_context(WorkerProcess(url, data, "router", number, **settings))
            for number in range(1, routers + 1)
        ]


async def account(url: str, principal: str = "ann") -> Ledger:
    client = await connect(url, "test")
    try:
        found = [one for key, one in (await stored_records(client, Ledger)).items() if key.startswith(f"{principal}.")]
        assert len(found) <= 1, found
        return found[0].seen(time.time()) if found else Ledger()
    finally:
        await client.close()


async def settled(url: str, principal: str = "ann") -> Spent:
    """What was spent, once nothing is held any more."""
    found = await until(10, lambda: account(url, principal), lambda one: not one.bills and not one.holds)
    return found.spent


async def outcome(golek: Golek, model: str = MODEL) -> str:
    """Who answered, or the code of the error, of a limit with its name."""
    try:
        reply = await golek.ask(model, TEXT, **ASK)  # type: ignore[arg-type]
    except InferenceServiceError as error:
        return ":".join([error.code, *([error.details["limit"]] if "limit" in error.details else [])])
    assert reply.route is not None
    return reply.route.target


async def test_a_burst_over_two_routers_spends_the_budget_and_no_more(
    nats_server: str, tmp_path: Path, cloud: Cloud
) -> None:
    """200 calls at once of a key with money for 20: 20 are made and answered, 180 refused, and nothing stays held."""
    with fleet(nats_server, tmp_path / "data", cloud, f"budget={20 * COST / 1e6:.6f}usd/day", routers=2):
        async with Golek(nats_server, key=KEY, deadline=60) as golek:
            met = Counter(await asyncio.gather(*(outcome(golek) for _ in range(200))))
        assert met == {MODEL: 20, "RATE_LIMITED:budget": 180}
        assert len(cloud.asked) == 20
        assert (await settled(nats_server)).micros == 20 * COST


@pytest.mark.parametrize(
    ("line", "settings"), [("budget=0.000030usd/day", {}), ("", {"ROUTER_BUDGET": "0.00003usd/day"})]
)
async def test_a_budget_is_explained(
    nats_server: str, tmp_path: Path, cloud: Cloud, line: str, settings: dict[str, Any]
) -> None:
    """A target that the caller's budget, or that of all, does not cover is told among those that are not asked; where
    there is no other, the error is that of the request. Nothing is held or asked for that.
    """
    with fleet(nats_server, tmp_path / "data", cloud, line, **settings):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            assert await outcome(golek, "thrifty") == "local:echo"
            found = await golek.explain("thrifty", TEXT, max_tokens=17)
            assert [one.target for one in found.candidates] == ["local:echo"]
            (why,) = [one.reason for one in found.rejected if one.target == MODEL]
            assert "budget of $0.00003" in why
            alone = await golek.explain(MODEL, TEXT, max_tokens=17)
            assert alone.error is not None
            assert await outcome(golek) == f"{alone.error['code']}:{alone.error['details']['limit']}"
            shorter = await golek.explain(MODEL, TEXT, max_tokens=5)
            assert [one.target for one in shorter.candidates] == [MODEL]
        assert cloud.asked == []
        assert (await account(nats_server)).bills == {}


async def test_a_wrong_key_explains_nothing(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """As it asks nothing."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=1usd/day"):
        async with Golek(nats_server, key="another-key-0123456789abcdef", deadline=20) as golek:
            with pytest.raises(UnauthorizedError):
                await golek.explain("thrifty", TEXT)


async def test_a_reply_says_what_it_cost(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """By the provider's own count at real prices; the log, the account and `golek keys usage` say the same."""
    data = tmp_path / "data"
    with fleet(nats_server, data, cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            reply = await golek.ask(MODEL, TEXT, max_tokens=17)
            assert (reply.tokens_in, reply.tokens_out, reply.tokens_cached) == (11, 17, 3)
            assert reply.cost_usd == pytest.approx(0.000036075)
            free = await golek.ask("auto", TEXT)
            assert free.cost_usd is None
            assert (await settled(nats_server)).micros == COST
        rows = await until(5, lambda: logged(data), lambda found: len(found) == 2)
        assert rows == [(MODEL, MODEL, pytest.approx(0.000036075)), ("auto", "local:echo", None)]
        whole = (await Explorer(data).search(Query(model="router", limit=1))).requests[0].job_id
        (step,) = await until(5, lambda: steps(data, whole), lambda found: len(found) == 1)
        assert (step.model_name, step.parent, step.cost_usd) == ("echo", whole, None)
        (one,) = json.loads(await keys(nats_server, "usage", "ann", "--json"))
        assert (one["micros"], one["reserved_micros"]) == (COST, 0)
        assert one["allowances"]["budget"]["remaining"] == 5_000_000 - COST
        assert "$4.999963/$5" in await keys(nats_server, "usage")
        assert "5usd/day" in await keys(nats_server, "list", "--data", str(data))


async def steps(data: Path, job_id: str) -> list[LoggedRequest]:
    """Of a job, as `golek trace` tells them."""
    told = (await Explorer(data).find(job_id)).story
    return [] if told is None else told.steps


async def test_http_tells_of_money(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """What is left of a budget in dollars, in headers; what it cost, in the access log, the metrics and the report."""
    data = tmp_path / "data"
    with fleet(nats_server, data, cloud, "budget=5usd/day"), GatewayProcess(nats_server, data) as gateway:
        async with raw.connected(nats_server) as client:
            reports = await client.subscribe("monitoring.inference.router")
            body = {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 17}
            async with httpx2.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}) as http:
                for stream in (False, True):
                    answer = await http.post("/v1/chat/completions", json=body | {"stream": stream})
                    assert answer.status_code == 200, answer.text
                left = float(answer.headers["x-golek-budget-remaining-usd"])
                assert 5 - 2 * COST / 1e6 <= left <= 5
                assert answer.headers["x-golek-budget-limit-usd"] == "5.000000"
                figures = (await http.get("/metrics")).text
            (line,) = [one for one in figures.splitlines() if one.startswith("golek_cost_usd_total{")]
            assert f'model="{MODEL}",provider="openai"' in line
            assert float(line.rpartition(" ")[2]) == pytest.approx(2 * 0.000036075)

            async def told() -> float:
                report = json.loads((await reports.next_msg(5)).data)
                return float(report["traffic"].get("cost_usd", 0))

            await until(10, told, lambda cost: cost == pytest.approx(2 * 0.000036075, abs=1e-6))
            visits = [json.loads(one) for one in (data / "logs" / "api_access.log").read_text().splitlines()]
            assert [one["cost_usd"] for one in visits if one["method"] == "POST"] == [pytest.approx(0.000036075)] * 2
            cloud.always = "cut"
            async with httpx2.AsyncClient(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}) as http:
                broken = await http.post("/v1/chat/completions", json=body)
                assert broken.status_code == 502, broken.text
                assert float(broken.headers["x-golek-cost-usd"]) > 0, "what was read and written until then is paid"
                assert "e" not in broken.headers["x-golek-cost-usd"], "a plain decimal"


async def logged(data: Path) -> list[tuple[str, str, float]]:
    """Which model was asked, who answered and what it took: the router's log, oldest first."""
    with sqlite3.connect(f"file:{data}/logs/router.sqlite?mode=ro", uri=True) as log:
        return log.execute("SELECT asked, target, cost_usd FROM requests ORDER BY id").fetchall()


async def test_without_money_a_model_of_the_fleet_answers(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """It costs nothing; the cloud is not called. Where nobody else may answer the caller hears of the budget."""
    with fleet(nats_server, tmp_path / "data", cloud, f"budget={COST / 1e6:.6f}usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            assert [await outcome(golek, "thrifty") for _ in range(3)] == [MODEL, "local:echo", "local:echo"]
            with pytest.raises(InferenceServiceError, match=r"The key ann has a budget of \$0.000037, and") as said:
                await golek.ask(MODEL, TEXT, max_tokens=17)
            assert said.value.details["allowances"]["budget_unit"] == "usd"
            assert said.value.details["route"]["chain"][0]["outcome"] == "skipped"
            with pytest.raises(InferenceServiceError, match="nobody knows what it takes"):
                await golek.ask("openai:nobody-knows-it", TEXT)
        assert len(cloud.asked) == 1


async def test_what_fails_costs_nothing_and_what_breaks_off_costs_what_came(
    nats_server: str, tmp_path: Path, cloud: Cloud
) -> None:
    """Nothing stays held, also where the caller leaves."""
    data = tmp_path / "data"
    with fleet(nats_server, data, cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            cloud.then("401")
            assert await outcome(golek, "thrifty") == "local:echo"
            assert (await settled(nats_server)).micros == 0
            cloud.pause_s = 0.05
            async with golek.stream(MODEL, TEXT, max_tokens=17) as stream:
                async for _ in stream:
                    break
            spent = await until(10, lambda: settled(nats_server), lambda found: found.micros > 0)
            assert 3 <= spent.micros < COST
        rows = await until(5, lambda: logged(data), lambda found: len(found) == 2)
        assert rows[1][2] == pytest.approx(spent.micros / 1e6, abs=1e-6)


async def test_where_the_money_went_is_not_who_was_asked_last(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """A cloud that broke off is paid, though another target was asked behind it: the manual's query says so. The row of
    a stream that nobody finished keeps target, tokens and cost; the client goes on with it by a request of its own.
    """
    data = tmp_path / "data"
    with fleet(nats_server, data, cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            cloud.pause_s = 0.03  # so that text is handed out before it breaks off
            cloud.then("cut")
            async with golek.stream("thrifty", TEXT, max_tokens=17) as stream:
                async for _ in stream:
                    pass
        assert stream.reply.route is not None
        assert [(one.target, one.cost_usd) for one in stream.reply.route.chain] == [(MODEL, stream.reply.cost_usd)]
        await until(5, lambda: logged(data), lambda found: len(found) == 2)
        with sqlite3.connect(f"file:{data}/logs/router.sqlite?mode=ro", uri=True) as log:
            manual = Path("docs/router.md").read_text("utf-8")
            spent = log.execute(manual.split('sqlite3 data/logs/router.sqlite "', 1)[1].split('"', 1)[0]).fetchall()
            rows = log.execute("SELECT target, status, tokens_out > 0, cost_usd FROM requests ORDER BY id").fetchall()
        assert [row[:3] for row in rows] == [("local:echo", "STREAM_INTERRUPTED", True), (MODEL, "ok", True)]
        assert spent == [("ann", MODEL, 2, pytest.approx(rows[0][3] + rows[1][3]))]


async def test_a_kept_answer_costs_nothing(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """Nor does that of an equal request; who takes over from the one that began it has the bill, and says so."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            wish: dict[str, Any] = ASK | {"temperature": 0, "cache": {"mode": "exact"}}
            first = await golek.ask(MODEL, TEXT, **wish)
            again = await golek.ask(MODEL, TEXT, **wish)
            assert (first.cache, first.cost_usd) == ("miss", pytest.approx(0.000036075))
            assert (again.cache, again.text, again.cost_usd) == ("hit", first.text, None)
            assert again.route is not None
            assert (again.route.target, again.route.chain, again.route.queue_ms) == (MODEL, [], 0)
            cloud.pause_s = 0.05
            async with golek.stream(MODEL, "other", max_tokens=17, temperature=0) as leader:
                await anext(leader)
                heir = golek.stream(MODEL, "other", max_tokens=17, temperature=0)
                await anext(heir)
            assert [delta async for delta in heir]
            assert len(cloud.asked) == 2
            assert heir.reply.cost_usd is not None
            assert (await settled(nats_server)).micros == COST + micros(heir.reply.cost_usd)


async def test_a_conversation_holds_money_for_all_that_is_read(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """What was said before is read again: a turn for which its own text would leave enough is refused."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=0.005usd/total"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            told = await golek.ask("echo", "x" * 60_000, session_id="s", max_tokens=1)
            assert told.session is not None
            with pytest.raises(InferenceServiceError, match="budget"):
                await golek.ask(MODEL, "and now?", session_id="s", max_tokens=17)
            assert not cloud.asked
            assert await outcome(golek) == MODEL


async def test_the_fleets_own_budget_is_asked_before_a_call(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """ROUTER_BUDGET: also for callers without a key; `golek keys usage` shows its account."""
    with fleet(nats_server, tmp_path / "data", cloud, "", ROUTER_BUDGET=f"{2 * COST / 1e6:.6f}usd/day"):
        async with Golek(nats_server, key="", deadline=20) as golek:
            assert [await outcome(golek) for _ in range(3)] == [MODEL, MODEL, "RATE_LIMITED:budget"]
        assert len(cloud.asked) == 2
        assert (await settled(nats_server, "fleet.router")).micros == 2 * COST
        (told,) = [line for line in (await keys(nats_server, "usage")).splitlines() if "fleet.router" in line]
        assert f"$0/{dollars(2 * COST)}" in told, told


@pytest.mark.timeout(90)
async def test_a_kill_leaves_nothing_held(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """What a killed router had held is free again 30 s after the request's deadline, and can be spent."""
    cloud.always = "hang"
    with fleet(nats_server, tmp_path / "data", cloud, f"budget={3 * COST / 1e6:.6f}usd/day") as (router,):
        async with Golek(nats_server, key=KEY, deadline=1.5) as golek:
            calls = [asyncio.create_task(outcome(golek)) for _ in range(3)]
            await until(5, lambda: account(nats_server), lambda found: len(found.bills) == 3)
            router.kill()
            killed_at = time.monotonic()
            assert await asyncio.gather(*calls) == ["DEADLINE_EXCEEDED"] * 3
        await until(40, lambda: account(nats_server), lambda found: not found.bills and not found.holds)
        assert time.monotonic() - killed_at <= 36
        cloud.always = None
        router.start()
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            assert [await outcome(golek) for _ in range(4)] == [MODEL] * 3 + ["RATE_LIMITED:budget"]
