"""What a client hears of several models that answer together."""

import asyncio
from typing import Any

import pytest

from golek_client import BadRequestError, Golek, OrchestrationWish, StepEvent
from golek_client.options import with_progress
from golek_wire import codec, headers
from tests.support.scripted_worker import ScriptedWorker
from tests.support.together import METADATA, PARTIAL, STEPS, WHOLE


async def test_steps_are_called_with_as_they_come(golek: Golek, worker: ScriptedWorker) -> None:
    """Before the text, each once; they are asked for by listening alone, and the pieces are as ever."""
    told: list[StepEvent] = []
    came = asyncio.Event()

    def hear(step: StepEvent) -> None:
        told.append(step)
        came.set()

    async with golek.stream("tiny", "hi", orchestration_mode="debate", on_step=hear) as stream:
        job = await worker.next()
        assert job.request.orchestration == OrchestrationWish(progress="steps")
        await job.accept()
        first = asyncio.ensure_future(anext(stream))
        await job.step(STEPS[0])
        async with asyncio.timeout(5):
            await came.wait()
        assert not first.done()
        for step in STEPS[1:]:
            await job.step(step)
        await job.chunk(1, 0, "fo")
        await job.final("four", orchestration=WHOLE, inference_metadata=METADATA)
        assert await first + await stream.text() == "four"
    assert told == list(STEPS)
    assert (stream.reply.orchestration, stream.reply.inference_metadata) == (WHOLE, METADATA)


async def test_what_is_not_known_breaks_nothing(golek: Golek, worker: ScriptedWorker) -> None:
    """A status of a later version, a step in words of its own, and one with a field more: the text goes on."""
    told: list[StepEvent] = []
    async with golek.chat("tiny", "hi", stream=True, on_step=told.append) as stream:
        job = await worker.next()
        await job.say(b'{"req_id": "r", "status": "pondering"}', {headers.STATUS: "pondering"})
        await job.say(b'{"status": "step", "state": "paused"}', {headers.STATUS: "step"})
        await job.say(codec.encode(STEPS[0])[:-1] + b',"mood":"calm"}', {headers.STATUS: "step"})
        await job.chunk(1, 0, "four")
        await job.final("four")
        assert await stream.text() == "four"
    assert told == [STEPS[0]]


async def test_who_does_not_listen_is_not_bothered(golek: Golek, worker: ScriptedWorker) -> None:
    """Steps that come all the same, as for a stream that others began, are passed over; `ask` passes them over too."""
    asked = asyncio.ensure_future(golek.ask("tiny", "hi"))
    job = await worker.next()
    assert job.request.orchestration is None
    await job.step(STEPS[0])
    await job.final("four", reason="partial", orchestration=PARTIAL)
    reply = await asked
    assert (reply.finish_reason, reply.orchestration) == ("partial", PARTIAL)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({}, {"progress": "steps"}),
        ({"models": ["a", "b"]}, {"models": ["a", "b"], "progress": "steps"}),
        (OrchestrationWish(max_rounds=1), {"max_rounds": 1, "progress": "steps"}),
        ({"progress": "texts"}, {"progress": "texts"}),
        (OrchestrationWish(progress="texts"), OrchestrationWish(progress="texts")),
    ],
)
def test_listening_asks_for_steps_unless_texts_are_wanted(said: Any, sent: Any) -> None:
    """What else was said of the models stays."""
    assert with_progress({"orchestration": said})["orchestration"] == sent


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"orchestration_mode": "quarrel"}, "orchestration_mode"),
        ({"orchestration": {"modles": ["a"]}}, "orchestration"),
        ({"orchestration": {"max_rounds": 99}}, "orchestration.max_rounds"),
        ({"orchestration": ["a", "b"]}, "orchestration"),
    ],
)
async def test_a_wrong_wish_is_refused_before_sending(golek: Golek, wrong: Any, param: str) -> None:
    """By name, with and without somebody who listens."""
    for hears in (None, lambda _: None):
        with pytest.raises(BadRequestError) as raised:
            golek.stream("tiny", "hi", on_step=hears, **wrong)
        assert str(raised.value.details["param"]).startswith(param)
