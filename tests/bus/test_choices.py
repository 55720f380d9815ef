"""Several texts of one request, and log-probabilities, as a caller meets them: real server, worker and demo model."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from golek_client import BadRequestError, Golek
from golek_wire.replies import Choice
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
# Few tokens: the last bits of logits depend on what is computed beside them, and a draw may then fall otherwise.
WISH = {"max_tokens": 4, "temperature": 2.0, "seed": 5, "ignore_eos": True}


@pytest.fixture
async def golek(nats_server: str, tmp_path: Path) -> AsyncIterator[Golek]:
    """A client of the demo model, whose engine has two slots."""
    with WorkerProcess(nats_server, tmp_path, MODEL, WORKER_CONCURRENCY=2):
        async with Golek(nats_server, deadline=20.0) as client:
            yield client


async def test_texts_are_written_streamed_and_ranked(golek: Golek) -> None:
    """Three texts in two slots are those of three seeds; streamed they are the same; best_of gives the likeliest."""
    alone = [await golek.ask(MODEL, "Hi", **WISH | {"seed": 5 + i}) for i in range(3)]
    reply = await golek.ask(MODEL, "Hi", n=3, **WISH)
    assert reply.choices is not None
    assert [choice.text for choice in reply.choices] == [one.text for one in alone]
    assert (reply.text, reply.tokens_in, reply.tokens_out) == (alone[0].text, alone[0].tokens_in, 12)

    async with golek.stream(MODEL, "Hi", n=3, logprobs=True, top_logprobs=2, **WISH) as stream:
        with pytest.raises(RuntimeError, match="pieces"):
            await anext(stream)
        texts, tokens = [""] * 3, [b""] * 3
        async for piece in stream.pieces():
            texts[piece.index] += piece.text
            tokens[piece.index] += b"".join(bytes(entry.bytes) for entry in piece.logprobs or [])
    assert texts == [one.text for one in alone]
    assert [spelt.decode(errors="ignore") for spelt in tokens] == [text.rstrip("\ufffd") for text in texts]
    assert stream.reply.choices is not None
    assert [_mean(choice) for choice in stream.reply.choices]

    best = await golek.ask(MODEL, "Hi", best_of=3, logprobs=True, **WISH)
    assert best.choices is not None
    assert best.text == max(stream.reply.choices, key=_mean).text
    assert len(best.choices) == 1
    assert best.tokens_out == 12

    with pytest.raises(BadRequestError, match=r"best_of"):
        golek.stream(MODEL, "Hi", best_of=3)
    with pytest.raises(BadRequestError, match=r"token 99999"):
        await golek.ask(MODEL, "Hi", n=2, logit_bias={"99999": 1})

    endless = golek.stream(MODEL, "Hi", n=16, **WISH | {"max_tokens": 1900})
    async with endless:
        await anext(endless.pieces())
    assert (await golek.ask(MODEL, "Hi", deadline=4.0, **WISH)).text == alone[0].text, "a cancel freed the slots"


def _mean(choice: Choice) -> float:
    assert choice.logprobs is not None
    return sum(entry.logprob for entry in choice.logprobs) / len(choice.logprobs)
