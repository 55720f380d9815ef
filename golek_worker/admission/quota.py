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
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct, field

from golek_wire.errors import OverLimitError, RateLimitedError
from golek_wire.keys import MICROS, Budget, Key, Window, dollars
from golek_wire.replies import Allowance, Allowances
from golek_wire.requests import EmbeddingRequest, InferenceRequest, Request, RerankRequest, VisionRequest

GRACE_S: Final = 30.0
"""A hold lasts so long beyond its request's deadline."""
MINUTE_S: Final = 60
AGAIN_S: Final = 1.0
"""When to try again where a request in flight has to end first: nobody knows when."""
NEVER_S: Final = 10.0 * 365 * 86400
"""Until a budget for good is there again."""
BYTES_PER_TOKEN: Final = 4
IMAGE_TOKENS: Final = 1600
"""What clouds take a large image for."""
KEPT_S: Final = 86400
"""A record is kept for so long after its window, to be looked at."""

Limit = Literal["requests", "tokens", "concurrent", "budget"]


class Spent(Struct, frozen=True, omit_defaults=True):
    """What was used."""

    requests: int = 0
    tokens: int = 0
    micros: int = 0
    """Millionths of a dollar that clouds took."""

    def plus(self, requests: int, tokens: int, micros: int = 0) -> "Spent":
        """With so much more; never below nothing."""
        return Spent(max(0, self.requests + requests), max(0, self.tokens + tokens), max(0, self.micros + micros))


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


class Bill(Struct, frozen=True, array_like=True):
    """What is reserved for one call of a cloud: a request may make several, at once or one after the other."""

    micros: int
    until: float
    """Epoch seconds."""
    carried: bool = False
    """As of a hold."""


class Ledger(Struct, frozen=True, omit_defaults=True):
    """The account of one principal in one window: the value of a key of the bucket GOLEK_QUOTA."""

    spent: Spent = Spent()
    minutes: Minutes = Minutes()
    holds: dict[str, Hold] = field(default_factory=dict[str, Hold])
    """By what its charger calls a job: its model and its id."""
    bills: dict[str, Bill] = field(default_factory=dict)
    """By what its charger calls a call."""

    def seen(self, now: float) -> "Ledger":
        """As it is at `now`: holds and bills that expired are gone."""
        minutes = self.minutes.at(int(now // MINUTE_S))
        ends = [hold.until for hold in self.holds.values()] + [bill.until for bill in self.bills.values()]
        if minutes is self.minutes and min(ends, default=now + 1) > now:
            return self
        return Ledger(
            self.spent,
            minutes,
            {job: hold for job, hold in self.holds.items() if hold.until > now},
            {call: bill for call, bill in self.bills.items() if bill.until > now},
        )

    def carried(self) -> "Ledger":
        """What the next window's record begins with: a minute does not end at midnight, nor do requests in flight. They
        are paid for in the window in which they came.
        """
        holds = {job: msgspec.structs.replace(hold, carried=True) for job, hold in self.holds.items()}
        bills = {call: msgspec.structs.replace(bill, carried=True) for call, bill in self.bills.items()}
        return Ledger(minutes=self.minutes, holds=holds, bills=bills)

    def ended(self, job_id: str, spent: Spent, minutes: Minutes) -> "Ledger":
        """Without the hold of a job, with these figures."""
        return Ledger(spent, minutes, {job: hold for job, hold in self.holds.items() if job != job_id}, self.bills)


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

    def error(self, key_id: str, who: str = "") -> RateLimitedError | OverLimitError:
        """What the caller is told; what is too large by itself, or used up for good, is not worth another try.
        `who` has the limit, if it is not the key's.
        """
        allowed, wanted = str(self.allowed), str(self.wanted)
        details: dict[str, Any] = {"limit": self.limit, "allowed": self.allowed}
        if self.limit == "budget" and self.allowances.budget_unit == "usd":
            allowed, wanted = dollars(self.allowed), dollars(self.wanted)
            details = {"limit": self.limit, "allowed_usd": self.allowed / MICROS}
        details["allowances"] = msgspec.to_builtins(self.allowances)
        text = _REFUSALS[self.limit].format(who=who or f"The key {key_id}", allowed=allowed, wanted=wanted)
        if self.too_large:
            return OverLimitError(
                f"{text}; this request alone is larger, ask for fewer tokens (max_tokens)", too_large=True, **details
            )
        if self.retry_after_s >= NEVER_S:
            return OverLimitError(f"{text}; it does not begin anew", **details)
        return RateLimitedError(text, retry_after_ms=max(1, math.ceil(self.retry_after_s)) * 1000, **details)


_REFUSALS: Final[dict[Limit, str]] = {
    "requests": "{who} may send {allowed} requests in a minute",
    "tokens": "{who} may use {allowed} tokens in a minute, and this request reserves {wanted}",
    "concurrent": "{who} may have {allowed} requests at once",
    "budget": "{who} has a budget of {allowed}, and less of it is left than the {wanted} of this request",
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
    ledger = msgspec.structs.replace(
        ledger,
        minutes=ledger.minutes.plus(minute, 1, tokens),
        holds=ledger.holds | {job_id: Hold(tokens, until, minute)},
    )
    return ledger, Reserved(allowances(ledger, key, now), is_new=True)


def settle(ledger: Ledger, job_id: str, tokens: int, now: float, micros: int = 0, *, answered: bool = True) -> Ledger:
    """What the request used takes its hold's place; without one nothing is counted. `micros` are those of calls that
    had no bills. One that was not `answered`, through no fault of the caller's, is no request of a budget.
    """
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None:
        return ledger
    spent = ledger.spent if hold.carried else ledger.spent.plus(int(answered), tokens, micros)
    return ledger.ended(job_id, spent, ledger.minutes.plus(hold.minute, 0, tokens - hold.tokens))


def release(ledger: Ledger, job_id: str, now: float) -> Ledger:
    """The request was never stored: it costs nothing."""
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None:
        return ledger
    return ledger.ended(job_id, ledger.spent, ledger.minutes.plus(hold.minute, -1, -hold.tokens))


def shorten(ledger: Ledger, job_id: str, until: float, now: float) -> Ledger:
    """Let a hold end sooner: its job seems to have ended, and who ended it may be about to say so."""
    ledger = ledger.seen(now)
    hold = ledger.holds.get(job_id)
    if hold is None or hold.until <= until:
        return ledger
    held = ledger.holds | {job_id: msgspec.structs.replace(hold, until=until)}
    return msgspec.structs.replace(ledger, holds=held)


def bill(
    ledger: Ledger, key: Key, call: str, micros: int, until: float, now: float
) -> tuple[Ledger, Reserved | Refused]:
    """Hold what a call of a cloud may take, until `until` at most, or say why not. `key` has a budget in money."""
    ledger = ledger.seen(now)
    if call in ledger.bills:
        return ledger, Reserved(allowances(ledger, key, now), is_new=False)
    if key.budget is not None and (wait := _budget_wait(ledger, key.budget, micros, now)) is not None:
        told = allowances(ledger, key, now)
        return ledger, Refused("budget", key.budget.amount, micros, wait, told, too_large=micros > key.budget.amount)
    ledger = msgspec.structs.replace(ledger, bills=ledger.bills | {call: Bill(micros, until)})
    return ledger, Reserved(allowances(ledger, key, now), is_new=True)


def pay(ledger: Ledger, call: str, micros: int, now: float) -> Ledger:
    """What the call took, nothing if it failed, takes its bill's place; without one nothing is counted."""
    ledger = ledger.seen(now)
    due = ledger.bills.get(call)
    if due is None:
        return ledger
    bills = {one: bill for one, bill in ledger.bills.items() if one != call}
    spent = ledger.spent if due.carried else ledger.spent.plus(0, 0, micros)
    return msgspec.structs.replace(ledger, spent=spent, bills=bills)


def allowances(ledger: Ledger, key: Key, now: float) -> Allowances:
    """What `key` may still spend at `now`."""
    came = rates(ledger, now)
    budget = None
    if key.budget is not None:
        used = _spent(ledger, key.budget) + _held(ledger, key.budget)
        reset_s = window_end(key.budget.window, now) - now
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
    return read(request) + written(request, reserve_tokens)


def read(request: Request) -> int:
    """About how many tokens a model reads of a request."""
    match request:
        case EmbeddingRequest():
            return _tokens(request.inputs)
        case RerankRequest():  # each document is read together with the query
            return _tokens([request.query]) * len(request.documents) + _tokens(request.texts)
        case VisionRequest():  # the model reads each image, and what it is asked, once for each label
            said = _tokens([request.prompt or "", *(request.labels or ())])
            return (IMAGE_TOKENS + said) * len(request.sources) * max(1, len(request.labels or ()))
        case InferenceRequest():
            return _tokens(_read(request)) + IMAGE_TOKENS * _images(request)


def written(request: Request, reserve_tokens: int) -> int:
    """The most that it may be answered with; `reserve_tokens` for each text where it does not say."""
    if not isinstance(request, InferenceRequest):
        return 0
    params = request.params
    most = reserve_tokens if params.max_tokens is None else params.max_tokens
    return most * max(params.n, params.best_of or 1)


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
    if key.budget is not None and key.budget.unit != "usd":  # what clouds take is known once one is chosen
        cost = 1 if key.budget.unit == "requests" else tokens
        if (lasts := _budget_wait(ledger, key.budget, cost, now)) is not None:
            refusals.append(("budget", key.budget.amount, cost, lasts))
    if not refusals:
        return None
    limit, allowed, wanted, wait = max(refusals, key=lambda one: (one[2] > one[1], one[3]))
    return Refused(limit, allowed, wanted, wait, allowances(ledger, key, now), too_large=wanted > allowed)


def _budget_wait(ledger: Ledger, budget: Budget, cost: int, now: float) -> float | None:
    """None where `cost` is left of a budget, else the seconds until it may be."""
    spent = _spent(ledger, budget)
    if spent + _held(ledger, budget) + cost <= budget.amount:
        return None
    return AGAIN_S if spent + cost <= budget.amount else window_end(budget.window, now) - now


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
    return ledger.spent.micros if budget.unit == "usd" else _of(ledger.spent, budget.unit)


def _held(ledger: Ledger, budget: Budget) -> int:
    """Reserved, and to be paid for in this window."""
    if budget.unit == "usd":
        return sum(bill.micros for bill in ledger.bills.values() if not bill.carried)
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


def _images(request: InferenceRequest) -> int:
    parts = [part for turn in request.messages or () for part in turn.parts or ()]
    return sum(1 for part in parts if part.get("type") not in ("text", "input_text"))


def _tokens(texts: list[str]) -> int:
    return math.ceil(sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / BYTES_PER_TOKEN)
