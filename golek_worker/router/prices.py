"""What do clouds take for their answers?

Prices are data: those of the library genai-prices, which come with it and are never fetched, and those of
`data/catalog/prices.yaml`, which win. What neither knows has no price, and is never taken for free: budgets in money
refuse it. Local models cost nothing, unless the file says otherwise.
"""

import datetime
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from golek_wire.routing import LOCAL
from golek_worker.router.targets import Price, Target

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

ANY: Final = "*"
"""At the end of a name in the file: whatever begins so."""
KNOWN_AS: Final[Mapping[str, str]] = {"gemini": "google"}
"""The library's names of providers, where they differ from ours."""
_LIBRARY_KEYS: Final = {
    "input_mtok": "tokens_in", "output_mtok": "tokens_out", "cache_read_mtok": "tokens_cached",
}  # fmt: skip

Dollars = Annotated[float, Meta(ge=0)]


class PricesError(Exception):
    """The file of prices cannot be used; the message names the file, the entry, and what is wrong."""


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A price as the file says it."""

    tokens_in: Dollars = field(name="in")
    tokens_out: Dollars = field(name="out", default=0.0)
    cached: Dollars | None = None
    request: Dollars = 0.0
    since: Any = ""
    """A day, for people."""
    origin: str = field(name="from", default="")
    """Where it stands, for people."""


class Prices:
    """What each target takes."""

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        """`own` by target, or by what its name begins with and ANY: these win over the library."""
        self._own = dict(own or {})
        self._found: dict[tuple[str, str, str], Price | None] = {}

    def of(self, provider: str, model: str, prices_as: str = "") -> Price | None:
        """What is taken; None where nobody knows, and for a local model that has no price.

        `prices_as` is the library's name of the model, `<model>` or `<provider>/<model>`, where it differs.
        """
        asked = (provider, model, prices_as)
        if asked not in self._found:
            self._found[asked] = self._look(*asked)
        return self._found[asked]

    def priced(self, target: Target, prices_as: str = "") -> Target:
        """The target with its price, and whether it is known what it takes: that of a server that wants no key is."""
        price = self.of(target.provider, target.model, prices_as)
        return target if price is None else msgspec.structs.replace(target, price=price, priced=True)

    def _look(self, provider: str, model: str, prices_as: str) -> Price | None:
        name = f"{provider}:{model}"
        if name in self._own:
            return self._own[name]
        begins = [one for one in self._own if one.endswith(ANY) and name.startswith(one.removesuffix(ANY))]
        if begins:
            return self._own[max(begins, key=len)]
        if provider == LOCAL:
            return None
        whose, slash, called = prices_as.partition("/")
        if slash and (found := _in_library(whose, called)) is not None:
            return found
        return _in_library(KNOWN_AS.get(provider, provider), prices_as or model)


NO_PRICES: Final = Prices()
"""Those of the library alone."""


def load(file: Path) -> Prices:
    """The prices of `file`, which may be absent, and behind them the library's. Raises PricesError."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        return Prices()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PricesError(f"{file}: {error}") from None
    if content is not None and (not isinstance(content, dict) or content.keys() - {"prices"}):
        raise PricesError(f"{file}: has to begin with `prices:`, and nothing stands beside it")
    said = (content or {}).get("prices")
    if not isinstance(said, dict | None):
        raise PricesError(f"{file}: prices: is {said!r}, not a mapping of targets")
    return Prices({str(name): _entry(file, str(name), entry) for name, entry in (said or {}).items()})


def most_usd(target: Target, tokens_in: int, tokens_out: int) -> float | None:
    """The most that a request may cost there: nothing where nothing is taken, None where nobody knows."""
    if target.price is not None:
        return target.price.cost_usd(tokens_in, tokens_out)
    return 0.0 if target.priced else None


def _entry(file: Path, name: str, said: Any) -> Price:
    provider, colon, model = name.partition(":")
    if not (provider and colon and model):
        raise PricesError(f"{file}: prices: {name}: not of the form <provider>:<model>; `{ANY}` at its end is any")
    try:
        entry = msgspec.convert(said, _Entry)
    except msgspec.ValidationError as error:
        raise PricesError(f"{file}: prices: {name}: {error}; as {{in: 1.25, out: 10, cached: 0.125}}") from None
    return Price(entry.tokens_in, entry.tokens_out, entry.cached, entry.request)


def _in_library(provider: str, model: str) -> Price | None:
    """What the library says is taken today. It has its own rules of which names mean which model."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return _read(found)


def _read(model: "ModelInfo") -> Price | None:
    """The library's price in our form."""
    said = model.get_prices(datetime.datetime.now(datetime.UTC))
    dollars = {ours: getattr(said, theirs) for theirs, ours in _LIBRARY_KEYS.items()}
    if dollars["tokens_in"] is None and dollars["tokens_out"] is None:
        return None
    thousand = getattr(said, "requests_kcount", None)
    request = float(thousand) / 1000 if isinstance(thousand, Decimal) else 0.0
    starts = sorted({tier.start for price in dollars.values() for tier in getattr(price, "tiers", ())})
    return msgspec.structs.replace(
        _at(dollars, 0, request), longer=tuple((start, _at(dollars, start + 1, request)) for start in starts)
    )


def _at(dollars: Mapping[str, Any], tokens_in: int, request: float) -> Price:
    """The price of a request that reads so many tokens."""
    found = {name: _tier(price, tokens_in) for name, price in dollars.items()}
    return Price(found["tokens_in"] or 0.0, found["tokens_out"] or 0.0, found["tokens_cached"], request)


def _tier(price: Any, tokens_in: int) -> float | None:
    if price is None or isinstance(price, Decimal):
        return None if price is None else float(price)
    begun = [tier.price for tier in price.tiers if tokens_in > tier.start]
    return float(begun[-1] if begun else price.base)
