"""What is kept of the steps by which models answered one request together, and what is told of them?

Each step that was asked has a record, in the order in which they began. Of the records come the sums that a reply has,
its `orchestration` and `inference_metadata`, and the events that a stream is told on the way.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from golek_wire.errors import InferenceServiceError, JobCancelledError, OrchestrationFailedError
from golek_wire.orchestration import InferenceMetadata, Orchestration, StepEvent, StepRecord
from golek_wire.replies import EmbeddingReply, InferenceReply
from golek_wire.several import SINGLE
from golek_worker.orchestration.base import Cast, Outcome, Step
from golek_worker.orchestration.context import Facts
from golek_worker.router.purse import was_kept

ANSWERED: Final = "answered"
QUARANTINED: Final = "quarantined"
CANCELLED: Final = JobCancelledError.code
_TEXTS: Final = ("", ANSWERED, QUARANTINED)
"""Outcomes of steps that came to a text."""
EMBEDDER: Final = "embedder"
"""Who makes vectors of what others said: a duty that no cast names."""
REASON_LIMIT: Final = 512
"""Characters of an error's message in a record."""


class Entry:
    """One step, while it runs and after."""

    def __init__(self, record: StepRecord, number: int, total: int, *, counts: bool) -> None:
        """`counts`: it is a step of the flow, not one that only helped it."""
        self.record = record
        self.number = number
        """Among those of the flow."""
        self.total = total
        self.counts = counts
        self.ended = False
        self.is_usable = True
        """Whether what it said could be passed on."""
        self.saved = 0
        """Of its tokens: those that were kept, and not computed for it."""
        self.cached = 0
        """Of those read: found in a KV cache."""


class Minutes:
    """The steps of one request."""

    def __init__(
        self,
        req_id: str,
        tell: Callable[[StepEvent], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        tells_texts: bool = False,
    ) -> None:
        """`tell` hears that steps begin and end, and what they said if it `tells_texts`; `clock` counts from now."""
        self._req_id = req_id
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._entries: list[Entry] = []
        self._tells_texts = tells_texts

    @property
    def records(self) -> list[StepRecord]:
        """All that were asked, in the order in which they began."""
        return [entry.record for entry in self._entries]

    @property
    def tokens_in(self) -> int:
        return sum(record.tokens_in for record in self.records)

    @property
    def tokens_out(self) -> int:
        return sum(record.tokens_out for record in self.records)

    @property
    def tokens_cached(self) -> int:
        return sum(entry.cached for entry in self._entries)

    @property
    def saved(self) -> int:
        """Of all tokens: those that were not computed."""
        return sum(entry.saved for entry in self._entries)

    @property
    def models(self) -> list[str]:
        """Those that answered a step of the flow, in the order of their first one."""
        return list(dict.fromkeys(one.record.model for one in self._answered))

    @property
    def completed(self) -> int:
        """Steps of the flow that were answered."""
        return len(self._answered)

    @property
    def _answered(self) -> list[Entry]:
        return [one for one in self._entries if one.counts and one.record.outcome == ANSWERED]

    def begin(self, step: Step, *, counts: bool = True) -> Entry:
        """A step is asked now."""
        record = StepRecord(step.name, step.member.model, step.duty, step.round, began_ms=self.now_ms, outcome="")
        flow = [one for one in self._entries if one.counts]
        afresh = sum(one.record.outcome == QUARANTINED for one in flow)
        total = max([step.total + afresh, *(one.total for one in flow[-1:])])
        entry = Entry(record, len(flow) + 1, total, counts=counts)
        self._entries.append(entry)
        self._say(entry, "began")
        return entry

    def again(self, entry: Entry) -> None:
        """It is asked once more."""
        self._write(entry, tries=entry.record.tries + 1)

    def compressed(self, entry: Entry) -> None:
        """What it reads was made shorter."""
        self._write(entry, compressed=True)

    def answered(
        self,
        entry: Entry,
        reply: InferenceReply | EmbeddingReply,
        *,
        outcome: str = ANSWERED,
        warnings: Sequence[str] = (),
        is_usable: bool = True,
    ) -> None:
        """It came to this reply, which is passed on unless it is quarantined, or says nothing that is of any use."""
        entry.is_usable = is_usable and outcome == ANSWERED
        route = reply.route or None
        read, text = (
            (reply.tokens_in, reply.text) if isinstance(reply, InferenceReply) else (reply.usage.prompt_tokens, "")
        )
        written = reply.tokens_out if isinstance(reply, InferenceReply) else 0
        entry.saved = read + written if was_kept(reply) else 0
        entry.cached = reply.tokens_cached if isinstance(reply, InferenceReply) else 0
        self._end(
            entry,
            text,
            outcome=outcome,
            tokens_in=read,
            tokens_out=written,
            target=route.target if route else "",
            worker=route.worker if route else "",
            cost_usd=_cost([tried.cost_usd for tried in route.chain]) if route else None,
            warnings=list(warnings),
        )

    def failed(self, entry: Entry, error: InferenceServiceError, tokens_out: int = 0) -> None:
        """It came to an error, behind about so many tokens that are the answer all the same."""
        said = error.details.get("route")
        route = said if isinstance(said, dict) else {}
        cost_usd = _cost([tried.get("cost_usd") for tried in route.get("chain", [])])
        reason, target = error.message[:REASON_LIMIT], str(route.get("target", ""))
        self._end(entry, "", outcome=error.code, reason=reason, target=target, cost_usd=cost_usd, tokens_out=tokens_out)

    def close(self) -> None:
        """Nothing that still runs is waited for any more."""
        for entry in self._entries:
            if not entry.ended:
                self._end(entry, "", outcome=CANCELLED)

    def orchestration(self, cast: Cast, outcome: Outcome | None, error: InferenceServiceError | None) -> Orchestration:
        """What a caller is told; without an outcome of a flow that came to none. `error` is why it is a partial answer,
        or none.
        """
        done = self.completed
        if outcome is None:
            code = error.code if error is not None else None
            total = max([done, *(entry.total for entry in self._entries if entry.counts)])
            return Orchestration(
                cast.mode, self.models, self._rounds(), None, done, total, error=code, failed=self.dropped,
                steps=self.records,
            )  # fmt: skip
        found = outcome.agreement
        flagged = [*(found.flagged if found is not None else ()), *outcome.flagged, *self._same()]
        return Orchestration(
            cast.mode,
            self.models,
            outcome.rounds,
            _rounded(outcome.confidence),
            done,
            done + outcome.left,
            partial=error is not None,
            error=error.code if error is not None else None,
            agreement=_rounded(found.value) if found is not None else None,
            method=found.method if found is not None else None,
            agreed=list(found.agreed) if found is not None else [],
            conflicts=list(found.conflicts) if found is not None else [],
            flagged=list(dict.fromkeys(flagged)),
            failed=self.dropped if cast.mode != SINGLE else {},
            steps=self.records,
        )

    def metadata(self, cast: Cast, facts: Facts) -> InferenceMetadata:
        """The same for programs that collect figures."""
        return InferenceMetadata(
            cast.preset, cast.mode, self.models, facts.handoffs, facts.compressed, round(facts.utilization, 4)
        )

    def _same(self) -> Iterator[str]:
        """Which models another one answered for that takes part as well, or both of which a third one did."""
        answered = dict[str, dict[str, None]]()
        for entry in self._answered:
            if entry.record.target:
                answered.setdefault(entry.record.target, {})[entry.record.model] = None
        for target, models in answered.items():
            if len(models) > 1:
                yield f"One model, {target}, answered for {' and '.join(models)}"

    @property
    def dropped(self) -> dict[str, str]:
        """The code of the last error, by model, of those of which a step failed for good and that answered none later,
        nor one beside it.
        """
        codes, steps = dict[str, str](), [one for one in self._entries if one.counts]
        for entry in steps:
            record = entry.record
            if entry.is_usable and record.outcome == ANSWERED:
                codes.pop(record.model, None)
            elif record.outcome != CANCELLED and not _answered_beside(entry, steps):
                codes[record.model] = record.outcome if record.outcome not in _TEXTS else OrchestrationFailedError.code
        return codes

    def _rounds(self) -> int:
        return max((entry.record.round for entry in self._entries if entry.counts), default=1)

    def _end(self, entry: Entry, text: str, **said: Any) -> None:
        entry.ended = True
        self._write(entry, ms=round(self.now_ms - entry.record.began_ms, 1), **said)
        self._say(entry, "ended", text if self._tells_texts else "")

    def _write(self, entry: Entry, **said: Any) -> None:
        entry.record = msgspec.structs.replace(entry.record, **said)

    def _say(self, entry: Entry, state: Any, text: str = "") -> None:
        if self._tell is None or not entry.counts:
            return
        record = entry.record
        self._tell(
            StepEvent(
                self._req_id, record.name, record.model, record.duty, record.round, entry.number, entry.total, state,
                outcome=record.outcome, ms=record.ms, text=text,
            )
        )  # fmt: skip

    @property
    def now_ms(self) -> float:
        """Since the request was taken."""
        return self.ms_at(self._clock())

    def ms_at(self, moment: float) -> float:
        """The same of another moment on the clock."""
        return round((moment - self._began) * 1000, 1)


def _answered_beside(entry: Entry, others: Iterable[Entry]) -> bool:
    """Whether its model, which takes part more than once, answered the same step in another place."""
    asked = entry.record
    return any(
        one.is_usable
        and one.record.outcome == ANSWERED
        and (one.record.name, one.record.round, one.record.model) == (asked.name, asked.round, asked.model)
        for one in others
    )


def _cost(costs: Iterable[float | None]) -> float | None:
    """What all that were asked for a step took; None where nothing had a price."""
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 9) if known else None


def without_texts(told: Orchestration | Mapping[str, Any]) -> str:
    """As the request log keeps it: JSON, without what was said."""
    kept = dict(msgspec.to_builtins(told)) if isinstance(told, Orchestration) else dict(told)
    for name in ("agreed", "conflicts", "flagged"):
        kept.pop(name, None)
    kept["steps"] = [
        {key: value for key, value in step.items() if key not in ("warnings", "reason")}
        for step in kept.get("steps", [])
    ]
    return msgspec.json.encode(kept).decode()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
