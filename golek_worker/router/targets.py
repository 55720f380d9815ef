"""Who could answer a request, how are they just now, and what is asked of them?

Values alone: `situation` makes targets and states of what the fleet says, `policy` puts them in order.
"""

import math
from typing import Final, Literal, get_args

from msgspec import Struct

from golek_wire.routing import LOCAL, Policy, Strategy
from golek_wire.subjects import Kind

Need = Literal["tools", "json_schema", "vision", "stored_image", "grammar", "logprobs", "adapter", "raw"]
"""What a request needs that not every target can."""
ALL_NEEDS: Final[frozenset[Need]] = frozenset(get_args(Need))
ANY: Final = "any"
"""The role that every target has."""


class Price(Struct, frozen=True):
    """What a provider takes, in dollars for a million tokens."""

    tokens_in: float
    tokens_out: float
    tokens_cached: float | None = None
    """Of those read: found in the provider's cache; None is as `tokens_in`."""
    request: float = 0.0
    """For each request besides, in dollars."""
    longer: tuple[tuple[int, "Price"], ...] = ()
    """What is taken instead where more than so many tokens are read; the largest number last."""

    def cost_usd(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        """What an answer takes; `tokens_cached` are a part of `tokens_in`."""
        for start, price in reversed(self.longer):
            if tokens_in > start:
                return price.cost_usd(tokens_in, tokens_out, tokens_cached)
        cached = self.tokens_in if self.tokens_cached is None else self.tokens_cached
        whole = (tokens_in - tokens_cached) * self.tokens_in + tokens_cached * cached + tokens_out * self.tokens_out
        return whole / 1_000_000 + self.request


class Target(Struct, frozen=True):
    """Somebody who can answer: a model of the fleet, or one of a cloud."""

    name: str
    """`local:<model>` or `<provider>:<model>`."""
    provider: str
    """`local`, or the name of an entry of providers.yaml."""
    model: str
    """As its server calls it."""
    kinds: frozenset[Kind] = frozenset(("inference",))
    context_size: int = 0
    """Tokens; 0 where it is not known."""
    abilities: frozenset[Need] = ALL_NEEDS
    roles: tuple[str, ...] = ()
    price: Price | None = None
    """None where nothing is taken, or nobody knows; `priced` tells."""
    priced: bool = True
    """Whether it is known what is taken."""
    weight: float = 1.0
    prefills: bool = True
    """Whether it can go on behind a text that another one began."""
    size_mb: int = 0
    """Of its file; 0 where it is not known."""
    repeats: bool = False
    """Whether it says what it is told, as the engine `echo` does: no answer for who asks for any model."""

    @property
    def is_local(self) -> bool:
        return self.provider == LOCAL


class State(Struct, frozen=True):
    """How a target is just now."""

    up: bool = True
    """Whether it takes requests: of local ones a replica is in rotation, of clouds the breaker lets one through."""
    why: str = ""
    """Why not."""
    expected: bool = False
    """It takes none now, and is expected back: requests may wait in its queue."""
    free: int = 0
    """Slots without a job."""
    slots: int = 0
    pending: int = 0
    capacity: int = 0
    """Jobs that its queue holds; 0 for clouds, which have none."""
    wait_s: float = 0.0
    """Until a job that comes now begins, by what the last ones took."""
    ttft_s: float = 0.0
    """From its begin to its first token, in the last minute; 0 where it is not known."""
    half_open: bool = False
    """Its breaker lets single requests through, to see whether it is back."""
    retry_s: float = 0.0
    """Until it may take requests again; 0 where that is not known."""
    limited: bool = False
    """It asked for that pause itself, and is well."""
    replicas: tuple["Lane", ...] = ()
    failed: bool = False
    """Nobody is there but workers that could not go on."""


class Lane(Struct, frozen=True):
    """One replica that takes jobs meant for it."""

    worker_id: str
    free: int = 0
    heard_s: float = 0.0
    """For how long it is silent: since it was last heard, less the time that an idle one leaves between two words."""


class Ask(Struct, frozen=True):
    """What of a request decides on its route."""

    model: str
    """The name that was asked for."""
    kind: Kind = "inference"
    task_type: str = ""
    policy: Policy | None = None
    strategy: Strategy | None = None
    needs: frozenset[Need] = frozenset()
    tokens_in: int = 0
    """An estimate."""
    max_tokens: int | None = None
    choices: int = 1
    """Texts that may be so long each."""
    deadline_s: float = math.inf
    """Seconds that are left."""
    affinity: str = ""
    """What requests have in common that find the same beginning in a KV cache; empty for none."""
    draw: float = 0.0
    """In [0, 1), made of the job's id: where weighted targets fall."""
    turn: int = 0
    """Grows with every decision: whose turn it is among equals."""
    allowed: frozenset[str] | None = None
    """The models that the caller's key is for, by the names callers use; None for all."""
    max_cost_usd: float | None = None
    excluded: frozenset[str] = frozenset()
    """Targets that were tried already."""
    has_text: bool = False
    """Whether a part of the answer was already handed out: only who can go on behind it may be asked."""
