"""Which targets may be asked just now, and which requests at them shall go elsewhere?

Whoever asks a target enters first and holds a ticket until its verdict. Of a target that has not answered lately only
as many requests may wait for a first word as failures would open its breaker: should it be dead, no more are lost. Of
models of the fleet that is not asked: they have queues.
When a breaker opens, or nothing is heard of a target for too long, those that wait there are told to move on.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct

from golek_wire.breakers import BreakerNote, BreakerState
from golek_wire.routing import LOCAL
from golek_worker.router import breaker as rules_of
from golek_worker.router.breaker import RULES, Breaker, Rules
from golek_worker.router.targets import State

SILENCE_S: Final = 2.0
"""Nothing was heard of a target for so long, or …"""
SILENCE: Final = 4.0
"""… so many times what it usually takes to begin, whichever is more, while requests wait: it has to prove itself."""
TELL_PROVEN_S: Final = 60.0
"""That a target answers is told to other routers again after this time."""
FORGET: Final = 0.1
"""How much of a quicker begin counts when it is said what is usual; a slower one counts at once."""

Tell = Callable[[BreakerNote, float], None]
"""Told to others: the note, and in how many seconds its `until` is."""


class Refusal(Struct, frozen=True):
    """A target is not to be asked now."""

    why: str
    after_s: float = 0.0
    """When it may be asked, as far as that is known."""
    limited: bool = False
    """It asked for a pause itself, and is well."""
    undecided: bool = False
    """Requests are under way whose verdict may let others in."""


class Ticket:
    """One request at a target. Every ticket ends in one of `answered`, `failed`, `limited` and `dropped`."""

    def __init__(self, owner: "Breakers", target: str, at: float, *, probe: bool, stays: bool) -> None:
        self._owner = owner
        self.target = target
        self.at = at
        self.is_probe = probe
        self.stays = stays
        self.has_begun = False
        self.is_over = False
        self.moved: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the request shall go elsewhere: why. Never after its first word."""

    def began(self) -> None:
        """The first word came: the target lives."""
        if not self.has_begun:
            self.has_begun = True
            self._owner.on_answer(self)

    def answered(self) -> None:
        """It ended well, or with an error that is none of the target's."""
        self.began()
        self._owner.leave(self)

    def failed(self, why: str, retry_after_s: float = 0.0) -> None:
        """It failed by the target's fault."""
        self._owner.on_failure(self, why, retry_after_s)
        self._owner.leave(self)

    def limited(self, retry_after_s: float, why: str = "") -> None:
        """The target asked for a pause."""
        self._owner.on_limit(self, retry_after_s, why)
        self._owner.leave(self)

    def dropped(self) -> None:
        """It ended without a verdict: cancelled, out of time, or moved on. More than one end does no harm."""
        self._owner.leave(self)


class _Lot:
    """What one router knows of one target."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.silent: dict[Ticket, None] = {}
        """Tickets without a first word, oldest first."""
        self.waiting: set[asyncio.Future[None]] = set()
        self.usual_s = 0.0
        """To the first word."""
        self.heard_at = -math.inf
        self.told_at = -math.inf


class Breakers:
    """The breakers of one router. `now` is its clock, `tell` shares what it finds out, without waiting."""

    def __init__(
        self,
        router: str,
        now: Callable[[], float],
        *,
        tell: Tell | None = None,
        draw: Callable[[], float] = random.random,
        rules: Rules = RULES,
    ) -> None:
        self._router = router
        self._now = now
        self._tell = tell
        self._draw = draw
        self._rules = rules
        self._lots: dict[str, _Lot] = {}
        self._routers = [router]

    def share(self, tell: Tell) -> None:
        """From now on tell others so."""
        self._tell = tell

    def know_routers(self, routers: Iterable[str]) -> None:
        """All routers that live, this one or not: they share what may be lost at a target."""
        self._routers = sorted({self._router, *routers})

    # -- asked before a request ----------------------------------------------------------------------------------

    def state(self, target: str) -> BreakerState:
        """How it is now."""
        lot = self._lots.get(target)
        return "closed" if lot is None else lot.breaker.state_at(self._now())

    def usual_s(self, target: str) -> float:
        """What it usually takes to its first word; 0 where that is not known."""
        lot = self._lots.get(target)
        return 0.0 if lot is None else lot.usual_s

    def states(self) -> dict[str, State]:
        """Of all whose breaker is not closed: whether they take requests, at once or behind a probe, and why not."""
        now = self._now()
        return {
            target: _state(self._refusal(lot, now, is_local=_is_local(target)))
            for target, lot in self._lots.items()
            if lot.breaker.state_at(now) != "closed"
        }

    def enter(self, target: str, *, stays: bool = False, has_waited: bool = False) -> Ticket | Refusal:
        """A ticket, unless the target is not to be asked. Who `stays` has nowhere else to go, and is not told to move
        on while there is hope. Who `has_waited` for a verdict goes in without one.
        """
        lot, now = self._lots.setdefault(target, _Lot()), self._now()
        refusal = self._refusal(lot, now, is_local=_is_local(target))
        if refusal is not None and not (has_waited and refusal.undecided):
            return refusal
        is_probe = lot.breaker.state_at(now) == "half_open"
        if is_probe:
            self._change(target, lot, rules_of.probing(lot.breaker, now, self._rules))
        ticket = Ticket(self, target, now, probe=is_probe, stays=stays)
        lot.silent[ticket] = None
        return ticket

    async def entered(self, target: str, patience_s: float, *, stays: bool = True) -> Ticket | Refusal:
        """As `enter`, but wait for the verdicts of others, at most `patience_s`, where these may let this one in.
        Without a verdict by then it goes in where it `stays`; else it waits no longer than until the oldest of
        these has waited for so long.
        """
        until = self._now() + patience_s
        while True:
            is_over = self._now() >= (until if stays else min(until, self._oldest(target) + patience_s))
            entered = self.enter(target, stays=stays, has_waited=stays and is_over)
            if isinstance(entered, Ticket) or not entered.undecided or is_over:
                return entered
            await self._verdict(target, until - self._now())

    def _oldest(self, target: str) -> float:
        """When the request was sent that waits there for the longest time without a word."""
        lot = self._lots.get(target)
        oldest = next(iter(lot.silent), None) if lot is not None else None
        return math.inf if oldest is None else oldest.at

    async def _verdict(self, target: str, patience_s: float) -> None:
        lot = self._lots[target]
        verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lot.waiting.add(verdict)
        try:
            await asyncio.wait([verdict], timeout=patience_s)
        finally:
            lot.waiting.discard(verdict)

    def _refusal(self, lot: _Lot, now: float, *, is_local: bool) -> Refusal | None:
        breaker = lot.breaker
        match breaker.state_at(now):
            case "open" | "limited" as state:
                return Refusal(breaker.why, breaker.left_s(now), limited=state == "limited")
            case "half_open":
                if breaker.is_probed(now):
                    return Refusal(f"a request finds out whether it is back: {breaker.why}", undecided=True)
            case "closed" if not is_local:
                if not breaker.is_proven(now, self._rules) and len(lot.silent) >= self._room(breaker):
                    return Refusal(
                        "it has not answered lately, and requests that find out are under way", undecided=True
                    )
        return None

    def _room(self, breaker: Breaker) -> int:
        """How many requests of this router may wait at a target that has to prove itself: its part of all."""
        left = self._rules.failures - breaker.all_failures
        share, rest = divmod(max(0, left), len(self._routers))
        return share + (self._routers.index(self._router) < rest)

    # -- what becomes of requests ------------------------------------------------------------------------------------

    def on_answer(self, ticket: Ticket) -> None:
        lot, now = self._lots[ticket.target], self._now()
        took_s = now - ticket.at
        lot.usual_s = max(took_s, lot.usual_s + FORGET * (took_s - lot.usual_s))
        lot.heard_at = now
        lot.silent.pop(ticket, None)
        was = lot.breaker
        lot.breaker = rules_of.answered(was, now, self._rules)
        if was.state != "closed" or was.all_failures or now - lot.told_at > TELL_PROVEN_S:
            lot.told_at = now
            self._say(ticket.target, lot, proven=True)
        _wake(lot)

    def on_failure(self, ticket: Ticket, why: str, retry_after_s: float) -> None:
        lot, now = self._lots[ticket.target], self._now()
        lot.heard_at = now
        lot.silent.pop(ticket, None)
        self._change(
            ticket.target, lot, rules_of.failed(lot.breaker, now, why, self._draw(), retry_after_s, self._rules)
        )

    def on_limit(self, ticket: Ticket, retry_after_s: float, why: str) -> None:
        lot, now = self._lots[ticket.target], self._now()
        lot.heard_at = now
        lot.silent.pop(ticket, None)
        self._change(ticket.target, lot, rules_of.limited(lot.breaker, now, retry_after_s, why))

    def leave(self, ticket: Ticket) -> None:
        ticket.is_over = True
        lot = self._lots[ticket.target]
        if lot.silent.pop(ticket, 0) is None:
            if ticket.is_probe and lot.breaker.state == "half_open":  # it found out nothing: the next one may
                lot.breaker = rules_of.unprobed(lot.breaker, self._now())
            _wake(lot)

    def sweep(self) -> None:
        """To be called a few times a second: requests at targets of which nothing is heard move on."""
        now = self._now()
        for target, lot in self._lots.items():
            if not lot.silent or _is_local(target):
                continue
            since = max(lot.heard_at, next(iter(lot.silent)).at)
            if now - since < max(SILENCE_S, SILENCE * lot.usual_s) or len(lot.silent) < self._rules.failures:
                continue
            lot.breaker = rules_of.doubted(lot.breaker)
            room = max(1, self._room(lot.breaker))
            movable = [ticket for ticket in lot.silent if not ticket.stays]
            for ticket in movable[max(0, room - (len(lot.silent) - len(movable))) :]:
                _move(ticket, "nothing was heard of it for too long")

    # -- what other routers say --------------------------------------------------------------------------------------

    def hear(self, note: BreakerNote, left_s: float) -> None:
        """Another router found something out; `left_s` until the note's `until`."""
        lot, now = self._lots.setdefault(note.target, _Lot()), self._now()
        was = lot.breaker
        if note.proven:
            lot.heard_at = now
        lot.breaker = rules_of.heard(was, note, now, now + left_s, self._rules)
        self._after(lot, was, now)

    def notes(self) -> Iterator[tuple[BreakerNote, float]]:
        """What others should know who heard nothing meanwhile."""
        now = self._now()
        for target, lot in self._lots.items():
            if lot.breaker.state_at(now) in ("open", "limited"):
                yield self._note(target, lot, proven=False), lot.breaker.left_s(now)

    def described(self) -> dict[str, str]:
        """In words, of all that are not closed."""
        now = self._now()
        return {
            target: _words(lot.breaker, now)
            for target, lot in self._lots.items()
            if lot.breaker.state_at(now) != "closed"
        }

    # -- inside ------------------------------------------------------------------------------------------------------

    def _change(self, target: str, lot: _Lot, breaker: Breaker) -> None:
        was, lot.breaker = lot.breaker, breaker
        if breaker != was:
            self._say(target, lot, proven=False)
        self._after(lot, was, self._now())

    def _after(self, lot: _Lot, was: Breaker, now: float) -> None:
        if lot.breaker.state_at(now) == "open" and was.state_at(now) != "open":
            for ticket in list(lot.silent):
                _move(ticket, lot.breaker.why)
        _wake(lot)

    def _say(self, target: str, lot: _Lot, *, proven: bool) -> None:
        if self._tell is not None:
            self._tell(self._note(target, lot, proven=proven), lot.breaker.left_s(self._now()))

    def _note(self, target: str, lot: _Lot, *, proven: bool) -> BreakerNote:
        breaker = lot.breaker
        return BreakerNote(
            target=target, router=self._router, state=breaker.state, failures=breaker.failures,
            opened=breaker.opened, why=breaker.why, proven=proven,
        )  # fmt: skip


def _is_local(target: str) -> bool:
    """Silence of a model of the fleet may be its queue; who watches the fleet knows whether it is there."""
    return target.startswith(f"{LOCAL}:")


def _move(ticket: Ticket, why: str) -> None:
    if not ticket.moved.done() and not ticket.has_begun:
        ticket.moved.set_result(why)


def _wake(lot: _Lot) -> None:
    for verdict in lot.waiting:
        if not verdict.done():
            verdict.set_result(None)


def _state(refusal: Refusal | None) -> State:
    if refusal is None or refusal.undecided:
        return State(half_open=True)
    return State(up=False, why=refusal.why, retry_s=refusal.after_s, limited=refusal.limited)


def _words(breaker: Breaker, now: float) -> str:
    state = breaker.state_at(now)
    if state == "half_open":
        return f"half_open: {breaker.why}"
    return f"{state} for {breaker.left_s(now):.1f} s: {breaker.why}"
