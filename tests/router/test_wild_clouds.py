"""What becomes of the answers of clouds that keep to no protocol: an answer or an error, in time, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from golek_wire.errors import InferenceServiceError
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from tests.router.asking import call, text
from tests.support.wild_clouds import KEY, WILD, WildCloud

SLOW = {"mute", "mute-in-headers", "drips", "comments", "endless", "bad-chunk"}
"""Those that are left by their time."""
FINE = {"good", "null-choices", "index-huge", "index-negative", "usage-huge"}
"""What is odd about these hurts nobody: the answer is `fine`."""
ODD = {"nul", "tool-index-huge", "five-megabytes", "event-too-large"}
"""Answers that are as they are; `event-too-large` is one as long as nobody asked for a stream."""
ECHOES = [name for name in WILD if name.startswith("echo")]


@pytest.fixture
async def wild() -> AsyncIterator[WildCloud]:
    async with WildCloud() as cloud:
        yield cloud


@pytest.fixture
async def provider(wild: WildCloud) -> AsyncIterator[OpenAIProvider]:
    found = OpenAIProvider(Server("wild", wild.base_url, connect_s=1.0, first_byte_s=0.4, silence_s=0.4), KEY)
    yield found
    await found.close()


async def outcome(provider: OpenAIProvider, name: str) -> str | InferenceServiceError:
    """The text of the answer, or the error."""
    written = ""
    try:
        async for said in provider.answer(call(text(), 1.5, model=name)):
            written = said if isinstance(said, str) else getattr(said, "text", "")
    except InferenceServiceError as error:
        return error
    return written


@pytest.mark.parametrize("name", [name for name in WILD if name not in SLOW])
async def test_an_answer_or_an_error(provider: OpenAIProvider, wild: WildCloud, name: str) -> None:
    """What is no answer is the provider's error, so that somebody else is asked; its connection is left."""
    told = await outcome(provider, name)
    if name in FINE:
        assert told == "fine"
    elif name in ODD:
        assert isinstance(told, str) or told.code == "PROVIDER_FAILED"
    else:
        assert isinstance(told, InferenceServiceError)
        assert told.details["provider"] == "wild"
        assert len(str(told)) < 1000
    async with asyncio.timeout(5):
        while wild.open:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", sorted(SLOW))
async def test_it_takes_no_longer_than_it_may(provider: OpenAIProvider, wild: WildCloud, name: str) -> None:
    """A cloud that never ends is left at its own limits or at the deadline, whatever it says meanwhile."""
    began = time.monotonic()
    told = await outcome(provider, name)
    assert isinstance(told, InferenceServiceError)
    assert told.code in ("PROVIDER_FAILED", "DEADLINE_EXCEEDED")
    assert time.monotonic() - began < 5
    async with asyncio.timeout(5):
        while wild.open:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ECHOES)
async def test_the_key_is_never_repeated(provider: OpenAIProvider, name: str) -> None:
    """Wherever a server puts the key that it was sent, the error that is told has it not."""
    told = await outcome(provider, name)
    assert isinstance(told, InferenceServiceError)
    assert KEY not in repr((str(told), told.args, told.details))


async def test_counts_that_cannot_be_are_not_believed(provider: OpenAIProvider) -> None:
    """Twenty digits of tokens are none: they would not fit into the log, and would spend a budget."""
    *_, reply = [said async for said in provider.answer(call(text(), model="usage-huge"))]
    assert (getattr(reply, "tokens_in", None), getattr(reply, "tokens_out", None)) == (0, 1)
