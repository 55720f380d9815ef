"""What clouds take: the library's prices, those of our own file, and what nobody knows."""

from pathlib import Path

import pytest

from golek_wire.keys import micros
from golek_worker.router import prices, tables
from golek_worker.router.prices import Prices, PricesError
from golek_worker.router.tables import Clouds, TablesError
from golek_worker.router.targets import Price, Target

SHIPPED = Path("data/catalog/prices.yaml")


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("openai", "gpt-5", Price(1.25, 10, 0.125)),
        ("openai", "gpt-5-mini-2025-08-07", Price(0.25, 2, 0.025)),
        ("openai", "text-embedding-3-small", Price(0.02, 0)),
        ("anthropic", "claude-haiku-4-5", Price(1, 5, 0.1)),
        ("gemini", "gemini-2.5-flash", Price(0.3, 2.5, 0.03)),
        ("perplexity", "sonar", Price(1, 1, request=0.012)),
        ("gemini", "gemini-2.5-pro", Price(1.25, 10, 0.125, longer=((200_000, Price(2.5, 15, 0.25)),))),
        ("ollama", "llama3.2", Price(0, 0)),
        ("openai", "a-model-that-nobody-knows", None),
        ("a-cloud-that-nobody-knows", "gpt-5", None),
        ("local", "qwen3-4b", None),
    ],
)
def test_prices_are_the_librarys_where_the_file_says_nothing(provider: str, model: str, price: Price | None) -> None:
    """Real ones, without asking anybody; what is not known has none."""
    assert prices.load(SHIPPED).of(provider, model) == price


def test_a_dated_name_means_its_model() -> None:
    """As providers name the versions of one model."""
    shipped = prices.load(SHIPPED)
    assert shipped.of("openai", "gpt-5-mini-2025-08-07") == shipped.of("openai", "gpt-5-mini")


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("cloud:one", 1.0),
        ("cloud:one-large", 2.0),
        ("cloud:one-larger", 2.0),
        ("cloud:other", 3.0),
        ("openai:gpt-5", 4.0),
        ("local:qwen3-4b", 5.0),
    ],
)
def test_the_file_wins_by_the_longest_name(tmp_path: Path, name: str, dollars: float) -> None:
    """Exact before beginnings, longer ones before shorter ones, all before the library; also for local models."""
    file = tmp_path / "prices.yaml"
    file.write_text(
        "prices:\n  cloud:one: {in: 1}\n  'cloud:one-l*': {in: 2}\n  'cloud:*': {in: 3, since: 2026-01-01}\n"
        "  openai:gpt-5: {in: 4, out: 8, cached: 0.5, from: a contract}\n  local:qwen3-4b: {in: 5, out: 5}\n"
    )
    found = prices.load(file).of(*name.split(":", 1))
    assert found is not None
    assert found.tokens_in == dollars


def test_another_name_finds_the_librarys_price() -> None:
    """`prices_as`: of the same provider, or of the one that it names."""
    own = Prices()
    assert own.of("openai", "our-deployment", "gpt-5") == own.of("openai", "gpt-5")
    assert own.of("our-gateway", "big", "anthropic/claude-haiku-4-5") == own.of("anthropic", "claude-haiku-4-5")
    assert own.of("openrouter", "x", "openai/gpt-5") is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: {cloud: {in: 1}}", "prices: cloud: not of the form <provider>:<model>"),
        ("prices: {'a:b': {out: 1}}", "prices: a:b: Object missing required field `in`"),
        ("prices: {'a:b': {in: -1}}", "prices: a:b: Expected `float` >= 0"),
        ("prices: {'a:b': {in: 1, cache: 2}}", "prices: a:b: Object contains unknown field `cache`"),
        ("price: {'a:b': {in: 1}}", "has to begin with `prices:`"),
        ("prices: [1]", "prices: is [1], not a mapping"),
        ("prices: {", "prices.yaml"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """With the file and the entry."""
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(PricesError) as error:
        prices.load(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_without_a_file_there_is_the_library(tmp_path: Path) -> None:
    """And an empty file says nothing."""
    (tmp_path / "empty.yaml").write_text("")
    for name in ("none.yaml", "empty.yaml"):
        assert prices.load(tmp_path / name).of("openai", "gpt-5") is not None


@pytest.mark.parametrize(
    ("tokens", "usd"),
    [
        ((1_000_000, 0, 0), 2.5),
        ((100_000, 1000, 0), 0.125 + 0.01),
        ((100_000, 0, 100_000), 0.0125),
        ((200_000, 0, 0), 0.25),
        ((200_001, 0, 0), 0.5000025),
        ((0, 100, 0), 0.001),
    ],
)
def test_what_an_answer_takes(tokens: tuple[int, int, int], usd: float) -> None:
    """Tokens from the provider's cache are cheaper, long requests dearer as a whole."""
    price = Prices().of("gemini", "gemini-2.5-pro")
    assert price is not None
    assert price.cost_usd(*tokens) == pytest.approx(usd)


def test_what_nobody_knows_is_not_free() -> None:
    """A local model is; a cloud without a price has no most that it may cost."""
    own = Prices({"cloud:known": Price(1, 2)})
    local = own.priced(Target("local:m", "local", "m"))
    known, unknown = (own.priced(Target(f"cloud:{name}", "cloud", name, priced=False)) for name in ("known", "unknown"))
    assert [one.priced for one in (local, known, unknown)] == [True, True, False]
    assert [prices.most_usd(one, 1_000_000, 1_000_000) for one in (local, known, unknown)] == [0.0, 3.0, None]


def test_a_table_has_the_prices_of_its_targets(tmp_path: Path) -> None:
    """Clouds and models of the fleet alike; the file is read with the others, and its mistakes stop them."""
    file = tmp_path / "prices.yaml"
    file.write_text("prices: {'local:m': {in: 1}}")
    clouds = Clouds({"our:x": Target("our:x", "our", "x", priced=False)}, prices_as={"our:x": "openai/gpt-5"})
    table = tables.build(tmp_path / "no", tmp_path / "no", clouds, prices=file)
    assert table.clouds["our:x"].price == Prices().of("openai", "gpt-5")
    assert table.clouds["our:x"].priced
    assert table.refined(Target("local:m", "local", "m")).price == Price(1, 0)
    other = Target("local:other", "local", "other")
    assert table.refined(other) is other
    file.write_text("prices: {'local:m': {out: 1}}")
    with pytest.raises(TablesError, match="local:m"):
        tables.build(tmp_path / "no", tmp_path / "no", clouds, prices=file)


@pytest.mark.parametrize(("usd", "whole"), [(0.0, 0), (0.3, 300_000), (0.1 + 0.2, 300_000), (1e-12, 0), (2.5e-7, 1)])
def test_money_is_counted_in_whole_millionths(usd: float, whole: int) -> None:
    """The last one begun counts; what floating point adds does not."""
    assert micros(usd) == whole
