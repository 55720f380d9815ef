"""A step that there is no money for: its model is a cloud's, and the caller's key has spent its budget.

The cloud is a stand-in that takes no money (tests/support/clouds.py); prices, ledger and routers are real.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from golek_client import Golek
from tests.support import raw
from tests.support.clouds import KEY as CLOUD_KEY
from tests.support.clouds import Cloud
from tests.support.players import Players
from tests.support.step_ends import BOTH
from tests.support.step_faults import ROWS, VICTIM, End, Row, says

KEY = "a-key-with-money-0123456789abcdef"
MODEL = "openai:gpt-5-mini"
CODE = "OVER_LIMIT"
"""As one call of the cloud is more than the whole budget."""
FIRST = says("a", "answer/1")
ENDS: dict[str, tuple[End, str]] = {
    "single answer": ("error", ""),
    "critique generate": ("error", ""),
    "critique critique": ("partial", says("a", "generate/1")),
    "debate an answer": ("whole", says("a", "reconcile/1")),
    "debate all answers": ("error", ""),
    "debate compare": ("partial", FIRST),
    "debate reconcile": ("partial", FIRST),
    "ensemble an answer": ("whole", says("a", "synthesize/1")),
    "ensemble all answers": ("error", ""),
    "ensemble synthesize": ("partial", FIRST),
    "pipeline draft": ("error", ""),
    "pipeline refine": ("partial", says("a", "draft/1")),
    "pipeline validate": ("partial", says("a", "refine/1")),
}
"""How rows end where nothing of the cloud's can be paid for."""


@contextmanager
def fleet(url: str, folder: Path, cloud: Cloud, budget: str) -> Iterator[Players]:
    """`a` and `b`, and a router that may ask the cloud for a key with this budget."""
    data = folder / "fleet" / "router"
    data.mkdir(parents=True)
    (data / "api_keys.txt").write_text(f"ann:{KEY} budget={budget}usd/day\n")
    (data / "api_keys.txt").chmod(0o600)
    (folder / "providers.yaml").write_text(
        f"providers:\n  openai: {{dialect: openai, base_url: '{cloud.base_url}', key_env: CLOUD_KEY,\n"
        "    models: [{id: gpt-5-mini}]}\n"
    )
    presets = f"presets:\n  solo: {{models: ['{MODEL}'], mode: single}}\n"
    settings = {"PROVIDERS_FILE": folder / "providers.yaml", "CLOUD_KEY": CLOUD_KEY}
    with Players(url, folder / "fleet", presets=presets, **settings) as made:
        yield made


def in_cloud(row: Row) -> Row:
    """The row, with the cloud's model in the place of `v`."""
    names = {VICTIM: MODEL}
    return msgspec.structs.replace(
        row,
        models=tuple(names.get(name, name) for name in row.models),
        duties={duty: names.get(name, name) for duty, name in row.duties.items()},
    )


async def test_a_step_that_the_key_cannot_pay_for(nats_server: str, tmp_path: Path) -> None:
    """It has failed as any other; where nobody else answered, the error is the caller's own. The cloud is not asked."""
    async with Cloud() as cloud:
        with fleet(nats_server, tmp_path, cloud, "0.000001") as made:
            async with Golek(nats_server, key=KEY) as golek:
                for row in map(in_cloud, (row for row in ROWS if row.name in ENDS)):
                    ends, text = ENDS[row.name]
                    for streamed in BOTH:
                        name = row.req_id("unpaid", streamed=streamed)
                        told = await made.ask(golek, row, name, row.prompt(), streamed=streamed, deadline_s=10)
                        if ends == "error":
                            assert told.end == CODE, str(told)
                            assert told.error is not None
                            assert told.error.details["limit"] == "budget"
                            continue
                        assert told.reply is not None, str(told)
                        assert told.reply.text == text, str(told)
                        assert told.end == ("whole" if ends == "whole" else f"partial {CODE}"), str(told)
                        assert told.reply.cost_usd is None
                        if ends == "whole":
                            assert told.how is not None
                            assert told.how.failed == {MODEL: CODE}
            assert cloud.asked == []
            async with raw.connected(nats_server) as client:
                assert set((await made.settle(client)).values()) == {(0, 0, 0)}


@pytest.mark.parametrize("streamed", BOTH)
async def test_money_that_ends_between_two_steps(nats_server: str, tmp_path: Path, streamed: bool) -> None:
    """What was paid for is given: the draft, `partial`, and what it cost."""
    [row] = [in_cloud(row) for row in ROWS if row.name == "critique revise"]
    async with Cloud() as cloud:
        with fleet(nats_server, tmp_path, cloud, "0.0012") as made:
            async with Golek(nats_server, key=KEY) as golek:
                told = await made.ask(
                    golek, row, "one call", row.prompt(), streamed=streamed, deadline_s=10, max_tokens=400
                )
    assert told.end == "partial RATE_LIMITED", str(told)
    assert told.reply is not None
    assert told.reply.text == cloud.text
    assert len(cloud.asked) == 1
    assert told.reply.cost_usd is not None
