"""Of which parts does a router consist, beside those of every worker?

It hears the fleet, decides by that, has workers and clouds answer, and takes the requests for all models.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from golek_client import Golek
from golek_client.watching import Watch
from golek_program.settings import SettingsError
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.helping import Help
from golek_wire.requests import Request
from golek_wire.routing import Offer
from golek_wire.signals import ModelRecord
from golek_wire.subjects import Kind
from golek_worker.bus import route_answers as answers
from golek_worker.bus.asking_after import AskingAfter
from golek_worker.bus.breakers import SharedBreakers
from golek_worker.bus.hedging import Hedging
from golek_worker.bus.helping import Orchestrating
from golek_worker.bus.ingress import Ingress, Taken
from golek_worker.bus.jetstream import ServerClock, patiently, stored_message
from golek_worker.bus.lease import Lease
from golek_worker.bus.objects import Objects
from golek_worker.bus.pulse import Pulse
from golek_worker.bus.queue import Queue
from golek_worker.bus.queues import Forms
from golek_worker.bus.results import Results
from golek_worker.bus.roll_call import Answered, RollCall
from golek_worker.bus.steps import Steps
from golek_worker.bus.tokens import TokenLogs
from golek_worker.charging import Charging
from golek_worker.conducting import common_memory, engaging
from golek_worker.conducting.common_memory import Common
from golek_worker.conducting.engaging import Engaging
from golek_worker.conducting.step_bodies import StepBodies
from golek_worker.gatekeeper import Gatekeeper
from golek_worker.ground import Ground
from golek_worker.handover import Handover
from golek_worker.job import Job
from golek_worker.providers.catalog import ProvidersError
from golek_worker.router.affinity import lane
from golek_worker.router.breakers import Breakers
from golek_worker.router.chain import Chain
from golek_worker.router.tables import TablesError
from golek_worker.router.targets import Lane
from golek_worker.routing import naming
from golek_worker.routing.affording import Affording
from golek_worker.routing.deciding import Deciding
from golek_worker.routing.desk import Desk
from golek_worker.routing.executor import RouterExecutor
from golek_worker.routing.explaining import Explaining
from golek_worker.routing.placing import LOOK_S, Placing
from golek_worker.routing.rescue import Rescue
from golek_worker.routing.spending import Spending
from golek_worker.traffic import Tally

SWEEP_S: Final = 0.25


class Stand(Struct, frozen=True):
    """What the router's own stream and those of others have in common."""

    queue: Queue
    """Of the router's own stream."""
    objects: Objects
    results: Results
    charging: Charging
    tally: Tally


class Router:
    """One router's parts. A side of the worker: `run` is for as long as it lives."""

    def __init__(
        self,
        ground: Ground,
        golek: Golek,
        watch: Watch,
        steps: Steps,
        charging: Charging,
        clock: ServerClock,
        common: Common,
    ) -> None:
        """Raises TablesError and ProvidersError for files that are wrong."""
        chosen, me = ground.settings, ground.identity.worker_id
        self._ground = ground
        self._clock = clock
        self._golek = golek
        self._watch = watch
        self._steps = steps
        self._digest, self._digest_until = "", 0.0
        self._calls = RollCall(ground.client)
        pulse = Pulse(ground.client, lambda worker: _incarnation(watch, worker))
        hedging = Hedging(ground.client, steps, self._calls, pulse, _replica)
        self._charging = charging
        self.breakers = Breakers(me, time.monotonic)
        self._shared = SharedBreakers(ground.client, me, clock.now, self.breakers.hear)
        self.breakers.share(self._shared.tell)
        self.clouds = naming.open_clouds(chosen, os.environ)
        self.forms = Forms(ground.client)
        self._offer = Help(me, chosen.model_name, chosen.queue_capacity, chosen.inference_queue_strategy)
        self._orchestrating = Orchestrating(ground.client, self._offer)
        self._rescue: Rescue | None = None
        self._told = set[str]()
        self.tables = naming.open_tables(chosen, self.clouds)
        after = AskingAfter(ground.client, watch.view.missed, time.monotonic)
        self.deciding = Deciding(
            watch.view, lambda: self.tables.table, self.breakers.states, chosen.model_name, ask_after=after.ask,
            identity=chosen.golek_nats_identity,
        )  # fmt: skip
        self.explaining = Explaining(
            me, self.deciding, self.breakers.described, self.deciding.problems,
            chosen.inference_request_timeout, lambda: self.tables.table.not_set_up, chosen.router_budget,
        )  # fmt: skip
        self.affording = Affording(
            self.explaining, self.deciding.target, ground.callers, ground.look_for_key, self._purse
        )
        self._bodies = StepBodies(ground.client, golek)
        self._common = common
        chain = Chain(self.deciding, self.breakers, me)
        self.executor = RouterExecutor(
            Desk(
                chosen.model_name,
                self.deciding,
                chain,
                hedging,
                self.forms,
                self.clouds.providers,
                self._purse,
                Engaging(chosen, self.deciding, common, self._look_up),
                self._bodies,
                is_open=chosen.golek_nats_identity == "open",
            )
        )

    @classmethod
    async def open(cls, ground: Ground, charging: Charging, clock: ServerClock) -> "Router":
        """Begin to hear the fleet. Raises as the bus does, and SettingsError for files that are wrong."""
        chosen = ground.settings
        golek = Golek(chosen.nats_url, login=chosen.login, key="", deadline=chosen.inference_request_timeout)
        watch = golek.watch(asks_after=True)
        common = await common_memory.opened(chosen, lambda model: _digest(watch, model))
        try:
            router = cls(ground, golek, watch, await Steps.open(ground.client), charging, clock, common)
        except (TablesError, ProvidersError) as error:
            raise SettingsError([str(error)]) from None
        await patiently(ground.client, watch.open)
        if stricter := router.deciding.all_stricter():
            await router.close()
            raise SettingsError(stricter)
        await router._shared.start()
        await router._calls.start()
        await answers.serve(ground.client, router.affording.explain, router.explaining.table)
        return router

    async def run(self) -> None:
        """Follow the fleet, and what other routers say."""
        async with asyncio.TaskGroup() as sides:
            sides.create_task(self._watch.run())
            sides.create_task(self._shared.run())
            sides.create_task(self._calls.run())
            sides.create_task(self._sweep())
            sides.create_task(self._orchestrating.run())
            sides.create_task(self.tables.watch())
            sides.create_task(self.clouds.watch(self.tables.again))
            if self._rescue is not None:
                sides.create_task(self._rescue.run())

    def help(self, serve: Callable[[Lease], None]) -> None:
        """While it runs serve jobs of other models' queues, too, where these are in trouble."""
        self._rescue = Rescue(
            self._ground.client, self._clock, self._offer, self.deciding, self.forms.find, serve,
            self._ground.settings.router_spill,
        )  # fmt: skip

    async def reconnected(self) -> None:
        """The connection stands again. Raises one of BUS_ERRORS."""
        self._steps.reconnected()
        await self._shared.reconnected(self.breakers.notes())

    async def leave(self) -> None:
        """Tell the workers that hand jobs over to count on others. Raises as the bus does."""
        if self._rescue is not None:
            self._rescue.leave()
        await self._orchestrating.leave()

    async def close(self) -> None:
        """Hang up."""
        await self._bodies.close()
        await self._common.close()
        await self._golek.close()
        await self.clouds.close()

    def digest(self) -> str:
        """What answers depend on beside requests: tables, how several models answer, and which files the fleet's models
        have just now. Equal in all routers that know the same.
        """
        now, table = time.monotonic(), self.tables.table
        if now >= self._digest_until:
            found = [one.record for one in self._watch.view.models(now) if one.record is not None]
            files = sorted((record.name, record.digest) for record in found)
            said = (
                table.fingerprint()
                + engaging.fingerprint(self._ground.settings, self._common.prompts)
                + msgspec.json.encode(files)
            )
            self._digest = hashlib.sha256(said).hexdigest()
            self._digest_until = now + SWEEP_S
        return self._digest

    def offers(self) -> list[Offer]:
        """The names beside those of the fleet's own models."""
        return self.deciding.offers()

    def usual(self) -> tuple[str, str]:
        """What `auto` stands for: a preset or nothing, and how several models answer."""
        table = self.tables.table
        return table.config, table.usual_mode

    def placing(self, stand: Stand) -> Placing:
        """Who takes the requests for all models."""
        ground = self._ground

        def own(kind: Kind, name: str) -> Ingress:
            """Into the router's own stream, whatever the kind."""
            plan = self.deciding.plan(name)
            callers = ground.callers.of(name, name if plan is None else plan.name)
            gate = Gatekeeper(ground.settings, kind, callers, ground.client, _able, model=name, chosen_later=True)
            return self._ingress(stand, kind, name, ground.settings.token, gate, stand.queue)

        def through(kind: Kind, model: str, capacity: int, strategy: str) -> Ingress:
            """Into the stream of the model, as its own workers would."""
            token = subjects.model_token(model)
            queued = self.deciding.queue_of(model) or kind
            gate = Gatekeeper(ground.settings, queued, ground.callers.of(model), ground.client, _able, model=model)
            queue = Queue(ground.client, token, queued, strategy, capacity, self._clock)
            spare = Handover(
                partial(self._near, model), kind, model, lambda _: own(kind, model), orchestrates=lambda: self._offer
            )
            return self._ingress(stand, kind, model, token, gate, queue, spare, rejects=self._rejects(model))

        return Placing(ground.client, ground.callers, self.deciding, self.forms, through, own, self._find, stand.tally)

    def _ingress(
        self,
        stand: Stand,
        kind: Kind,
        model: str,
        token: str,
        gate: Gatekeeper,
        queue: Queue,
        elsewhere: Handover | None = None,
        *,
        rejects: bool | None = None,
    ) -> Ingress:
        ground = self._ground
        rejects = ground.settings.inference_reject_when_full if rejects is None else rejects
        return Ingress(
            ground.client, token, Taken(kind, ()), gate.check, gate.callers, queue, stand.objects, stand.results,
            stand.charging.of(token), ground.look_for_key, tokens=TokenLogs(ground.client, model, kind),
            tally=stand.tally, reject_when_full=rejects, tracing=ground.tracing,
            elsewhere=elsewhere,
        )  # fmt: skip

    def _rejects(self, model: str) -> bool | None:
        """Whether the workers of a model refuse what finds no room in its queue; None where they do not say."""
        found = self.deciding.model(model)
        return found.record.reject_when_full if found is not None and found.record is not None else None

    def _near(self, model: str) -> Help | None:
        """Its own help, for a model that may have some."""
        return self._offer if self.deciding.may_leave(model) else None

    async def _find(self, name: str) -> ModelRecord | None:
        """A model's record, as the fleet keeps it. Raises as the bus does."""
        asked = {"last_by_subj": f"$KV.{subjects.MODELS_BUCKET}.{subjects.model_token(name)}"}
        found = await stored_message(self._ground.client, f"KV_{subjects.MODELS_BUCKET}", asked)
        return msgspec.json.decode(found.data, type=ModelRecord) if found is not None and found.data else None

    async def _look_up(self, name: str) -> None:
        """Learn of a model that began to take requests a moment ago, where that can be told soon."""
        with contextlib.suppress(InferenceServiceError, TimeoutError):
            async with asyncio.timeout(LOOK_S):
                record = await self._find(name)
                if record is not None and name in subjects.spellings(record.name):
                    self.deciding.learn(record)

    def _purse(self, job: Job) -> Spending:
        return Spending(self._charging, job, self._ground.settings.golek_quota_reserve)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.breakers.know_routers(self.deciding.routers())
            self.breakers.sweep()
            for said in self.deciding.all_stricter():
                if said not in self._told:
                    self._told.add(said)
                    self._ground.event("router.laxer", said, level="error")


def _able(_request: Request) -> None:
    """Whoever answers says what it cannot do."""


def _replica(key: str, lanes: Sequence[Answered]) -> str:
    """The replica for a conversation, of those that have a lane."""
    return lane(key, [Lane(one.worker_id, one.free, one.heard_s) for one in lanes])


def _digest(watch: Watch, model: str) -> str:
    """Which file a model of the fleet has loaded; empty where that is not known."""
    found = watch.view.model(model, time.monotonic())
    return found.record.digest if found is not None and found.record is not None else ""


def _incarnation(watch: Watch, worker_id: str) -> str:
    """Where a replica is asked whether it lives; empty for one that was never heard."""
    found = watch.view.replica(worker_id)
    return found.incarnation if found is not None else ""
