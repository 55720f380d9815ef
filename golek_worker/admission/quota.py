"""May the holder of this key have another request answered, and what does it cost?

The arithmetic of the ledger, pure: the clock is passed in. Before a request is queued its likely cost is reserved
(`reserve`); when it ends, what it used takes the hold's place (`settle`), or the hold is given back (`release`). A hold
that nobody ends, because its worker died, is gone a while after the request's deadline. Each step may be taken twice:
under one job id there is one hold, and without a hold nothing is counted.

A record holds one principal's account in one window of time: that of its budget, else a day. The rates of a minute are
counted in this and the previous one, which fades: what came in it counts by the part of it that lies within the last
60 s, as if it had come evenly.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct, field

from golek_wire.errors import OverLimitError, RateLimitedError
from golek_wire.keys import Budget, Key, Window
from golek_wire.replies import Allowance, Allowances
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request, RerankRequest

GRACE_S: Final = 30.0
"""A hold lasts so long beyond its request's deadline."""
MINUTE_S: Final = 60
AGAIN_S: Final = 1.0
"""When to try again where a request in flight has to end first: nobody knows when."""
NEVER_S: Final = 10.0 * 365 * 86400
"""Until a budget for good is there again."""
BYTES_PER_TOKEN: Final = 4
KEPT_S: Final = 86400
"""A record is kept for so long after its window, to be looked at."""

Limit = Literal["requests", "tokens", "concurrent", "budget"]


class Spent(Struct, frozen=True, omit_defaults=True):
    """What was used."""

    requests: int = 0
    tokens: int = 0

    def plus(self, requests: int, tokens: int) -> "Spent":
        """With so much more; never below nothing."""
        return Spent(max(0, self.requests + requests), max(0, self.tokens + tokens))


class Minutes(Struct, frozen=True, omit_defaults=True):
    """What came in a minute and in the one before it; tokens of requests that have not ended are estimates."""

    minute: int = 0
    """Since 1970."""
    now: Spent = Spent()
    before: Spent = Spent()

    def at(self, minute: int) -> "Minutes":
        """As seen in this minute."""
        if minute <= self.minute:  # clocks of two ingresses may differ a little
            return self
        return Minutes(minute, Spent(), self.now if minute == self.minute + 1 else Spent())

    def plus(self, minute: int, requests: int, tokens: int) -> "Minutes":
        """With so much more in `minute`, if that still counts."""
        if minute == self.minute:
            return msgspec.structs.replace(self, now=self.now.plus(requests, tokens))
        if minute == self.minute - 1:
            return msgspec.structs.replace(self, before=self.before.plus(requests, tokens))
        return self


class Hold(Struct, frozen=True, array_like=True):
    """What is reserved for one request."""

    tokens: int
    until: float
    """Epoch seconds."""
    minute: int
    """In which it came."""
    carried: bool = False
    """Whether it came in the window before, and is paid for there."""


class Ledger(Struct, frozen=True, omit_defaults=True):
    """The account of one principal in one window: the value of a key of the bucket GOLEK_QUOTA."""

    spent: Spent = Spent()
    minutes: Minutes = Minutes()
    holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    """By what its charger calls a job: its model and its id."""

    def seen(self, now: float) -> "Ledger":
        """As it is at `now`: holds that expired are gone."""
        minutes = self.minutes.at(int(now // MINUTE_S))
        if minutes is self.minutes and all(hold.until > now for hold in self.holds.values()):
            return self
        return Ledger(self.spent, minutes, {job: hold for job, hold in self.holds.items() if hold.until > now})

    def carried(self) -> "Ledger":
        """What the next window's record begins with: a minute does not end at midnight, nor do requests in flight. They
        are paid for in the window in which they came.
        """
        holds = {job: msgspec.structs.replace(hold, carried=True) for job, hold in self.holds.items()}
        return Ledger(minutes=self.minutes, holds=holds)

    def without(self, job_id: str) -> dict[str, Hold]:
        """The holds of the others."""
        return {job: hold for job, hold in self.holds.items() if job != job_id}


class Reserved(Struct, frozen=True):
    """A request may go on."""

    allowances: Allowances
    is_new: bool
    """False where a hold of its id was there already: this is a copy."""


class Refused(Struct, frozen=True):
    """A request may not go on, for now."""

    limit: Limit
    allowed: int
    wanted: int
    retry_after_s: float
    allowances: Allowances
    too_large: bool = False
    """True when it alone asks for more than the limit: it will never pass."""

    def error(self, key_id: str) -> RateLimitedError | OverLimitError:
        """What the caller is told; what is too large by itself is not worth another try."""
        text = _REFUSALS[self.limit].format(key=key_id, allowed=self.allowed, wanted=self.wanted)
        if self.too_large:
            return OverLimitError(
                f"{text}; this request alone is larger, ask for fewer tokens (max_tokens)",
                limit=self.limit,
                allowed=self.allowed,
                allowances=msgspec.to_builtins(self.allowances),
                too_large=True,
            )
        return RateLimitedError(
            text,
            retry_after_ms=max(1, math.ceil(self.retry_after_s)) * 1000,
            limit=self.limit,
            allowed=self.allowed,
            allowances=msgspec.to_builtins(self.allowances),
        )


_REFUSALS: Final[dict[Limit, str]] = {
    "requests": "The key {key} may send {allowed} requests in a minute",
    "tokens": "The key {key} may use {allowed} tokens in a minute, and this request reserves {wanted}",
    "concurrent": "The key {key} may have {allowed} requests at once",
    "budget": "The key {key} has a budget of {allowed}, and less of it is left than the {wanted} of this request",
}


def reserve(
    ledger: Ledger, key: Key, job_id: str, tokens: int, until: float, now: float
) -> tuple[Ledger, Reserved | Refused]:
    """Hold what a request may cost, until `until` at most, or say why not. Its limits are those of the key it came
    with, whatever other keys of the same principal may.
    """
    ledger = ledger.seen(now)
    if job_id in ledger.holds:
        return ledger, Reserved(allowances(ledger, key, now), is_new=False)
    refused = _refusal(ledger, key, tokens, now)
    if refused is not None:
        return ledger, refused
    minute = int(now // MINUTE_S)
    ledger = Ledger(
        ledger.spent,
        ledger.minutes.plus(minute, 1, tokens),
        ledger.holds | {job_id: Hold(tokens, until, minute)},
    )
    return ledger, Reserved(allowances(ledger, key, now), is_new=True)


def settle(ledger: Ledger, job_id: str, tokens: int, now: float) -> Ledger:
    """What the request used takes its hold's place; without one nothing is counted."""
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None:
        return ledger
    return Ledger(
        ledger.spent if hold.carried else ledger.spent.plus(1, tokens),
        ledger.minutes.plus(hold.minute, 0, tokens - hold.tokens),
        ledger.without(job_id),
    )


def release(ledger: Ledger, job_id: str, now: float) -> Ledger:
    """The request was never stored: it costs nothing."""
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None:
        return ledger
    return Ledger(ledger.spent, ledger.minutes.plus(hold.minute, -1, -hold.tokens), ledger.without(job_id))


def shorten(ledger: Ledger, job_id: str, until: float, now: float) -> Ledger:
    """Let a hold end sooner: its job seems to have ended, and who ended it may be about to say so."""
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None or hold.until <= until:
        return ledger
    return Ledger(ledger.spent, ledger.minutes, ledger.holds | {job_id: msgspec.structs.replace(hold, until=until)})


def allowances(ledger: Ledger, key: Key, now: float) -> Allowances:
    """What `key` may still spend at `now`."""
    came = rates(ledger, now)
    budget = None
    if key.budget is not None:
        used = _spent(ledger, key.budget) + _held(ledger, key.budget)
        reset_s = window_end(key.budget.window, now) - now if used else 0.0
        budget = Allowance(key.budget.amount, max(0, key.budget.amount - used), round(reset_s, 3))
    return Allowances(
        None if key.rpm is None else _rate(key.rpm, came[0], ledger.minutes, "requests", now),
        None if key.tpm is None else _rate(key.tpm, came[1], ledger.minutes, "tokens", now),
        budget,
        key.budget.unit if key.budget is not None else "tokens",
    )


def rates(ledger: Ledger, now: float) -> tuple[float, float]:
    """Requests and tokens of the last minute."""
    minutes, fades = ledger.minutes, _fades(ledger.minutes, now)
    return (
        minutes.now.requests + minutes.before.requests * fades,
        minutes.now.tokens + minutes.before.tokens * fades,
    )


def estimate(request: Request, reserve_tokens: int) -> int:
    """The tokens that a request may cost: its texts by their length, and the most that it may be answered with, which
    is `reserve_tokens` where it does not say.
    """
    match request:
        case EmbeddingRequest():
            return _tokens(request.inputs)
        case RerankRequest():  # each document is read together with the query
            return _tokens([request.query]) * len(request.documents) + _tokens(request.texts)
        case InferenceRequest():
            params = request.params
            texts = max(params.n, params.best_of or 1)
            most = reserve_tokens if params.max_tokens is None else params.max_tokens
            return _tokens(_read(request)) + most * texts


def window(budget: Budget | None, now: float) -> str:
    """The name of the window that `now` lies in; without a budget it is a day."""
    return _name(budget.window if budget is not None else "day", now)


def window_kind(name: str) -> Window:
    """What kind of window has this name."""
    kinds: dict[int, Window] = {len(_name(kind, 0)): kind for kind in get_args(Window)}
    return kinds.get(len(name), "total")


def following(name: str, now: float) -> str:
    """The window of the same kind that `now` lies in: `name` itself, unless that is over."""
    return _name(window_kind(name), now)


def previous(name: str, now: float) -> str:
    """The window before the one that `now` lies in; empty where there is none."""
    kind = window_kind(name)
    return "" if kind == "total" else _name(kind, _start(kind, now) - 1)


def window_end(kind: Window, now: float) -> float:
    """When the window that `now` lies in is over, in epoch seconds."""
    if kind == "total":
        return now + NEVER_S
    start = datetime.fromtimestamp(_start(kind, now), UTC)
    if kind == "month":
        return (start + timedelta(days=32)).replace(day=1).timestamp()
    return (start + timedelta(**{"day": {"days": 1}, "hour": {"hours": 1}}[kind])).timestamp()


def lasts_s(name: str, now: float) -> int:
    """For how many seconds the record of this window is kept; 0 is for good."""
    kind = window_kind(name)
    return 0 if kind == "total" else math.ceil(window_end(kind, now) - now) + KEPT_S


def _name(kind: Window, now: float) -> str:
    form = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "total": "total"}[kind]
    return datetime.fromtimestamp(now, UTC).strftime(form)


def _start(kind: Window, now: float) -> float:
    moment = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if kind in ("day", "month"):
        moment = moment.replace(hour=0)
    return (moment.replace(day=1) if kind == "month" else moment).timestamp()


def _refusal(ledger: Ledger, key: Key, tokens: int, now: float) -> Refused | None:
    """The limit that is in the way for ever, else for the longest time."""
    came, minutes = rates(ledger, now), ledger.minutes
    refusals: list[tuple[Limit, int, int, float]] = []
    if key.rpm is not None and came[0] + 1 > key.rpm:
        refusals.append(("requests", key.rpm, 1, _wait(key.rpm - 1, minutes, "requests", now)))
    if key.tpm is not None and came[1] + tokens > key.tpm:
        refusals.append(("tokens", key.tpm, tokens, _wait(key.tpm - tokens, minutes, "tokens", now)))
    if key.concurrent is not None and len(ledger.holds) >= key.concurrent:
        refusals.append(("concurrent", key.concurrent, 1, AGAIN_S))
    if key.budget is not None:
        cost = 1 if key.budget.unit == "requests" else tokens
        spent = _spent(ledger, key.budget)
        if spent + _held(ledger, key.budget) + cost > key.budget.amount:
            frees = spent + cost <= key.budget.amount
            wait = AGAIN_S if frees else window_end(key.budget.window, now) - now
            refusals.append(("budget", key.budget.amount, cost, wait))
    if not refusals:
        return None
    limit, allowed, wanted, wait = max(refusals, key=lambda one: (one[2] > one[1], one[3]))
    return Refused(limit, allowed, wanted, wait, allowances(ledger, key, now), too_large=wanted > allowed)


def _wait(room: int, minutes: Minutes, what: Literal["requests", "tokens"], now: float) -> float:
    """Seconds until at most `room` of the last minute's are left, if nothing more comes."""
    elapsed = now - minutes.minute * MINUTE_S
    current, before = _of(minutes.now, what), _of(minutes.before, what)
    if current <= room and before:
        return max(0.0, MINUTE_S * (1 - (room - current) / before) - elapsed)
    if not current:
        return 0.0
    return MINUTE_S - elapsed + MINUTE_S * (1 - max(0, room) / current)


def _rate(limit: int, came: float, minutes: Minutes, what: Literal["requests", "tokens"], now: float) -> Allowance:
    return Allowance(limit, max(0, math.floor(limit - came)), round(_wait(0, minutes, what, now), 3))


def _of(spent: Spent, what: Literal["requests", "tokens"]) -> int:
    return spent.requests if what == "requests" else spent.tokens


def _fades(minutes: Minutes, now: float) -> float:
    return min(1.0, max(0.0, 1 - (now - minutes.minute * MINUTE_S) / MINUTE_S))


def _spent(ledger: Ledger, budget: Budget) -> int:
    return _of(ledger.spent, budget.unit)


def _held(ledger: Ledger, budget: Budget) -> int:
    """Reserved, and to be paid for in this window."""
    by_request = budget.unit == "requests"
    return sum(1 if by_request else hold.tokens for hold in ledger.holds.values() if not hold.carried)


def _read(request: InferenceRequest) -> list[str]:
    """All that the model reads of a request."""
    texts = [request.input or ""]
    for turn in request.messages or ():
        texts += [turn.content or "", turn.reasoning_content or ""]
        texts += [msgspec.json.encode(call).decode() for call in turn.tool_calls or ()]
    texts += [msgspec.json.encode(tool).decode() for tool in request.tools or ()]
    texts.append(request.resume.text if request.resume is not None else "")
    return texts


def _tokens(texts: list[str]) -> int:
    return math.ceil(sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / BYTES_PER_TOKEN)
