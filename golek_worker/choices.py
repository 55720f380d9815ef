"""How are several texts written in answer to one request?

As sequences of their own, under the ids `<job id>#0`, `#1`, …; what they write comes through one run, each piece with
the index of its text, and one end when all have ended. Text i draws with the request's seed + i, so text 0 is what
`n: 1` would give, and each of them can be had again by itself.

With `best_of` more are written than given: the `n` with the highest mean log-probability of their tokens, the best one
first. A text without tokens comes last.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from golek_wire.replies import Choice, Delta
from golek_wire.requests import CHOICES_LIMIT, Params
from golek_worker.engine.base import Finished, Refused, Stopped, Submit
from golek_worker.engine.host import Run, RunEvent

SEEDS = 2**32 - 1
"""Seeds are smaller than this."""


class Several(Finished, frozen=True, tag="several"):
    """The end of a run of several texts. What a single one has is the first choice's; tokens_out is of all written."""

    choices: list[Choice] = msgspec.field(default_factory=list)


class Host(Protocol):
    """What runs sequences: an `EngineHost`."""

    def submit(self, command: Submit, run: Run | None = None) -> Run: ...
    def cancel(self, job_id: str) -> None: ...


def count(params: Params) -> int:
    """How many texts are written; `best_of` is never below `n` (golek_wire/drawing.py)."""
    return params.best_of or params.n


def start(host: Host, submit: Submit) -> Run:
    """Begin what `submit` asks for; its events, of however many texts."""
    total = count(submit.params)
    if total == 1:
        return host.submit(submit)
    together = _Together(submit, total, lambda: cancel(host, submit.job_id))
    for index in range(total):
        if not together.over:
            seed = (submit.seed + index) % SEEDS
            part = msgspec.structs.replace(submit, job_id=_id(submit.job_id, index), seed=seed)
            host.submit(part, _Part(together, index))
    return together


def cancel(host: Host, job_id: str) -> None:
    """End all sequences of a job; those that there are not are nobody's."""
    host.cancel(job_id)
    for index in range(CHOICES_LIMIT):
        host.cancel(_id(job_id, index))


def _id(job_id: str, index: int) -> str:
    return f"{job_id}#{index}"


class _Part(Run):
    """The events of one text, on their way into those of all."""

    def __init__(self, together: "_Together", index: int) -> None:
        super().__init__()
        self._together = together
        self._index = index

    def put(self, event: RunEvent) -> None:
        self._together.take(self._index, event)


class _Together(Run):
    """The events of several texts."""

    def __init__(self, submit: Submit, total: int, give_up: Callable[[], None]) -> None:
        super().__init__()
        self._job_id = submit.job_id
        self._params = submit.params
        self._total = total
        self._give_up = give_up
        self._ends: dict[int, Finished | Stopped] = {}
        self.over = False
        """True when nothing follows."""

    def take(self, index: int, event: RunEvent) -> None:
        """Something happened to text `index`. What ends otherwise than by itself or by a cancel, ends all."""
        if self.over:
            return
        match event:
            case str():
                self.put(Delta(event, index=index) if index else event)
            case Delta():
                self.put(msgspec.structs.replace(event, index=index))
            case Finished() | Stopped():
                self._ends[index] = event
                if len(self._ends) == self._total:
                    self.over = True
                    self.put(self._end())
            case Refused():
                self._fail(msgspec.structs.replace(event, job_id=self._job_id))
            case _:
                self._fail(event)

    def _fail(self, event: RunEvent) -> None:
        self.over = True
        self._give_up()
        self.put(event)

    def _end(self) -> Finished | Stopped:
        ends = [self._ends[index] for index in range(self._total)]
        finished = [end for end in ends if isinstance(end, Finished)]
        tokens_out = sum(end.tokens_out for end in ends)
        if len(finished) < len(ends):
            return Stopped(self._job_id, ends[0].tokens_in, tokens_out)
        given = [_choice(index, end) for index, end in enumerate(best(finished, self._params))]
        first, read = given[0], finished[0]
        return Several(
            self._job_id,
            first.text,
            first.finish_reason,
            read.tokens_in,
            tokens_out,
            first.reasoning_content,
            first.tool_calls,
            first.logprobs,
            read.tokens_cached,
            read.waited_ms,
            read.prefill_ms,
            max(end.decode_ms for end in finished),
            choices=given,
        )


def best(ends: list[Finished], params: Params) -> list[Finished]:
    """Those that are given, in their order; all, in the order of their seeds, where no more were written."""
    if len(ends) == params.n:
        return ends
    return sorted(ends, key=_mean, reverse=True)[: params.n]


def _mean(end: Finished) -> float:
    return end.logprob_sum / end.tokens_out if end.tokens_out else float("-inf")


def _choice(index: int, end: Finished) -> Choice:
    return Choice(
        index, end.text, end.finish_reason, end.tokens_out, end.reasoning_content, end.tool_calls, end.logprobs
    )
