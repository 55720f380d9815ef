"""How would a request be routed?

The same question that running it asks, with the same answer, and nobody is asked for anything.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from golek_wire import codec
from golek_wire.requests import Request
from golek_wire.routing import Decision, Offer, RouteQuestion, RouteTable
from golek_wire.subjects import Kind
from golek_worker.router.asking import ask_of
from golek_worker.router.table import Plan
from golek_worker.router.targets import Ask

_READ: Final[Mapping[Kind, Callable[[bytes], Request]]] = {
    "inference": codec.decode_request,
    "embedding": codec.decode_embedding,
    "rerank": codec.decode_rerank,
    "vision": codec.decode_vision,
}
_EXAMPLES: Final[Mapping[Kind, dict[str, object]]] = {
    "inference": {"input": "?"},
    "embedding": {"input": "?"},
    "rerank": {"query": "?", "documents": ["?"]},
    "vision": {"image": "Qk0="},
}
"""What is asked where the question does not say: a decision needs no input."""
DEADLINE_S: Final = 120.0


class Decides(Protocol):
    """Who answers (deciding.py)."""

    def named(self, model: str) -> str: ...
    def plan(self, name: str) -> Plan | None: ...
    def decide(self, ask: Ask) -> Decision: ...
    def offers(self) -> list[Offer]: ...
    @property
    def turn(self) -> int: ...


class Explaining:
    """What a router tells of its decisions."""

    def __init__(
        self,
        router: str,
        decides: Decides,
        breakers: Callable[[], Mapping[str, str]],
        problems: Callable[[], Iterable[str]],
        deadline_s: float = DEADLINE_S,
        not_set_up: Callable[[], Mapping[str, str]] = dict,
        budget: str = "",
    ) -> None:
        """`breakers` has those that are not closed, by target, in words; `deadline_s` is what a request has that does
        not say; `budget` is ROUTER_BUDGET.
        """
        self._budget = budget
        self._router = router
        self._decides = decides
        self._breakers = breakers
        self._problems = problems
        self._deadline_s = deadline_s
        self._not_set_up = not_set_up

    def explain(self, payload: bytes) -> Decision:
        """The answer to a `RouteQuestion`. Raises BadRequestError naming what is wrong with it, or with its request."""
        return self.decide(self.ask(self.question(payload)))

    def question(self, payload: bytes) -> RouteQuestion:
        """What is asked. Raises BadRequestError."""
        return codec.decode_body(payload, RouteQuestion)

    def request(self, question: RouteQuestion) -> Request:
        """The request that is asked about. Raises as `explain`."""
        said = {**question.request}
        if "messages" not in said:
            said = {**_EXAMPLES[question.kind], **said}
        return _READ[question.kind](codec.encode(said))

    def names(self, model: str) -> list[str]:
        """What a key may call this model by."""
        named = self._decides.named(model)
        plan = self._decides.plan(model)
        return [named] if plan is None else [named, plan.name]

    def decide(self, ask: Ask) -> Decision:
        """Who would answer."""
        return self._decides.decide(ask)

    def ask(self, question: RouteQuestion) -> Ask:
        """What a router would decide on. Raises as `explain`."""
        request, kind = self.request(question), question.kind
        deadline_ms = request.deadline_ms
        return ask_of(
            request,
            self._decides.named(question.model),
            kind,
            draw=random.random() if question.draw is None else question.draw,
            turn=self._decides.turn,
            deadline_s=self._deadline_s if deadline_ms is None else deadline_ms / 1000,
            allowed=question.allowed,
        )

    def table(self) -> RouteTable:
        """What is served, and what of it is in trouble."""
        return RouteTable(
            self._router,
            self._decides.offers(),
            dict(self._breakers()),
            list(self._problems()),
            dict(self._not_set_up()),
            self._budget,
        )
