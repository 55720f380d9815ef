"""The client, the example and `golek chat` with a real router and two echo workers that answer together."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import Golek, StepEvent
from tests.bus.test_cli import GOLEK, start
from tests.bus.test_router import router
from tests.support.workers import ROOT, WorkerProcess

MODELS = ["left", "right"]


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[str]:
    with (
        WorkerProcess(nats_server, tmp_path / "left", "left", ENGINE="echo", MODEL_NAME="left"),
        WorkerProcess(nats_server, tmp_path / "right", "right", ENGINE="echo", MODEL_NAME="right"),
        router(nats_server, tmp_path / "router"),
    ):
        yield nats_server


async def test_a_program_sees_what_happens(fleet: str) -> None:
    """Steps as they come, then the text, then how it came about: the same steps, once each."""
    told: list[StepEvent] = []
    async with Golek(fleet) as golek:
        stream = golek.stream(
            "auto", "Say blue.", orchestration_mode="ensemble", orchestration={"models": MODELS}, on_step=told.append
        )
        async with stream:
            text = await stream.text()
        how = stream.reply.orchestration
        assert how is not None
        assert text == stream.reply.text
        for state in ("began", "ended"):
            found = sorted((one for one in told if one.state == state), key=lambda one: one.number)
            assert [(one.name, one.model) for one in found] == [(one.name, one.model) for one in how.steps]
        assert {one.text for one in told} == {""}
        assert (await golek.ask("auto", "Say blue.")).orchestration is None


async def test_the_example_runs(fleet: str) -> None:
    """As it is printed: steps, the answer, and how it came about; nothing on standard error."""
    command = [sys.executable, "examples/debate.py", *MODELS, "Say blue."]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env={**os.environ, "NATS_URL": fleet}, capture_output=True, text=True,
        timeout=40, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"  answer 1, (left|right) as participant …", first)
    assert re.match(r"debate of left, right: \d rounds, agreement ", last)


async def test_a_person_sees_it_at_the_command_line(fleet: str) -> None:
    """`golek chat --mode --models --progress --stats`: steps and figures beside the answer."""
    running = await start(
        GOLEK, fleet, "chat", "auto", "Say blue.", "--mode=pipeline", "--models=left,right", "--progress=steps",
        "--stats",
    )  # fmt: skip
    done = await running.end()
    assert done.status == 0, done.err
    lines = done.err.splitlines()
    assert re.fullmatch(r"\[1/\d draft: left …\]", lines[0])
    assert re.fullmatch(r"\[1/\d draft: left, \d+ ms\]", lines[1])
    (about,) = [line for line in lines if line.startswith("pipeline of left, right, 1 round, ")]
    assert re.search(r"(\d) of \1 steps", about)
