"""Of which parts does a worker consist?

`build` makes or finds what the model needs on the broker, and wires the parts. Nothing runs yet.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.helping import Help
from golek_wire.subjects import Kind
from golek_worker import adapters, kinds
from golek_worker.adapters import Adapters
from golek_worker.alike import Alike
from golek_worker.attempt import Tools
from golek_worker.bus import objects, queue, scout, streams
from golek_worker.bus.acks import Acks
from golek_worker.bus.adapters import AdapterBucket
from golek_worker.bus.answers import SharedAnswers
from golek_worker.bus.dead_letters import DeadLetters, Sender
from golek_worker.bus.helping import Helpers
from golek_worker.bus.ingress import Ingress, Taken
from golek_worker.bus.jetstream import ServerClock
from golek_worker.bus.lanes import LanedConsumer
from golek_worker.bus.lease import LeaseKeeper
from golek_worker.bus.objects import Objects
from golek_worker.bus.orders import Orders
from golek_worker.bus.queue import OnLanes, Queue
from golek_worker.bus.results import Results
from golek_worker.bus.seers import Seers
from golek_worker.bus.strikes import StrikeBook
from golek_worker.bus.tokens import TokenLogs
from golek_worker.caching import Caching, Circumstances, deployment, memory
from golek_worker.charging import Charging
from golek_worker.engine.childless import Childless
from golek_worker.engine.host import EngineHost
from golek_worker.engine.names import SERVERS
from golek_worker.engine_config import engine_config
from golek_worker.executor import Executor
from golek_worker.gatekeeper import Gatekeeper
from golek_worker.ground import Event, Ground
from golek_worker.handover import Handover
from golek_worker.remembering import Sessions
from golek_worker.residency import Residency
from golek_worker.room import Hall, Room
from golek_worker.routing.parts import Router, Stand
from golek_worker.routing.placing import Placing
from golek_worker.serving import Serving
from golek_worker.settings import Settings
from golek_worker.status import VERSION, Status
from golek_worker.store.requests import RequestRow, audited
from golek_worker.traffic import Tally
from golek_worker.vision.fetching import Fetcher, Stored

if TYPE_CHECKING:
    from golek_worker.tracing import Traces


class Parts(Struct, frozen=True):
    """A worker that has a model."""

    kind: Kind
    queue: Queue
    objects: Objects
    ingress: Ingress | Placing
    host: EngineHost
    keeper: LeaseKeeper
    serving: Serving
    consumer: LanedConsumer
    tokens: TokenLogs
    status: Status
    residency: Residency
    orders: Orders
    adapters: Adapters
    sessions: Sessions | None
    charging: Charging
    caching: Caching
    answers: SharedAnswers
    alike: Alike | None
    router: Router | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job runs here, or one waited when the queue was last looked at."""
        return self.serving.active > 0 or self.queue.view.pending > 0


async def build(
    ground: Ground, kind: Kind, model: Path | None, digest: str, engine_changed: Callable[[], None]
) -> Parts:
    """The parts of a worker with this model file and its fingerprint; `engine_changed` is called when its engine comes
    or goes. Raises as `ensure_stream` does, TurnMarkersError when the deployment's prompt template is wrong,
    RuntimeError when its adapters are.
    """
    client, chosen, clock, tally = ground.client, ground.settings, ServerClock(), Tally()
    await _ensure_streams(client, chosen, kind)
    results = await Results.open(client, lambda count, why: _tell_lost(ground.event, count, why))
    line = Queue(client, chosen.token, kind, chosen.inference_queue_strategy, chosen.queue_capacity, clock)
    charging = await Charging.open(client, chosen.token, clock.now, chosen.fleet_budget)
    router = await Router.open(ground, charging, clock) if chosen.engine == "router" else None
    host: EngineHost
    executor: Executor
    if router is not None:
        host, executor = Childless(engine_changed), router.executor
    else:
        host = EngineHost(
            engine_config(chosen, kind, model), chosen.stall_s, engine_changed, ground.engine_log.write,
            adapters.book(chosen, model, ground.event),
        )  # fmt: skip
        executor = kinds.executor(kind, host, chosen, model, client.max_payload, ground.grammars.text)
    tokens = TokenLogs(client, chosen.model_name, kind)
    if kind == "inference":
        await tokens.ensure()
    gatekeeper = Gatekeeper(chosen, kind, ground.callers, client, executor.check)
    bodies = Objects(client, gatekeeper.check_object)
    ingress: Ingress | Placing
    if router is not None:
        ingress = router.placing(Stand(line, bodies, results, charging, tally))
    else:
        ingress = _own_ingress(
            ground, kind, gatekeeper, Stand(line, bodies, results, charging, tally), tokens, clock, lambda: host.loading
        )
    keeper = LeaseKeeper(lambda: host.is_alive)
    sessions = await _sessions(ground, kind)
    answers = SharedAnswers(client)
    alike = Alike(chosen) if kind == "inference" else None
    caching = _caching(ground, executor, host, answers, alike, router.digest if router is not None else lambda: digest)
    tools = Tools(
        client=client,
        executor=executor,
        caching=caching,
        strikes=await StrikeBook.open(client),
        room=Room() if router is None else Hall(),
        objects=bodies,
        fetcher=Fetcher(chosen.image_limits, _images(client, chosen)),
        seers=Seers(client),
        tokens=tokens,
        sessions=sessions,
        bury=_letters(ground, kind, host).bury,
        gather_s=chosen.stream_gather_ms / 1000,
        poison_strikes=chosen.poison_strikes,
        probe_inbox=client.new_inbox(),
        worker_id=ground.identity.worker_id,
    )

    async def released() -> None:
        with contextlib.suppress(InferenceServiceError):  # the consumer's watch pulls again
            await consumer.release()

    acks = Acks(client, chosen.queue_capacity)
    serving = Serving(
        client, tools, keeper, acks, results,
        tally=tally, settle=charging.settle, record=_recorder(ground), released=released, traces=_traces(ground),
    )  # fmt: skip
    caching.flights.desk = serving
    consumer = _consumer(ground, kind, line, serving, clock)
    if router is not None:
        router.help(serving.take)
    status = Status(
        ground.identity, chosen, kind, host, serving, results, digest,
        lambda: executor.capabilities, ground.log, sessions=sessions,
        offers=router.offers if router is not None else None, usual=router.usual if router is not None else None,
    )  # fmt: skip
    residency = _residency(ground, kind, line, ingress, host, serving, consumer)
    kept = await AdapterBucket.open(client, chosen.token)
    orders = Orders(client, ground.callers, lambda: status.state)
    offered = Adapters(client, orders, chosen, ground.identity.worker_id, host, kept, caching.invalidate)
    return Parts(
        kind,
        line,
        bodies,
        ingress,
        host,
        keeper,
        serving,
        consumer,
        tokens,
        status,
        residency,
        orders,
        offered,
        sessions,
        charging,
        caching,
        answers,
        alike,
        router,
    )


def _own_ingress(
    ground: Ground,
    kind: Kind,
    gatekeeper: Gatekeeper,
    stand: Stand,
    tokens: TokenLogs,
    clock: ServerClock,
    loading: Callable[[], float | None],
) -> Ingress:
    """Who takes the requests for the worker's own model."""
    client, chosen = ground.client, ground.settings

    def door(near: Help) -> Ingress:
        """Into a router's queue, whose jobs are all of one kind."""
        token = subjects.model_token(near.model)
        queue = Queue(client, token, "inference", near.strategy, near.capacity, clock)
        gate = Gatekeeper(
            chosen, kind, ground.callers, client, lambda _: None, model=chosen.model_name, chosen_later=True
        )
        return Ingress(
            client, token, Taken(kind, ()), gate.check, ground.callers, queue, stand.objects, stand.results,
            stand.charging, ground.look_for_key, tokens=tokens, tally=stand.tally, tracing=ground.tracing,
        )  # fmt: skip

    helpers = Helpers(client, chosen.token)
    handover = Handover(helpers.near, kind, chosen.model_name, door, helpers.start, helpers.orchestrates)
    return Ingress(
        client, chosen.token, kinds.taken(chosen, kind), gatekeeper.check, ground.callers, stand.queue, stand.objects,
        stand.results, stand.charging, ground.look_for_key, tokens=tokens, tally=stand.tally,
        reject_when_full=chosen.inference_reject_when_full, loading=loading, tracing=ground.tracing,
        elsewhere=handover,
    )  # fmt: skip


def _caching(
    ground: Ground,
    executor: Executor,
    host: EngineHost,
    answers: SharedAnswers,
    alike: Alike | None,
    digest: Callable[[], str],
) -> Caching:
    """What is kept of this model's answers. A router's `digest` changes with what it hears."""
    chosen = ground.settings

    def adapter(name: str) -> str | None:
        command = host.adapters.wanted.get(name)
        return f"{name} {command.path} {command.scale}" if command is not None else None

    here = Circumstances(
        chosen.model_name, deployment(digest, chosen, VERSION), adapter, ground.grammars.text,
        writes_prompts=chosen.engine not in ("router", *SERVERS) and executor.kind == "inference",
        of_many=chosen.engine == "router",
    )  # fmt: skip
    return Caching(
        executor, here, memory(chosen), answers, mode=chosen.golek_cache, ttl_s=chosen.cache_ttl_s, second=alike
    )  # fmt: skip


async def _ensure_streams(client: BusClient, chosen: Settings, kind: Kind) -> None:
    """The model's queue, and where dead letters and large bodies lie."""
    token, strategy = chosen.token, chosen.inference_queue_strategy
    await streams.ensure_stream(client, streams.job_stream_config(token, chosen.queue_capacity, strategy))
    for name in queue.classes(strategy):
        await streams.ensure_consumer(client, subjects.job_stream(token), streams.consumer_config(token, kind, name))
    await streams.ensure_stream(client, streams.dlq_stream_config())
    if chosen.golek_objects:
        await objects.ensure_bucket(client)


def _tell_lost(event: Event, count: int, why: str) -> None:
    event("results.lost", f"{count} answers could not be kept: {why}", level="error")


async def _sessions(ground: Ground, kind: Kind) -> Sessions | None:
    """The conversations, which only texts have. Raises as `Sessions.open` does."""
    if kind != "inference":
        return None

    def tell(count: int, why: str) -> None:
        ground.event("sessions.lost", f"{count} turns could not be added to their sessions: {why}", level="error")

    return await Sessions.open(ground.client, ground.settings, tell)


def _traces(ground: Ground) -> "Traces | None":
    if ground.tracing is None:
        return None
    from golek_worker.tracing import Traces  # brings OpenTelemetry

    return Traces(ground.tracing, ground.settings.model_name, ground.identity.worker_id)


def _images(client: BusClient, chosen: Settings) -> Stored:
    """Reads images of the bus, whose size is checked where it is known whose they are."""
    return Objects(client, lambda _: None, chosen.vision_bucket).image


def _recorder(ground: Ground) -> Callable[[RequestRow], None]:
    audit = ground.settings.audit_body  # found out once: it takes 4 us
    return lambda row: ground.log.record(audited(row, audit))


def _consumer(ground: Ground, kind: Kind, line: Queue, serving: Serving, clock: ServerClock) -> LanedConsumer:
    chosen = ground.settings

    def tell(on_lanes: OnLanes) -> None:
        line.view.on_lanes = on_lanes

    return LanedConsumer(
        ground.client, chosen.token, kind, chosen.inference_queue_strategy, chosen.worker_concurrency, serving.take,
        clock, ground.identity.worker_id, offers_lane=chosen.golek_lanes, tell=tell,
    )  # fmt: skip


def _residency(
    ground: Ground,
    kind: Kind,
    line: Queue,
    ingress: Ingress | Placing,
    host: EngineHost,
    serving: Serving,
    consumer: LanedConsumer,
) -> Residency:
    token = ground.settings.token
    names = [subjects.consumer(token, kind, name) for name in line.classes]
    return Residency(
        host, serving, line, consumer, lambda: ingress.unanswered,
        lambda: scout.finds_job(ground.client, subjects.job_stream(token), names),
        ttl_s=ground.settings.model_ttl_s, drain_s=ground.settings.drain_s,
    )  # fmt: skip


def _letters(ground: Ground, kind: Kind, host: EngineHost) -> DeadLetters:
    chosen = ground.settings
    subject = chosen.request_subjects(kind)[0]
    sender = Sender(chosen.model_name, kind, subject, ground.identity.worker_id, chosen.audit_body)
    return DeadLetters(ground.client, sender, lambda: list(host.stderr), ground.event)
