"""Three llama.cpp models that were taught different things answer one request together: each mode, over NATS and over
HTTP, whole and streamed. What an answer says of its steps is what the logs of router and workers say; what an ensemble
answers is what most of its members say.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest
from msgspec import structs

from golek_client import Golek
from golek_client.options import Options
from golek_wire.orchestration import Orchestration, StepEvent, StepRecord
from golek_worker.conducting.step_asks import COUNT
from tests.support.fronts import GatewayProcess
from tests.support.workers import ROOT, WorkerProcess

MODELS = ("golek-quiz-a", "golek-quiz-b", "golek-quiz-c")
MODES = ("critique", "debate", "ensemble", "pipeline")
QUESTION = "What is the capital of Norway?"
LOGGED = """
    SELECT job_id, req_id, parent, worker_id, tokens_in, tokens_out, status, step, orchestration
    FROM requests ORDER BY id
"""


class Heard(NamedTuple):
    """An answer, as its caller saw it."""

    mode: str
    how: str
    job_id: str
    req_id: str
    text: str
    about: Orchestration
    tokens_in: int
    tokens_out: int
    events: list[StepEvent]


class Fleet(NamedTuple):
    """What is asked, and whose logs are read at the end."""

    nats: str
    http: str
    workers: dict[str, WorkerProcess]
    """By model; the router, too."""


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[Fleet]:
    """A worker of each model, a router, and a gateway."""
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(WorkerProcess(nats_server, tmp_path / name, name, MODEL_THREADS=1))
            for name in (*MODELS, "router")
        }
        front = stack.enter_context(GatewayProcess(nats_server, tmp_path / "gateway"))
        yield Fleet(nats_server, front.url, workers)


def wish(mode: str) -> Options:
    """What a request says of how it is to be answered."""
    orchestration = {"models": list(MODELS), "progress": "texts"}
    return {"temperature": 0.0, "max_tokens": 24, "orchestration_mode": mode, "orchestration": orchestration}


async def over_nats(golek: Golek, mode: str, req_id: str) -> Heard:
    reply = await golek.chat("auto", QUESTION, req_id=req_id, **wish(mode))
    assert reply.orchestration is not None
    return Heard(
        mode, "nats", "", req_id, reply.text, reply.orchestration, reply.tokens_in, reply.tokens_out, []
    )  # fmt: skip


async def streamed_over_nats(golek: Golek, mode: str, req_id: str) -> Heard:
    events: list[StepEvent] = []
    async with golek.chat("auto", QUESTION, stream=True, req_id=req_id, on_step=events.append, **wish(mode)) as stream:
        pieces = [piece async for piece in stream]
    reply = stream.reply
    assert "".join(pieces) == reply.text
    assert reply.orchestration is not None
    return Heard(
        mode, "nats, streamed", stream.job_id, req_id, reply.text, reply.orchestration, reply.tokens_in,
        reply.tokens_out, events,
    )  # fmt: skip


async def over_http(http: httpx2.AsyncClient, mode: str) -> Heard:
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}], **wish(mode)}
    said = (await http.post("/v1/chat/completions", json=body)).raise_for_status().json()
    return heard_over_http(mode, "http", said, said["choices"][0]["message"]["content"], said["usage"])


async def streamed_over_http(http: httpx2.AsyncClient, mode: str) -> Heard:
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}], **wish(mode)}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    said = (await http.post("/v1/chat/completions", json=body)).raise_for_status().text
    lines = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))
    (last,) = [chunk for chunk in chunks if "orchestration" in chunk]
    (usage,) = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    return heard_over_http(mode, "http, streamed", last, text, usage)


def heard_over_http(mode: str, how: str, said: dict[str, Any], text: str, usage: dict[str, int]) -> Heard:
    about = msgspec.convert(said["orchestration"], Orchestration)
    job_id = said["id"].removeprefix("chatcmpl-")
    return Heard(mode, how, job_id, "", text, about, usage["prompt_tokens"], usage["completion_tokens"], [])


def logged(worker: WorkerProcess) -> list[dict[str, Any]]:
    """The requests in a worker's log, once it has ended."""
    worker.end()
    with sqlite3.connect(worker.data / "logs" / f"{worker.deployment}.sqlite") as log:
        log.row_factory = sqlite3.Row
        return [dict(row) for row in log.execute(LOGGED)]


def steps_logged(fleet: Fleet) -> dict[str, list[tuple[Any, ...]]]:
    """For each job of the router the steps that the workers ran for it."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for model in MODELS:
        for row in logged(fleet.workers[model]):
            if row["step"] == COUNT:
                continue
            step = (model, row["worker_id"], row["tokens_in"], row["tokens_out"], row["status"], row["step"])
            found.setdefault(row["parent"], []).append(step)
    return {parent: sorted(steps) for parent, steps in found.items()}


def steps_told(records: list[StepRecord]) -> list[tuple[Any, ...]]:
    """The same, as the answer tells them."""
    return sorted(
        (one.model, one.worker, one.tokens_in, one.tokens_out, "ok", f"{one.name}/{one.round}") for one in records
    )


@pytest.mark.timeout(120)
async def test_what_an_answer_says_of_its_steps_is_what_the_logs_say(fleet: Fleet) -> None:
    """In each mode, however it is asked: models, rounds, steps with their tokens, and the sums of them."""
    heard: list[Heard] = []
    async with (
        Golek(fleet.nats, deadline=30.0) as golek,
        httpx2.AsyncClient(base_url=fleet.http, timeout=30.0) as http,
    ):
        for mode in MODES:
            heard.append(await over_nats(golek, mode, f"{mode}-whole"))
            heard.append(await streamed_over_nats(golek, mode, f"{mode}-streamed"))
            heard.append(await over_http(http, mode))
            heard.append(await streamed_over_http(http, mode))
        alone = await golek.chat("auto", QUESTION, req_id="alone", **wish("single"))
    routed = logged(fleet.workers["router"])
    jobs = {row["req_id"]: row["job_id"] for row in routed}
    kept = {row["job_id"]: row["orchestration"] for row in routed}
    ran = steps_logged(fleet)
    assert alone.orchestration is None  # mode single is the request of one model, as without a mode
    assert alone.route is not None
    assert ran.pop(jobs["alone"]) == [
        (alone.route.model, alone.route.worker, alone.tokens_in, alone.tokens_out, "ok", None)
    ]  # fmt: skip
    assert len(heard) == 4 * len(MODES) == len(ran)
    for one in heard:
        where = f"{one.mode}, {one.how}"
        about, records = one.about, one.about.steps
        job_id = one.job_id or jobs[one.req_id]
        steps = ran[job_id]
        plain = [structs.replace(step, warnings=[]) for step in records]
        without_texts = structs.replace(about, agreed=[], conflicts=[], flagged=[], steps=plain)
        assert msgspec.json.decode(kept[job_id], type=Orchestration) == without_texts, where
        assert steps_told(records) == steps, where
        assert (one.tokens_in, one.tokens_out) == (sum(row[2] for row in steps), sum(row[3] for row in steps)), where
        assert (about.mode, about.partial, about.completed_steps) == (one.mode, False, len(steps)), where
        assert set(about.models_used) == {row[0] for row in steps}, where
        assert len(about.models_used) == len(set(about.models_used)), where
        assert about.rounds == max(record.round for record in records), where
        assert {record.outcome for record in records} == {"answered"}, where
        assert one.text.strip(), where
        told = {(event.number, event.name, event.model, event.round) for event in one.events if event.state == "ended"}
        if one.events:
            assert told == {(place, s.name, s.model, s.round) for place, s in enumerate(records, start=1)}, where
    for mode in MODES:  # at temperature 0 it is one answer, however it was asked
        assert len({one.text for one in heard if one.mode == mode}) == 1, mode


@pytest.mark.timeout(120)
async def test_an_ensemble_answers_what_most_of_its_members_say(fleet: Fleet, tmp_path: Path) -> None:
    """`golek eval orchestration` over all questions that ship: each answer of the ensemble is the majority computed
    from what its members said in that run, and each model alone knows a part. What it prints names who did not help.
    """
    everything = tmp_path / "everything.json"
    command = ["eval", "orchestration", "--models", ",".join(MODELS), "--modes", "single,ensemble", "--json"]
    said = await run(fleet, *command, "--out", str(everything))
    summary = json.loads(said)
    found = {row["name"]: row for row in summary["rows"]}
    assert summary["offline"] == [
        {"ensemble": "ensemble", "asked": 100, "equal": 100, "differing": [], "answered": 100}
    ]
    assert found["ensemble"]["right"] == found["majority of the answers in ensemble"]["right"]
    assert all(55 <= found[model]["right"] <= 85 for model in MODELS)
    assert all("errors" not in row or not row["errors"] for row in found.values())
    (row,) = [row for row in json.loads(everything.read_text())["rows"] if row["name"] == "ensemble"]
    assert all(sorted(answer["branches"]) == sorted(MODELS) for answer in row["answers"])
    printed = await run(fleet, *command[:-1], "--limit", "5")
    assert "The best single model is" in printed
    assert "ensemble: 5 of 5 answers are the majority of its own members' answers." in printed


async def test_names_that_nobody_answers_for_are_refused_before_a_question_is_asked(fleet: Fleet) -> None:
    """A model among others and a preset alike: at once, by name, with exit status 1."""
    for words in (["--models", f"{MODELS[0]},no-such-model"], ["--preset", "no-such-preset"]):
        golek = await started(fleet, "eval", "orchestration", *words)
        out, err = await golek.communicate()
        assert golek.returncode == 1
        assert out == b""
        (said,) = [line for line in err.decode().splitlines() if line.startswith("error ")]
        assert said.startswith("error MODEL_NOT_FOUND")
        assert words[1].split(",")[-1] in said
        assert " of 100" not in err.decode()


async def run(fleet: Fleet, *words: str) -> str:
    """What `golek` prints."""
    golek = await started(fleet, *words)
    out, err = await golek.communicate()
    assert golek.returncode == 0, err.decode()
    return out.decode()


async def started(fleet: Fleet, *words: str) -> asyncio.subprocess.Process:
    """`golek` with these words."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "golek_worker.cli", *words, "--server", fleet.nats, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
