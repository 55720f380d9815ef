"""How is a request routed, and what is its caller told of it?

A *target* is somebody who can answer: `local:<model>`, the replicas of one model, or `<provider>:<model>`, a model of a
cloud. A router orders the targets of a request and asks them one after the other until one answers.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from golek_wire.orchestration import Mode
from golek_wire.subjects import Kind

LOCAL: Final = "local"
"""The provider of all targets that are not a cloud's."""
AUTO: Final = "auto"
"""The model's name that leaves the choice to the router."""
EXPLAIN: Final = "golek.route.explain"
"""Where routers are asked how they would route a request (core, queue group): a `RouteQuestion`, a `Decision`."""
TABLE: Final = "golek.route.table"
"""Where routers are asked what they serve: an empty message, a `RouteTable`."""

Policy = Literal["local_only", "never_cloud", "local_first", "cloud_first"]
"""`local_only`: the model that was asked for and no other. `never_cloud`: other local models as well. `local_first`:
then clouds. `cloud_first`: these before local models."""
CLOUDS: Final[tuple[Policy, ...]] = ("local_first", "cloud_first")
"""Policies under which a cloud may be asked."""
Strategy = Literal[
    "least_busy", "round_robin", "capability_match", "prefix_affinity", "cheapest", "weighted", "in_order"
]  # fmt: skip
"""In which order targets are asked that are equally allowed."""
CacheUse = Literal["hit", "miss", "bypass"]
"""`hit`: answered from a cache, or by the run of an equal request. `miss`: looked up and not there. `bypass`: not
looked up."""
CacheMode = Literal["auto", "off", "exact", "semantic", "refresh"]
"""`auto`: as model and key have it. `refresh`: not looked up, but kept."""


class CacheWish(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a request says of caches. A mistyped field is an error: it may be the one that keeps an answer private."""

    mode: CacheMode = "auto"
    user_specific: bool = False
    """The answer is for this user alone: it is not kept. So are those of requests with a `session_id` or a `user`."""
    time_sensitive: bool = False
    """The answer depends on when it is asked: it is not kept."""


class RouteWish(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a request says of its route. It can narrow what its model's policy allows, not widen it. A mistyped field is
    an error: it may be the one that keeps the request from clouds.
    """

    policy: Policy | None = None
    strategy: Strategy | None = None
    max_cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """No target is asked that may cost more."""


class Tried(Struct, frozen=True, omit_defaults=True):
    """A target that was asked, or passed over when its turn came."""

    target: str
    outcome: str
    """`answered`, `skipped`, or the code of the error."""
    ms: float = 0.0
    reason: str = ""
    worker: str = ""
    cost_usd: float | None = None
    """What it took; None where it has no price, or came to nothing."""


class Route(Struct, frozen=True, omit_defaults=True):
    """How an answer came about. Part of its metadata, and of an error's details under `route`."""

    target: str
    """Who answered; of an error, who was asked last."""
    strategy: Strategy
    policy: Policy
    reason: str = ""
    """Why this target, in a sentence."""
    model: str = ""
    """As the target's server calls it."""
    provider: str = LOCAL
    worker: str = ""
    """The replica, where the target is local."""
    chain: list[Tried] = field(default_factory=list[Tried])
    """All that were asked, in order; the last one answered."""
    task_type: str = ""
    role: str = ""
    """That the target was found by, which may be one instead of that of the task type; empty for none."""
    queue_ms: float = 0.0
    """From acceptance until the target that answered began."""
    router: str = ""
    """The router that chose; empty where none did."""


class Candidate(Struct, frozen=True, omit_defaults=True):
    """A target that may be asked, with its place in the order."""

    target: str
    score: float
    """By the strategy; the smaller the earlier."""
    reason: str = ""
    lane: str = ""
    """The replica that should run it, by its worker id, where the strategy names one; steps go by who is free then."""
    cost_usd: float | None = None
    """The most that it may cost; None where the price is not known."""
    role: str = ""
    """That it was found by; empty where it has not the role that was looked for, nor one of those instead of it."""


class Rejected(Struct, frozen=True):
    """A target that is not asked, and why."""

    target: str
    reason: str


class Decision(Struct, frozen=True, omit_defaults=True):
    """How a request is routed: the same whether it is run or only explained."""

    model: str
    """That was asked for."""
    kind: Kind
    strategy: Strategy
    policy: Policy
    candidates: list[Candidate]
    """In the order in which they are asked."""
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    task_type: str = ""
    role: str = ""
    error: dict[str, Any] | None = None
    """What the caller gets where there is no candidate: `code`, `message`, `details`."""


class RouteQuestion(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How would this request be routed?"""

    model: str
    kind: Kind = "inference"
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    """As it would be sent on `<kind>.request.<model>`."""
    draw: Annotated[float, Meta(ge=0, lt=1)] | None = None
    """The number that weighted targets are drawn with, which a job has from its id; without it one at random."""
    allowed: list[str] | None = None
    """The models that the caller's key is for; all without it."""


class Offer(Struct, frozen=True, omit_defaults=True):
    """A name that a router serves beside those of the fleet's own models."""

    name: str
    kinds: list[str]
    owned_by: str
    """`golek` for aliases and `auto`, else the provider."""
    context_size: int = 0
    capabilities: list[str] = field(default_factory=list[str])
    roles: list[str] = field(default_factory=list[str])
    targets: list[str] = field(default_factory=list[str])
    """Who may answer, in the order of the table; of a preset its models."""
    mode: Mode | None = None
    """Of a preset: how they answer together."""


class RouteTable(Struct, frozen=True, omit_defaults=True):
    """What a router serves."""

    router: str
    """Its worker id."""
    offers: list[Offer]
    breakers: dict[str, str] = field(default_factory=dict[str, str])
    """By target: `open`, `limited` or `half_open`, with words on until when and why; the closed ones are left out."""
    problems: list[str] = field(default_factory=list[str])
    """What of its tables it cannot use, such as an alias whose cloud has no key."""
    not_set_up: dict[str, str] = field(default_factory=dict[str, str])
    """Providers that only wait for a key: the variable that is to hold it, by provider."""
    budget: str = ""
    """ROUTER_BUDGET; empty without one."""
