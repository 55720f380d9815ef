"""`golek demo` with real processes; the echo engine stands in for the model."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_wire.replies import InferenceReply
from golek_worker.machine import demo, lifecycle, runfile
from golek_worker.machine.lifecycle import StartError
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The demo's deployment with a broker, a folder and an engine for this test; all is stopped afterwards."""
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    monkeypatch.setenv("GOLEK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENGINE", "echo")
    yield tmp_path / "data"
    lifecycle.stop(say=lambda _: None)


def test_the_demo_shows_one_request_from_end_to_end(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Request, stream, final message, row, heartbeat, and how to go on; the worker keeps running."""
    question = "does a full queue wait?"
    monkeypatch.setattr(demo, "QUESTION", question)
    asyncio.run(demo.run(print))
    shown = capsys.readouterr().out
    steps = ("online after", "Request to inference.request.golek-tiny", "Answer, as it is written", "Final message")
    steps += ("Its row in", "on models.golek-tiny.heartbeat", "make stop")
    places = [shown.index(step) for step in steps]
    assert places == sorted(places)
    assert shown.count(question) == 5  # request, stream, final message, and twice in the row
    (state,) = runfile.read_all(data)
    assert runfile.alive(state)

    asyncio.run(demo.run(print))
    again = capsys.readouterr().out
    assert "runs already (online" in again
    assert "on models.golek-tiny.health" in again


def test_a_wrong_answer_fails_the_demo() -> None:
    """An echo is no answer to the demo's own question."""
    with pytest.raises(StartError, match="has nothing to do with the question"):
        asyncio.run(demo.run(lambda _: None))


@pytest.mark.parametrize(
    ("streamed", "text", "said"),
    [
        ("", " ", "the answer is empty"),
        ("a queue", "a full queue", "the stream says 'a queue'"),
        ("blue", "blue", "has nothing to do with the question"),
    ],
)
def test_what_counts_as_an_answer(streamed: str, text: str, said: str) -> None:
    """It has text, the same in stream and final message, and is about the question."""
    final = InferenceReply(req_id="r", text=text, tokens_in=1, tokens_out=1, finish_reason="stop", duration_ms=1, ms=1)
    with pytest.raises(StartError, match=said):
        demo.check_answer(streamed, final)
    demo.check_answer("A full queue.", msgspec.structs.replace(final, text="A full queue."))


def test_a_deployment_with_mistakes_starts_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything wrong is told first."""
    monkeypatch.setenv("DRAIN_S", "-1")
    with pytest.raises(StartError, match="DRAIN_S=-1"):
        asyncio.run(demo.run(lambda _: None))
    assert not (data / "nats").exists()
