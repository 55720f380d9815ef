"""What goes wrong with a step of several models that answer together, over a real bus: each step of each mode.

The table of docs/orchestration.md, "When a step fails". Whatever happens, a caller hears one end before its deadline,
and nothing of its request runs or waits anywhere two seconds later.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golek_client import Golek
from tests.support.broker import NatsServer
from tests.support.played_worker import HANGS, LONG
from tests.support.players import MODELS, Players
from tests.support.step_ends import BOTH, all_at_once, check, check_nothing_is_left
from tests.support.step_faults import FIRST, ROWS, VICTIM, Row, says

FINAL = [
    row
    for row in ROWS
    if row.step == ("revise/2" if row.rounds == 2 else "revise/1")
    or row.step.startswith(("reconcile", "synthesize", "validate"))
    or row.mode == "single"
]
"""Those whose step is the last one of its flow."""
MARKS = "I apologize. I made an error. That's incorrect. It is a hallucination. I don't have information about leases."
PAUSE = {"code": "RATE_LIMITED", "details": {"retry_after_ms": 60}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """Three workers whose models are played, and a router."""
    folder: Path = tmp_path_factory.mktemp("faults")
    (folder / "broker").mkdir()
    server = NatsServer(folder / "broker").start()
    with Players(server.url, folder / "fleet") as made:
        yield made
    server.kill()


async def test_where_nothing_fails_the_last_step_answers(fleet: Players) -> None:
    """The scripts of all rows come to the end that they are to be kept from."""
    async with Golek(fleet.url) as golek:
        tolds = await all_at_once(fleet, golek, "well", ROWS, None)
        for told in tolds:
            check(told, ends="well")
        await check_nothing_is_left(fleet, golek, tolds)


async def test_a_step_that_is_slower_than_its_share_of_the_deadline(fleet: Players) -> None:
    """It is cancelled, in time for the steps behind it."""
    async with Golek(fleet.url) as golek:
        tolds = await all_at_once(fleet, golek, "slow", ROWS, HANGS)
        for told in tolds:
            check(told, "DEADLINE_EXCEEDED")
        await check_nothing_is_left(fleet, golek, tolds)


async def test_a_step_without_any_text(fleet: Players) -> None:
    """It has failed, except where one model answers: there an empty answer is an answer."""
    async with Golek(fleet.url) as golek:
        tolds = await all_at_once(fleet, golek, "empty", ROWS, "")
        for told in tolds:
            if told.row.mode == "single":
                assert told.reply is not None
                assert (told.reply.text, told.reply.finish_reason) == ("", "stop")
            elif told.row.ends == "error":
                assert told.error is not None
                assert told.error.details["cause"]["code"] == "ORCHESTRATION_FAILED"
            else:
                assert told.reply is not None
                assert told.reply.text == told.row.text
                assert told.how is not None
                assert told.how.partial == (told.row.ends == "partial")
        await check_nothing_is_left(fleet, golek, tolds)


async def test_a_judgement_that_cannot_be_read(fleet: Players) -> None:
    """Is no number: how far answers agree is not known; free words of a critic are revised by, and JSON that breaks off
    or says nothing leaves the answer as it is.
    """
    rows = [row for row in ROWS if row.step.startswith(("critique", "compare"))]
    async with Golek(fleet.url) as golek:
        for number, act in enumerate(('{"score": 0.9', "%%% [[", '{"score": "high", "agreed": 7}')):
            tolds = await all_at_once(fleet, golek, f"unreadable {number}", rows, act)
            for told in tolds:
                assert told.how is not None
                if told.row.mode == "critique" and act.startswith("{"):
                    assert told.reply is not None
                    assert (told.reply.text, told.reply.finish_reason) == (told.row.text, "stop"), str(told)
                    assert "What the critic said could not be read" in told.how.flagged
                else:
                    check(told, ends="well")
                assert (told.how.confidence, told.how.agreement) == (None, None)
            await check_nothing_is_left(fleet, golek, tolds)


async def test_a_step_that_is_rate_limited(fleet: Players) -> None:
    """A pause is waited out, once; who asks for one each time has failed."""
    async with Golek(fleet.url) as golek:
        tolds = []
        for number, row in enumerate(ROWS):
            for fault, act in (("limited once", [PAUSE, row.victims_own]), ("limited", PAUSE)):
                streamed = BOTH[number % 2]
                name = row.req_id(fault, streamed=streamed)
                told = await fleet.ask(golek, row, name, row.prompt(act), streamed=streamed, deadline_s=20)
                if act == PAUSE:
                    check(told, "RATE_LIMITED")
                else:
                    check(told, ends="well")
                tolds.append(told)
        await check_nothing_is_left(fleet, golek, tolds)


async def test_a_final_step_that_breaks_off_behind_a_text(fleet: Players) -> None:
    """What was streamed is the answer, `partial`; who reads no pieces has what the table says."""
    half = "A lease that is not renewed"
    async with Golek(fleet.url) as golek:
        tolds = await all_at_once(fleet, golek, "half", FINAL, half + HANGS)
        for told in tolds:
            if told.pieces is not None:
                told.row = msgspec.structs.replace(told.row, ends="partial", text=half)
            check(told, "DEADLINE_EXCEEDED")
        await check_nothing_is_left(fleet, golek, tolds)


async def test_errors_that_add_up_are_left_behind(fleet: Players) -> None:
    """Texts with many marks of errors: the step that reads them is asked once more, without them."""
    rows = [row for row in ROWS if row.mode != "single"]
    marked = {f"{model} {name}": f"{MARKS} {says(model, name)}" for model in MODELS for name in FIRST}
    async with Golek(fleet.url) as golek:
        tolds = await all_at_once(fleet, golek, "marks", rows, None, others=marked)
        for told in tolds:
            check(told, ends="well")
            assert told.how is not None
            outcomes = [step.outcome for step in told.how.steps]
            assert "quarantined" in outcomes, str(told)
            assert set(outcomes) == {"answered", "quarantined"}
        await check_nothing_is_left(fleet, golek, tolds)


async def test_a_stage_that_contradicts_what_was_decided(fleet: Players) -> None:
    """Its text is put aside. It is asked once more; who says it again has failed. What was streamed is only marked."""
    rows = [row for row in ROWS if row.mode == "pipeline" and row.ends == "partial"]
    decided = {
        f"a {name}": f"{says('a', name)}\nDecision: The queue holds 10 jobs." for name in ("draft/1", "refine/1")
    }
    contrary = "The queue holds 12 jobs. So whoever comes later has to wait until one of these was answered."
    async with Golek(fleet.url) as golek:
        for fault in ("contrary once", "contrary"):
            for row in rows:
                act = [contrary, row.victims_own] if fault == "contrary once" else contrary
                tolds = await all_at_once(fleet, golek, fault, [row], act, others=decided)
                for told in tolds:
                    assert told.reply is not None
                    assert told.how is not None
                    steps = [step for step in told.how.steps if step.model == VICTIM]
                    assert "contradicts what was decided: The queue holds 10 jobs." in steps[0].warnings
                    outcomes = [step.outcome for step in steps]
                    if row.step == "validate/1" and told.pieces is not None:
                        assert (told.reply.text, told.pieces, outcomes) == (contrary, contrary, ["answered"])
                    elif fault == "contrary once":
                        assert (told.reply.text, outcomes) == (row.well, ["quarantined", "answered"]), str(told)
                    else:
                        assert (told.end, outcomes) == ("partial ORCHESTRATION_FAILED", ["quarantined"] * 2)
                        assert told.reply.text.startswith(row.text)
                await check_nothing_is_left(fleet, golek, tolds)


async def test_a_step_whose_texts_do_not_fit_its_model(fleet: Players) -> None:
    """Not even when they were made shorter, as none of these models can: nothing is cut off, the step has failed."""
    async with Golek(fleet.url) as golek:
        tolds = await asyncio.gather(
            *(
                fleet.ask(
                    golek, row, row.req_id("long", streamed=streamed),
                    row.prompt(others=long_before(row)) + long_words(row), streamed=streamed, deadline_s=20,
                )
                for row in ROWS
                for streamed in BOTH
            )
        )  # fmt: skip
        for told in tolds:
            told.row = told.row.when_gone  # what is too long for a step is so for the next one
            if told.reply is not None:
                assert told.reply.text.startswith(told.row.text), str(told)
                told.row = msgspec.structs.replace(told.row, text=told.reply.text)
            check(told, "COMPRESSION_FAILED", "CONTEXT_BUDGET_EXCEEDED")
        await check_nothing_is_left(fleet, golek, tolds)


def long_words(row: Row) -> str:
    """Of the caller, where the first step is the one that fails."""
    return " word" * 6000 if row.step in FIRST else ""


def long_before(row: Row) -> dict[str, Any]:
    """What the steps before the one that fails say."""
    match row.step:
        case "answer/1" | "generate/1" | "draft/1":
            return {}
        case "critique/1":
            return {"a generate/1": says("a", "generate/1") + LONG}
        case "critique/2":
            return {"a revise/1": says("a", "revise/1") + LONG}
        case "revise/1" | "revise/2":
            return {
                f"a critique/{row.step[-1]}": json.dumps({"issues": [f"{n} x" * 100 for n in range(16)], "score": 0})
            }
        case "validate/1":
            return {"a refine/1": says("a", "refine/1") + LONG}
        case "refine/1":
            return {"a draft/1": says("a", "draft/1") + LONG}
        case _:
            long = "v" if row.models == ("v", "v") else "ab"
            return {f"{model} answer/1": says(model, "answer/1") + LONG for model in long}
