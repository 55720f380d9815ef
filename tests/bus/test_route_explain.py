"""Routers say how they would route a request, and it is what they do."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import BadRequestError, Golek, NoWorkersError
from golek_wire.routing import Decision
from tests.bus.test_cli import GOLEK
from tests.support.workers import WorkerProcess

ROUTES = """
routes:
  smart: {strategy: in_order, targets: ['local:echo-b', 'local:echo'], fallback: ['local:gone']}
  canary: {strategy: weighted, targets: [{target: 'local:echo', weight: 1}, {target: 'local:echo-b', weight: 1}]}
"""


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """Two echo workers and a router with names of its own."""
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES)
    with (
        WorkerProcess(nats_server, tmp_path / "a"),
        WorkerProcess(nats_server, tmp_path / "b", replica=2, MODEL_NAME="echo-b"),
        WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=routes),
    ):
        yield nats_server


def golek_says(url: str, *words: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    done = subprocess.run([*GOLEK, *words, "--server", url], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


async def heard(golek: Golek, model: str) -> Decision:
    """How a request for `model` is routed once the router has heard its workers."""
    async with asyncio.timeout(10):
        while "free" not in (found := await golek.explain(model, "hello")).candidates[-1].reason:
            await asyncio.sleep(0.05)
    return found


@pytest.mark.usefixtures("fleet")
async def test_what_is_explained_is_what_happens(golek: Golek) -> None:
    """The first candidate answers, with the same reason's target, for an alias and for a weighted name whose draw the
    job's id decides.
    """
    explained = await heard(golek, "smart")
    assert [one.target for one in explained.candidates] == ["local:echo-b", "local:echo"]
    assert [one.target for one in explained.rejected] == ["local:gone"]
    reply = await golek.ask("smart", "hello")
    assert reply.route is not None
    assert (reply.route.target, reply.route.strategy) == ("local:echo-b", explained.strategy)
    drawn = {(await golek.explain("canary", draw=draw)).candidates[0].target for draw in (0.1, 0.9)}
    assert drawn == {"local:echo", "local:echo-b"}


@pytest.mark.usefixtures("fleet")
async def test_a_question_that_is_wrong_is_told(golek: Golek) -> None:
    """A field of the request, and a policy that allows less than is wished for."""
    with pytest.raises(BadRequestError, match="temperature"):
        await golek.explain_request("auto", {"input": "x", "params": {"temperature": "hot"}})
    found = await golek.explain("smart", route={"policy": "cloud_first"})
    assert found.error is not None
    assert found.error["code"] == "BAD_REQUEST"


async def test_what_is_served_is_told_in_a_terminal(fleet: str) -> None:
    """`golek route` explains, lists and says what is in trouble; `golek models` lists the names, too."""
    status, said = golek_says(fleet, "route", "explain", "smart", "--input", "hello")
    assert (status, "local:echo-b" in said, "not local:gone" in said) == (0, True, True)
    status, said = golek_says(fleet, "route", "explain", "smart", "--policy", "local_only")
    assert (status, "local:echo-b" in said) == (0, True)
    status, said = golek_says(fleet, "route", "explain", "openai:gpt-5")
    assert (status, said.splitlines()[0]) == (1, "openai:gpt-5: cloud_first, least_busy")
    assert "OPENAI_API_KEY is not set" in said
    status, said = golek_says(fleet, "route", "explain", "smrt", "--json")
    assert (status, json.loads(said)["error"]["details"]["did_you_mean"]) == (1, "smart")
    status, said = golek_says(fleet, "route", "list", "--json")
    assert {"auto", "smart", "canary"} <= {offer["name"] for offer in json.loads(said)}
    status, said = golek_says(fleet, "route", "status")
    assert (status, "all targets are asked" in said) == (0, True)
    assert "smart" in golek_says(fleet, "models")[1]


async def test_without_a_router_it_is_told_how_to_start_one(golek: Golek) -> None:
    """At once, and not at the deadline."""
    with pytest.raises(NoWorkersError, match="make start WORKER=router"):
        await golek.explain("auto")
    with pytest.raises(NoWorkersError, match="make start WORKER=router"):
        await golek.routes()
