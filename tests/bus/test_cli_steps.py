"""`golek chat` with several models that answer together: a real program, a real server, and a scripted router."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import pytest

from golek_client import terminal_chat, terminal_steps
from golek_client.terminal_steps import figures, lines_of, written
from golek_wire import codec
from golek_wire.errors import BadRequestError
from golek_wire.orchestration import Orchestration, StepEvent, StepRecord
from golek_wire.replies import InferenceReply
from tests.bus.test_cli import GOLEK, Done, launch, start
from tests.support.scripted_worker import ScriptedWorker
from tests.support.together import MODEL, council


@pytest.fixture
async def router(nats_server: str) -> AsyncIterator[ScriptedWorker]:
    async with council(nats_server) as found:
        yield found


async def chat(nats_server: str, *args: str) -> Done:
    return await (await start(GOLEK, nats_server, "chat", MODEL, *args)).end()


async def test_steps_are_shown_beside_the_answer(nats_server: str, router: ScriptedWorker) -> None:
    """On standard error, as they begin and end and with what they said; standard output has the answer alone."""
    done = await chat(nats_server, "hi", "--mode=debate", "--models=left, right", "--progress=texts")
    assert (done.status, done.out) == (0, "four\n")
    assert done.err.splitlines() == [
        "[1/3 answer: left …]",
        "[2/3 answer: right …]",
        "[1/3 answer: left, 12 ms]",
        "  four",
        "[2/3 answer: right, 14 ms]",
        "  five",
        "  or so",
        "[3/3 reconcile: left …]",
    ]


async def test_a_terminal_shows_them_unasked(nats_server: str, router: ScriptedWorker) -> None:
    """Faintly; `--progress off` shows none."""
    for options, shown in (([], "[3/3 reconcile: left …]"), (["--progress=off"], "")):
        screen, terminal = os.openpty()
        try:
            command = [*GOLEK, "chat", MODEL, "hi", *options]
            process = await launch(command, nats_server, asyncio.subprocess.DEVNULL, terminal)
            out, _ = await asyncio.wait_for(process.communicate(), 20)
            os.write(terminal, b"|")  # so that there is something to read
            seen = os.read(screen, 65536).decode()
        finally:
            os.close(screen)
            os.close(terminal)
        assert out == b"four\n"
        assert (shown in seen, seen.count("\x1b[2m")) == (True, 5 if shown else 0)


async def test_the_options_are_the_requests(nats_server: str, mute: ScriptedWorker) -> None:
    """`--mode`, `--models`, `--rounds`, `--progress`; without a terminal nothing is asked for that is not said."""
    worker = await mute.listen()
    for options, mode, wish in (
        (["--mode=debate", "--models=a,b", "--rounds=2"], "debate", {"models": ["a", "b"], "max_rounds": 2}),
        (["--mode=critique", "--progress=steps"], "critique", {"progress": "steps"}),
        (["--mode=ensemble"], "ensemble", None),
        ([], None, None),
    ):
        running = await start(GOLEK, nats_server, "chat", "tiny", "hi", *options)
        job = await worker.next(patience=10)
        sent = codec.decode(job.payload, dict)
        assert (sent.get("orchestration_mode"), sent.get("orchestration")) == (mode, wish)
        await job.final("ok")
        assert (await running.end()).out == "ok\n"
    for wrong in (["--mode=quarrel"], ["--models= ,"], ["--progress=loud"], ["--rounds=99"]):
        done = await (await start(GOLEK, nats_server, "chat", "tiny", "hi", *wrong)).end()
        assert done.status != 0
        assert "Traceback" not in done.err


async def test_stats_say_how_it_came_about(nats_server: str, router: ScriptedWorker) -> None:
    """Rounds, steps, agreement and by what, confidence; and of each step who, what and how much. No rate."""
    done = await chat(nats_server, "hi", "--stats")
    sums, about, *rest = done.err.splitlines()
    assert "tokens/s" not in sums  # those of all steps were not written one after the other
    assert about == "debate of left, right, 2 rounds, 3 of 3 steps, agreement 0.85 (embedding), confidence 0.85"
    assert [line.split() for line in rest] == [
        ["answer", "left", "participant", "5", "in", "1", "out", "12", "ms"],
        ["answer", "right", "participant", "5", "in", "3", "out", "14", "ms"],
        ["reconcile", "left", "reconciler", "9", "in", "1", "out", "8", "ms"],
        ["agreed:", "an", "even", "number"],
        ["conflict:", "four", "or", "five"],
    ]


async def test_a_partial_answer_is_marked(nats_server: str, router: ScriptedWorker) -> None:
    """It is an answer, so the status is 0; on standard error stands that it is a partial one, and why."""
    done = await chat(nats_server, "partial")
    assert (done.status, done.out) == (0, "four\n")
    assert done.err == "[partial: the last usable text, after 2 of 3 steps; ENGINE_FAILED: the engine is gone]\n"


async def test_the_whole_reply_is_json(nats_server: str, router: ScriptedWorker) -> None:
    """`--json` writes it on one line, as on the bus."""
    done = await chat(nats_server, "hi", "--json")
    assert done.err == ""
    assert codec.decode(done.out.encode(), InferenceReply).orchestration is not None
    assert json.loads(done.out)["inference_metadata"]["config"] == "D3"


def test_a_step_that_fails_says_so() -> None:
    """With its round, where there are several, and the code."""
    step = StepEvent("r", "rebut", "a", "participant", 2, 5, 4, "ended", "NO_WORKERS", 3.0)
    assert list(lines_of(step)) == ["[5/5 rebut, round 2: a, NO_WORKERS after 3 ms]"]


def _step(name: str, duty: str, tokens: int) -> StepRecord:
    return StepRecord(name, "a", duty, tokens_out=tokens)


@pytest.mark.parametrize(
    ("steps", "tokens"),
    [
        (
            [_step("answer", "participant", 9), _step("compare", "reconciler", 8), _step("reconcile", "reconciler", 7)],
            7,
        ),
        ([_step("generate", "generator", 9), _step("critique", "critic", 8)], 9),
        ([_step("draft", "draft", 9), _step("compress", "compressor", 8), _step("refine", "refine", 7)], 7),
        ([_step("answer", "participant", 9), _step("answer", "participant", 8)], None),
        ([], None),
    ],
)
def test_where_an_answer_was_cut_is_of_the_step_that_wrote_it(steps: list[StepRecord], tokens: int | None) -> None:
    """Not of all steps; and no number where it may be one of several."""
    assert written(Orchestration("debate", ["a"], 1, None, 2, 2, steps=steps)) == tokens
    reply = InferenceReply("r", "x", 1, 99, "length", 1, 1, orchestration=Orchestration(
        "debate", ["a"], 1, None, 2, 2, steps=steps))  # fmt: skip
    said = terminal_chat.cut(reply)
    assert said == (f"cut at {tokens} tokens" if tokens else "cut at its limit of tokens")


def test_nothing_stands_within_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Once it has begun steps are told no more."""
    steps = terminal_steps.Steps()
    step = StepEvent("r", "answer", "a", "participant", 1, 1, 1, "began")
    steps.told(step)
    steps.end()
    steps.told(step)
    assert capsys.readouterr().err == "[1/1 answer: a …]\n"


def test_what_was_out_of_the_ordinary_stands_in_the_figures() -> None:
    """Tries, money, compression, and who gave no answer."""
    step = StepRecord("compare", "gpt", "reconciler", cost_usd=0.0012, tries=2, compressed=True, outcome="answered")
    bad = StepRecord("answer", "b", "participant", outcome="ENGINE_FAILED")
    how = Orchestration(
        "debate", ["gpt"], 1, None, 1, 2, steps=[step, bad], failed={"b": "ENGINE_FAILED"}, flagged=["one\nline"]
    )
    first, second, third, *rest = figures(how)
    assert first == "debate of gpt, 1 round, 1 of 2 steps"
    assert second.endswith("0.0012, 2 tries, compressed")
    assert third.endswith("ENGINE_FAILED")
    assert rest == ["  flagged: one line", "  failed: b: ENGINE_FAILED"]


async def test_steps_are_shown_to_who_asks(nats_server: str, router: ScriptedWorker) -> None:
    """Two programs side by side: nobody is told of the other's."""
    quiet, told = await asyncio.gather(chat(nats_server, "hi"), chat(nats_server, "hi", "--progress=steps"))
    assert quiet.err == ""
    assert len(told.err.splitlines()) == 5


async def test_models_without_a_mode_are_told_the_option(nats_server: str) -> None:
    """The error names a request's field; the hint says what to type."""
    worker = await (await ScriptedWorker.start(nats_server, "plain")).listen()
    try:
        running = await start(GOLEK, nats_server, "chat", "plain", "hi", "--models=a,b")
        error = BadRequestError("orchestration: says how several models answer", param="orchestration_mode")
        await (await worker.next(patience=10)).fail(error)
        assert (await running.end()).err.splitlines()[-1] == (
            "hint: --mode says how they answer, such as --mode debate; or ask a preset by its name"
        )
    finally:
        await worker.close()
