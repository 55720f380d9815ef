"""Who is asked, in which order: a row for each rule."""

import math
from typing import Any

import msgspec
import pytest

from golek_wire.routing import Decision, Policy
from golek_wire.subjects import model_token
from golek_worker.router import refusals, roles
from golek_worker.router.ordering import LIMIT
from golek_worker.router.policy import decide, narrowed
from golek_worker.router.standing import Situation
from golek_worker.router.table import Entry, Share, Table
from golek_worker.router.targets import ALL_NEEDS, Ask, Lane, Price, State, Target

ROLES = roles.build(
    roles.RolesFile(
        {
            "primary": roles.RoleEntry(task_types=["chat"]),
            "coder": roles.RoleEntry(task_types=["code"]),
            "thinker": roles.RoleEntry(task_types=["plan"]),
        },
        {"coder": "primary", "thinker": "coder", "primary": "any"},
        "primary",
    ),
    {},
)
WELL = State(free=2, slots=4, capacity=100)
DOWN = State(up=False, why="the last one was seen 120 s ago")
PAUSED = State(up=False, why="429 of the cloud", retry_s=7.5, limited=True)
COMING = State(up=False, expected=True, why="it is loading")
CHEAP, DEAR = Price(0.1, 0.4), Price(5.0, 20.0)


def local(name: str, **about: Any) -> Target:
    return Target(f"local:{name}", "local", name, **about)


def cloud(name: str, **about: Any) -> Target:
    return Target(name, name.partition(":")[0], name.partition(":")[2], **about)


def entry(name: str, *targets: str | tuple[str, float], **about: Any) -> Entry:
    shares = (Share(one) if isinstance(one, str) else Share(*one) for one in targets)
    return Entry(name, tuple(shares), **about)


def given(
    *targets: Target,
    states: dict[str, State] | None = None,
    names: tuple[Entry, ...] = (),
    models: tuple[Entry, ...] = (),
    **about: Any,
) -> tuple[Table, Situation]:
    """Tables and a fleet where everybody is well of whom nothing else is said."""
    clouds = {one.name: one for one in targets if not one.is_local}
    table = Table({one.name: one for one in names}, {one.name: one for one in models}, clouds, roles=ROLES, **about)
    well = {one.name: WELL for one in targets if one.is_local}
    return table, Situation({one.name: one for one in targets}, well | (states or {}))


def asked(model: str = "auto", **about: Any) -> Ask:
    return Ask(model, **about)


def chain(ask: Ask, over: tuple[Table, Situation]) -> list[str]:
    return [one.target for one in decide(ask, *over).candidates]


def decided(ask: Ask, over: tuple[Table, Situation]) -> Decision:
    return decide(ask, *over)


A, B, C = local("a"), local("b"), local("c")
GPT, HAIKU = cloud("openai:gpt", price=DEAR), cloud("anthropic:haiku", price=CHEAP)
FREE = given(A, B, GPT, policy="local_first")
FALLS = Entry("a", (), ("openai:gpt", "local:b"), "local_first")
CANARY = entry("n", ("local:a", 48), ("local:b", 47), ("openai:gpt", 5), strategy="weighted", policy="local_first")
SMART = entry("smart", "local:a", "openai:gpt", fallback=("local:b",), policy="local_first")


@pytest.mark.parametrize(
    ("rule", "over", "ask", "expected"),
    [
        ("a model of the fleet is answered by itself alone", given(A, B, GPT), asked("a"), ["local:a"]),
        ("… by its token, too", given(local("org/a.b")), asked(model_token("org/a.b")), ["local:org/a.b"]),
        ("a prefix of a front door means nothing", given(A, B), asked("inference:a"), ["local:a"]),
        ("`local:` keeps from all others", given(A, B, GPT, models=(FALLS,)), asked("local:a"), ["local:a"]),
        ("a fallback is asked next, local before cloud",
         given(A, B, GPT, models=(FALLS,)), asked("a"), ["local:a", "local:b", "openai:gpt"]),
        ("… or the cloud before all",
         given(A, B, GPT, models=(msgspec.structs.replace(FALLS, policy="cloud_first"),)), asked("a"),
         ["openai:gpt", "local:a", "local:b"]),
        ("never_cloud asks no cloud",
         given(A, B, GPT, models=(msgspec.structs.replace(FALLS, policy="never_cloud"),)), asked("a"),
         ["local:a", "local:b"]),
        ("local_only asks nobody else",
         given(A, B, GPT, models=(msgspec.structs.replace(FALLS, policy="local_only"),)), asked("a"), ["local:a"]),
        ("a request may narrow", given(A, B, GPT, models=(FALLS,)), asked("a", policy="never_cloud"),
         ["local:a", "local:b"]),
        ("a request may turn the order where clouds are allowed", given(A, B, GPT, models=(FALLS,)),
         asked("a", policy="cloud_first"), ["openai:gpt", "local:a", "local:b"]),
        ("auto is every local model", given(A, B, GPT), asked(), ["local:a", "local:b"]),
        ("… and clouds behind these where the policy allows them", FREE, asked(), ["local:a", "local:b", "openai:gpt"]),
        ("… or before", FREE, asked(policy="cloud_first"), ["openai:gpt", "local:a", "local:b"]),
        ("auto with `local:` asks no cloud", FREE, asked("local:auto"), ["local:a", "local:b"]),
        ("auto may have a policy and a fallback of its own",
         given(A, GPT, HAIKU, names=(Entry("auto", (), ("anthropic:haiku",), "local_first"),)), asked(),
         ["local:a", "anthropic:haiku", "openai:gpt"]),
        ("an alias asks its targets by tier, then its fallback", given(A, B, GPT, names=(SMART,)), asked("smart"),
         ["local:a", "openai:gpt", "local:b"]),
        ("a cloud's model by its name", given(A, GPT), asked("openai:gpt"), ["openai:gpt"]),
        ("… with a slash", given(A, GPT), asked("openai/gpt"), ["openai:gpt"]),
        ("a model of the fleet comes before an alias of its name", given(A, B, names=(entry("a", "local:b"),)),
         asked("a"), ["local:a"]),
        ("those that were tried are left out", given(A, B), asked(excluded=frozenset(("local:a",))), ["local:b"]),
        ("a role's models come first", given(A, local("b", roles=("coder",))), asked(task_type="code"),
         ["local:b", "local:a"]),
        ("who only repeats what it is told is no model, also before clouds",
         given(local("a", repeats=True), B, GPT, policy="local_first"), asked(),
         ["local:b", "openai:gpt", "local:a"]),
        ("… unless it is named", given(local("a", repeats=True), B), asked("a"), ["local:a"]),
        ("… or has the role", given(local("a", repeats=True, roles=("primary",)), B), asked(), ["local:a", "local:b"]),
        ("… then those of its fallback",
         given(A, local("b", roles=("primary",)), local("c", roles=("coder",))), asked(task_type="plan"),
         ["local:c", "local:b", "local:a"]),
        ("without a task type the default role", given(A, local("b", roles=("primary",))), asked(),
         ["local:b", "local:a"]),
        ("a role counts more than whether it is local",
         given(A, cloud("openai:gpt", roles=("coder",)), policy="local_first"), asked(task_type="code"),
         ["openai:gpt", "local:a"]),
        ("another kind", given(A, local("e", kinds=frozenset(("embedding",)))), asked(kind="embedding"), ["local:e"]),
        ("what it cannot is not asked of it",
         given(local("a", abilities=ALL_NEEDS - {"tools"}), B), asked(needs=frozenset(("tools",))), ["local:b"]),
        ("who does not go on behind a text is not asked to",
         given(A, cloud("openai:gpt", prefills=False), HAIKU, policy="local_first"), asked(has_text=True),
         ["local:a", "anthropic:haiku"]),
        ("what does not fit is not asked of it", given(local("a", context_size=100), local("b", context_size=1000)),
         asked(tokens_in=90, max_tokens=20), ["local:b"]),
        ("an unknown context holds all", given(local("a", context_size=100), B), asked(tokens_in=9000), ["local:b"]),
        ("auto chooses among the models of the key", given(A, B), asked(allowed=frozenset(("auto", "b"))), ["local:b"]),
        ("… and no cloud's model of that name", given(A, local("gpt"), GPT, policy="local_first"),
         asked(allowed=frozenset(("auto", "gpt"))), ["local:gpt"]),
        ("a key for auto alone may have all", given(A, B), asked(allowed=frozenset(("auto",))), ["local:a", "local:b"]),
        ("a key for an alias may have what it stands for", given(A, B, GPT, names=(SMART,)),
         asked("smart", allowed=frozenset(("smart",))), ["local:a", "openai:gpt", "local:b"]),
        ("no more money than the request says", given(A, GPT, HAIKU, policy="local_first"),
         asked(tokens_in=1000, max_tokens=1000, max_cost_usd=0.001), ["local:a", "anthropic:haiku"]),
        ("an unknown price is not 0", given(A, cloud("x:y", priced=False), policy="local_first"),
         asked(max_cost_usd=1), ["local:a"]),
        ("who is gone is not asked", given(A, B, states={"local:a": DOWN}), asked(), ["local:b"]),
        ("an open breaker", given(A, GPT, HAIKU, policy="local_first", states={"openai:gpt": DOWN}), asked(),
         ["local:a", "anthropic:haiku"]),
        ("who is expected back comes last", given(A, B, states={"local:a": COMING}), asked(), ["local:b", "local:a"]),
        ("… and is asked where there is nobody else", given(A, states={"local:a": COMING}), asked("a"), ["local:a"]),
        ("from 0.8 of a queue on others come first",
         given(A, GPT, models=(FALLS,), states={"local:a": State(slots=4, pending=80, capacity=100)}), asked("a"),
         ["openai:gpt", "local:a"]),
        ("… and below it does not", given(A, GPT, models=(FALLS,),
         states={"local:a": State(slots=4, pending=79, capacity=100)}), asked("a"), ["local:a", "openai:gpt"]),
        ("who would begin behind the deadline comes behind",
         given(A, B, states={"local:a": State(slots=1, wait_s=9.0)}), asked(deadline_s=5), ["local:b", "local:a"]),
        ("without fallbacks the first one alone", given(A, B, falls_back=False), asked(), ["local:a"]),
        ("least_busy: who begins soonest", given(A, B, states={"local:a": State(slots=1, pending=1, wait_s=0.5)}),
         asked(), ["local:b", "local:a"]),
        ("… of equals the one with the least work", given(A, B, states={"local:b": State(free=4, slots=4)}), asked(),
         ["local:b", "local:a"]),
        ("round_robin: each in turn", given(A, B, C), asked(strategy="round_robin", turn=4),
         ["local:b", "local:c", "local:a"]),
        ("capability_match: who is best at the role",
         given(local("a", roles=("primary", "coder")), local("b", roles=("coder",))),
         asked(task_type="code", strategy="capability_match"), ["local:b", "local:a"]),
        ("… then the smallest that will do",
         given(local("a", size_mb=9000), local("b", size_mb=400)), asked(strategy="capability_match"),
         ["local:b", "local:a"]),
        ("… and its context",
         given(local("a", context_size=32768), local("b", context_size=8192), local("c", context_size=512)),
         asked(strategy="capability_match", tokens_in=1000), ["local:b", "local:a"]),
        ("cheapest: by price and tokens, unknown ones last",
         given(GPT, HAIKU, cloud("x:y", priced=False), policy="cloud_first"), asked(strategy="cheapest"),
         ["anthropic:haiku", "openai:gpt", "x:y"]),
        ("in_order: as they are written", given(A, B, C, names=(entry("n", "local:c", "local:a", "local:b"),)),
         asked("n", strategy="in_order"), ["local:c", "local:a", "local:b"]),
        ("weighted: where the draw falls",
         given(A, B, names=(entry("n", ("local:a", 95), ("local:b", 5), strategy="weighted"),)),
         asked("n", draw=0.96), ["local:b", "local:a"]),
        ("… most of the time on the heavy one",
         given(A, B, names=(entry("n", ("local:a", 95), ("local:b", 5), strategy="weighted"),)),
         asked("n", draw=0.94), ["local:a", "local:b"]),
        ("a weight of 0 is never drawn",
         given(A, B, names=(entry("n", ("local:a", 0), ("local:b", 1), strategy="weighted"),)),
         asked("n", draw=0.0), ["local:b", "local:a"]),
        ("… among all that the policy allows: a cloud may be a canary",
         given(A, B, GPT, names=(CANARY,)), asked("n", draw=0.96), ["openai:gpt", "local:a", "local:b"]),
        ("… and the policy says who is asked after it",
         given(A, B, GPT, names=(CANARY,)), asked("n", draw=0.5), ["local:b", "local:a", "openai:gpt"]),
        ("… also where clouds come first",
         given(A, B, GPT, names=(CANARY,)), asked("n", draw=0.96, policy="cloud_first"),
         ["local:b", "openai:gpt", "local:a"]),
        ("… but no cloud that it does not allow",
         given(A, B, GPT, names=(CANARY,)), asked("n", draw=0.99, policy="never_cloud"), ["local:b", "local:a"]),
        ("a target that nobody has heard of is not asked", given(A, names=(entry("n", "local:zz", "local:a"),)),
         asked("n"), ["local:a"]),
    ],
)  # fmt: skip
def test_who_is_asked(rule: str, over: tuple[Table, Situation], ask: Ask, expected: list[str]) -> None:
    """Each rule, alone."""
    assert chain(ask, over) == expected, rule


@pytest.mark.parametrize(
    ("rule", "over", "ask", "code", "said"),
    [
        ("an unknown name", given(local("qwen3-4b"), GPT), asked("qwen3-4"), "MODEL_NOT_FOUND",
         "did you mean qwen3-4b?"),
        ("… near a cloud's", given(A, GPT), asked("openai:gtp"), "MODEL_NOT_FOUND", "did you mean openai:gpt?"),
        ("… a cloud's model without its provider", given(A, local("gpt-oss"), GPT), asked("gpt"), "MODEL_NOT_FOUND",
         "did you mean openai:gpt?"),
        ("… a mistyped provider", given(A, GPT, HAIKU, missing={"gemini": "no key"}), asked("opnai:gpt"),
         "MODEL_NOT_FOUND", "no provider 'opnai': there is anthropic, gemini, openai; did you mean openai:gpt?"),
        ("a provider without its key", given(A, missing={"openai": "OPENAI_API_KEY is not set"}), asked("openai:gpt"),
         "PROVIDER_REFUSED", "openai:gpt: OPENAI_API_KEY is not set"),
        ("more than the policy allows", given(A, GPT), asked("a", policy="cloud_first"), "BAD_REQUEST",
         "route.policy: cloud_first is more than a allows, whose policy is local_only"),
        ("… of auto", given(A, GPT), asked(policy="local_first"), "BAD_REQUEST", "whose policy is never_cloud"),
        ("a cloud's name and no cloud", given(A, GPT), asked("openai:gpt", policy="never_cloud"), "BAD_REQUEST",
         "openai:gpt is one's model"),
        ("a key for others", given(A, B), asked("a", allowed=frozenset(("b",))), "FORBIDDEN", "it is for b"),
        ("fits nowhere", given(local("a", context_size=100), local("b", context_size=200)), asked(tokens_in=300),
         "CONTEXT_BUDGET_EXCEEDED", "the largest context is 200"),
        ("nobody can", given(A), asked(needs=frozenset(("vision",)), kind="embedding"), "NO_WORKERS",
         "there is no model for embedding"),
        ("… as it is asked", given(local("a", abilities=ALL_NEEDS - {"vision"})), asked(needs=frozenset(("vision",))),
         "BAD_REQUEST", "local:a cannot: vision"),
        ("too dear", given(GPT, policy="cloud_first"), asked(tokens_in=10**6, max_cost_usd=0.5), "BAD_REQUEST",
         "no more than $0.5 may be spent"),
        ("gone", given(A, states={"local:a": DOWN}), asked("a"), "NO_WORKERS", "the last one was seen 120 s ago"),
        ("gone, and clouds forbidden", given(A, GPT, states={"local:a": DOWN},
         models=(msgspec.structs.replace(FALLS, fallback=("openai:gpt",), policy="never_cloud"),)), asked("a"),
         "NO_WORKERS", "the last one was seen 120 s ago"),
        ("another kind", given(A), asked("a", kind="rerank"), "BAD_REQUEST", "local:a is no model for rerank"),
        ("a pause", given(cloud("x:m"), states={"x:m": PAUSED}), asked("x:m"), "RATE_LIMITED", "429 of the cloud"),
        ("a pause, and who is gone", given(cloud("x:m"), A, states={"x:m": PAUSED, "local:a": DOWN},
         models=(entry("x:m", fallback=("local:a",)),)), asked("x:m"), "NO_WORKERS", "429 of the cloud"),
        ("all tried", given(A), asked("a", excluded=frozenset(("local:a",))), "NO_WORKERS", "was asked already"),
    ],
)  # fmt: skip
def test_what_is_said_where_nobody_is_asked(
    rule: str, over: tuple[Table, Situation], ask: Ask, code: str, said: str
) -> None:
    """The right error, which names what is wrong."""
    decision = decided(ask, over)
    error = refusals.of(decision)
    assert error is not None, rule
    assert (decision.candidates, error.code) == ([], code), rule
    assert said in error.message, rule


def test_a_cloud_without_its_key_has_the_policy_that_it_has_with_one() -> None:
    """So that explain heads with the same words, whoever has set what."""
    with_key = decided(asked("openai/gpt"), given(A, GPT))
    without = decided(asked("openai/gpt"), given(A, missing={"openai": "OPENAI_API_KEY is not set"}))
    assert (without.policy, without.strategy) == (with_key.policy, with_key.strategy) == ("cloud_first", "least_busy")


@pytest.mark.parametrize(
    ("policy", "wish", "so"),
    [
        ("local_only", None, "local_only"), ("local_only", "local_only", "local_only"),
        ("local_only", "never_cloud", "local_only"), ("local_only", "local_first", None),
        ("local_only", "cloud_first", None), ("never_cloud", "local_only", "local_only"),
        ("never_cloud", "never_cloud", "never_cloud"), ("never_cloud", "local_first", None),
        ("never_cloud", "cloud_first", None), ("local_first", "cloud_first", "cloud_first"),
        ("cloud_first", "local_first", "local_first"), ("cloud_first", "never_cloud", "never_cloud"),
        ("local_first", "local_only", "local_only"), ("cloud_first", None, "cloud_first"),
    ],
)  # fmt: skip
def test_a_request_narrows_and_never_widens(policy: Policy, wish: Policy | None, so: Policy | None) -> None:
    """Of each pair what is so, or that it is refused."""
    assert narrowed(policy, wish) == so


def test_the_role_that_was_found_is_told() -> None:
    """Of each candidate, which may be that instead of the role that the task type is for."""
    over = given(A, local("b", roles=("primary",)), local("c", roles=("coder",)))
    found = decided(asked(task_type="plan"), over)
    assert found.role == "thinker"
    assert [(one.target, one.role) for one in found.candidates] == [
        ("local:c", "coder"), ("local:b", "primary"), ("local:a", "")
    ]  # fmt: skip


def test_weighted_targets_get_their_shares() -> None:
    """A canary of 5 % gets 5 of 100 draws that are spread evenly."""
    over = given(A, B, names=(entry("n", ("local:a", 95), ("local:b", 5), strategy="weighted"),))
    first = [chain(asked("n", draw=number / 100), over)[0] for number in range(100)]
    assert (first.count("local:a"), first.count("local:b")) == (95, 5)


def test_equal_beginnings_meet_at_one_target_and_one_replica() -> None:
    """With prefix_affinity a conversation's turns get the same target and lane, other conversations others; and one
    that leaves takes only its own along.
    """
    lanes = tuple(Lane(f"w{number}", 1) for number in range(4))
    state = State(free=4, slots=4, replicas=lanes)
    four = [local(name) for name in "abcd"]
    over = given(*four, states={one.name: state for one in four})
    asks = [asked(strategy="prefix_affinity", affinity=f"conversation {number}") for number in range(200)]
    found = [decided(ask, over).candidates[0] for ask in asks]
    assert [decided(ask, over).candidates[0] for ask in asks] == found
    targets = [one.target for one in found]
    assert min(targets.count(one.name) for one in four) > 20
    assert {one.lane for one in found} == {"w0", "w1", "w2", "w3"}
    without = given(*four[1:], states={one.name: state for one in four[1:]})
    moved = [number for number, ask in enumerate(asks) if chain(ask, without)[0] != targets[number]]
    assert all(targets[number] == "local:a" for number in moved)


def test_a_lane_is_named_for_a_model_with_one_target_too() -> None:
    """Affinity among the replicas of the one model that was asked for."""
    state = State(free=1, slots=1, replicas=(Lane("w1", 1), Lane("w2", 0)))
    over = given(A, states={"local:a": state}, models=(Entry("a", strategy="prefix_affinity"),))
    assert decided(asked("a", affinity="x"), over).candidates[0].lane == "w1"


def test_reasons_are_sentences_for_people() -> None:
    """Each target says how it is, and each that is not asked says why."""
    over = given(A, B, states={"local:a": State(slots=1, pending=3, wait_s=2.1), "local:b": DOWN})
    decision = decided(asked(), over)
    assert decision.candidates[0].reason == "local:a: 3 jobs wait, about 2.1 s"
    assert decision.rejected[0].reason == "local:b: the last one was seen 120 s ago"


def test_a_decision_has_no_more_candidates_than_anybody_tries() -> None:
    """Of a thousand the best are named."""
    many = [local(f"m{number:04}") for number in range(1000)]
    assert len(chain(asked(), given(*many))) == LIMIT


def test_what_may_be_paid_is_told() -> None:
    """A cloud's candidate says the most that it may cost; a local one costs nothing."""
    decision = decided(asked(tokens_in=1000, max_tokens=500, deadline_s=math.inf), FREE)
    assert [one.cost_usd for one in decision.candidates] == [0.0, 0.0, pytest.approx(0.015)]
