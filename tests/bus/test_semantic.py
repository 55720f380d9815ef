"""Answers for questions in other words: a real broker, a real worker, and all-MiniLM-L6-v2 in another one."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golek_client import Golek, InferenceReply
from tests.support import minilm
from tests.support.workers import WorkerProcess

MODEL = "all-minilm-l6-v2"
QUESTION = "How do I read a file in Ruby?"
WORDINGS = [
    f"{opening}, how {verb} I read a file in Ruby?"
    for verb in ("do", "can", "should", "would")
    for opening in ("Hello", "Hi", "Hey", "Good morning", "Good evening", "Hello there", "Hi there", "Hey there")
]
"""Of the question. An answer is kept soon, not at once, and what missed before that is kept itself."""


@pytest.fixture
def embedder(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    settings = {"MODEL_NAME": MODEL, "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1}
    with WorkerProcess(nats_server, tmp_path / "vectors", "golek-tiny", **settings) as started:
        yield started


@pytest.fixture
def echo(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """Its answers are what it was asked: they say whose answer one is."""
    with WorkerProcess(nats_server, tmp_path / "data", GOLEK_CACHE="semantic", GOLEK_SEMANTIC_MODEL=MODEL) as started:
        yield started


async def ask(golek: Golek, text: str, **options: object) -> InferenceReply:
    return await golek.ask("echo", text, **{"temperature": 0, **options})  # type: ignore[arg-type]


async def reworded(golek: Golek) -> InferenceReply:
    """The first answer from the cache, asked in one wording after the other."""
    for wording in WORDINGS:
        reply = await ask(golek, wording)
        if reply.cache == "hit":
            return reply
    raise AssertionError("no wording hit")


async def test_a_question_in_other_words_gets_the_kept_answer(
    embedder: WorkerProcess, echo: WorkerProcess, nats_server: str
) -> None:
    """Whole and streamed; one that asks for something else does not, though its vector is as near."""
    async with Golek(nats_server, deadline=20) as golek:
        first = await ask(golek, QUESTION)
        assert first.cache == "miss"
        hit = await reworded(golek)
        assert "I read a file in Ruby?" in hit.text
        async with golek.stream("echo", "In Ruby, how can I read a file?", temperature=0) as stream:
            text = await stream.text()
        assert (stream.reply.cache, text) == ("hit", stream.reply.text)
        other = await ask(golek, "How do I write a file in Ruby?")
        assert (other.cache, other.text) == ("miss", "How do I write a file in Ruby?")


@pytest.mark.parametrize(
    ("options", "use"),
    [
        ({"cache": {"mode": "exact"}}, "miss"),
        ({"cache": {"mode": "off"}}, None),
        ({"cache": {"user_specific": True}}, "bypass"),
        ({"user": "ann"}, "bypass"),
        ({"max_tokens": 3}, "miss"),
    ],
)
async def test_who_asks_otherwise_gets_an_answer_of_its_own(
    embedder: WorkerProcess, echo: WorkerProcess, nats_server: str, options: dict[str, object], use: str | None
) -> None:
    """With another mode, for one user, or with other parameters."""
    async with Golek(nats_server, deadline=20) as golek:
        await ask(golek, QUESTION)
        await reworded(golek)
        reply = await ask(golek, "In Ruby, how could I read a file?", **options)
        assert reply.cache == use
        assert "In Ruby, how could I read a file?".startswith(reply.text.strip())


async def test_without_an_embedding_model_nothing_is_slower_or_fails(echo: WorkerProcess, nats_server: str) -> None:
    """The exact look goes on; twenty questions are answered in the time of one look and a bit."""
    async with Golek(nats_server, deadline=20) as golek:
        assert (await ask(golek, QUESTION)).cache == "miss"
        assert (await ask(golek, QUESTION)).cache == "hit"
        began = time.monotonic()
        for number in range(20):
            assert (await ask(golek, f"How do I read {number} files in Ruby?")).cache == "miss"
        assert time.monotonic() - began < 3
