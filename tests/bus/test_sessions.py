"""Conversations that the fleet keeps: real nats-server, real worker processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import Golek
from golek_wire.sessions import Session
from tests.support.workers import WorkerProcess

MARKERS = {
    "name": "behind",
    "user_prefix": " ",
    "user_suffix": " <user",
    "model_prefix": " ",
    "model_suffix": " <model",
    "system_prefix": " ",
    "system_suffix": " <system",
}
"""With these the echo engine answers with all that the model reads: no mark of a user's turn ends its answer."""


@pytest.fixture
def markers(tmp_path: Path) -> str:
    file = tmp_path / "markers.json"
    file.write_text(json.dumps(MARKERS))
    return str(file)


@pytest.fixture
def echo(nats_server: str, tmp_path: Path, markers: str) -> Iterator[WorkerProcess]:
    with WorkerProcess(nats_server, tmp_path / "data", PROMPT_TEMPLATE=markers) as worker:
        yield worker


def said(session: Session) -> list[list[str | None]]:
    """What the messages of each turn say."""
    return [[message.content for message in turn.messages] for turn in session.turns]


async def test_the_second_request_knows_the_first(golek: Golek, echo: WorkerProcess) -> None:
    """What was asked and answered under a session's id comes before the next question; without the id nothing does."""
    first = await golek.ask("echo", "one", session_id="s", max_tokens=1)
    assert first.session is not None
    assert (first.session.turns, first.session.left_out, first.session.stored) == (0, 0, True)
    second = await golek.ask("echo", "two", session_id="s")
    assert second.text.split() == ["one", "<user", "one", "<model", "two", "<user"]
    assert second.session is not None
    assert second.session.turns == 1
    assert (await golek.ask("echo", "three")).text.split() == ["three", "<user"]
    kept = await golek.session("s")
    assert said(kept) == [["one", first.text], ["two", second.text]]
    assert kept.session_id == "s"
    assert kept.created < kept.updated
