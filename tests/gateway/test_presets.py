"""Presets over HTTP: which are listed, what `auto` stands for, and who is missing."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.support.broker import NatsServer
from tests.support.fronts import GatewayProcess
from tests.support.workers import WorkerProcess

PRESETS = """
X1: {models: [echo, second], mode: debate, roles: {second: reconciler}}
X2: {models: [echo, nobody-has-this-one], mode: critique}
X3: {models: [echo, second], mode: pipeline, stages: [draft, polsih]}
"""
ASKED = {"messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture(scope="module")
def front(module_broker: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway, two echo workers, and a router where `auto` stands for a preset of theirs."""
    nats_server, folder = module_broker.url, tmp_path_factory.mktemp("presets")
    (folder / "presets.yaml").write_text(PRESETS)
    given = {"PRESETS_FILE": folder / "presets.yaml", "INFERENCE_CONFIG": "X1"}
    with (
        WorkerProcess(nats_server, folder / "a"),
        WorkerProcess(nats_server, folder / "b", MODEL_NAME="second"),
        WorkerProcess(nats_server, folder / "router", "router", **given),
        GatewayProcess(nats_server, folder) as gateway,
    ):
        yield gateway.url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_what_auto_stands_for_is_told(front: str, http: aiohttp.ClientSession) -> None:
    """The preset, and how its models answer, beside the list of models and where readiness is asked."""
    async with http.get(f"{front}/v1/models") as answer:
        listed = await answer.json()
    assert (listed["config"], listed["orchestration_mode"]) == ("X1", "debate")
    async with http.get(f"{front}/health/ready") as answer:
        ready = await answer.json()
    assert (ready["config"], ready["orchestration_mode"]) == ("X1", "debate")


async def test_a_stage_that_is_not_there_is_told_before_it_is_asked(front: str, http: aiohttp.ClientSession) -> None:
    """By file and preset: among the problems of the routes, and to who asks, who sent no field of that name."""
    async with http.get(f"{front}/v1/routes") as answer:
        (said,) = [one for one in (await answer.json())["problems"] if "polsih" in one]
    assert "presets.yaml: X3.stages: no stage polsih" in said
    async with http.post(f"{front}/v1/chat/completions", json=ASKED | {"model": "X3"}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["param"]) == (400, "model")
    assert error["message"] == said


async def test_presets_whose_models_are_known_are_listed(front: str, http: aiohttp.ClientSession) -> None:
    """Those that nobody could answer would bury the others."""
    async with http.get(f"{front}/v1/models") as answer:
        names = {one["id"] for one in (await answer.json())["data"]}
    assert {"auto", "echo", "second", "X1"} <= names
    assert names.isdisjoint({"X2", "D3", "S1"})
    async with http.get(f"{front}/v1/routes") as answer:
        offers = {one["name"]: one for one in (await answer.json())["offers"]}
    assert (offers["X1"]["mode"], offers["X1"]["targets"]) == ("debate", ["echo", "second"])


@pytest.mark.parametrize(("name", "missing"), [("X2", ["nobody-has-this-one"]), ("D3", ["phi-4", "deepseek-r1-7b"])])
async def test_a_preset_that_is_asked_says_who_is_missing(
    front: str, http: aiohttp.ClientSession, name: str, missing: list[str]
) -> None:
    """Before anything runs; it is explained in the same words."""
    async with http.post(f"{front}/v1/chat/completions", json=ASKED | {"model": name}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["details"]["missing"]) == (404, "MODEL_NOT_FOUND", missing)
    assert error["details"]["command"] == f"golek presets start {name}"
    assert error["message"].count("is known") == len(missing)
    async with http.post(f"{front}/v1/route/explain", json=ASKED | {"model": name}) as answer:
        assert (await answer.json())["error"]["details"]["missing"] == missing
