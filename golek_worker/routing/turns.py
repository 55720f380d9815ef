"""How does a router have one target answer?

A model of the fleet by a step, which is stored in its stream; a cloud by a call. The chain says whose turn it is.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from msgspec import Struct

from golek_wire import codec, subjects
from golek_wire.errors import InferenceServiceError, ProviderRefusedError
from golek_wire.requests import Request
from golek_wire.routing import LOCAL
from golek_wire.subjects import Kind
from golek_worker.bus.jetstream import JetStreamError
from golek_worker.bus.queue import NORMAL
from golek_worker.bus.queues import Form, Forms
from golek_worker.bus.steps import NOBODY_S, Started, Wanted
from golek_worker.job import Job
from golek_worker.providers.base import Call, Piece
from golek_worker.router.chain import Begun, Question, Routed, Turn, Word
from golek_worker.router.purse import Purse
from golek_worker.routing.desk import Desk


class Part(Struct, frozen=True):
    """What is asked, beside what its target reads."""

    kind: Kind
    affinity: str
    """What it has in common with requests whose beginnings lie in one KV cache."""
    label: str = ""
    """Of a step of several models: `<name>/<round>`."""
    seed: int | None = None
    """The job's without it."""


class Turns:
    """The targets of one job, asked in turn."""

    def __init__(
        self, desk: Desk, job: Job, request: Request, payload: bytes, was_kept: Callable[[bool], None]
    ) -> None:
        """`was_kept` hears that the answer of who is asked comes from a cache, and that it does not after all."""
        self._desk = desk
        self._job = job
        self._request = request
        self._payload = payload
        self._was_kept = was_kept

    def run(self, question: Question, purse: Purse, part: Part) -> AsyncGenerator[Piece | Routed]:
        """As `Chain.run`."""
        return self._desk.chain.run(question, purse, partial(self._turn, part))

    async def _turn(self, part: Part, turn: Turn) -> AsyncGenerator[Word]:
        """Ask one target."""
        provider, _, model = turn.candidate.target.partition(":")
        asked = self._step(part, turn, model) if provider == LOCAL else self._call(turn, provider, model)
        async with aclosing(asked) as events:
            async for event in events:
                yield event

    async def _step(self, part: Part, turn: Turn, model: str) -> AsyncGenerator[Word]:
        as_it_came = turn.request is self._request
        if as_it_came and self._job.body:
            async with aclosing(self._stored(part, turn, model, b"", "")) as events:
                async for event in events:
                    yield event
            return
        payload = self._payload if as_it_came else codec.encode(turn.request)
        async with (
            self._desk.bodies.carried(payload, turn.seconds) as (carried, body),
            aclosing(self._stored(part, turn, model, carried, body)) as events,
        ):
            async for event in events:
                yield event

    async def _stored(self, part: Part, turn: Turn, model: str, payload: bytes, body: str) -> AsyncGenerator[Word]:
        """What the step's worker says; without a payload it reads the object `body`, or the request's own."""
        job, desk = self._job, self._desk
        form = await _form(desk.forms, model)
        patience_s = turn.seconds if not turn.has_others and desk.decides.is_expected(model) else NOBODY_S
        step = desk.steps.begin(
            Wanted(
                model, part.kind, job, payload, turn.seconds, turn.streamed,
                before=turn.before, patience_s=patience_s,
                lost=partial(self._lost, part, turn, model),
                step=part.label, seed=part.seed, body=body,
                queue=desk.decides.queue_of(model),
            ),
            part.affinity if turn.sticks else "",  # by what replicas say just now, not by the candidate's lane
        )  # fmt: skip
        priority = form.priority(job.priority) if form is not None else NORMAL
        try:
            async with aclosing(step.answer(priority)) as events:
                async for event in events:
                    turn.worker = step.worker
                    if step.cache == "hit" and not part.label:
                        self._was_kept(True)
                    yield Begun() if isinstance(event, Started) else event
        except InferenceServiceError:
            self._was_kept(False)
            raise
        turn.worker = step.worker

    def _lost(self, part: Part, turn: Turn, model: str) -> str:
        """Why a target's answer is not waited for any longer: where others are left as soon as nobody answers for it;
        in a flow, which may go on without it, once nobody is expected back. A request of its own waits for the next
        worker.
        """
        decides = self._desk.decides
        if turn.has_others:
            return decides.gone(model)
        return decides.deserted(model) if part.label else ""

    async def _call(self, turn: Turn, provider: str, model: str) -> AsyncGenerator[Word]:
        cloud = self._desk.clouds.get(provider)
        if cloud is None:
            raise ProviderRefusedError(f"{provider}: no such provider is set up here", provider=provider)
        events = cloud.answer(Call(model, turn.request, self._job.job_id, turn.seconds, self._job.hops))
        try:
            async for event in events:
                yield event
        finally:
            if isinstance(events, AsyncGenerator):  # left early, it hangs up now and not at its collection
                await events.aclose()


async def _form(forms: Forms, model: str) -> Form | None:
    """How the model's queue is made; None where there is none, or that cannot be said."""
    try:
        return await forms.find(subjects.model_token(model))
    except JetStreamError:
        return None
