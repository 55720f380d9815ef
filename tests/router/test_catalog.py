"""Which clouds there are: the file of providers, their keys from the environment, and what servers say they have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from golek_worker.providers import catalog, quirks
from golek_worker.providers.catalog import Clouds, ProvidersError
from golek_worker.providers.openai import OpenAIProvider
from tests.support.clouds import KEY, Cloud
from tests.support.ports import free_port

THERE = """
providers:
  there:
    dialect: openai
    base_url: {url}
    key_env: THERE_KEY
    discover: true
    prefills: true
    quirks: [llama-server]
    models:
      - {{id: large, context_size: 99, roles: [coder], prices_as: gpt-5, abilities: [vision], prefills: false}}
"""


@pytest.fixture
async def opened() -> AsyncIterator[list[Clouds]]:
    """Closed at the end."""
    found: list[Clouds] = []
    yield found
    for clouds in found:
        await clouds.close()


def written(folder: Path, text: str) -> Path:
    """A file of providers."""
    file = folder / "providers.yaml"
    file.write_text(text)
    return file


def test_the_file_that_ships_can_be_read() -> None:
    """Every quirk, ability and role in it is known; without keys nothing is asked, and that is no problem."""
    entries = catalog.read(catalog.CATALOG)
    clouds = catalog.opened(entries, {})
    assert clouds.targets == []
    assert clouds.problems == []
    assert clouds.not_set_up == {
        "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"
    }  # fmt: skip
    assert "OPENAI_API_KEY is not set" in clouds.missing["openai"]
    keys = {"OPENAI_API_KEY": "sk-a", "ANTHROPIC_API_KEY": "sk-b", "GEMINI_API_KEY": "g"}
    every = catalog.opened(entries, keys)
    assert {target.provider for target in every.targets} == {"openai", "anthropic", "gemini"}
    assert all("vision" in target.abilities for target in every.targets if "inference" in target.kinds)
    assert every.problems == []


async def test_a_server_says_what_it_has(cloud: Cloud, tmp_path: Path, opened: list[Clouds]) -> None:
    """Beside the models that are written down, with what the entry says of them; told once, until it changes."""
    entries = catalog.read(written(tmp_path, THERE.format(url=cloud.base_url)))
    clouds = catalog.opened(entries, {"THERE_KEY": KEY})
    opened.append(clouds)
    (large,) = clouds.targets
    assert (large.name, large.context_size, large.roles, large.prefills) == ("there:large", 99, ("coder",), False)
    assert large.abilities == {"vision"}
    assert clouds.prices_as == {"there:large": "gpt-5"}
    assert await clouds.discover()
    assert not await clouds.discover()
    _, small = clouds.targets
    assert (small.name, small.kinds, small.prefills) == ("there:text-embed-small", {"embedding"}, True)
    assert small.abilities == {"tools", "json_schema", "logprobs", "grammar"}
    assert not small.priced


async def test_a_server_that_is_away_is_asked_again(
    cloud: Cloud, tmp_path: Path, opened: list[Clouds], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a problem that is told, and none any more once it answers."""
    monkeypatch.setattr(catalog, "SOON_S", 0.01)
    clouds = catalog.opened(
        catalog.read(written(tmp_path, THERE.format(url=f"http://127.0.0.1:{free_port()}/v1"))), {"THERE_KEY": KEY}
    )
    opened.append(clouds)
    told: asyncio.Queue[list[str]] = asyncio.Queue()

    async def tell() -> None:
        told.put_nowait(clouds.problems)

    watching = asyncio.create_task(clouds.watch(tell))
    async with asyncio.timeout(10):
        (problem,) = await told.get()
        assert problem.startswith("there: its models are not known: there cannot be reached")
        await clouds.close()
        back = catalog.opened(catalog.read(written(tmp_path, THERE.format(url=cloud.base_url))), {"THERE_KEY": KEY})
        clouds.providers = back.providers
        assert await told.get() == []
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize(
    ("key", "says"),
    [("", "THERE_KEY is not set"), ("  ", "THERE_KEY is not set"), ("a b", "characters"), ("a\nb", "characters")],
)
def test_a_key_that_is_none_is_told(tmp_path: Path, key: str, says: str) -> None:
    """Without the key, and as a problem where there is one; the others can be asked all the same."""
    clouds = catalog.opened(catalog.read(written(tmp_path, THERE.format(url="https://a/v1"))), {"THERE_KEY": key})
    assert says in clouds.missing["there"]
    assert clouds.problems == ([clouds.missing["there"]] if key.strip() else [])
    assert clouds.not_set_up == ({} if key.strip() else {"there": "THERE_KEY"})
    assert clouds.targets == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/v1", "plain text"),
        ("ftp://example.com", "none of the form"),
        ("https://user:secret@example.com/v1", "none of the form"),
        ("example.com/v1", "none of the form"),
    ],
)
def test_an_address_that_is_none_is_a_problem(tmp_path: Path, url: str, says: str) -> None:
    """And one over which the key would go as plain text; a secret in it is not repeated."""
    clouds = catalog.opened(catalog.read(written(tmp_path, THERE.format(url=url))), {"THERE_KEY": KEY})
    assert says in clouds.problems[0]
    assert "secret" not in clouds.problems[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("dialect: openai", "dialect: cohere"), "cohere"),
        (("[llama-server]", "[lamma-server]"), r"there\.quirks: 'lamma-server' is none of anthropic|gemini"),
        (("abilities: [vision]", "abilities: [taste]"), "taste"),
        (("key_env", "key"), "key"),
        (("there:", "local:"), "`local` is the fleet itself"),
        (("base_url: {url}", "base_url: ''"), r"base_url: is missing"),
        (("providers:", "providers: ["), "expected"),
        (("{{id: large,", "{{id: large}}, {{id: large,"), "stands there twice"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    """With the key and what would be right; a key in the file is not even a field."""
    text = THERE.replace("- {{id", "{{id").replace("models:\n      {{", "models: [{{").replace("false}}", "false}}]")
    file = written(tmp_path, text.replace(*change).format(url="https://a/v1"))
    with pytest.raises(ProvidersError, match=says) as wrong:
        catalog.read(file)
    assert str(file) in str(wrong.value)


def test_a_file_that_is_not_there_has_nobody(tmp_path: Path) -> None:
    """As a deployment without clouds has it."""
    assert catalog.read(tmp_path / "none.yaml") == {}


def test_a_model_may_have_quirks_of_its_own() -> None:
    """Those that reason take no temperature."""
    entries = catalog.read(catalog.CATALOG)
    provider = catalog.opened(entries, {"OPENAI_API_KEY": "sk-a"}).providers["openai"]
    assert isinstance(provider, OpenAIProvider)
    assert "temperature" in quirks.of(("openai", "reasoning")).lacks
    assert "temperature" not in quirks.of(("openai",)).lacks
    assert quirks.of(("openai", "reasoning")).takes_most_as == "max_completion_tokens"
