"""What a stream hands out when jobs die and others write other texts: jobs are played, and no clock is waited for."""

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self, cast

import pytest

from golek_client.exchange import Exchange
from golek_client.reading import Piece
from golek_client.resuming import begun_with
from golek_client.stream import Stream
from golek_wire import codec
from golek_wire.errors import EngineFailedError, StreamInterruptedError
from golek_wire.replies import Chunk, InferenceReply

ALPHABET = "ab é🙂\n"


class PlayedJob:
    """A job that goes on behind a text, in attempts that may write what they like; an exchange to its reader."""

    def __init__(self, before: str, chance: random.Random) -> None:
        self.job_id = f"job{chance.random()}"
        self._events = self._play(before, chance)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def next(self) -> Piece | InferenceReply:
        event = next(self._events)
        if isinstance(event, Exception):
            raise event
        return event

    @staticmethod
    def _play(before: str, chance: random.Random) -> Iterator[Piece | InferenceReply | Exception]:
        text = ""
        for attempt in range(1, chance.randint(2, 4)):
            if attempt == 1 or chance.random() < 0.3:
                text = "".join(chance.choices(ALPHABET, k=chance.randint(0, 12)))
            for seq, character in enumerate(text[: chance.randint(0, 12)]):
                if chance.random() < 0.95:
                    yield Piece(attempt, Chunk("", character, seq))
        if chance.random() < 0.2:
            yield StreamInterruptedError("the answer was lost")
        elif chance.random() < 0.2:
            yield EngineFailedError("the engine failed")
        else:
            yield InferenceReply("", before + text, 1, 1, "stop", 1, 1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("replay", [True, False], ids=["replay", "resume"])
async def test_what_is_handed_out_is_the_reply_or_is_told(
    seed: int, replay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pieces joined are the final text behind the text begun with; else an error carries exactly that much."""
    chance = random.Random(seed)
    monkeypatch.setattr("golek_client.resuming.BACKOFF_S", 0.0)
    ends = {"whole": 0, "told": 0, "refused": 0}
    for _ in range(300):
        first = chance.choice(["", "Once "])
        request: dict[str, Any] = {"input": "hi", "stream": True} | ({"resume": {"text": first}} if first else {})
        asked: list[str] = []

        async def ask(payload: bytes, _until: float, asked: list[str] = asked) -> Exchange[InferenceReply]:
            asked.append(begun_with(payload))
            return cast("Exchange[InferenceReply]", PlayedJob(asked[-1], chance))

        stream = Stream(ask, codec.encode(request), 60.0, replay=replay)
        joined, told = first, None
        try:
            async for piece in stream:
                joined += piece
            assert joined == stream.reply.text
            ends["whole"] += 1
        except StreamInterruptedError as error:
            told = error.details["text_so_far"]
            ends["told"] += 1
        except EngineFailedError:
            assert (joined, len(asked)) == (first, 1)
            ends["refused"] += 1
        assert told in (None, joined)
        assert all(later.startswith(earlier) for earlier, later in pairwise(asked))
    assert all(ends.values()), ends
