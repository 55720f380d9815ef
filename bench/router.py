"""What does a router cost, and what does it gain?

`decision_p50_ms`, `decision_p99_ms`: who is asked, of 1,000 targets, over 10,000 decisions of every strategy, with and
without a task type, a context and needs. The fleet is heard of all the time: each 100 ms everybody's state is made anew
of what workers said, and the decision that comes first then works out what all need of it. `situation_p50_ms` is that
making. The collector of garbage runs as in a worker.

`prefix_hit_rate`, `frozen_added_max_s`: see router_lanes.py. `added_p50`, `typo_*`, `gone_*`: see router_way.py.
`reserve_p50_ms`: see router_money.py.
"""

import random
import time
from datetime import UTC, datetime

import msgspec
from router_lanes import lanes
from router_money import money
from router_way import way
from support import ROOT, figure, median, note

from golek_client.fleet import FleetView
from golek_program.garbage import settle_garbage
from golek_wire.requests import InferenceRequest, Message, Params
from golek_wire.routing import RouteWish, Strategy
from golek_wire.signals import EngineStats, Health, LoadReport, ModelInfo, ModelRecord
from golek_worker.router.asking import ask_of
from golek_worker.router.policy import decide
from golek_worker.router.roles import RolesFile, build
from golek_worker.router.situation import situate
from golek_worker.router.table import Table
from golek_worker.router.tables import ROLES
from golek_worker.router.targets import Ask, Price, Target

BENCH = "router"
TARGETS = 1000
CLOUDS = 50
DECISIONS = 10_000
REFRESH_S = 0.1
STRATEGIES: tuple[Strategy, ...] = (
    "least_busy", "round_robin", "capability_match", "prefix_affinity", "cheapest", "weighted", "in_order",
)  # fmt: skip


def a_fleet(rng: random.Random, now: float) -> FleetView:
    """950 models, each with a replica or two and something to do."""
    view, seen = FleetView(), datetime.now(UTC).isoformat()
    names = [f"model-{number:04}" for number in range(TARGETS - CLOUDS)]
    able = ["text-generation", "tool-calling", "grammar-constrained"]
    view.know(
        [
            ModelRecord(name, ["inference"], "online", name, seen, 8192, capabilities=able, memory_mb=900)
            for name in names
        ],
        now,
    )
    for name in names:
        for number in range(rng.choice((1, 1, 2))):
            worker = f"{name}.{number}"
            view.heartbeat(Health(name, "online", "", able, "", "", "", ModelInfo(), worker, slots=4), now)
            stats = EngineStats(60, requests=30, ttft_ms_p50=rng.uniform(20, 900), itl_ms_p50=12, tokens_per_s=60)
            busy = rng.randrange(5), rng.randrange(20)
            view.report(LoadReport(name, busy[1], busy[0], "", 4, 2000, "healthy", worker, 1, engine_stats=stats), now)
    return view


def a_table(rng: random.Random) -> Table:
    """50 models of clouds, and roles for a third of all."""
    import yaml

    said = msgspec.convert(yaml.safe_load((ROOT / ROLES).read_text("utf-8")), RolesFile)
    some = {f"model-{number:04}": [rng.choice([*said.roles])] for number in range(0, TARGETS, 3)}
    clouds = [
        Target(f"cloud:m{number}", "cloud", f"m{number}", context_size=200_000, price=Price(rng.random(), rng.random()))
        for number in range(CLOUDS)
    ]
    return Table(clouds={one.name: one for one in clouds}, roles=build(said, some), policy="local_first")


def an_ask(rng: random.Random, number: int) -> Ask:
    """What a request becomes; its own reading is no part of the decision."""
    wish = RouteWish(strategy=STRATEGIES[number % len(STRATEGIES)])
    request = InferenceRequest(
        messages=[Message("user", f"conversation {rng.randrange(500)}")],
        params=Params(max_tokens=rng.choice((None, 64, 4000))),
        tools=[{"type": "function", "function": {"name": "f"}}] if rng.random() < 0.2 else None,
        task_type=rng.choice((None, "code", "analyze", "chat")),
        route=wish,
    )
    return ask_of(request, "auto", "inference", job_id=str(number), turn=number, deadline_s=rng.choice((5.0, 120.0)))


def decisions() -> None:
    """Print what deciding takes."""
    rng, now = random.Random(8), time.monotonic()
    view, table = a_fleet(rng, now), a_table(rng)
    asks = [an_ask(rng, number) for number in range(DECISIONS)]
    settle_garbage()
    made, took, refreshed = list[float](), list[float](), -1.0
    situation = situate(view, table, now, datetime.now(UTC))
    for ask in asks:
        began = time.perf_counter()
        if began - refreshed > REFRESH_S:
            situation = situate(view, table, now, datetime.now(UTC))
            refreshed = time.perf_counter()
            made.append((refreshed - began) * 1000)
            began = refreshed
        decision = decide(ask, table, situation)
        took.append((time.perf_counter() - began) * 1000)
        assert decision.candidates
    took.sort()
    note(f"{len(made)} situations, {DECISIONS} decisions; the slowest took {took[-1]:.1f} ms")
    figure(BENCH, "decision_p50_ms", took[len(took) // 2], None, "ms", DECISIONS)
    figure(BENCH, "decision_p99_ms", took[len(took) * 99 // 100], None, "ms", DECISIONS)
    figure(BENCH, "situation_p50_ms", median(made), None, "ms", len(made))


def main() -> None:
    decisions()
    money()
    lanes()
    way()


if __name__ == "__main__":
    main()
