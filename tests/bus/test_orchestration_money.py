"""What several models that answer together cost, through real routers and a real ledger; the cloud is a stand-in."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from golek_client import Golek
from tests.bus.test_router_money import KEY, MODEL, TEXT, account, fleet, settled
from tests.support.clouds import Cloud

MOST_USD = 0.00008
"""More than one of these steps may cost, which is 0.000053, and less than two."""
WISHES: dict[str, Any] = {
    "orchestration_mode": "ensemble", "orchestration": {"models": ["echo", MODEL, MODEL]}, "max_tokens": 17
}  # fmt: skip


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with Cloud() as one:
        yield one


async def test_the_cost_is_the_sum_of_all_steps(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """Reply, records, log and account agree on what a request of several steps cost."""
    data = tmp_path / "data"
    with fleet(nats_server, data, cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            reply = await golek.ask("auto", TEXT, **WISHES)
        spent = await settled(nats_server)
    assert reply.orchestration is not None
    asked = [step for step in reply.orchestration.steps if step.target == MODEL]
    assert len(asked) == len(cloud.asked) >= 2
    assert reply.cost_usd == pytest.approx(sum(step.cost_usd or 0.0 for step in asked))
    assert spent.micros == pytest.approx((reply.cost_usd or 0) * 1e6, abs=len(asked))
    with sqlite3.connect(data / "logs" / "router.sqlite") as log:
        [row] = log.execute("SELECT cost_usd, tokens_out FROM requests").fetchall()
    assert row == (reply.cost_usd, reply.tokens_out)


async def test_a_step_without_money_is_a_branch_that_failed(nats_server: str, tmp_path: Path, cloud: Cloud) -> None:
    """What the key's budget does not cover is not asked and is named; the others answer, and nothing stays held."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=0.000001usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            reply = await golek.ask("auto", TEXT, **WISHES)
        assert cloud.asked == []
        assert (await account(nats_server)).bills == {}
    assert reply.orchestration is not None
    assert reply.orchestration.failed == {MODEL: "OVER_LIMIT"}
    assert reply.cost_usd is None


async def test_a_request_that_keeps_to_the_fleet_keeps_all_its_steps_there(
    nats_server: str, tmp_path: Path, cloud: Cloud
) -> None:
    """`never_cloud` holds for every step; a limit of dollars for all of them together."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            for wish in ({"policy": "never_cloud"}, {"max_cost_usd": 0.0}):
                reply = await golek.ask("auto", TEXT, **WISHES, route=wish)  # type: ignore[arg-type]
                assert reply.orchestration is not None
                assert reply.orchestration.failed == {MODEL: "BAD_REQUEST"}
    assert cloud.asked == []


async def test_what_a_request_may_cost_is_for_all_that_answer_at_once(
    nats_server: str, tmp_path: Path, cloud: Cloud
) -> None:
    """Of branches that begin together one alone is asked where there is money for one."""
    with fleet(nats_server, tmp_path / "data", cloud, "budget=5usd/day"):
        async with Golek(nats_server, key=KEY, deadline=20) as golek:
            whole = await golek.ask("auto", TEXT, **WISHES)
            assert whole.orchestration is not None
            asked = len(cloud.asked)
            reply = await golek.ask("auto", TEXT, **WISHES, route={"max_cost_usd": MOST_USD})
    assert asked >= 2
    assert len(cloud.asked) == asked + 1
    assert reply.cost_usd is not None
    assert reply.cost_usd <= MOST_USD
