"""How does a server that speaks OpenAI's API serve as an engine?

It batches, queues and makes prompts by itself. Here is what is not its answer: a server that is busy is asked again,
one that is gone ends the child, so that its jobs go back and another child starts it, or waits for it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    EngineFailedError,
    InferenceServiceError,
    ProviderFailedError,
    RateLimitedError,
)
from golek_wire.replies import EmbeddingReply, InferenceReply
from golek_wire.requests import EmbeddingRequest
from golek_worker.engine.asynchronous import Counts, EngineDiedError
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    Embed,
    Embedded,
    EngineConfig,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Rank,
    Ranked,
    Ready,
    SequenceStart,
    Submit,
    UnloadAdapter,
)
from golek_worker.engine.server import wishes
from golek_worker.engine.server.counting import Counter
from golek_worker.engine.server.facts import Facts
from golek_worker.engine.server.meter import Meter
from golek_worker.engine.server.process import Started
from golek_worker.engine.server.site import SILENT, Site, measured
from golek_worker.engine.unit import unit_vector
from golek_worker.providers.base import Call
from golek_worker.providers.failures import UnreachableError
from golek_worker.providers.openai import OpenAIProvider

LOOK_S = 1.0
SILENT_S = 10.0
"""A server that says for so long that it is not well, or nothing, is taken for dead."""
END_S = 3.0
"""For a server of ours that takes no connections any more, to end."""
BUSY_S = (0.1, 5.0)
"""Between two tries with a server that is busy: first, and at most."""
FOR_EVER_S = 10 * 24 * 3600.0
"""The worker ends what nobody waits for any more."""
T = TypeVar("T")


class ServerEngine:
    """One server with one model."""

    def __init__(
        self, config: EngineConfig, facts: Facts, site: Site, provider: OpenAIProvider, started: Started | None
    ) -> None:
        """`started` is None for a server that others run."""
        self._name = str(config.engine)
        self._facts = facts
        self._site = site
        self._provider = provider
        self._started = started
        slots = config.slots if started is not None else facts.slots or config.slots
        self._meter = Meter(slots)
        makes = {"embedding": ["embeddings"], "rerank": ["rerank"]}
        reads = ["text", "image"] if "vision" in facts.capabilities else ["text"]
        context = facts.info.context_size or config.ctx_size
        self._kind = config.kind
        self._heard_at = 0.0
        """When it wrote something last, on the monotonic clock."""
        self._counter = Counter(facts, site, context)
        self.ready = Ready(
            info=msgspec.structs.replace(facts.info, context_size=context, modalities=makes.get(config.kind, reads)),
            capabilities=makes.get(config.kind, ["text-generation", *facts.capabilities]),
            device=f"{self._name} at {site.root}",
            slots=slots,
            ctx_size=context,
            chat_template=facts.chat_template,
            own_prompts=True,
        )

    async def measure_width(self) -> None:
        """Ask for a vector, to see how wide those of this model are. Raises InferenceServiceError."""
        reply = await self._vectors("width", ["a"])
        info = msgspec.structs.replace(self.ready.info, embedding_size=len(reply.data[0].numbers))
        self.ready = msgspec.structs.replace(self.ready, info=info)

    async def run(self, command: SequenceStart, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        """As `AsyncEngine` says."""
        self._meter.begin()
        try:
            match command:
                case Submit() if self._kind == "inference":
                    async with aclosing(self._text(command, counts)) as outputs:
                        async for output in outputs:
                            yield output
                case Embed(job_id, inputs) if self._kind == "embedding":
                    yield await self._embedded(job_id, inputs)
                case Rank() if self._kind == "rerank":
                    yield await self._ranked(command)
                case _:
                    raise BadRequestError(f"ENGINE={self._name}: its model is one for {self._kind}, which this is not")
        finally:
            self._meter.end()

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """No server is told of adapters by us."""
        return AdapterChanged(
            command.name, [], f"ENGINE={self._name} loads no adapters; start the server with them (SERVER_ARGS)"
        )

    async def watch(self) -> None:
        """As `AsyncEngine` says: look at it each second, or hear at once that what we started has ended."""
        since = time.monotonic()
        while True:
            await self._pause()
            trouble = await self._site.trouble(self._facts.dialect.health)
            if trouble is None:
                since = time.monotonic()
                await self._measure()
            elif await self._is_gone(trouble) or time.monotonic() - max(since, self._heard_at) > SILENT_S:
                raise EngineDiedError(str(trouble))

    def gauges(self) -> Gauges | None:
        """As `AsyncEngine` says."""
        return self._meter.gauges()

    async def close(self) -> None:
        """As `AsyncEngine` says: what we started ends, what others run goes on."""
        await self._provider.close()
        await self._site.close()
        if self._started is not None:
            await self._started.close()

    async def _text(self, command: Submit, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        command = await self._told(partial(self._counted, command))
        request = wishes.wished(command, self._facts.dialect.quirks)
        if request.params.max_tokens == 0:
            counts.tokens_in = await self._told(partial(self._counter.prompt, request))
            yield Finished(command.job_id, "", "length", counts.tokens_in, 0)
            return
        request = await self._told(partial(self._counter.with_room, command, request))
        call = Call(self._facts.model, request, command.job_id, FOR_EVER_S)
        began, wait_s = time.monotonic(), BUSY_S[0]
        while True:
            waited_ms = (time.monotonic() - began) * 1000
            try:
                async with aclosing(self._provider.answer(call)) as pieces:
                    async for piece in pieces:
                        self._heard_at = time.monotonic()
                        if isinstance(piece, InferenceReply):
                            self._meter.count(piece.tokens_in, piece.tokens_cached, piece.tokens_out)
                            yield wishes.finished(command, piece, waited_ms)
                            return
                        counts.tokens_out += 1
                        if command.stream and isinstance(piece, Piece):
                            yield wishes.shown(piece, command.params)
            except BadRequestError as error:
                if command.constraint is not None and error.details.get("status") == 400:
                    error.details.setdefault("param", command.constraint.param)
                raise
            except (RateLimitedError, ProviderFailedError) as error:
                if counts.tokens_out:
                    raise await self._failure(error) from None
                wait_s = await self._wait(error, wait_s)

    async def _counted(self, command: Submit) -> Submit:
        """`command`, knowing how many tokens the text has that it goes on from."""
        resume = command.resume
        if resume is None or resume.tokens_out:
            return command
        counted = await self._counter.text(resume.text)
        return msgspec.structs.replace(command, resume=msgspec.structs.replace(resume, tokens_out=counted))

    async def _embedded(self, job_id: str, inputs: list[str]) -> Embedded:
        if not inputs:
            raise BadRequestError("input: there is no text in it", param="input")
        try:
            reply = await self._vectors(job_id, inputs)
        except ContextBudgetExceededError:
            await self._blame(job_id, inputs)
            raise
        self._meter.count(reply.usage.prompt_tokens, 0, 0)
        return Embedded(job_id, [_unit(one.numbers) for one in reply.data], reply.usage.prompt_tokens)

    async def _blame(self, job_id: str, inputs: list[str]) -> None:
        """Raise ContextBudgetExceededError for the first text that is too long, which the server does not name."""
        for place, text in enumerate(inputs):
            try:
                await self._vectors(job_id, [text])
            except ContextBudgetExceededError as error:
                current, budget = error.current_tokens, error.budget
                raise ContextBudgetExceededError(current, budget, f"input[{place}]: {error.message}") from None

    async def _vectors(self, job_id: str, inputs: list[str]) -> EmbeddingReply:
        call = Call(self._facts.model, EmbeddingRequest(inputs), job_id, FOR_EVER_S)
        return await self._told(lambda: _only(self._provider.answer(call)))

    async def _ranked(self, command: Rank) -> Ranked:
        body = {"model": self._facts.model, "query": command.query, "documents": command.documents}
        told = await self._told(lambda: self._site.told("POST", "/v1/rerank", body, FOR_EVER_S))
        scores = scores_of(told, len(command.documents))
        if scores is None:
            raise EngineFailedError(f"{self._name} did not give {len(command.documents)} scores")
        tokens = told.get("usage", {}).get("total_tokens", 0)
        self._meter.count(tokens, 0, 0)
        return Ranked(command.job_id, scores, tokens)

    async def _told(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the server answers, asked again while it is busy. Raises as `_failure` says."""
        wait_s = BUSY_S[0]
        while True:
            try:
                return await ask()
            except (RateLimitedError, ProviderFailedError) as error:
                wait_s = await self._wait(error, wait_s)

    async def _wait(self, error: InferenceServiceError, wait_s: float) -> float:
        """Wait before a server that is busy is asked again, as long as it says if that is not too long; the next wait.

        One that took no connection and is well all the same heard nothing of the request: it is asked again, too.
        Raises as `_failure` says where nothing is to be waited for.
        """
        if not is_busy(error):
            failure = await self._failure(error)
            if isinstance(failure, EngineDiedError) or not isinstance(error, UnreachableError):
                raise failure from None
        said_s = error.details.get("retry_after_ms", 0) / 1000
        await asyncio.sleep(min(max(wait_s, said_s if said_s > 1.0 else 0.0), BUSY_S[1]))
        return min(2 * wait_s, BUSY_S[1])

    async def _failure(self, error: InferenceServiceError) -> Exception:
        """What a sequence hears that broke off: nothing where the server is gone, for then it runs again."""
        if self._started is not None:
            await asyncio.wait({self._started.ended}, timeout=LOOK_S / 2)
        trouble = await self._site.trouble(self._facts.dialect.health)
        if trouble is not None and await self._is_gone(trouble):
            return EngineDiedError(str(trouble))
        return EngineFailedError(error.message, **{k: v for k, v in error.details.items() if k != "retry_after_ms"})

    async def _is_gone(self, trouble: InferenceServiceError) -> bool:
        """Whether a server in trouble will not answer any more. Raises EngineDiedError for what we started."""
        answers = not trouble.details.keys().isdisjoint(("status", SILENT))
        if self._started is not None:
            if not answers:
                await asyncio.wait({self._started.ended}, timeout=END_S)
            if self._started.has_ended:
                raise EngineDiedError(f"{self._name}: {await self._started.how_it_ended()}")
        return not answers

    async def _pause(self) -> None:
        if self._started is None:
            await asyncio.sleep(LOOK_S)
        else:
            await asyncio.wait({self._started.ended}, timeout=LOOK_S)

    async def _measure(self) -> None:
        """What a server says of itself that has other callers, too."""
        wanted = self._facts.dialect.measures
        if self._started is not None or not wanted:
            return
        try:
            found = measured((await self._site.asked("GET", "/metrics")).decode("utf-8", "replace"))
        except InferenceServiceError:
            self._meter.told = {}
            return
        self._meter.told = {name: found[there] for name, there in wanted.items() if there in found}


def is_busy(error: InferenceServiceError) -> bool:
    """Whether the same server may do the same a little later: it says so itself, or says nothing for now."""
    return isinstance(error, RateLimitedError) or error.details.get("status") == 503 or SILENT in error.details


async def _only(replies: AsyncIterator[object]) -> EmbeddingReply:
    async for reply in replies:
        assert isinstance(reply, EmbeddingReply)
        return reply
    raise AssertionError("a provider answers, or raises")


def scores_of(told: dict[str, Any], count: int) -> list[float] | None:
    """The scores in the order of the documents; None where there are others."""
    results = told.get("results")
    try:
        found = {int(one["index"]): float(one["relevance_score"]) for one in results or ()}
    except (TypeError, ValueError, KeyError):
        return None
    return [found[place] for place in range(count)] if set(found) == set(range(count)) else None


def _unit(vector: list[float]) -> list[float]:
    """Raises EngineFailedError for what has no direction."""
    unit = unit_vector(np.array(vector))
    if unit is None:
        raise EngineFailedError("The model's server gave a vector of zeros, or of numbers that are none")
    numbers: list[float] = unit.tolist()
    return numbers
