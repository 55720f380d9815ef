"""Of which parts does a router consist, beside those of every worker?

It hears the fleet, decides by that, has workers and clouds answer, and takes the requests for all models.
"""

from msgspec import Struct

from golek_client import Golek
from golek_client.watching import Watch
from golek_wire import subjects
from golek_wire.requests import Request
from golek_wire.routing import Offer
from golek_wire.subjects import Kind
from golek_worker.bus.ingress import Ingress, Taken
from golek_worker.bus.jetstream import ServerClock, patiently
from golek_worker.bus.objects import Objects
from golek_worker.bus.queue import Queue
from golek_worker.bus.queues import Forms
from golek_worker.bus.results import Results
from golek_worker.bus.steps import Steps
from golek_worker.bus.tokens import TokenLogs
from golek_worker.charging import Charging
from golek_worker.deciding import Deciding
from golek_worker.gatekeeper import Gatekeeper
from golek_worker.ground import Ground
from golek_worker.placing import Placing
from golek_worker.router.chain import Chain
from golek_worker.routing import Desk, RouterExecutor
from golek_worker.traffic import Tally


class Stand(Struct, frozen=True):
    """What the router's own stream and those of others have in common."""

    queue: Queue
    """Of the router's own stream."""
    objects: Objects
    results: Results
    charging: Charging
    tally: Tally
    clock: ServerClock


class Router:
    """One router's parts."""

    def __init__(self, ground: Ground, golek: Golek, watch: Watch, steps: Steps) -> None:
        self._ground = ground
        self.golek = golek
        self.watch = watch
        self.steps = steps
        self._forms = Forms(ground.client)
        self._deciding = Deciding(watch.view, ground.settings.model_name)
        chain = Chain(self._deciding.decide, ground.identity.worker_id)
        self.executor = RouterExecutor(Desk(ground.settings.model_name, self._deciding, chain, steps, self._forms, {}))

    @classmethod
    async def open(cls, ground: Ground) -> "Router":
        """Begin to hear the fleet. Raises as the bus does."""
        chosen = ground.settings
        golek = Golek(chosen.nats_url, login=chosen.login, key="", deadline=chosen.inference_request_timeout)
        watch = golek.watch(asks_after=True)
        await patiently(ground.client, watch.open)
        return cls(ground, golek, watch, await Steps.open(ground.client))

    def offers(self) -> list[Offer]:
        """The names beside those of the fleet's own models."""
        return self._deciding.offers()

    def placing(self, stand: Stand) -> Placing:
        """Who takes the requests for all models."""
        ground = self._ground

        def own(kind: Kind, name: str) -> Ingress:
            """Into the router's own stream, whatever the kind."""
            meaning = self._deciding.meaning(name)
            virtual = meaning is not None and meaning.sort == "virtual"
            callers = ground.callers.of(None if virtual else name)
            gate = Gatekeeper(
                ground.settings, kind, callers, ground.client, _able, model=name, chosen_later=True
            )  # fmt: skip
            return self._ingress(stand, kind, name, ground.settings.token, gate, stand.queue, stand.charging)

        def through(kind: Kind, model: str, capacity: int, strategy: str) -> Ingress:
            """Into the stream of the model, as its own workers would."""
            token = subjects.model_token(model)
            gate = Gatekeeper(ground.settings, kind, ground.callers.of(model), ground.client, _able, model=model)
            queue = Queue(ground.client, token, kind, strategy, capacity, stand.clock)
            return self._ingress(stand, kind, model, token, gate, queue, stand.charging.of(token))

        return Placing(ground.client, ground.callers, self._deciding, self._forms, through, own, stand.tally)

    def _ingress(
        self, stand: Stand, kind: Kind, model: str, token: str, gate: Gatekeeper, queue: Queue, charging: Charging
    ) -> Ingress:
        ground = self._ground
        return Ingress(
            ground.client, token, Taken(kind, ()), gate.check, gate.callers, queue, stand.objects, stand.results,
            charging, ground.look_for_key, tokens=TokenLogs(ground.client, model, kind), tally=stand.tally,
            reject_when_full=ground.settings.inference_reject_when_full, tracing=ground.tracing,
        )  # fmt: skip


def _able(_request: Request) -> None:
    """Whoever answers says what it cannot do."""
