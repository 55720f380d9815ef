"""Several models answer one request, over a real bus."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from golek_client import Golek
from golek_wire import codec
from golek_wire.orchestration import Mode, StepEvent
from golek_wire.replies import InferenceReply
from tests.bus.test_router import router
from tests.support import minilm, raw
from tests.support.workers import WorkerProcess

MODES: list[Mode] = ["critique", "debate", "ensemble", "pipeline"]
PRESET = """presets:
  trio: {models: [one, two, three], mode: ensemble}
  duo: {models: [one, nobody-has-it], mode: debate}
  nest: {models: [one, trio], mode: debate}
  nested: {models: [one, auto], mode: debate}
"""


class Fleet:
    """Three echo workers and a router."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        self.url, self.folder = url, folder
        (folder / "presets.yaml").write_text(PRESET)
        self.workers = {
            name: WorkerProcess(url, folder / name, name, ENGINE="echo", MODEL_NAME=name, **settings)
            for name in ("one", "two", "three")
        }
        self.router = router(url, folder / "router", PRESETS_FILE=folder / "presets.yaml")

    def rows(self, name: str, **where: str) -> list[dict[str, Any]]:
        """What the log of a worker has, oldest first."""
        [path] = (self.folder / name / "logs").glob("*.sqlite")
        with sqlite3.connect(path) as log:
            log.row_factory = sqlite3.Row
            rows = [dict(row) for row in log.execute("SELECT * FROM requests ORDER BY ts")]
        return [row for row in rows if all(row[key] == value for key, value in where.items())]

    async def logged(self, name: str, count: int, **where: str) -> list[dict[str, Any]]:
        """The same, once there are so many rows."""
        async with asyncio.timeout(10):
            while len(rows := self.rows(name, **where)) < count:
                await asyncio.sleep(0.05)
        return rows


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[Fleet]:
    """Three echo workers and a router."""
    made = Fleet(nats_server, tmp_path)
    with made.workers["one"], made.workers["two"], made.workers["three"], made.router:
        yield made


def asked(mode: str, *models: str, **more: Any) -> dict[str, Any]:
    """A request for so many models."""
    return {"input": "four", "orchestration_mode": mode, "orchestration": {"models": list(models), **more}}


async def told(client: Client, name: str, request: dict[str, Any], **headers: str) -> tuple[InferenceReply, list[Any]]:
    """The reply of a stream, and the events before it: texts and steps."""
    stream = await raw.stream(client, f"inference.request.{name}", {**request, "stream": True}, **headers)
    await stream.rest()
    events: list[Any] = []
    for message in stream.messages:
        about = message.headers or {}
        if about.get("Golek-Status") == "step":
            events.append(codec.decode(message.data, StepEvent))
        elif "Golek-Attempt" in about:
            events.append(json.loads(message.data)["delta"])
    return codec.decode(stream.messages[-2].data, InferenceReply), events


@pytest.mark.parametrize("mode", MODES)
async def test_each_mode_answers_and_says_how(fleet: Fleet, mode: Mode) -> None:
    """Whatever the mode, a stream hands out the very text of its reply, and what that says of models, rounds and steps
    is what the workers' logs have.
    """
    async with raw.connected(fleet.url) as client:
        reply, events = await told(client, "auto", asked(mode, "one", "two", "three", progress="texts"))
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert "".join(event for event in events if isinstance(event, str)) == reply.text
    how, metadata = reply.orchestration, reply.inference_metadata
    assert how is not None
    assert metadata is not None
    assert (how.mode, metadata.orchestration_mode, reply.model) == (mode, mode, "auto")
    assert not how.partial
    assert how.completed_steps == how.total_steps == len(how.steps)
    assert {step.outcome for step in how.steps} == {"answered"}
    assert metadata.models_used == how.models_used == list(dict.fromkeys(step.model for step in how.steps))
    assert reply.tokens_in == sum(step.tokens_in for step in how.steps)
    assert reply.tokens_out == sum(step.tokens_out for step in how.steps)
    [own] = await fleet.logged("router", 1)
    kept = json.loads(own["orchestration"])
    assert (kept["mode"], len(kept["steps"]), own["tokens_out"]) == (mode, len(how.steps), reply.tokens_out)
    logged = []
    for name in how.models_used:
        mine = [step for step in how.steps if step.model == name]
        await fleet.logged(name, len(mine), parent=own["job_id"])
        rows = [row for row in fleet.rows(name, parent=own["job_id"]) if not row["step"].startswith("count/")]
        logged += [(name, row["step"], row["tokens_in"], row["tokens_out"], row["worker_id"]) for row in rows]
    said = [(s.model, f"{s.name}/{s.round}", s.tokens_in, s.tokens_out, s.worker) for s in how.steps]
    assert sorted(logged) == sorted(said)
    assert [(e.name, e.model, e.number) for e in steps if e.state == "began"] == [
        (step.name, step.model, number) for number, step in enumerate(how.steps, 1)
    ]
    assert sorted(e.number for e in steps if e.state == "ended") == list(range(1, len(how.steps) + 1))


async def test_all_that_answer_at_once_have_draws_of_their_own(fleet: Fleet) -> None:
    """A model that is named twice answers twice, with other seeds; the same request with its seed has the same ones."""
    async with raw.connected(fleet.url) as client:
        for _ in range(2):
            await raw.ask(client, "inference.request.auto", asked("ensemble", "one", "one") | {"seed": 5})
    answers = [row["seed"] for row in await fleet.logged("one", 4, step="answer/1")]
    assert len(set(answers[:2])) == 2
    assert sorted(answers[:2]) == sorted(answers[2:])


async def test_a_preset_is_asked_like_a_model(fleet: Fleet) -> None:
    """A preset's models answer in its mode, unless the request names another one."""
    async with raw.connected(fleet.url) as client:
        said, _ = await raw.ask(client, "inference.request.trio", {"input": "four"})
        assert said["orchestration"]["mode"] == "ensemble"
        assert said["inference_metadata"]["config"] == "trio"
        assert sorted(said["orchestration"]["models_used"]) == ["one", "three", "two"]
        said, _ = await raw.ask(client, "inference.request.trio", {"input": "four", "orchestration_mode": "single"})
        assert (said["orchestration"]["mode"], said["text"]) == ("single", "four")


async def test_a_model_by_its_own_name_is_asked_alone(fleet: Fleet) -> None:
    """Without a mode in the request nothing is said of any; with one the model that was asked leads."""
    async with raw.connected(fleet.url) as client:
        said, _ = await raw.ask(client, "inference.request.two", {"input": "four"})
        assert "orchestration" not in said
        said, _ = await raw.ask(client, "inference.request.two", {"input": "four", "orchestration_mode": "critique"})
        assert said["orchestration"]["steps"][0]["model"] == "two"


async def test_a_preset_takes_no_part_in_others(fleet: Fleet) -> None:
    """Named by a preset, or by a request, it is refused by its name: nobody knows for which of its models it stands."""
    async with raw.connected(fleet.url) as client:
        for name, wish in (("nest", {"input": "four"}), ("auto", asked("ensemble", "one", "trio"))):
            said, _ = await raw.ask(client, f"inference.request.{name}", wish)
            assert (said["error"]["code"], said["error"]["param"]) == ("BAD_REQUEST", "orchestration.models"), said
            assert "trio is a preset" in said["error"]["message"]


async def test_auto_takes_no_part(fleet: Fleet) -> None:
    """It stands for others, perhaps for one that takes part as well: it is refused by its name."""
    async with raw.connected(fleet.url) as client:
        for name, wish in (("nested", {"input": "four"}), ("one", asked("ensemble", "one", "auto"))):
            said, _ = await raw.ask(client, f"inference.request.{name}", wish)
            assert (said["error"]["code"], said["error"]["param"]) == ("BAD_REQUEST", "orchestration.models"), said
            assert "auto stands for others" in said["error"]["message"]


async def test_who_is_missing_is_named_before_anything_runs(fleet: Fleet) -> None:
    """A preset or a request with a model that nobody knows is a 404 that names it, and no step was asked."""
    async with raw.connected(fleet.url) as client:
        for name, request in (("duo", {"input": "four"}), ("auto", asked("debate", "one", "nobody-has-it"))):
            said, _ = await raw.ask(client, f"inference.request.{name}", request)
            assert said["error"]["code"] == "MODEL_NOT_FOUND"
            assert said["error"]["details"]["missing"] == ["nobody-has-it"]
            assert "one" in said["error"]["details"]["available"]
            is_preset = name == "duo"
            assert said["error"]["details"].get("command") == ("golek presets start duo" if is_preset else None)
        said, _ = await raw.ask(client, "inference.request.auto", asked("debate", "one", "thre"))
        assert said["error"]["details"]["did_you_mean"] == "three"
        assert "did you mean three?" in said["error"]["message"]
    assert fleet.rows("one") == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"raw": True}, "raw"),
        ({"params": {"n": 2}}, "params.n"),
        ({"resume": {"text": "fo"}}, "resume"),
        ({"adapter": "mine"}, "adapter"),
        ({"orchestration": {"modles": ["one"]}}, "orchestration"),
        ({"orchestration_mode": "quarrel"}, "orchestration_mode"),
        ({"orchestration_mode": "pipeline", "orchestration": {"max_rounds": 2}}, "orchestration.max_rounds"),
        ({"orchestration_mode": "pipeline", "orchestration": {"stages": {"draft": "one"}}}, "orchestration.stages"),
        ({"orchestration": {"models": ["one"]}}, "orchestration.models"),
        ({"orchestration": {"stages": ["draft", "drift"]}, "orchestration_mode": "pipeline"}, "orchestration.stages"),
    ],
)
async def test_what_several_cannot_do_is_a_400_that_names_the_field(fleet: Fleet, more: Any, field: str) -> None:
    """Mistyped wishes, and what only one model can give, are refused, whichever name was asked."""
    async with raw.connected(fleet.url) as client:
        for name in ("auto", "one"):
            said, _ = await raw.ask(client, f"inference.request.{name}", {**asked("debate", "one", "two"), **more})
            assert said["error"]["code"] == "BAD_REQUEST", said
            assert str(said["error"]["param"]).startswith(field)


async def test_a_wish_without_a_mode_is_refused(fleet: Fleet) -> None:
    """Whoever says who answers together must say how, where the name does not."""
    async with raw.connected(fleet.url) as client:
        said, _ = await raw.ask(client, "inference.request.one", {"input": "x", "orchestration": {"models": ["two"]}})
    assert said["error"]["param"] == "orchestration_mode"


async def test_a_count_of_tokens_is_no_orchestration(fleet: Fleet) -> None:
    """With `max_tokens` 0 a prompt is counted by one model, the first, in every mode."""
    async with raw.connected(fleet.url) as client:
        request = asked("debate", "one", "two", duties={"reconciler": "two"}) | {"params": {"max_tokens": 0}}
        said, _ = await raw.ask(client, "inference.request.auto", request)
    assert (said["text"], said["tokens_in"], said["orchestration"]["models_used"]) == ("", 1, ["one"])


async def test_a_conversation_is_gone_on_with_by_several(fleet: Fleet) -> None:
    """A request with a session reads what was said before, and its answer is the next turn; no step has the session."""
    async with Golek(fleet.url, deadline=10) as golek:
        wishes: dict[str, Any] = {"orchestration_mode": "ensemble", "orchestration": {"models": ["one", "two"]}}
        for turns in (0, 1):
            reply = await golek.ask("auto", "four", session_id="s", **wishes)
            assert reply.session is not None
            assert (reply.session.turns, reply.session.stored) == (turns, True)
            assert reply.orchestration is not None
            assert reply.orchestration.models_used == ["one", "two"]


@pytest.mark.parametrize(
    ("settings", "mode", "models"),
    [
        ({"INFERENCE_CONFIG": "trio"}, "ensemble", ["one", "three", "two"]),
        ({"INFERENCE_CONFIG": "trio", "INFERENCE_PRELOAD_MODELS": "one, two"}, None, None),
        (
            {"INFERENCE_ORCHESTRATION_MODE": "debate", "INFERENCE_PRELOAD_MODELS": "two,three"},
            "debate",
            ["three", "two"],
        ),
        ({"INFERENCE_ORCHESTRATION_MODE": "ensemble"}, "ensemble", ["one", "three", "two"]),
        ({"INFERENCE_PRELOAD_MODELS": "one,two"}, None, None),
    ],
)
async def test_auto_is_what_the_settings_say(
    nats_server: str, tmp_path: Path, settings: dict[str, str], mode: str | None, models: list[str] | None
) -> None:
    """`auto` is answered as preset and mode of the settings say; models by their names, and raw prompts, by one."""
    made = Fleet(nats_server, tmp_path)
    made.router = router(nats_server, tmp_path / "router", PRESETS_FILE=tmp_path / "presets.yaml", **settings)
    with made.workers["one"], made.workers["two"], made.workers["three"], made.router:
        async with raw.connected(nats_server) as client:
            said, _ = await raw.ask(client, "inference.request.auto", {"input": "four"})
            if mode is None:
                assert "orchestration" not in said
            else:
                assert said["orchestration"]["mode"] == mode
                assert {step["model"] for step in said["orchestration"]["steps"]} == set(models or ())
            for name, request in (("auto", {"input": "four", "raw": True}), ("one", {"input": "four"})):
                said, _ = await raw.ask(client, f"inference.request.{name}", request)
                assert (said["text"], "orchestration" in said) == ("four", False)


async def test_equal_requests_share_a_run_and_a_cache_keeps_it(fleet: Fleet) -> None:
    """A whole answer of several is kept by the router, by mode and wish; a hit names who answered, and no steps."""
    request = asked("ensemble", "one", "two") | {"params": {"temperature": 0}, "cache": {"mode": "exact"}}
    async with raw.connected(fleet.url) as client:
        first, _ = await raw.ask(client, "inference.request.auto", request)
        again, _ = await raw.ask(client, "inference.request.auto", request)
        other, _ = await raw.ask(client, "inference.request.auto", request | {"orchestration_mode": "debate"})
    assert [said["cache"] for said in (first, again, other)] == ["miss", "hit", "miss"]
    assert again["orchestration"]["models_used"] == ["one", "two"]
    assert again["orchestration"]["steps"] == []
    assert again["text"] == first["text"]


async def test_agreement_is_measured_by_vectors_where_there_are_some(nats_server: str, tmp_path: Path) -> None:
    """With an embedding model in the fleet long answers are compared by it, as a step that is logged there."""
    embedder = WorkerProcess(
        nats_server, tmp_path / "vectors", "golek-tiny", MODEL_NAME="vectors", MODEL_PATH=minilm.model_file()
    )
    made = Fleet(nats_server, tmp_path)
    with made.workers["one"], made.workers["two"], embedder, made.router:
        async with raw.connected(nats_server) as client:
            text = "The harbour opens at six in the morning. Ships wait outside until then."
            said, _ = await raw.ask(client, "inference.request.auto", asked("ensemble", "one", "two") | {"input": text})
    how = said["orchestration"]
    assert (how["method"], how["agreement"], how["confidence"]) == ("embedding", 1.0, 1.0)
    assert how["models_used"] == ["one", "two"]
    assert [(step["name"], step["model"]) for step in how["steps"] if step["duty"] == "embedder"] == [
        ("embed", "vectors")
    ]
