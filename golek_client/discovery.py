"""Which models does the fleet know, and what does it mean that nobody answers for one?

The bucket `GOLEK_MODELS` holds a record per model, written before a worker loads and renewed with each heartbeat. The
bucket is an ordinary stream underneath, and is read as one.
"""

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from golek_client import stored
from golek_client.line import Line
from golek_client.stored import UNREADABLE, Stored
from golek_wire import codec, headers, subjects
from golek_wire.errors import (
    BadRequestError,
    DeadlineExceededError,
    InternalError,
    ModelNotFoundError,
    NoWorkersError,
)
from golek_wire.routing import Offer
from golek_wire.signals import TAKES_REQUESTS, Health, ModelRecord
from golek_wire.subjects import Kind

ALIVE_S: Final = 90.0
"""Three heartbeats. A model seen within this time comes back: its requests wait."""
SILENT_S: Final = 40.0
"""A heartbeat and a bit. A model that serves and was not seen for longer has missed one, and people are told so."""
LOADING_S: Final = 900.0
"""A model that was starting or loading may be busy for longer before its next sign."""
LEAVING_S: Final = 5.0
"""A model whose last word was that it leaves is given this long for another replica to write the record again."""
HEALTH_S: Final = 1.0
"""How long a worker may take to name the subject it listens on."""
SHOWN: Final = 20
"""Names that a sentence has at most; the error's details have all."""
ASK_IT: Final = ": ask it on "
"""Before where a model does take requests, in errors of who asked it for what it does not do."""
_LEAVING: Final = frozenset[str](("draining", "offline", "failed"))

_STREAM: Final = f"KV_{subjects.MODELS_BUCKET}"
_KEY: Final = f"$KV.{subjects.MODELS_BUCKET}."


async def why_nobody(
    line: Line, model: str, kind: Kind | None = None, subject: str | None = None
) -> ModelNotFoundError | NoWorkersError | BadRequestError | None:
    """What to tell a caller whose request found nobody; None when the model is expected back and is of this `kind`.

    With the `subject` that was asked, a model that is online is asked whether it listens on another one.

    Raises BusUnavailableError when JetStream does not answer within 2 s, as during an election: then nothing can be
    said yet.
    """
    known = await record(line, model)
    if known is not None:
        if kind is not None and not may_do(known, kind):
            return another_kind(known, kind)
        left = gone(known, datetime.now(UTC))
        if left is None and subject is not None and known.state in TAKES_REQUESTS:
            return await _elsewhere(line, known, subject)
        return left
    everybody, now = await records(line), datetime.now(UTC)
    routers = [one for one in everybody if any(offer.name == model for offer in one.offers)]
    if routers:
        return offered(model, routers, now)
    return unknown(model, everybody, now)


async def health(line: Line, model: str, until: float, seconds: float) -> Health:
    """How one replica of `model` is, when it says so by `until` on the loop's clock, `seconds` after the call began.

    Raises ModelNotFoundError and NoWorkersError when nobody listens, DeadlineExceededError.
    """
    answer = await line.ask_once(subjects.health(model), b"", until)
    if answer is None:
        raise DeadlineExceededError(f"no worker of {model} said within {seconds:g} s how it is", model=model)
    if headers.NATS_STATUS in (answer.headers or {}):
        raise await why_nobody(line, model) or NoWorkersError(
            f"no worker of {model} listens at the moment; one did a short while ago", model=model
        )
    try:
        return codec.decode(answer.data, Health)
    except UNREADABLE as error:
        raise InternalError(f"the answer on {subjects.health(model)} is no health message: {error}") from None


async def _elsewhere(line: Line, known: ModelRecord, asked: str) -> BadRequestError | None:
    """What to tell a caller who asked where a model that is online does not listen; None when it does, or cannot say.

    Its worker names its subject in its health. Of a model's two usual subjects either is as good.
    """
    answer = await line.ask_once(subjects.health(known.name), b"", asyncio.get_running_loop().time() + HEALTH_S)
    if answer is None or headers.NATS_STATUS in (answer.headers or {}):
        return None
    try:
        said = codec.decode(answer.data, Health)
    except UNREADABLE:
        return None
    listens = said.nats_topic
    usual = {subjects.request(name, kind) for name in subjects.spellings(known.name) for kind in subjects.SERVED}
    if said.status not in TAKES_REQUESTS or not listens or asked == listens or {asked, listens} <= usual:
        return None
    return BadRequestError(
        f"{known.name} is online, but listens on {listens} and not on {asked}: ask there, in Python with "
        f"subject={listens!r}, in a shell with `golek req {listens}`",
        param="subject",
        subject=listens,
    )


async def record(line: Line, model: str) -> ModelRecord | None:
    """What is known of `model`, under its name or its token; None when nothing is. Raises as `why_nobody` does."""
    found = await stored.last(line, _STREAM, _KEY + subjects.model_token(model))
    return _decoded(found) if found else None


async def records(line: Line, patience_s: float = 0.0) -> list[ModelRecord]:
    """Every known model by name; empty without a bucket, and without JetStream. Raises as `why_nobody` does.

    While JetStream cannot say, it is asked again for `patience_s`.
    """
    newest = {found.subject: _decoded(found) async for found in stored.walk(line, _STREAM, _KEY + ">", patience_s)}
    return sorted((record for record in newest.values() if record), key=lambda record: record.name)


def _decoded(found: Stored) -> ModelRecord | None:
    """The record; None for a deleted key, whose message is empty, and for what a later release writes."""
    try:
        return codec.decode(found.data, ModelRecord)
    except UNREADABLE:
        return None


def gone(record: ModelRecord, now: datetime) -> NoWorkersError | None:
    """What to tell a caller when nobody answers for a known model; None when it is expected back.

    It is expected back within 90 s of its last sign, within 15 min of one that said it was starting or loading, and
    within 5 s of one that said it was draining, offline or failed.
    """
    age = _age_s(record, now)
    if age <= _patience_s(record):
        return None
    since = f"last seen {shown(age)} ago" if age != float("inf") else "and none says when it was seen"
    state = f", {record.state}" if record.state in _LEAVING else ""
    if record.state == "failed":
        state = ", which failed to load it; its log says why"
    return NoWorkersError(
        f"No worker serves {record.name}; {since}{state}",
        model=record.name,
        state=record.state,
        last_seen=record.last_seen,
    )


def offered(model: str, routers: Iterable[ModelRecord], now: datetime) -> NoWorkersError | None:
    """What to tell a caller when nobody answers for a name that these routers offer; None when one is expected back."""
    left = [gone(one, now) for one in routers]
    if None in left:
        return None
    told = "; ".join(error.message for error in left if error is not None)
    return NoWorkersError(f"No router serves {model} at the moment: {told}", model=model)


def may_do(record: ModelRecord, kind: Kind) -> bool:
    """Whether a model may be asked this. What it does is not known before its file is read; whether one that writes
    sees, its worker says.
    """
    return not record.kinds or kind in record.kinds or (kind == "vision" and "inference" in record.kinds)


def another_kind(record: ModelRecord, asked: Kind) -> BadRequestError:
    """What to tell a caller who asks a model for what it does not do."""
    where = " or ".join(f"{kind}.request.{record.name}" for kind in record.kinds)
    return BadRequestError(f"{record.name} is no model for {asked}{ASK_IT}{where}", param="model", kinds=record.kinds)


def offers(known: Iterable[ModelRecord], now: datetime) -> list[Offer]:
    """The names that routers serve now beside the fleet's own models, each once; a model of that name comes first."""
    known = list(known)
    models = {one.name for one in known if not one.offers}
    found = {offer.name: offer for one in known if _is_served(one, now) for offer in one.offers}
    return [found[name] for name in sorted(found) if name not in models]


def usual(known: Iterable[ModelRecord], now: datetime) -> tuple[str, str]:
    """The preset that `auto` stands for at routers, empty without one, and how several models answer there."""
    said = [one for one in known if one.offers and one.orchestration_mode and _is_served(one, now)]
    return (said[0].config, said[0].orchestration_mode) if said else ("", "single")


def unknown(model: str, known: list[ModelRecord], now: datetime) -> ModelNotFoundError:
    """What to tell a caller whose model was never seen: what it may have meant, and what is served now. A router stands
    for the names that it offers, and is not meant itself.
    """
    served = [record for record in known if _is_served(record, now)]
    return not_found(model, _names(known), _names(served))


def not_found(model: str, names: Sequence[str], available: Sequence[str]) -> ModelNotFoundError:
    """What to tell a caller of a model that is none of these `names`, of which those that are `available` can be asked
    now.
    """
    near, available = _nearest(model, names), list(dict.fromkeys(available))
    if not names:
        hint = "nothing serves models on this bus; is a worker started, and is this the right NATS server?"
    elif near:
        hint = f"did you mean {near}?"
    elif available:
        hint = f"there is {_listed(available)}"
    else:
        hint = "and no other model is served at the moment"
    return ModelNotFoundError(
        f"No model {model!r} is known: {hint}", model=model, did_you_mean=near, available=available
    )


def sign(record: ModelRecord, now: datetime) -> str:
    """When a model was last seen, for people: `12 s ago`, or `no sign for 52 s` once it has missed a heartbeat.

    One that leaves sends none, and one that loads may be busy for long: neither is missed so early.
    """
    age = _age_s(record, now)
    if age == float("inf"):
        return record.last_seen or "never"
    silent = record.state not in _LEAVING and age > _silent_s(record)
    return f"no sign for {shown(age)}" if silent else f"{shown(age)} ago"


def state(record: ModelRecord, now: datetime) -> str:
    """The state for people: what the record says, or `gone` once requests are no longer kept for the model."""
    return record.state if record.state in _LEAVING or _age_s(record, now) <= _patience_s(record) else "gone"


def shown(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _silent_s(record: ModelRecord) -> float:
    return LOADING_S if record.state in ("starting", "loading") else SILENT_S


def _is_served(record: ModelRecord, now: datetime) -> bool:
    return record.state not in _LEAVING and _age_s(record, now) <= ALIVE_S


def _patience_s(record: ModelRecord) -> float:
    """Seconds after its last sign in which the model is expected back."""
    if record.state in _LEAVING:
        return LEAVING_S
    return LOADING_S if record.state in ("starting", "loading") else ALIVE_S


def _names(records: Iterable[ModelRecord]) -> list[str]:
    """What callers may ask for, of these."""
    return [name for one in records for name in ([offer.name for offer in one.offers] if one.offers else [one.name])]


def _listed(names: Sequence[str]) -> str:
    """Some of them, in a sentence."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _nearest(model: str, names: Sequence[str]) -> str | None:
    by_model = {name.partition(":")[2].casefold(): name for name in reversed(names) if ":" in name}
    if model.casefold() in by_model:  # a cloud's, without its provider
        return by_model[model.casefold()]
    by_folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(model.casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else None


def _age_s(record: ModelRecord, now: datetime) -> float:
    """Seconds since the record was renewed; infinite when it does not say. Both clocks are taken as synchronised."""
    try:
        seen = datetime.fromisoformat(record.last_seen)
    except ValueError:
        return float("inf")
    return (now - (seen if seen.tzinfo else seen.replace(tzinfo=UTC))).total_seconds()
