"""Does a job have to run, or is its answer there already?

`Caching.start` stands where a run of the engine is begun. What may be kept (`cache/responses`) is looked up in memory,
then where all replicas share, then by a second look at what means the same; what is not there runs once for all who ask
it at the time (`sharing`). Of a list of texts those that are known are not computed again. See docs/decisions/0052.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from golek_wire.errors import InferenceServiceError
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request, RerankRequest
from golek_wire.routing import CacheMode, CacheUse
from golek_wire.subjects import Kind
from golek_worker.cache import keys, responses
from golek_worker.cache.base import Asked, CacheKey, Held, Second, SharedCache
from golek_worker.cache.memory import MemoryCache
from golek_worker.ends import Known, decoded, decoded_vector, encoded, encoded_vector, is_whole, merged
from golek_worker.engine.base import Embedded, Made, Stopped, refusal
from golek_worker.engine.host import Run, RunEvent
from golek_worker.executor import Executor, Work
from golek_worker.free_memory import memory_is_short
from golek_worker.job import Job
from golek_worker.settings import Settings
from golek_worker.sharing import Flight, Flights
from golek_worker.vectors import VectorWork

log = structlog.get_logger("cache")

SHARED_TEXTS: Final = 32
"""Of a list at most so many texts are looked up where replicas share; a longer one is computed sooner."""
LONGEST_PROMPT: Final = 2**20
"""Characters: a longer one is not hashed, which would hold up all others for milliseconds, and is seldom sent twice."""
SHAPING: Final = (
    "engine", "model_format", "prompt_template", "harmony_reasoning_level", "harmony_extract_final",
    "harmony_model_identity", "harmony_knowledge_cutoff", "ctx_size", "server_url", "server_command", "server_args",
    "server_model",
)  # fmt: skip
"""Settings on which an answer depends."""


class Circumstances(Struct, frozen=True):
    """What decides on answers beside requests."""

    model: str
    """What is asked where a job says nothing else."""
    deployment: Callable[[], str]
    """What is loaded, and how it is set up."""
    adapter: Callable[[str], str | None]
    """Which file a LoRA adapter's name stands for; None where that is not known here."""
    grammar: Callable[[str], str | None]
    """What a stored grammar says."""
    writes_prompts: bool = True
    """Whether what the model reads is known here; a router knows only the request."""
    of_many: bool = False
    """Whether it is asked for many models, as a router is."""


def deployment(digest: Callable[[], str], chosen: Settings, version: str) -> Callable[[], str]:
    """What is loaded, and how it is set up: the model's fingerprint, the settings that shape answers,
    and Golek's version."""
    shape = "\n".join(str(getattr(chosen, name)) for name in SHAPING)
    return lambda: f"{version}\n{digest()}\n{shape}"


def memory(chosen: Settings) -> MemoryCache:
    """The cache of one worker."""
    return MemoryCache(chosen.golek_cache_mb * 2**20, memory_is_short)


class Caching:
    """Begins runs, where there have to be any."""

    def __init__(
        self,
        executor: Executor,
        here: Circumstances,
        memory: MemoryCache,
        shared: SharedCache | None,
        *,
        mode: CacheMode,
        ttl_s: float,
        second: Second | None = None,
    ) -> None:
        """`mode` is what the model's deployment says, for requests and keys that say nothing."""
        self._executor = executor
        self._here = here
        self._shared = shared
        self._second = second
        self._mode = mode
        self._ttl_s = ttl_s
        self._looking: set[asyncio.Task[None]] = set()
        self.flights = Flights()
        self.memory = memory

    @property
    def held(self) -> list[Held]:
        """All that is in memory."""
        return [self.memory, *(self._second.held if self._second is not None else [])]

    def start(self, job: Job, work: Work, *, watched: bool, until: float) -> Run:
        """The run that ends in the job's answer. Raises as `Work.start` does."""
        if self._mode == "off" and not job.cache and responses.is_nobodys(work.request):  # nearly all
            return work.start(watched=watched, until=until)
        mode = responses.mode(work.request, job.cache, self._mode)
        work.asks_cache = mode != "off"
        if responses.obstacle(work.request):
            work.cache = "bypass" if mode != "off" else None
            return work.start(watched=watched, until=until)
        asked = self._asked(job, work) if responses.wish(work.request).mode != "off" else None
        if asked is None:
            work.cache = "bypass" if mode != "off" else None
            return work.start(watched=watched, until=until)
        key = keys.key(asked)
        hops = self._hops(job)
        flight = None if mode == "refresh" else self.flights.find(key, job.job_id, streams=job.stream, hops=hops)
        if flight is None:
            return self._open(job, work, asked, key, mode, streamed=watched or job.stream, until=until)
        flight.kept_long = flight.kept_long or mode != "off"
        flight.kept_alike = flight.kept_alike or mode == "semantic"
        return self.flights.join(flight, job.job_id, work)

    def cancel(self, job_id: str) -> None:
        """The job ends early; a run that nobody else reads is ended, and then the job hears `Stopped`."""
        if not self.flights.has(job_id):
            self._executor.cancel(job_id)
            return
        flight = self.flights.leave(job_id)
        if flight is None:
            return
        if flight.runs:
            self._executor.cancel(flight.origin)
        else:
            flight.take(Stopped(job_id, 0, 0))
            self.flights.ended(flight)

    async def invalidate(self) -> int:
        """Forget the answers of this model, in memory and where replicas share; how many were in memory. Raises
        BUS_ERRORS when the latter cannot be told to forget.
        """
        return await self.forget([self._here.model])

    async def forget(self, models: Iterable[str]) -> int:
        """As `invalidate`, of what is kept under these names."""
        count = 0
        for model in models:
            self.flights.forget(model)
            count += sum(one.invalidate_by_model(model) for one in self.held)
            if self._shared is not None:
                await self._shared.invalidate_by_model(model)
        return count

    async def clear(self) -> int:
        """As `invalidate`; who is asked for many models forgets the answers of all."""
        if not self._here.of_many:
            return await self.invalidate()
        self.flights.clear()
        count = sum(one.clear() for one in self.held)
        if self._shared is not None:
            await self._shared.clear()
        return count

    # -- beginning ---------------------------------------------------------------------------------------------

    def _asked(self, job: Job, work: Work) -> Asked | None:
        """All that decides on the answer; None where that is not known, and for a prompt that is too long.

        Raises as `Work.start` does.
        """
        here, request = self._here, work.request
        prompt, grammar, adapter = "", "", ""
        if isinstance(request, InferenceRequest) and request.adapter:
            file = here.adapter(request.adapter)
            if file is None:
                return None
            adapter = file
        if isinstance(request, InferenceRequest):
            if here.writes_prompts:
                if work.prompt is None:
                    work.prepare()
                if work.prompt is None:
                    return None
                if len(work.prompt) > LONGEST_PROMPT:
                    return None
                prompt = work.prompt
            if request.params.grammar is not None and "::=" not in request.params.grammar:
                grammar = here.grammar(request.params.grammar) or ""
        model = job.asked_model or here.model
        kind = _kind(request)
        return Asked(job.principal, kind, model, here.deployment(), request, adapter, prompt, grammar, job.allowed)

    def _open(
        self, job: Job, work: Work, asked: Asked, key: CacheKey, mode: CacheMode, *, streamed: bool, until: float
    ) -> Run:
        """Look it up, where that is wanted, and else run it."""
        use: CacheUse | None = None if mode == "off" else "bypass" if mode == "refresh" else "miss"
        hops = self._hops(job)
        flight = Flight(key, use, streamed=streamed, hops=hops)
        flight.kept_long, flight.kept_alike = mode != "off", mode == "semantic"
        if mode != "refresh" or self.flights.find(key, job.job_id, streams=False, hops=hops) is None:
            self.flights.open(flight)
        run = self.flights.join(flight, job.job_id, work)
        if mode == "off":  # nobody wants it to be looked up
            self.begin(flight, asked, {}, until)
            return run
        look = _Look(self, flight, asked, until, mode, by_text=isinstance(work, VectorWork))
        if look.at_once():
            return run
        self._own(look.patiently())
        return run

    def _hops(self, job: Job) -> int:
        """Through how many routers it came, where that decides on what it may share: who asks others may be asked for
        its own answer by them.
        """
        return job.hops if self._here.of_many else 0

    def begin(self, flight: Flight, asked: Asked, known: Known, until: float) -> None:
        """Nothing of it is kept but what is `known`: run the rest."""
        job_id, work = flight.leader
        flight.origin, flight.runs = job_id, True
        inputs = work.request.inputs if isinstance(work, VectorWork) else []
        if isinstance(work, VectorWork) and known:
            work.missing = [text for place, text in enumerate(inputs) if place not in known]
            work.saved = sum(tokens for tokens, _ in known.values())

        def take(event: RunEvent) -> None:
            if isinstance(event, Embedded) and known:
                event = merged(event, known, len(inputs))
            flight.take(event)
            if flight.end is event:
                self.flights.ended(flight)
                if flight.kept_long and isinstance(event, Made):
                    self._keep(asked, flight, event)

        try:
            source = work.start(watched=flight.streamed, until=until)
        except InferenceServiceError as error:
            take(refusal(job_id, error))
        else:
            source.redirect(take)

    # -- what is kept ------------------------------------------------------------------------------------------

    async def look(self, key: CacheKey) -> bytes | None:
        """What replicas share; it is then in memory as well."""
        value = await self._shared.get(key.model, key.digest) if self._shared is not None else None
        if value is not None:
            self.memory.store(key, value, self._ttl_s)
        return value

    async def look_again(self, asked: Asked) -> bytes | None:
        """What was kept for a question that means the same."""
        return await self._second.look(asked) if self._second is not None else None

    def _keep(self, asked: Asked, flight: Flight, end: Made) -> None:
        if isinstance(end, Embedded):
            if len(end.tokens) != len(end.vectors):
                return
            for text, tokens, vector in zip(texts_of(asked), end.tokens, end.vectors, strict=True):
                self._store(keys.vector_key(asked, text), encoded_vector(tokens, vector))
        elif is_whole(end):
            value = encoded(end)
            self._store(flight.key, value)
            if flight.kept_alike and self._second is not None and len(value) <= responses.LARGEST:
                self._second.keep(asked, value, self._ttl_s)

    def _store(self, key: CacheKey, value: bytes) -> None:
        if len(value) > responses.LARGEST or self.memory.get(key) == value:
            return
        self.memory.store(key, value, self._ttl_s)
        if self._shared is not None:
            self._shared.store(key.model, key.digest, value, self._ttl_s)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)


class _Look:
    """One look for what is kept, and what follows from it."""

    def __init__(
        self, caching: Caching, flight: Flight, asked: Asked, until: float, mode: CacheMode, *, by_text: bool
    ) -> None:
        """`by_text`: each text of a list is kept by itself."""
        self._caching = caching
        self._flight = flight
        self._asked = asked
        self._until = until
        self._is_wanted = mode in ("exact", "semantic")
        self._is_second_wanted = mode == "semantic"
        self._by_text = by_text
        self._known: Known = {}

    def at_once(self) -> bool:
        """Whether it is settled by what is in memory, or because nobody wants it to be looked up."""
        if not self._is_wanted:
            self._begin()
            return True
        memory = self._caching.memory
        if self._by_text:
            for place, text in enumerate(texts_of(self._asked)):
                self._knows(place, memory.get(keys.vector_key(self._asked, text)))
            return self._all_known()
        return self._found(memory.get(self._flight.key))

    async def patiently(self) -> None:
        """Ask where replicas share, and for what means the same; then run what is not there."""
        try:
            if await self._elsewhere():
                return
        except Exception:  # a cache must not cost an answer
            log.exception("cache.look")
        if self._flight.end is None:
            self._begin()

    async def _elsewhere(self) -> bool:
        caching, asked = self._caching, self._asked
        if self._by_text:
            missing = [(place, text) for place, text in enumerate(texts_of(asked)) if place not in self._known]
            if len(missing) <= SHARED_TEXTS:
                values = await asyncio.gather(*(caching.look(keys.vector_key(asked, text)) for _, text in missing))
                for (place, _), value in zip(missing, values, strict=True):
                    self._knows(place, value)
            return self._all_known()
        if self._found(await caching.look(self._flight.key)):
            return True
        return self._is_second_wanted and self._found(await caching.look_again(asked))

    def _begin(self) -> None:
        self._caching.begin(self._flight, self._asked, self._known, self._until)

    def _found(self, value: bytes | None) -> bool:
        """Answer with it, if it is an answer."""
        if value is None or self._flight.end is not None:
            return False
        try:
            end = decoded(value, self._asked.kind)
        except msgspec.DecodeError as error:
            log.warning("cache.value", problem=str(error))
            return False
        self._hit(end)
        return True

    def _knows(self, place: int, value: bytes | None) -> None:
        if value is not None:
            try:
                self._known[place] = decoded_vector(value)
            except msgspec.DecodeError as error:
                log.warning("cache.value", problem=str(error))

    def _all_known(self) -> bool:
        count = len(texts_of(self._asked))
        if len(self._known) < count or self._flight.end is not None:
            return False
        self._flight.found()
        self._begin()
        return True

    def _hit(self, end: Made) -> None:
        self._flight.hit(end)
        self._caching.flights.ended(self._flight)


def texts_of(asked: Asked) -> list[str]:
    """The texts that vectors are asked of."""
    return asked.request.inputs if isinstance(asked.request, EmbeddingRequest) else []


def _kind(request: Request) -> Kind:
    """What is asked for; a router's jobs are of all kinds."""
    if isinstance(request, EmbeddingRequest):
        return "embedding"
    return "rerank" if isinstance(request, RerankRequest) else "inference"
