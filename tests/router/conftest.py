"""Stand-ins for clouds, and the providers that ask them."""

from collections.abc import AsyncIterator

import pytest

from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from tests.support.clouds import KEY, Cloud


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A stand-in for OpenAI and Anthropic."""
    async with Cloud() as found:
        yield found


@pytest.fixture
async def gemini() -> AsyncIterator[Cloud]:
    """A stand-in for Gemini's OpenAI surface."""
    async with Cloud(gemini=True) as found:
        yield found


def server(cloud: Cloud, name: str, **seconds: float) -> Server:
    """Where the stand-in is, with short patience."""
    return Server(name, cloud.base_url, **{"connect_s": 1.0, "first_byte_s": 5.0, "silence_s": 5.0} | seconds)


@pytest.fixture
async def openai(cloud: Cloud) -> AsyncIterator[OpenAIProvider]:
    """A provider of OpenAI's dialect."""
    provider = OpenAIProvider(server(cloud, "openai"), KEY, quirks.KNOWN["openai"])
    yield provider
    await provider.close()


@pytest.fixture
async def anthropic(cloud: Cloud) -> AsyncIterator[AnthropicProvider]:
    """A provider of Anthropic's dialect."""
    provider = AnthropicProvider(server(cloud, "anthropic"), KEY)
    yield provider
    await provider.close()


@pytest.fixture
async def google(gemini: Cloud) -> AsyncIterator[OpenAIProvider]:
    """A provider that asks Gemini."""
    provider = OpenAIProvider(server(gemini, "gemini"), KEY, quirks.KNOWN["gemini"])
    yield provider
    await provider.close()
