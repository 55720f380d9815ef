"""What is explained is what is run, whatever the fleet is like."""

import math
import random
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from golek_client.fleet import FleetView
from golek_wire import codec
from golek_wire.errors import InferenceServiceError, ModelNotFoundError
from golek_wire.replies import Reply
from golek_wire.requests import Request
from golek_wire.routing import RouteQuestion
from golek_wire.signals import EngineStats, Health, LoadReport, ModelInfo, ModelRecord
from golek_worker.job import Job
from golek_worker.providers.base import Piece
from golek_worker.router import roles
from golek_worker.router.asking import TURN_TOKENS, draw_of, tokens
from golek_worker.router.breakers import Breakers
from golek_worker.router.chain import Chain, Question, Turn
from golek_worker.router.table import Entry, Share, Table
from golek_worker.router.targets import Price, State, Target
from golek_worker.routing.deciding import Deciding
from golek_worker.routing.explaining import Explaining

STATES = 1000
MODELS = [f"m{number}" for number in range(12)]
CLOUDS = ["openai:a", "openai:b", "anthropic:c", "gemini:d"]
ROLES = ["primary", "fast", "coder", "thinker"]
POLICIES = ["local_only", "never_cloud", "local_first", "cloud_first"]
STRATEGIES = [
    "least_busy", "round_robin", "capability_match", "prefix_affinity", "cheapest", "weighted", "in_order",
]  # fmt: skip
ABLE = ["text-generation", "tool-calling", "grammar-constrained"]


def a_table(rng: random.Random) -> Table:
    """Names, policies and clouds at random."""
    targets = [f"local:{name}" for name in MODELS] + CLOUDS

    def some(at_most: int) -> list[str]:
        return rng.sample(targets, rng.randint(1, at_most))

    said = roles.RolesFile(
        {role: roles.RoleEntry(task_types=[f"do-{role}"]) for role in ROLES},
        {"coder": "primary", "thinker": "coder"}, rng.choice(ROLES),
    )  # fmt: skip
    by_model = {name: rng.sample(ROLES, rng.randint(0, 3)) for name in (*MODELS, *CLOUDS)}
    clouds = {
        name: Target(
            name, *name.split(":"), context_size=rng.choice((0, 500, 100_000)), prefills=rng.random() < 0.5,
            price=rng.choice((None, Price(rng.random(), rng.random()))), priced=rng.random() < 0.8,
        )
        for name in CLOUDS
    }  # fmt: skip
    names = {
        name: Entry(
            name, tuple(Share(one, rng.random()) for one in some(5)), tuple(some(3)), rng.choice([None, *POLICIES]),
            rng.choice([None, *STRATEGIES]),
        )
        for name in ("smart", "canary")
    }  # fmt: skip
    models = {name: Entry(name, (), tuple(some(3)), rng.choice(POLICIES)) for name in rng.sample(MODELS, 4)}
    return Table(
        names, models, clouds, roles=roles.build(said, by_model), policy=rng.choice(POLICIES),
        strategy=rng.choice(STRATEGIES), falls_back=rng.random() < 0.9,
    )  # fmt: skip


def a_fleet(rng: random.Random, now: float) -> FleetView:
    """Models in any state, with any load, some of them gone."""
    view, wall = FleetView(), datetime.now(UTC).isoformat()
    known = rng.sample(MODELS, rng.choice((0, 4, 8, 12, 12)))
    records = [
        ModelRecord(
            name, ["inference"], rng.choice(("online", "loading", "offline")), name, wall, rng.choice((0, 300, 8192)),
            capabilities=rng.sample(ABLE, rng.randint(0, 3)), memory_mb=rng.randint(0, 9000),
        )
        for name in known
    ]  # fmt: skip
    view.know(records, now)
    for name in known:
        for number in range(rng.randint(0, 3)):
            worker, status = f"{name}.{number}", rng.choice(("online", "online", "unloaded", "stalled", "draining"))
            view.heartbeat(Health(name, status, "", ABLE, "", "", "", ModelInfo(), worker, slots=4), now)
            stats = EngineStats(60, requests=rng.randint(0, 9), ttft_ms_p50=rng.uniform(1, 4000), itl_ms_p50=5.0)
            pending, active = rng.choice((0, 0, 5, 190)), rng.randint(0, 4)
            load = LoadReport(name, pending, active, "", 4, 200, "healthy", worker, 1, engine_stats=stats)
            view.report(load, now)
    return view


def a_request(rng: random.Random) -> dict[str, Any]:
    """What a caller may send."""
    wish = {
        "policy": rng.choice([*[None] * 8, *POLICIES]), "strategy": rng.choice([None, *STRATEGIES]),
        "max_cost_usd": rng.choice((None, None, None, None, 0.0001)),
    }  # fmt: skip
    said: dict[str, Any] = {
        "input": "word " * rng.choice((1, 1, 1, 400, 9000)),
        "task_type": rng.choice((None, "do-coder", "do-fast", "something")),
        "params": {"max_tokens": rng.choice((None, 20, 400)), "logprobs": rng.random() < 0.1},
        "session_id": rng.choice((None, "s1", "s2")),
        "deadline_ms": rng.choice((500, 30_000)),
        "route": {name: value for name, value in wish.items() if value is not None},
    }
    if rng.random() < 0.2:
        said["tools"] = [{"type": "function", "function": {"name": "look"}}]
    return {name: value for name, value in said.items() if value is not None}


def situations() -> Iterator[tuple[int, random.Random, Deciding]]:
    for number in range(STATES):
        rng = random.Random(number)
        now = 1000.0 + number
        view, table = a_fleet(rng, now), a_table(rng)
        broken = {name: State(up=False, why="open") for name in rng.sample(CLOUDS, rng.randint(0, 2))}
        yield (
            number,
            rng,
            Deciding(view, lambda table=table: table, lambda broken=broken: broken, "router", lambda now=now: now),
        )


def a_job(number: int, model: str, request: dict[str, Any], allowed: str) -> Job:
    return Job(
        f"job-{number}",
        "",
        "",
        False,
        "",
        1,
        request["deadline_ms"],
        "",
        {},
        asked=f"inference {model}",
        allowed=allowed,
    )


@pytest.mark.timeout(120)
async def test_the_chain_that_runs_is_the_one_that_is_explained() -> None:
    """In 1,000 random fleets, with random tables, requests and keys: a job that nobody can answer asks exactly the
    targets that the question about its request names, in that order and with these replicas; where nobody is asked,
    its caller gets the error that was told.
    """
    chained = refused = 0
    for number, rng, deciding in situations():
        request = a_request(rng)
        model = rng.choice(
            ["auto", "auto", "auto", "router", "smart", "canary", "local:m1", "openai/a", "gone", *MODELS, *CLOUDS]
        )
        allowed = rng.choice((None, None, None, None, [model, *MODELS[:6]]))
        explaining = Explaining("r", deciding, dict, list)
        question = RouteQuestion(model, "inference", request, draw_of(f"job-{number}"), allowed)
        explained = explaining.explain(codec.encode(question))
        asked, error = await tried(deciding, a_job(number, model, request, ",".join(allowed or [])), request)
        assert asked == [(one.target, one.lane) for one in explained.candidates]
        assert explained.error is None or (explained.error["code"], explained.error["message"]) == (
            error.code,
            error.message,
        )
        chained, refused = chained + len(asked), refused + (not asked)
    assert chained > STATES
    assert refused > STATES // 20


def test_what_a_template_adds_is_counted() -> None:
    """A chat's turns have marks and roles around them, which are paid for: of short ones they are the most."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    texts = math.ceil(len("Be brief.") / 4) + len("Why?") // 4
    assert tokens(codec.decode_request(codec.encode({"messages": turns}))) == texts + 3 * TURN_TOKENS
    assert tokens(codec.decode_request(b'{"input": "Why?"}')) == 1 + 2 * TURN_TOKENS
    assert tokens(codec.decode_request(b'{"input": "Why?", "raw": true}')) == 1


class Unlimited:
    """A purse that nobody counts."""

    cost_usd = None

    async def reserve(self, target: Target, request: Request) -> "Unlimited":
        return self

    def paid(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float | None:
        return None

    def broke_off(self, tokens_out: int) -> None:
        """Nothing is paid."""

    def add(self, cost_usd: float | None) -> None:
        """Nor is this."""


class Nobody:
    """Asks as a router does, and nobody has the model: the chain goes on to its end."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, turn: Turn) -> AsyncGenerator[Piece | Reply]:
        self.asked.append((turn.candidate.target, turn.candidate.lane))
        raise ModelNotFoundError(f"{turn.candidate.target} has left")
        yield ""  # a generator like any other


async def tried(
    deciding: Deciding, job: Job, said: dict[str, Any]
) -> tuple[list[tuple[str, str]], InferenceServiceError]:
    """Whom a running job asks, in order, and its end, by the way that `RouterWork` goes."""
    request = codec.decode_request(codec.encode(said))
    ask = deciding.ask(job, "inference", job.asked_model, request, job.budget_ms / 1000)
    now, nobody = time.monotonic(), Nobody()
    chain = Chain(deciding, Breakers("r", time.monotonic), "r")
    with pytest.raises(InferenceServiceError) as caught:
        async for _ in chain.run(Question(ask, request, now + 60, now), Unlimited(), nobody):
            pass
    return nobody.asked, caught.value
