"""What clients of the Responses API and of Anthropic's see of an answer that breaks off, or that they leave."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import OpenAI

from golek_client import Golek
from tests.support.fronts import Fleet
from tests.support.workers import WorkerProcess

MODEL = "slow-echo"
LONG = " ".join(["word"] * 2000)
SOON: dict[str, Any] = {"extra_body": {"deadline_ms": 700}}


@pytest.fixture(scope="module")
def slow(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a model that writes a word each 20 ms."""
    given = {"MODEL_NAME": MODEL, "ENGINE_STEP_MIN_MS": 20, "HTTP_ADDR": "", "WORKER_CONCURRENCY": 1}
    with WorkerProcess(fleet.nats, fleet.data / "slow", "echo", **given):
        yield fleet


def test_a_response_that_breaks_off_has_failed(slow: Fleet) -> None:
    """The last event tells what was written and why no more came; the items are closed as incomplete."""
    with OpenAI(base_url=f"{slow.gateway}/v1", api_key="none", _strict_response_validation=True) as client:
        events = list(client.responses.create(model=MODEL, input=LONG, stream=True, **SOON))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message.startswith("DEADLINE_EXCEEDED")
    (item,) = last.response.output
    assert item.type == "message"
    assert item.status == "incomplete"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert last.response.output_text == text != ""


def test_a_message_that_breaks_off_raises(slow: Fleet) -> None:
    """With the event `error`, which Anthropic's client raises after what was written."""
    with Anthropic(base_url=slow.gateway, api_key="none", max_retries=0) as client:
        stream = client.messages.create(
            model=MODEL, max_tokens=5000, messages=[{"role": "user", "content": LONG}], stream=True, **SOON
        )
        kinds = [next(stream).type, next(stream).type]
        with pytest.raises(anthropic.APIStatusError) as raised:
            list(stream)
    assert kinds == ["message_start", "content_block_start"]
    told: Any = raised.value.body
    assert (told["error"]["type"], told["error"]["code"]) == ("timeout_error", "DEADLINE_EXCEEDED")


async def test_who_leaves_frees_the_slot(slow: Fleet) -> None:
    """The one slot of the model is free for the next caller at once, though the text would have taken 40 s."""
    turns: Any = [{"role": "user", "content": LONG}]
    async with (
        AsyncAnthropic(base_url=slow.gateway, api_key="none", max_retries=0) as client,
        Golek(slow.nats) as golek,
    ):
        stream = await client.messages.create(model=MODEL, max_tokens=5000, messages=turns, stream=True)
        async for event in stream:
            if event.type == "content_block_delta":
                break
        await stream.close()
        assert (await golek.ask(MODEL, "next", deadline=5)).text == "next"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.messages.create(model=MODEL, max_tokens=5000, messages=turns)
        assert (await golek.ask(MODEL, "next", deadline=5)).text == "next"


def test_a_stream_that_nobody_could_read_again_is_refused(fleet: Fleet) -> None:
    """`resumable` is for chat completions; it is not forgotten in silence."""
    wish: dict[str, Any] = {"extra_body": {"resumable": True}}
    with (
        Anthropic(base_url=fleet.gateway, api_key="none") as client,
        pytest.raises(anthropic.BadRequestError) as raised,
    ):
        client.messages.create(
            model="golek-tiny", max_tokens=5, messages=[{"role": "user", "content": "hello"}], stream=True, **wish
        )
    told: Any = raised.value.body
    assert told["error"]["param"] == "resumable"
