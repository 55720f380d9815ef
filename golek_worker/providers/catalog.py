"""Which clouds are there, and what can they do?

`data/catalog/providers.yaml`, or PROVIDERS_FILE, says where they are; their keys come from the environment alone. A
provider that cannot be used is a problem that is told; a file that cannot be read is an error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from golek_wire.errors import InferenceServiceError
from golek_wire.subjects import Kind
from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from golek_worker.router.targets import Need, Target

CATALOG: Final = Path("data/catalog/providers.yaml")
LATER_S: Final = 60.0
"""Between two questions for what a server has …"""
SOON_S: Final = 10.0
"""… and while one did not answer."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
AnyProvider = OpenAIProvider | AnthropicProvider


class ProvidersError(Exception):
    """The file of providers is wrong; the message names file, key and what would be right."""


class Offered(Struct, frozen=True, forbid_unknown_fields=True):
    """A model of a provider."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    """As its server calls it."""
    kinds: tuple[Literal["inference", "embedding"], ...] = ("inference",)
    context_size: Annotated[int, Meta(ge=0)] = 0
    abilities: tuple[Need, ...] | None = None
    """What it can beyond text; without it, what the provider's entry says."""
    roles: tuple[str, ...] = ()
    prices_as: str = ""
    """The name under which the library of prices knows it."""
    quirks: tuple[str, ...] = ()
    """Those that it has beside its provider's."""
    prefills: bool | None = None
    """Without it, what the provider's entry says."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """A provider."""

    dialect: Literal["openai", "anthropic"]
    base_url: str = ""
    base_url_env: str = ""
    key_env: str = ""
    """Empty for a server that wants no key."""
    enabled: bool | None = None
    """Without it: where the key is there."""
    models: tuple[Offered, ...] = ()
    discover: bool = False
    """Whether it is asked which models it has."""
    quirks: tuple[str, ...] = ()
    abilities: tuple[Need, ...] | None = None
    """Without it, what its dialect has."""
    prefills: bool = False
    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 60.0
    silence_s: Seconds = 60.0

    @property
    def needs(self) -> frozenset[Need]:
        """What its models can, where they do not say."""
        if self.abilities is not None:
            return frozenset(self.abilities)
        found: set[Need] = {"tools", "json_schema"}
        if self.dialect == "openai":
            found.add("logprobs")
            has = quirks.of(self.quirks)
            found |= {"grammar"} if "grammar" in has.fields else set()
            found |= {"adapter"} if has.speaks_golek else set()
        return frozenset(found)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    providers: dict[Name, Entry] = field(default_factory=dict[str, Entry])


class Clouds:
    """The providers that can be asked, and their models."""

    def __init__(self) -> None:
        self.providers: dict[str, AnyProvider] = {}
        self.entries: dict[str, Entry] = {}
        """Of `providers`."""
        self.refused: list[str] = []
        """What of the file cannot be used, and why."""
        self.missing: dict[str, str] = {}
        """Providers that are written down and cannot be asked, each with the reason in a sentence."""
        self.not_set_up: dict[str, str] = {}
        """Those of them that only wait for a key, each with the variable that is to hold it."""
        self._found: dict[str, list[Target]] = {}
        self._unheard: dict[str, str] = {}
        """Servers that did not say what they have."""

    @property
    def problems(self) -> list[str]:
        """What cannot be used just now, and why."""
        return [*self.refused, *self._unheard.values()]

    @property
    def targets(self) -> list[Target]:
        """All models: those that are written down, and those that servers said they have."""
        return [
            target
            for name, entry in self.entries.items()
            for target in [*(_target(name, entry, one) for one in entry.models), *self._found.get(name, ())]
        ]

    @property
    def prices_as(self) -> dict[str, str]:
        """Names in the library of prices, by target, where they are another than the model's id."""
        return {
            f"{name}:{one.id}": one.prices_as
            for name, entry in self.entries.items()
            for one in entry.models
            if one.prices_as
        }

    async def watch(self, tell: Callable[[], Awaitable[object]]) -> None:
        """Ask servers again and again what they have; `tell` is called when that is something else than before."""
        while any(entry.discover for entry in self.entries.values()):
            if await self.discover():
                await tell()
            await asyncio.sleep(SOON_S if self._unheard else LATER_S)

    async def discover(self) -> bool:
        """Ask those servers that are to be asked what they have; True where something is new.

        What a server had that says nothing now still counts: whether it answers is found when it is asked.
        """
        before = dict(self._found), dict(self._unheard)
        asked = [name for name, entry in self.entries.items() if entry.discover]
        await asyncio.gather(*(self._ask(name) for name in asked))
        return before != (self._found, self._unheard)

    async def _ask(self, name: str) -> None:
        entry = self.entries[name]
        known = {one.id for one in entry.models}
        try:
            found = await self.providers[name].models()
        except InferenceServiceError as error:
            self._unheard[name] = f"{name}: its models are not known: {error.message}"
            return
        self._unheard.pop(name, None)
        offered = [Offered(one.id, kinds_of(one.id), one.context_size) for one in found if one.id not in known]
        self._found[name] = [_target(name, entry, one) for one in offered]

    async def close(self) -> None:
        """Hang up everywhere."""
        for provider in self.providers.values():
            await provider.close()


def read(file: Path) -> dict[str, Entry]:
    """The providers in `file`; none where it is not there. Raises ProvidersError."""
    import yaml

    try:
        content = yaml.load(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
        entries = msgspec.convert(content or {}, _File).providers
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProvidersError(f"{file}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ProvidersError(f"{file}: {error}") from None
    for name, entry in entries.items():
        _check(file, name, entry)
    return entries


def opened(entries: Mapping[str, Entry], environ: Mapping[str, str]) -> Clouds:
    """Those that can be asked, with their keys from `environ`; of the others it is told why not."""
    clouds = Clouds()
    for name, entry in entries.items():
        key = environ.get(entry.key_env, "").strip() if entry.key_env else ""
        url = (environ.get(entry.base_url_env, "") if entry.base_url_env else "") or entry.base_url
        if entry.enabled is False or (not entry.key_env and not entry.enabled):
            clouds.missing[name] = f"{name}: it is not enabled; `enabled: true` in the file of providers does"
            continue
        problem = _problem(name, entry, key, url)
        if problem:
            if entry.key_env and not key and entry.enabled is None:
                clouds.not_set_up[name] = entry.key_env
            else:
                clouds.refused.append(problem)
            clouds.missing[name] = problem
            continue
        clouds.entries[name] = entry
        clouds.providers[name] = _provider(name, entry, key, url)
        if key and urlsplit(url).scheme == "http" and urlsplit(url).hostname not in LOOPBACK:
            clouds.refused.append(f"{name}: its key goes over the network as plain text; use https in its base_url")
    return clouds


def kinds_of(model: str) -> tuple[Literal["inference", "embedding"], ...]:
    """What a model of which only the name is known is for."""
    return ("embedding",) if "embed" in model.lower() else ("inference",)


def _check(file: Path, name: str, entry: Entry) -> None:
    named: Sequence[tuple[str, Iterable[str]]] = [
        (f"{name}.quirks", entry.quirks),
        *((f"{name}.models[{i}].quirks", one.quirks) for i, one in enumerate(entry.models)),
    ]
    for place, words in named:
        for word in words:
            if word not in quirks.KNOWN:
                raise ProvidersError(f"{file}: {place}: {word!r} is none of {', '.join(sorted(quirks.KNOWN))}")
    if name == "local":
        raise ProvidersError(f"{file}: providers: `local` is the fleet itself; take another name")
    if not entry.base_url and not entry.base_url_env:
        raise ProvidersError(f"{file}: {name}.base_url: is missing")
    twice = {one.id for one in entry.models if [other.id for other in entry.models].count(one.id) > 1}
    if twice:
        raise ProvidersError(f"{file}: {name}.models: {', '.join(sorted(twice))} stands there twice")


def _problem(name: str, entry: Entry, key: str, url: str) -> str:
    """Why a provider cannot be asked; empty where it can. No key is ever told."""
    if entry.key_env and not key:
        return f"{name}: {entry.key_env} is not set; it belongs in the environment in which the router starts"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return f"{name}: {entry.key_env} has characters that no key has, so it is not asked"
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname or place.username or place.query:
        return f"{name}: its base_url is none of the form https://host/v1, so it is not asked"
    return ""


def _provider(name: str, entry: Entry, key: str, url: str) -> AnyProvider:
    server = Server(name, url.rstrip("/"), entry.connect_s, entry.first_byte_s, entry.silence_s)
    own = quirks.of(entry.quirks)
    of_models = {one.id: own | quirks.of(one.quirks) for one in entry.models if one.quirks}
    dialect = AnthropicProvider if entry.dialect == "anthropic" else OpenAIProvider
    return dialect(server, key, own, of_models)


def _target(name: str, entry: Entry, one: Offered) -> Target:
    kinds: frozenset[Kind] = frozenset(one.kinds)
    return Target(
        f"{name}:{one.id}",
        name,
        one.id,
        kinds,
        one.context_size,
        entry.needs if one.abilities is None else frozenset(one.abilities),
        one.roles,
        priced=not entry.key_env,
        prefills=entry.prefills if one.prefills is None else one.prefills,
    )
