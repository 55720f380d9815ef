"""Which names does a router serve, and what does each of them mean?

A table is a value, made by `tables` of the files. It knows names, policies and clouds, and nothing of how anybody is
just now.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from golek_wire.orchestration import Mode, Preset
from golek_wire.routing import AUTO, LOCAL, Offer, Policy, Strategy
from golek_wire.subjects import SERVED
from golek_worker.router.prices import NO_PRICES, Prices
from golek_worker.router.roles import NO_ROLES, Roles
from golek_worker.router.targets import ANY, Target

LOCAL_PREFIX: Final = f"{LOCAL}:"
FLEET_PREFIX: Final = "inference:"
"""What front doors may leave before a model's name; it means nothing here."""
Sort = Literal["auto", "alias", "preset", "model", "cloud"]


class Share(Struct, frozen=True):
    """A target of a name."""

    target: str
    weight: float = 1.0


class Entry(Struct, frozen=True):
    """What the tables say of a name. Targets that are names themselves are taken apart already."""

    name: str
    targets: tuple[Share, ...] = ()
    fallback: tuple[str, ...] = ()
    policy: Policy | None = None
    strategy: Strategy | None = None


class Plan(Struct, frozen=True):
    """What a name stands for that somebody asked for."""

    name: str
    """Without the prefix of a front door."""
    sort: Sort
    policy: Policy
    strategy: Strategy
    targets: tuple[Share, ...] = ()
    """Of `auto` none: all that there are. Of a preset those of its models."""
    fallback: tuple[str, ...] = ()
    preset: Preset | None = None
    """Several models that answer together; None for any other name."""


class Table(Struct, frozen=True):
    """What a router serves."""

    names: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """Aliases; and `auto`, where the file says something of it."""
    models: dict[str, Entry] = field(default_factory=dict[str, Entry])
    """What is said of models of the fleet, by their names, and of clouds' by those of their targets."""
    clouds: dict[str, Target] = field(default_factory=dict[str, Target])
    """By name of the target: those that can be asked."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Providers that cannot be asked, and why: those without a key."""
    roles: Roles = NO_ROLES
    policy: Policy = "never_cloud"
    """Of names that say nothing of their own; a model of the fleet is `local_only` then."""
    strategy: Strategy = "least_busy"
    falls_back: bool = True
    """Whether another target is asked when the first one cannot answer."""
    spill: float = 0.8
    problems: tuple[str, ...] = ()
    """What of the files cannot be used."""
    prices: Prices = NO_PRICES
    prices_as: dict[str, str] = field(default_factory=dict[str, str])
    """The names of targets in the library of prices, where they have another there."""
    not_set_up: dict[str, str] = field(default_factory=dict[str, str])
    """Providers that only wait for a key, and the variable that is to hold it."""
    presets: dict[str, Preset] = field(default_factory=dict[str, Preset])
    """Those that no alias hides."""
    config: str = ""
    """The preset that `auto` stands for."""
    mode: Mode = "single"
    """How several models answer together where neither a request nor a preset says it."""

    @property
    def usual_mode(self) -> Mode:
        """How `auto` is answered where the request does not say it."""
        preset = self.presets.get(self.config)
        return (preset.mode if preset is not None else None) or self.mode

    def plan(self, asked: str, fleet: Mapping[str, str]) -> Plan | None:
        """What a name means; None for one that nobody knows.

        `fleet` has the targets of the fleet's own models by the names that callers use. 1. a model of the fleet, 2. an
        alias, 3. `auto`, 4. a preset, 5. a cloud's model. `local:` before a name keeps the request from all others.
        """
        name = asked.removeprefix(FLEET_PREFIX) or asked
        alone = name.startswith(LOCAL_PREFIX) and name != LOCAL_PREFIX
        name = name.removeprefix(LOCAL_PREFIX) if alone else name
        plan = self._model(name, fleet) or self._named(name)
        if not alone:
            return plan or self._preset(name, fleet) or self._cloud(name)
        return None if plan is None else msgspec.structs.replace(plan, policy="local_only")

    def lost(self, asked: str) -> Plan | None:
        """What the name of a cloud's model would mean, had its provider a key; None for other names."""
        name = asked.removeprefix(FLEET_PREFIX)
        provider = name.partition(":")[0].partition("/")[0]
        model = name[len(provider) + 1 :]
        return self._of_cloud(f"{provider}:{model}") if provider in self.missing and model else None

    def fingerprint(self) -> bytes:
        """What of it decides on who answers: equal for equal tables, in whichever process."""
        said = (
            self.names, self.models, self.clouds, self.roles, self.policy, self.strategy, self.falls_back, self.presets,
            self.config, self.mode,
        )  # fmt: skip
        return msgspec.json.encode(said, order="deterministic")

    def offers(self) -> list[Offer]:
        """The names beside those of the fleet's own models."""
        auto = Offer(AUTO, list(SERVED), "golek")
        aliases = [self._offer(entry) for entry in self.names.values() if entry.name != AUTO]
        return [auto, *aliases, *(_cloud_offer(target) for target in self.clouds.values())]

    def preset_offers(self, fleet: Mapping[str, str]) -> list[Offer]:
        """The presets of which all models are known; others can be asked, and say which ones are missing."""
        plans = (self._preset(name, fleet) for name in self.presets if name not in fleet)
        return [
            self._of_preset(plan, plan.preset)
            for plan in plans
            if plan is not None and plan.preset is not None and not self.unknown(plan.preset, fleet)
        ]

    def unknown(self, preset: Preset, fleet: Mapping[str, str]) -> list[str]:
        """The models of a preset that nobody knows."""
        return [name for name in dict.fromkeys(preset.models) if self.member(name, fleet) is None]

    def member(self, asked: str, fleet: Mapping[str, str]) -> Plan | None:
        """What the name of a model means that takes part in something; a preset does not take part in another one."""
        plan = self.plan(asked, fleet)
        return None if plan is None or plan.sort == "preset" else plan

    def beside(self, fleet: Collection[str]) -> Iterator[str]:
        """What of the names does not do what it says while the fleet has these models."""
        for name in self.names:
            if name in fleet:
                yield f"routes.{name}: a model of the fleet has this name and answers; give the alias another one"
        for name in self.presets:
            if name in fleet:
                yield f"presets.{name}: a model of the fleet has this name and answers; give the preset another one"
        for key, entries in (("routes", self.names), ("models", self.models)):
            for entry in entries.values():
                for name in (*(share.target for share in entry.targets), *entry.fallback):
                    if name.startswith(LOCAL_PREFIX) and name.removeprefix(LOCAL_PREFIX) not in fleet:
                        yield f"{key}.{entry.name}: {name}: no worker of it was seen yet{_meant(name, fleet)}"

    def refined(self, target: Target) -> Target:
        """A target with the roles and the price that the tables say it has."""
        said = self.roles.by_model.get(target.model if target.is_local else target.name)
        target = self.prices.priced(target, self.prices_as.get(target.name, ""))
        return target if said is None else msgspec.structs.replace(target, roles=said)

    def _model(self, name: str, fleet: Mapping[str, str]) -> Plan | None:
        if name not in fleet and (name not in self.models or name in self.clouds):
            return None
        target = fleet.get(name, LOCAL_PREFIX + name)
        model = target.removeprefix(LOCAL_PREFIX)
        said = self.models.get(model) or Entry(model, policy="local_only")
        policy, strategy = said.policy or self.policy, said.strategy or self.strategy
        return Plan(model, "model", policy, strategy, (Share(target),), said.fallback)

    def _named(self, name: str) -> Plan | None:
        said = self.names.get(name) or (Entry(AUTO) if name == AUTO else None)
        if said is None:
            return None
        sort: Sort = "alias" if said.targets else "auto"
        policy, strategy = said.policy or self.policy, said.strategy or self.strategy
        return Plan(name, sort, policy, strategy, said.targets, said.fallback)

    def _preset(self, name: str, fleet: Mapping[str, str]) -> Plan | None:
        """A preset's own policy and strategy are those of names that say nothing: each of its models has its own."""
        preset = self.presets.get(name)
        if preset is None:
            return None
        shares: dict[str, Share] = {}
        for model in preset.models:
            plan = self._model(model, fleet) or self._named(model) or self._cloud(model)
            for share in plan.targets if plan is not None else (Share(LOCAL_PREFIX + model),):
                shares.setdefault(share.target, share)
        return Plan(name, "preset", self.policy, self.strategy, tuple(shares.values()), preset=preset)

    def _cloud(self, name: str) -> Plan | None:
        found = cloud_name(name, self.clouds)
        return None if found is None else self._of_cloud(found)

    def _of_cloud(self, found: str) -> Plan:
        said = self.models.get(found) or Entry(found)
        return Plan(
            found,
            "cloud",
            said.policy or "cloud_first",
            said.strategy or self.strategy,
            (Share(found),),
            said.fallback,
        )

    def _of_preset(self, plan: Plan, preset: Preset) -> Offer:
        return Offer(plan.name, ["inference"], "golek", targets=list(preset.models), mode=preset.mode or self.mode)

    def _offer(self, entry: Entry) -> Offer:
        """An alias can what its first target can, as far as the tables know it."""
        names = [share.target for share in entry.targets]
        known = [self.clouds[name] for name in names if name in self.clouds]
        kinds = sorted({kind for target in known for kind in target.kinds}, key=SERVED.index) or [*SERVED]
        roles = [role for name in names for role in self._roles(name)]
        if any(name.startswith(LOCAL_PREFIX) for name in names):
            kinds = [*SERVED]
        context = min((target.context_size for target in known if target.context_size), default=0)
        all_names = [*names, *entry.fallback]
        return Offer(entry.name, list(kinds), "golek", context, roles=list(dict.fromkeys(roles)), targets=all_names)

    def _roles(self, target: str) -> tuple[str, ...]:
        if target in self.clouds:
            return self.clouds[target].roles
        return self.roles.by_model.get(target.removeprefix(LOCAL_PREFIX), ())


def _meant(name: str, fleet: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [LOCAL_PREFIX + one for one in fleet], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def cloud_name(name: str, clouds: Mapping[str, Target]) -> str | None:
    """The cloud's target that `<provider>:<model>` or `<provider>/<model>` means; None for none."""
    if name in clouds:
        return name
    provider, slash, model = name.partition("/")
    told = f"{provider}:{model}"
    return told if slash and told in clouds else None


def _cloud_offer(target: Target) -> Offer:
    return Offer(
        target.name,
        sorted(target.kinds, key=SERVED.index),
        target.provider,
        target.context_size,
        sorted(target.abilities),
        [role for role in target.roles if role != ANY],
        [target.name],
    )
