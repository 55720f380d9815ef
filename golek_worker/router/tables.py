"""How do a router's files become a table?

routes.yaml, roles.yaml and what is said of clouds are read together, because names of one stand in the other. A file
that cannot be used is an error naming file and key; what can be used and does not do what it says is a problem that is
told.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from golek_wire import problems
from golek_wire.orchestration import Mode, Preset
from golek_wire.routing import AUTO, CLOUDS, Policy, Strategy
from golek_worker.router import roles as roles_of
from golek_worker.router.prices import Prices, PricesError, load
from golek_worker.router.roles import NO_ROLES, RoleEntry, Roles, RolesError, RolesFile
from golek_worker.router.table import FLEET_PREFIX, LOCAL_PREFIX, Entry, Share, Table, cloud_name
from golek_worker.router.targets import Target

ROUTES: Final = Path("data/catalog/routes.yaml")
ROLES: Final = Path("data/catalog/roles.yaml")
PRICES: Final = Path("data/catalog/prices.yaml")
Form = TypeVar("Form", bound=Struct)


class TablesError(Exception):
    """A file of the router cannot be used; the message names the file, the key, and what would be right."""


class WeightedTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """A target with its share."""

    target: str
    weight: Annotated[float, Meta(ge=0)] = 1.0


class Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    """What is so of names that say nothing of their own."""

    policy: Policy = "never_cloud"
    strategy: Strategy | None = None


class RouteEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A name of routes.yaml."""

    targets: list[str | WeightedTarget] = []
    fallback: list[str] = []
    policy: Policy | None = None
    strategy: Strategy | None = None


class ModelEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What routes.yaml says of a model that is served without it."""

    fallback: list[str] = []
    policy: Policy | None = None
    strategy: Strategy | None = None


class RoutesFile(Struct, frozen=True, forbid_unknown_fields=True):
    """`data/catalog/routes.yaml`."""

    defaults: Defaults = Defaults()
    routes: dict[str, RouteEntry] | None = None
    models: dict[str, ModelEntry] | None = None


class Clouds(Struct, frozen=True):
    """What is known of providers, whoever read their file."""

    targets: dict[str, Target] = field(default_factory=dict[str, Target])
    """By name: those that can be asked."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Providers that cannot, and why, in a sentence."""
    not_set_up: dict[str, str] = field(default_factory=dict[str, str])
    """Those of them that only wait for a key, and the variable that is to hold it."""
    problems: tuple[str, ...] = ()
    prices_as: dict[str, str] = field(default_factory=dict[str, str])
    """The names of targets in the library of prices, where they have another there."""


NO_CLOUDS: Final = Clouds()


class Wishes(Struct, frozen=True):
    """What the settings say."""

    strategy: Strategy = "least_busy"
    falls_back: bool = True
    spill: float = 0.8
    roles: Mapping[str, Iterable[str]] = field(default_factory=dict[str, list[str]])
    """INFERENCE_MODEL_ROLES: these count most."""
    config: str = ""
    """INFERENCE_CONFIG: the preset that `auto` stands for."""
    mode: Mode = "single"
    """INFERENCE_ORCHESTRATION_MODE."""


NO_WISHES: Final = Wishes()


def build(
    routes: Path,
    roles: Path,
    clouds: Clouds = NO_CLOUDS,
    wishes: Wishes = NO_WISHES,
    catalogue: Mapping[str, Iterable[str]] | None = None,
    prices: Path = PRICES,
    presets: Mapping[str, Preset] = MappingProxyType({}),
) -> Table:
    """The table of these files; one that is not there says nothing. `catalogue` has roles of models that count least.

    Raises TablesError.
    """
    said = _read(routes, RoutesFile, {"routes": RouteEntry, "models": ModelEntry}) or RoutesFile()
    all_roles = _roles(roles, clouds, wishes, catalogue or {})
    routes_said = said.routes or {}
    names = {name: _entry(routes, name, entry, routes_said, clouds) for name, entry in routes_said.items()}
    models = {name: _model(routes, name, entry, routes_said, clouds) for name, entry in (said.models or {}).items()}
    table = Table(
        names,
        models,
        {},
        dict(clouds.missing),
        all_roles,
        said.defaults.policy,
        said.defaults.strategy or wishes.strategy,
        wishes.falls_back,
        wishes.spill,
        prices=_prices(prices),
        prices_as=clouds.prices_as,
        not_set_up=dict(clouds.not_set_up),
        presets={name: preset for name, preset in presets.items() if name not in names},
        config=_config(wishes.config, presets, names),
        mode=wishes.mode,
    )
    known = {name: table.refined(target) for name, target in clouds.targets.items()}
    table = msgspec.structs.replace(table, clouds=known)
    hidden = [
        f"{one.origin}: {one.id}: {routes} has an alias of this name, which answers; give one of them another"
        for one in presets.values()
        if one.id in names
    ]
    return msgspec.structs.replace(table, problems=(*clouds.problems, *_problems(table, routes), *hidden))


def _config(said: str, presets: Mapping[str, Preset], names: Mapping[str, Entry]) -> str:
    """The preset that the settings name. Raises TablesError."""
    if said and said not in presets:
        near = difflib.get_close_matches(said, presets, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise TablesError(f"INFERENCE_CONFIG={said}: no such preset; {hint}`golek presets list` has all")
    if said in names:
        raise TablesError(
            f"INFERENCE_CONFIG={said}: an alias of the routes file has this name; give one of them another"
        )
    return said


def _roles(file: Path, clouds: Clouds, wishes: Wishes, catalogue: Mapping[str, Iterable[str]]) -> Roles:
    said = _read(file, RolesFile, {"roles": RoleEntry, "fallbacks": str, "models": list[str]})
    if said is None:
        if wishes.roles:
            raise TablesError(f"{file}: is not there, and INFERENCE_MODEL_ROLES needs the roles that it names")
        return NO_ROLES
    weaker = {**catalogue, **{name: target.roles for name, target in clouds.targets.items() if target.roles}}
    try:
        return roles_of.build(said, weaker, wishes.roles)
    except RolesError as error:
        raise TablesError(f"{file}: {error}") from None


def _prices(file: Path) -> Prices:
    try:
        return load(file)
    except PricesError as error:
        raise TablesError(str(error)) from None


def _read(file: Path, form: type[Form], entries: Mapping[str, Any]) -> Form | None:
    """A file of YAML; None without one. `entries` has the form of what stands below each of its keys by name. Raises
    TablesError.
    """
    import yaml

    if not file.is_file():
        return None
    try:
        loaded = yaml.load(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise TablesError(f"{file}: {error}") from None
    try:
        return msgspec.convert(loaded or {}, form)
    except msgspec.ValidationError as error:
        raise TablesError(f"{file}: {problems.in_file(error, loaded, form, entries)}") from None


def _entry(file: Path, name: str, entry: RouteEntry, routes: Mapping[str, RouteEntry], clouds: Clouds) -> Entry:
    """A route whose targets are no names of routes any more."""
    where = f"{file}: routes.{name}"
    if not entry.targets and name != AUTO:
        raise TablesError(f"{where}.targets: at least one, such as local:qwen3-4b")
    if name.startswith((LOCAL_PREFIX, FLEET_PREFIX)):
        raise TablesError(f"{where}: {name.partition(':')[0]}: before a name means something of its own")
    shares = _merged(_targets(where, entry, routes, clouds, (name,)))
    fallback = [one for said in entry.fallback for one in _fallback(where, said, routes, clouds, (name,))]
    inherited = [one for one in _inherited(where, entry, routes, clouds, (name,)) if one not in fallback]
    named = {share.target for share in shares}
    others = tuple(one for one in dict.fromkeys((*fallback, *inherited)) if one not in named)
    return Entry(name, shares, others, entry.policy, entry.strategy or _implied(entry))


def _implied(entry: RouteEntry) -> Strategy | None:
    """Who writes different weights means them."""
    weights = {one.weight if isinstance(one, WeightedTarget) else 1.0 for one in entry.targets}
    return "weighted" if len(weights) > 1 else None


def _model(file: Path, name: str, entry: ModelEntry, routes: Mapping[str, RouteEntry], clouds: Clouds) -> Entry:
    where = f"{file}: models.{name}"
    if name.startswith((LOCAL_PREFIX, FLEET_PREFIX)):
        raise TablesError(f"{where}: models of the fleet stand here by their own names: {name.partition(':')[2]}")
    fallback = [one for said in entry.fallback for one in _fallback(where, said, routes, clouds, ())]
    others = tuple(one for one in dict.fromkeys(fallback) if one not in (name, LOCAL_PREFIX + name))
    return Entry(name, (), others, entry.policy, entry.strategy)


def _targets(
    where: str, entry: RouteEntry, routes: Mapping[str, RouteEntry], clouds: Clouds, path: tuple[str, ...]
) -> Iterator[Share]:
    """The targets of a route, those of routes it names in their place; their weights share that of the name."""
    for said in entry.targets:
        one = said if isinstance(said, WeightedTarget) else WeightedTarget(said)
        if one.target not in routes or one.target == AUTO:
            yield Share(_target(f"{where}.targets", one.target, routes, clouds), one.weight)
            continue
        _check_circle(where, one.target, path)
        inner = list(_targets(where, routes[one.target], routes, clouds, (*path, one.target)))
        whole = sum(share.weight for share in inner) or 1.0
        yield from (Share(share.target, share.weight * one.weight / whole) for share in inner)


def _inherited(
    where: str, entry: RouteEntry, routes: Mapping[str, RouteEntry], clouds: Clouds, path: tuple[str, ...]
) -> Iterator[str]:
    """The fallbacks of routes that a route names as targets: they are asked when its own cannot answer either."""
    for said in entry.targets:
        name = said.target if isinstance(said, WeightedTarget) else said
        if name in routes and name != AUTO:
            _check_circle(where, name, path)
            for one in routes[name].fallback:
                yield from _fallback(where, one, routes, clouds, (*path, name))
            yield from _inherited(where, routes[name], routes, clouds, (*path, name))


def _fallback(
    where: str, said: str, routes: Mapping[str, RouteEntry], clouds: Clouds, path: tuple[str, ...]
) -> Iterator[str]:
    """What a name among fallbacks stands for, in order."""
    if said not in routes or said == AUTO:
        yield _target(f"{where}.fallback", said, routes, clouds)
        return
    _check_circle(where, said, path)
    inner = (*path, said)
    yield from (share.target for share in _targets(where, routes[said], routes, clouds, inner))
    for one in routes[said].fallback:
        yield from _fallback(where, one, routes, clouds, inner)


def _check_circle(where: str, name: str, path: tuple[str, ...]) -> None:
    if name in path:
        raise TablesError(f"{where}: names that go in a circle: {' -> '.join((*path, name))}")


def _target(where: str, name: str, routes: Mapping[str, RouteEntry], clouds: Clouds) -> str:
    """The target that a name means. Raises TablesError for what cannot be one; a cloud without its key can."""
    if name.startswith(LOCAL_PREFIX) and name != LOCAL_PREFIX:
        return name
    found = cloud_name(name, clouds.targets)
    if found is not None:
        return found
    provider, colon, model = name.partition(":")
    providers = {target.provider for target in clouds.targets.values()} | clouds.missing.keys()
    if colon and model and provider in providers:
        return name
    known = ", ".join(sorted(providers)) or "none is read"
    others = ", ".join(one for one in routes if one != AUTO)
    near = difflib.get_close_matches(name, [*routes, *clouds.targets], n=1)
    meant = near[0] if near else "" if ":" in name else f"{LOCAL_PREFIX}{name}"
    hint = f"; did you mean {meant}? There is" if meant else ":"
    raise TablesError(
        f"{where}: {name!r} is no target{hint} local:<model>, <provider>:<model> (of providers there is: {known}), or "
        f"another name of this file{f': {others}' if others else ''}"
    )


def _merged(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Each target once, with all its weight."""
    weights: dict[str, float] = {}
    for share in shares:
        weights[share.target] = weights.get(share.target, 0.0) + share.weight
    return tuple(Share(target, weight) for target, weight in weights.items())


def _problems(table: Table, routes: Path) -> Iterator[str]:
    """What is written down and does not do what it says."""
    for key, entries in (("routes", table.names), ("models", table.models)):
        for entry in entries.values():
            where = f"{routes}: {key}.{entry.name}"
            yield from _of_entry(where, entry, table, is_model=key == "models")


def _of_entry(where: str, entry: Entry, table: Table, *, is_model: bool) -> Iterator[str]:
    policy = entry.policy or table.policy
    named = [*(share.target for share in entry.targets), *entry.fallback]
    clouds = [name for name in named if not name.startswith(LOCAL_PREFIX)]
    if clouds and policy not in CLOUDS:
        yield f"{where}: {', '.join(clouds)} are never asked, because the policy is {policy}"
    if is_model and entry.policy in (*CLOUDS, "never_cloud") and not entry.fallback:
        yield f"{where}: the policy {policy} allows others, and there is no fallback that names any"
    for name in clouds:
        provider, _, model = name.partition(":")
        if name not in table.clouds and policy in CLOUDS:
            yield f"{where}: {name} cannot be asked: {table.missing.get(provider, f'{provider} offers no {model}')}"
    first = [share.target for share in entry.targets]
    if policy == "cloud_first" and clouds and first and not any(name in clouds for name in first):
        yield f"{where}: the policy is {policy}, and all clouds stand in fallback, which is asked last"
    if entry.strategy == "weighted" and entry.targets and not any(share.weight for share in entry.targets):
        yield f"{where}: all weights are 0, so none is drawn"


def of_catalogue(entries: Mapping[str, Any]) -> dict[str, list[str]]:
    """Roles of models by name, as a catalogue of models has them."""
    return {name: list(entry.roles) for name, entry in entries.items() if entry.roles}
