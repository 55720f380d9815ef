"""How are the fleet's models, and the clouds, for a request that comes now?

Of what workers say of themselves (FleetView), of breakers, and of the tables one value is made, over which every
decision is made until the next one.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from golek_client import discovery
from golek_client.fleet import LEFT, FleetView, ModelState, Replica
from golek_wire.routing import AUTO
from golek_wire.signals import EngineStats
from golek_wire.subjects import SERVED, Kind
from golek_worker.router.standing import Situation
from golek_worker.router.table import LOCAL_PREFIX, Table
from golek_worker.router.targets import ALL_NEEDS, Lane, Need, State, Target

OPEN: Final = "open"
"""The GOLEK_NATS_IDENTITY that asks nothing of callers."""
JOB_S: Final = 1.0
"""A job takes about so long where a replica has not told how long its last ones took."""
IDLE_S: Final = 12.0
"""An idle replica speaks every ten seconds, a busy one every second."""
BUSY_S: Final = 1.0
ECHO: Final = "echo"
_TAUGHT: Final[Mapping[str, tuple[Need, ...]]] = {
    "tool-calling": ("tools",),
    "grammar-constrained": ("grammar", "json_schema"),
    "vision": ("vision", "stored_image"),
}
"""Needs that a worker of the fleet meets where its model's capabilities say so; the others all meet, but `vision`."""


def situate(
    view: FleetView,
    table: Table,
    now: float,
    wall: datetime,
    breakers: Mapping[str, State] | None = None,
    identity: str = OPEN,
) -> Situation:
    """Everybody at `now` on the view's clock, `wall` by that of records. `breakers` has the targets whose breaker is
    not closed: of these it counts alone whether they take requests, and why not. Of a router with this `identity`: who
    is stricter gets no requests from it.
    """
    stricter = dict[str, str]()
    targets = {name: target for name, target in table.clouds.items() if target.name == name}
    states: dict[str, State] = {}
    for model in view.models(now, wall):
        if is_router(model):
            if is_live(model, wall) and (said := unlike(model, identity)):
                stricter[AUTO] = said
            continue
        if said := unlike(model, identity):
            stricter[model.name] = said
        target = table.refined(target_of(model))
        targets[target.name] = target
        states[target.name] = state_of(model, now, wall)
    for name, broken in (breakers or {}).items():
        if name in targets:
            states[name] = _broken(states.get(name), broken)
    for name, said in stricter.items():
        if LOCAL_PREFIX + name in states:
            states[LOCAL_PREFIX + name] = State(up=False, why=said)
    return Situation(targets, states, table.spill, now, stricter)


def unlike(model: ModelState, identity: str) -> str:
    """Why a router with this GOLEK_NATS_IDENTITY takes no requests for a model, naming both settings: its workers, or
    one of them, want more of who asks. Empty where it may.
    """
    said = {one.health.identity for one in model.replicas if one.health is not None}
    said |= {model.record.identity} if model.record is not None else set()
    wanted = " and ".join(sorted(said - {"", OPEN, identity}))
    if not wanted:
        return ""
    return (
        f"the workers of {model.name} have GOLEK_NATS_IDENTITY={wanted}, and this router has "
        f"GOLEK_NATS_IDENTITY={identity}: it takes no requests for them until it has theirs"
    )


def is_live(model: ModelState, wall: datetime) -> bool:
    """Whether a worker of it is there, as far as is known."""
    record = model.record
    return bool(model.replicas) or (
        record is not None and record.state not in LEFT and discovery.gone(record, wall) is None
    )


def is_router(model: ModelState) -> bool:
    """Whether it is no model but a router: nobody is sent from one to the next."""
    return (model.record is not None and bool(model.record.offers)) or any(
        one.health is not None and one.health.engine == "router" for one in model.replicas
    )


def target_of(model: ModelState) -> Target:
    """What is known of a model of the fleet, whoever runs it."""
    record = model.record
    said = [one.health for one in model.replicas if one.health is not None]
    kinds = frozenset[Kind](kind for kind in SERVED if record is not None and kind in record.kinds)
    context = record.context_size if record is not None else 0
    capabilities = {name for health in said for name in health.capabilities}
    capabilities |= set(record.capabilities) if record is not None else set()
    return Target(
        LOCAL_PREFIX + model.name,
        "local",
        model.name,
        kinds or frozenset(("inference",)),
        context or max((health.model_info.context_size for health in said), default=0),
        _abilities(capabilities),
        size_mb=record.memory_mb if record is not None else 0,
        repeats=_repeats(model),
    )


def _repeats(model: ModelState) -> bool:
    """By what its replicas say of their engine; until then by its record, which has that instead of a file's sum."""
    engines = {one.health.engine for one in model.replicas if one.health is not None and one.health.engine}
    return (engines or {model.record.digest if model.record is not None else ""}) == {ECHO}


def state_of(model: ModelState, now: float, wall: datetime) -> State:
    """How a model of the fleet is."""
    able = [one for one in model.replicas if one.in_rotation]
    gone = discovery.gone(model.record, wall) if model.record is not None else None
    expected = not able and (model.is_coming or (model.record is not None and gone is None and not model.stopped))
    slots = sum(one.slots for one in able)
    free = sum(max(0, one.slots - one.active) for one in able)
    return State(
        bool(able),
        "" if able else _why(model, gone.message if gone is not None else ""),
        expected,
        free,
        slots,
        model.pending,
        model.capacity,
        _wait_s(able, model.pending, free, slots),
        _mean(one.stats.ttft_ms_p50 for one in able if one.stats is not None) / 1000,
        replicas=tuple(_lane(one, now) for one in able),
        failed=model.status == "failed",
    )


def _why(model: ModelState, gone: str) -> str:
    """Why nobody answers for it, in words."""
    if model.is_coming:
        return f"it is {model.status}"
    if model.replicas:
        problem = next((one.problem for one in model.replicas if one.problem), None)
        return f"it is {model.status}{f': {problem}' if problem else ''}"
    return gone or "no worker of it is there"


def _wait_s(able: list[Replica], pending: int, free: int, slots: int) -> float:
    """Until a job that comes now begins: by then so many must have ended that one of its slots is free."""
    before = pending + 1 - free
    if before <= 0 or not slots:
        return 0.0
    return round(before * _job_s(able) / slots, 3)


def _job_s(able: list[Replica]) -> float:
    """How long a job takes, on average over what replicas told of the last minute."""
    told = [found for one in able if one.stats is not None and (found := _seconds(one.stats)) > 0]
    return sum(told) / len(told) if told else JOB_S


def _seconds(stats: EngineStats) -> float:
    """From the lease of a job to its last token; 0 where that is not known."""
    if not stats.requests or stats.ttft_ms_p50 is None:
        return 0.0
    written = (stats.tokens_per_s or 0.0) * (stats.window_s or 0.0) / stats.requests
    return (stats.ttft_ms_p50 + (stats.itl_ms_p50 or 0.0) * written) / 1000


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _lane(one: Replica, now: float) -> Lane:
    spoken = BUSY_S if one.is_busy else IDLE_S
    return Lane(one.worker_id, max(0, one.slots - one.active), max(0.0, now - one.heard_at - spoken))


def _broken(state: State | None, broken: State) -> State:
    """A state, with what the target's breaker says."""
    if state is None or not broken.up:
        return (
            broken
            if state is None
            else msgspec.structs.replace(
                state, up=False, expected=False, why=broken.why, retry_s=broken.retry_s, limited=broken.limited
            )
        )
    return msgspec.structs.replace(state, half_open=broken.half_open)


def _abilities(capabilities: set[str]) -> frozenset[Need]:
    """A model that has told nothing yet, because it is not loaded, is not kept from anything but images."""
    if not capabilities:
        return ALL_NEEDS - set(_TAUGHT["vision"])
    lacking = {need for name, needs in _TAUGHT.items() if name not in capabilities for need in needs}
    return ALL_NEEDS - lacking
