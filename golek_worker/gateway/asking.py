"""What do the routes that ask a model share?

Which model is meant, how long its answer is of use, and what the caller learns beside it: the job's id, the replica,
what its key may still spend.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from msgspec import Struct, structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from golek_client import discovery
from golek_client.exchange import Exchange
from golek_client.reading import Reply
from golek_client.stream import Stream
from golek_program.web import errors
from golek_program.web.leaving import watched
from golek_wire import codec, elements, subjects
from golek_wire.errors import BadRequestError, InferenceServiceError, ModelNotFoundError
from golek_wire.headers import HOPS
from golek_wire.openai import models
from golek_wire.openai.chat import DEADLINE_LIMIT_MS
from golek_wire.openai.completion import strictly
from golek_wire.replies import EmbeddingReply, InferenceReply, RerankReply
from golek_wire.routing import AUTO, CLOUDS, LOCAL, RouteWish
from golek_wire.subjects import Kind
from golek_wire.vision import VisionReply
from golek_worker.gateway import door
from golek_worker.gateway.callers import check_model
from golek_worker.gateway.sse import Waiting

log = structlog.get_logger("gateway")

DEADLINE_MS: Final = "x-golek-deadline-ms"
DEADLINE_S: Final = "x-request-timeout"
LOCAL_PREFIX: Final = f"{LOCAL}:"
_CLIENTS_OWN: Final = ("x-stainless-read-timeout", "x-stainless-retry-count")
"""What OpenAI's clients say of themselves: that they will wait so long does not mean that they want to."""


class Call(Struct):
    """One request to a model."""

    model: str
    """As the fleet knows it."""
    seconds: float
    """Until the answer is of no use."""
    key: str | None
    """The caller's idempotency key."""
    visit: door.Visit
    caller: door.Caller
    scope: Scope
    created: int
    local: bool = False
    """As `is_local`."""
    strict: bool = False
    """Texts end for OpenAI's own reasons alone."""
    hops: str = ""
    """Through how many routers of other fleets it came, as these say."""

    @property
    def deadline_ms(self) -> int:
        return max(1, round(self.seconds * 1000))

    async def reply(self, payload: bytes, kind: Kind, form: type[Reply], part: str = "") -> Reply:
        """The whole answer. `part` tells the requests of one caller's request apart, where there are several.

        To be awaited inside `watched`. Raises what the fleet answers.
        """
        asked = await self.caller.golek.passed(
            self.model, kind, self.narrowed(payload), form, deadline=self.seconds, idempotency_key=self._key(part),
            hops=self.hops,
        )  # fmt: skip
        async with asked as exchange:
            try:
                reply = await exchange.reply()
            finally:
                self.learnt(exchange)
        self.cost(reply)
        return reply

    async def only(self, payload: bytes, kind: Kind, form: type[Reply]) -> Reply:
        """The whole answer to the caller's one request; a client that leaves cancels it: raises GoneError."""
        async with watched(self.scope):
            return await self.reply(payload, kind, form)

    def stream(self, payload: bytes, waiting: Waiting | None, part: str = "") -> Stream:
        """The stream of an answer; what is told before it goes to `waiting`. `part` as in `reply`."""
        self.visit.streamed = True
        return self.caller.golek.passed_stream(
            self.model, self.narrowed(payload), deadline=self.seconds, idempotency_key=self._key(part),
            on_queued=waiting, on_step=waiting.step if waiting is not None else None, hops=self.hops,
        )  # fmt: skip

    def narrowed(self, payload: bytes) -> bytes:
        """A request as it is sent. Raises as `local_only`."""
        return local_only(payload) if self.local else payload

    def wish(self, said: RouteWish | None) -> RouteWish | None:
        """What a request says of its route, as it is sent. Raises as `local_only`."""
        return _local_wish(said) if self.local else said

    def learnt(self, exchange: Exchange[Any] | Stream) -> None:
        """Remember which job this is and who answers."""
        self.visit.job_id = self.visit.job_id or exchange.job_id
        self.visit.worker = exchange.worker or self.visit.worker
        self.visit.allowances = exchange.allowances or self.visit.allowances
        self.visit.cache = exchange.cache or self.visit.cache

    def cost(self, reply: Any) -> None:
        """Count what an answer cost, and remember how it came about."""
        count(self.visit, reply)

    def in_words(self, reply: InferenceReply) -> InferenceReply:
        """`reply` as it is told in OpenAI's forms."""
        return strictly(reply) if self.strict else reply

    def _key(self, part: str) -> str | None:
        return f"{self.key} {part}" if self.key is not None and part else self.key


class _Wishes(Struct):
    """What of a request says how it is routed."""

    route: RouteWish | None = None


def is_local(named: str | None) -> bool:
    """Whether the model was named with `local:`: no other may answer."""
    return (named or "").startswith(LOCAL_PREFIX)


def local_only(payload: bytes) -> bytes:
    """A request with the policy `local_only`. Raises BadRequestError for one that wants something else."""
    said = codec.decode(payload, dict[str, Any])
    said["route"] = _local_wish(codec.decode_body(codec.encode({"route": said.get("route")}), _Wishes).route)
    return codec.encode(said)


def _local_wish(said: RouteWish | None) -> RouteWish:
    said = said or RouteWish()
    if said.policy in CLOUDS:
        raise BadRequestError(
            f"route.policy: {said.policy} asks clouds, and `local:` before a model's name asks none",
            param="route.policy",
        )
    return structs.replace(said, policy="local_only")


def count(visit: door.Visit, reply: Any) -> None:
    """Count what an answer cost, and remember how it came about."""
    visit.routed = getattr(reply, "route", None) or visit.routed
    visit.orchestrated = getattr(reply, "orchestration", None) or visit.orchestrated
    if isinstance(reply, InferenceReply):
        visit.tokens_in += reply.tokens_in
        visit.tokens_out += reply.tokens_out
    elif isinstance(reply, EmbeddingReply | RerankReply):
        visit.tokens_in += reply.usage.prompt_tokens
    elif isinstance(reply, VisionReply):
        visit.tokens_in += reply.usage.prompt_tokens
        visit.tokens_out += reply.usage.completion_tokens
    else:
        return
    if not isinstance(reply, RerankReply | VisionReply) and reply.cache:
        visit.cache = reply.cache
    visit.provider = reply.route.provider if reply.route else ""
    visit.pay(reply.cost_usd)


async def call(request: Request, named: str | None, kind: Kind, deadline_ms: int | None) -> Call:
    """What is asked of which model. Raises BadRequestError, and ForbiddenError for a model that the key is not for."""
    entered, visit, caller = door.door(request), door.visit(request), door.caller(request)
    seconds = seconds_for(request, deadline_ms)
    visit.model = model = await meant(entered, caller, named, kind)
    own = {name: request.headers[name] for name in _CLIENTS_OWN if name in request.headers}
    if own:
        log.debug("http.client", request_id=visit.request_id, **{name[2:].replace("-", "_"): own[name] for name in own})
    return Call(
        model,
        seconds,
        request.headers.get("idempotency-key"),
        visit,
        caller,
        request.scope,
        int(time.time()),
        is_local(named),
        entered.settings.golek_strict_openai,
        request.headers.get(HOPS, ""),
    )


async def meant(entered: door.Door, caller: door.Caller, named: str | None, kind: Kind) -> str:
    """The model that is asked. Raises BadRequestError, ForbiddenError for one that the key is not for, and at a worker
    ModelNotFoundError for another than its own.
    """
    model = models.plain(named) if named else entered.served or await _unnamed(entered, caller, kind)
    check_model(caller, model)
    if entered.served and model not in subjects.spellings(entered.served):
        raise ModelNotFoundError(
            f"model: {model[:64]!r} is not served here, {entered.served} is; the fleet's gateway (`make gateway`) "
            "serves every model",
            param="model",
            available=[entered.served],
        )
    return model


def seconds_for(request: Request, deadline_ms: int | None) -> float:
    """How long the caller waits: by its body, by a header, or as long as everybody. Raises BadRequestError."""
    if deadline_ms is not None:
        return deadline_ms / 1000
    for name, unit in ((DEADLINE_MS, 0.001), (DEADLINE_S, 1.0)):
        if name in request.headers:
            return _seconds(name, request.headers[name], unit)
    return door.door(request).seconds


@contextlib.contextmanager
def in_words_of(names: Mapping[str, str]) -> Iterator[None]:
    """Errors about a field are told with its name in the caller's API: `names` has those that differ."""
    try:
        yield
    except InferenceServiceError as error:
        elements.renamed(error, names)
        raise


def deadline_ms(request: Request) -> int:
    """As `seconds_for`, of a request that says nothing in its body, as the bus has it."""
    return max(1, round(seconds_for(request, None) * 1000))


def check(caller: door.Caller, named: str) -> None:
    """Raise ForbiddenError for a model that the caller's key is not for."""
    check_model(caller, models.plain(named))


def names_deadline(request: Request) -> bool:
    """Whether a header says how long the caller waits."""
    return DEADLINE_MS in request.headers or DEADLINE_S in request.headers


def json(answer: object) -> Response:
    """The response with `answer`."""
    return Response(codec.encode(answer), media_type=errors.JSON)


def _seconds(name: str, said: str, unit: float) -> float:
    try:
        seconds = float(said) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= DEADLINE_LIMIT_MS / 1000:
        most = DEADLINE_LIMIT_MS / 1000 / unit
        raise BadRequestError(f"{name}: a number above 0 and up to {most:.0f}; got {said[:32]!r}", param=name)
    return seconds


async def _unnamed(entered: door.Door, caller: door.Caller, kind: Kind) -> str:
    """The model of a request that names none. Raises as `only_one`."""
    return AUTO if entered.auto else await only_one(caller, kind)


async def only_one(caller: door.Caller, kind: Kind) -> str:
    """The model that is meant where none is named. Raises BadRequestError naming those that there are."""
    now, known = datetime.now(UTC), await caller.golek.models()
    names = [
        record.name
        for record in known
        if kind in record.kinds
        and not record.offers
        and discovery.gone(record, now) is None
        and (not caller.models or record.name in caller.models)
    ]
    if len(names) == 1:
        return names[0]
    if AUTO in [one.name for one in discovery.offers(known, now)] and (not caller.models or AUTO in caller.models):
        names.append(AUTO)
    raise BadRequestError(f"model: which one is meant? {_choice(names, kind)}", param="model", available=names)


def _choice(names: Sequence[str], kind: Kind) -> str:
    return f"There is {', '.join(names)}" if names else f"No model for {kind} is served at the moment"
