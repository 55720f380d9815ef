"""Streams of real workers that go on behind what was handed out, after the engine or the worker was killed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golek_client import BadRequestError, Golek, Resume, Stream
from golek_wire import subjects
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.grammars import PERSON, is_person
from tests.support.workers import WorkerProcess

PACED = {"ENGINE_STEP_MIN_MS": 3, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 4}
NUMBERED = "a" + "".join(f" #{n}" for n in range(1, 100))
COUNT = {"max_tokens": 100, "ignore_eos": True}


async def read(stream: Stream, at: int, act: Callable[[], object]) -> str:
    """The text of `stream`; `act` is called with its piece number `at`."""
    pieces = []
    async for piece in stream:
        pieces.append(piece)
        if len(pieces) == at:
            act()
    return "".join(pieces)


@pytest.mark.parametrize("replay", [True, False], ids=["replay", "resume"])
async def test_a_constrained_stream_outlives_its_engine(nats_server: str, tmp_path: Path, replay: bool) -> None:
    """Killed at several tokens: the pieces joined are the final text, and that follows the grammar."""
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", **PACED) as worker:
        async with Golek(nats_server, replay=replay, deadline=30) as golek:
            undisturbed = (await golek.ask("golek-tiny", "Who are you?", grammar=PERSON, seed=7)).text
            for at in (1, 120):
                stream = golek.stream("golek-tiny", "Who are you?", grammar=PERSON, seed=7)
                first = (await stream.__aenter__()).job_id
                text = await read(stream, at, worker.child.kill)
                assert text == stream.reply.text
                assert is_person(text), text
                assert (stream.job_id == first) is replay
                if replay:
                    assert text == undisturbed
        assert len(worker.log_lines("engine.died")) == 2


async def test_no_number_is_lost_or_repeated_when_a_text_is_gone_on_with(nats_server: str, tmp_path: Path) -> None:
    """Echo numbers its tokens; without replay a new job takes the count up, and the first one is cancelled."""
    with WorkerProcess(nats_server, tmp_path / "data", **PACED) as worker:
        async with Golek(nats_server, replay=False, deadline=30) as golek:
            stream = golek.stream("echo", "a", **COUNT)  # type: ignore[arg-type]
            assert await read(stream, 30, worker.child.kill) == stream.reply.text == NUMBERED
            assert stream.reply.tokens_out == 100
            whole = await golek.ask("echo", "a", resume=Resume("a #1 #"), **COUNT)  # type: ignore[arg-type]
            assert whole.text == NUMBERED
            with pytest.raises(BadRequestError) as raised:
                await golek.ask("echo", "a", resume=Resume("b"))
            assert raised.value.details["param"] == "resume.text"


async def test_a_constrained_stream_outlives_its_worker(nats_server: str, tmp_path: Path) -> None:
    """It is killed with its engine in mid-text; another one takes the job, and the text goes on."""
    first, second = (WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", n, **PACED) for n in (1, 2))

    def replace() -> None:
        first.kill()
        second.start(wait=False)

    try:
        first.start()
        async with Golek(nats_server, replay=False, deadline=40) as golek:
            stream = golek.stream("golek-tiny", "Who are you?", grammar=PERSON)
            text = await read(stream, 100, replace)
            assert text == stream.reply.text
            assert is_person(text), text
    finally:
        first.end()
        second.end()


async def test_on_the_bare_bus_only_what_follows_is_streamed(broker: NatsServer, tmp_path: Path) -> None:
    """`resume` in a request: chunks go on behind its text, the final message has the whole."""
    body: dict[str, Any] = {"input": "a", "params": {"max_tokens": 5, "ignore_eos": True}, "resume": {"text": "a #1 #"}}
    with WorkerProcess(broker.url, tmp_path / "data"):
        async with raw.connected(broker.url) as client:
            streamed = await raw.stream(client, subjects.request("echo"), body)
            await streamed.rest()
            assert streamed.joined(attempt=1) == "2 #3 #4"
            assert streamed.final["text"] == "a #1 #2 #3 #4"
            whole = await raw.stream(client, subjects.request("echo"), body | {"resume": {"text": "a #1 #2 #3 #4"}})
            await whole.rest()
            assert (whole.chunks, whole.final["text"]) == ([], "a #1 #2 #3 #4")
            answer, _ = await raw.ask(client, subjects.request("echo"), body)
            assert (answer["text"], answer["tokens_out"]) == ("a #1 #2 #3 #4", 5)
            refused, message = await raw.ask(client, subjects.request("echo"), body | {"resume": {"text": "b"}})
            assert message.headers is not None
            assert message.headers["Nats-Service-Error-Code"] == "400"
            assert refused["error"]["param"] == "resume.text"
