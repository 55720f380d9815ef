"""What the router knows of the fleet is what workers say of themselves."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from golek_client.fleet import FleetView
from golek_wire.routing import Offer
from golek_wire.signals import EngineStats, Health, LoadReport, ModelInfo, ModelRecord, WorkerStatus
from golek_wire.subjects import SERVED
from golek_worker.router.situation import situate, unlike
from golek_worker.router.table import Entry, Share, Table
from golek_worker.router.targets import Lane, State, Target
from golek_worker.routing.deciding import Deciding

WALL = datetime(2026, 1, 1, tzinfo=UTC)
NOW = 1000.0


def record(name: str = "m", *, state: WorkerStatus = "online", seen_s: float = 5.0, **about: object) -> ModelRecord:
    seen = (WALL - timedelta(seconds=seen_s)).isoformat()
    base = ModelRecord(name, ["inference"], state, name, seen, 4096, capabilities=["text-generation"], memory_mb=300)
    return msgspec.structs.replace(base, **about)


def health(worker: str = "w1", status: WorkerStatus = "online", slots: int = 4, active: int = 0) -> Health:
    return Health(
        "m", status, "", ["text-generation"], "", "", "", ModelInfo(context_size=4096), worker, slots=slots,
        active=active,
    )  # fmt: skip


def report(
    worker: str = "w1", *, pending: int = 0, active: int = 0, slots: int = 4, stats: EngineStats | None = None
) -> LoadReport:
    return LoadReport("m", pending, active, "", slots, 2000, "healthy", worker, 1, engine_stats=stats)


def view(*said: Health | LoadReport, records: list[ModelRecord] | None = None, at: float = NOW) -> FleetView:
    found = FleetView()
    found.know(records if records is not None else [record()], at)
    for one in said:
        if isinstance(one, Health):
            found.heartbeat(one, at)
        else:
            found.report(one, at)
    return found


def state_of(fleet: FleetView, now: float = NOW, **breakers: State) -> State:
    named = {name.replace("_", ":"): state for name, state in breakers.items()}
    return situate(fleet, Table(), now, WALL, named).states["local:m"]


SLOW = EngineStats(window_s=60, requests=30, ttft_ms_p50=100, itl_ms_p50=20, tokens_per_s=50)
"""30 requests of 100 tokens: 0.1 s and 100 times 0.02 s each, 2.1 s."""


@pytest.mark.parametrize(
    ("rule", "fleet", "expected"),
    [
        ("a free replica", view(health(), report(active=1)), {"up": True, "free": 3, "slots": 4, "wait_s": 0.0}),
        ("three take the free slots, the next one waits for one of them", view(health(), report(pending=3, active=1)),
         {"pending": 3, "wait_s": 0.25}),
        ("jobs that wait, by what the last ones took", view(health(), report(pending=3, active=4, stats=SLOW)),
         {"free": 0, "wait_s": 2.1, "ttft_s": 0.1}),
        ("two replicas", view(health(), health("w2"), report(active=4), report("w2", active=2)),
         {"free": 2, "slots": 8}),
        ("stalled", view(health(status="stalled")), {"up": False, "expected": True, "why": "it is stalled"}),
        ("loading", view(health(status="loading")), {"up": False, "expected": True, "why": "it is loading"}),
        ("unloaded: it loads for who asks", view(health(status="unloaded")), {"up": True}),
        ("gone for good", view(records=[record(seen_s=120)]), {"up": False, "expected": False}),
        ("a short while away", view(records=[record(seen_s=50)]), {"up": False, "expected": True}),
        ("stopped in order", view(records=[record(state="offline", seen_s=1)]), {"up": False, "expected": False}),
    ],
)  # fmt: skip
def test_how_a_model_is(rule: str, fleet: FleetView, expected: dict[str, object]) -> None:
    """By heartbeats, load reports and its record."""
    found = state_of(fleet)
    assert {name: getattr(found, name) for name in expected} == expected, rule


def test_a_breaker_counts_more_than_what_workers_say() -> None:
    """While it is open nobody is sent there; half open it takes requests, and says so."""
    fleet = view(health(), report())
    assert state_of(fleet, local_m=State(up=False, why="5 failures")).up is False
    half = state_of(fleet, local_m=State(up=True, half_open=True))
    assert (half.up, half.half_open, half.free) == (True, True, 4)


def test_what_a_model_can_is_what_its_workers_say() -> None:
    """Without a template for tools it is asked for none; images no worker reads."""
    plain = situate(view(health()), Table(), NOW, WALL).targets["local:m"]
    taught = situate(
        view(records=[record(capabilities=["text-generation", "tool-calling", "grammar-constrained"])]),
        Table(), NOW, WALL,
    ).targets["local:m"]  # fmt: skip
    assert plain.abilities == {"logprobs", "adapter", "raw"}
    assert taught.abilities == {"logprobs", "adapter", "raw", "tools", "grammar", "json_schema"}
    assert (plain.context_size, plain.size_mb) == (4096, 300)


def test_routers_are_no_targets() -> None:
    """A request is never sent from one to the next."""
    router = record("router", offers=[Offer("auto", ["inference"], "golek")])
    assert [*situate(view(records=[record(), router]), Table(), NOW, WALL).targets] == ["local:m"]


def test_clouds_are_there_without_being_heard() -> None:
    """Their state is their breaker's alone."""
    table = Table(clouds={"openai:gpt": Target("openai:gpt", "openai", "gpt")})
    found = situate(view(records=[]), table, NOW, WALL, {"openai:gpt": State(up=False, why="429")})
    assert ([*found.targets], found.states["openai:gpt"].why) == (["openai:gpt"], "429")


def test_lanes_tell_for_how_long_a_replica_is_silent() -> None:
    """A busy one speaks each second, an idle one every ten; what is beyond that counts."""
    fleet = view(health(), health("w2"), report(active=2), report("w2"))
    assert state_of(fleet, NOW + 9).replicas == (Lane("w1", 2, 8.0), Lane("w2", 4, 0.0))


@pytest.mark.parametrize(
    ("own", "in_record", "in_health", "problem"),
    [
        ("open", "", "", ""),
        ("open", "open", "open", ""),
        ("keys", "keys", "keys", ""),
        ("keys", "open", "open", ""),
        ("open", "keys", "", "GOLEK_NATS_IDENTITY=keys, and this router has GOLEK_NATS_IDENTITY=open"),
        ("open", "open", "keys", "GOLEK_NATS_IDENTITY=keys, and this router has GOLEK_NATS_IDENTITY=open"),
        ("keys", "accounts", "accounts", "GOLEK_NATS_IDENTITY=accounts, and this router has GOLEK_NATS_IDENTITY=keys"),
        ("accounts", "keys", "keys", "GOLEK_NATS_IDENTITY=keys, and this router has GOLEK_NATS_IDENTITY=accounts"),
    ],
)
def test_a_router_asks_nobody_who_is_stricter(own: str, in_record: str, in_health: str, problem: str) -> None:
    """By the word of the record or of one replica, whichever wants more; earlier releases say nothing."""
    fleet = view(msgspec.structs.replace(health(), identity=in_health), records=[record(identity=in_record)])
    (model,) = fleet.models(NOW, WALL)
    assert problem in unlike(model, own)
    found = situate(fleet, Table(), NOW, WALL, identity=own)
    assert found.stricter.keys() == ({"m"} if problem else set())
    assert found.states["local:m"].up is not bool(problem)
    assert problem in found.standings["local:m"].trouble


def test_a_router_that_is_laxer_than_another_takes_no_requests_for_names() -> None:
    """As long as that one is there."""
    offers = [Offer("auto", ["inference"], "golek")]
    for seen_s, expected in ((5.0, {"auto"}), (500.0, set[str]())):
        fleet = view(records=[record("r", identity="keys", offers=offers, seen_s=seen_s)])
        assert situate(fleet, Table(), NOW, WALL).stricter.keys() == expected


@pytest.mark.parametrize(
    ("rule", "fleet", "repeats"),
    [
        ("its record, before it was heard", view(records=[record(digest="echo")]), True),
        ("a replica", view(msgspec.structs.replace(health(), engine="echo"), records=[record(digest="ab")]), True),
        ("a replica that is none", view(msgspec.structs.replace(health(), engine="llamacpp")), False),
        ("nobody said", view(health()), False),
    ],
)
def test_who_only_repeats_is_known(rule: str, fleet: FleetView, repeats: bool) -> None:
    """By what its replicas say of their engine; until then by its record."""
    assert situate(fleet, Table(), NOW, WALL).targets["local:m"].repeats is repeats, rule


def test_an_alias_offers_the_kinds_that_its_targets_have() -> None:
    """Once the fleet knows them all; until then those that it may have."""
    table = Table({"docs": Entry("docs", (Share("local:m"), Share("local:n"))), "m2": Entry("m2", (Share("local:m"),))})
    fleet = view(records=[record(kinds=["embedding"])])
    deciding = Deciding(fleet, lambda: table, dict, "router", lambda: NOW)
    found = {offer.name: offer.kinds for offer in deciding.offers()}
    assert found == {"auto": [*SERVED], "docs": [*SERVED], "m2": ["embedding"]}
