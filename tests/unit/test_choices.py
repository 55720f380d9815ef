"""Several texts of one request, come together in one run."""

from typing import Any

import pytest

from golek_wire.replies import Delta
from golek_wire.requests import Params
from golek_worker import choices
from golek_worker.choices import Several
from golek_worker.engine.base import Cancel, Finished, Refused, Stopped, Submit
from golek_worker.engine.host import EngineDied, Run, RunEvent


class Host:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.submitted: list[Submit] = []
        self.cancelled: list[Cancel] = []
        self.first: RunEvent | None = None
        """What a run hears at once."""

    def submit(self, command: Submit, run: Run | None = None) -> Run:
        run = run or Run()
        self.submitted.append(command)
        self.runs[command.job_id] = run
        if self.first is not None:
            run.put(self.first)
        return run

    def cancel(self, job_id: str) -> None:
        if job_id in self.runs:
            self.cancelled.append(Cancel(job_id))


def finished(job_id: str, text: str, tokens: int = 2, logprob_sum: float = 0.0, **more: Any) -> Finished:
    return Finished(job_id, text, "stop", 5, tokens, logprob_sum=logprob_sum, **more)


def begun(host: Host, **params: Any) -> Run:
    return choices.start(host, Submit("j", "p", Params(**params), 2**32 - 2))


async def events(run: Run) -> list[RunEvent]:
    """What the run has to tell by now."""
    found = []
    while (event := await run.next(until=0.0)) is not None:
        found.append(event)
    return found


def test_one_text_is_a_sequence_as_ever() -> None:
    """Under the job's own id, with its own seed."""
    host = Host()
    assert begun(host) is host.runs["j"]
    assert host.submitted[0].seed == 2**32 - 2


async def test_texts_come_by_their_index_and_end_together() -> None:
    """Seeds count up from the request's; the end has each text, what it cost, and first what the first one has."""
    host = Host()
    run = begun(host, n=3)
    assert [(s.job_id, s.seed) for s in host.submitted] == [("j#0", 2**32 - 2), ("j#1", 0), ("j#2", 1)]
    host.runs["j#1"].put("b")
    host.runs["j#0"].put("a")
    host.runs["j#2"].put(Delta("c", "hm"))
    host.runs["j#2"].put(finished("j#2", "c", 4))
    host.runs["j#0"].put(finished("j#0", "a", 1))
    assert await events(run) == [Delta("b", index=1), "a", Delta("c", "hm", index=2)]
    host.runs["j#1"].put(finished("j#1", "b", 2))
    (end,) = await events(run)
    assert isinstance(end, Several)
    assert (end.job_id, end.text, end.tokens_in, end.tokens_out) == ("j", "a", 5, 7)
    assert [(c.index, c.text, c.tokens_out) for c in end.choices] == [(0, "a", 1), (1, "b", 2), (2, "c", 4)]


async def test_the_best_are_given_best_first() -> None:
    """By the mean log-probability of their tokens, not its sum; a text without tokens is the last."""
    host = Host()
    run = begun(host, n=2, best_of=4)
    for i, (tokens, total) in enumerate([(0, 0.0), (10, -5.0), (1, -1.0), (2, -0.4)]):
        host.runs[f"j#{i}"].put(finished(f"j#{i}", str(i), tokens, total))
    (end,) = await events(run)
    assert isinstance(end, Several)
    assert [c.text for c in end.choices] == ["3", "1"]
    assert (end.text, end.tokens_out) == ("3", 13)


async def test_a_cancel_ends_all_and_is_told_once() -> None:
    """Also when one text had ended before."""
    host = Host()
    run = begun(host, n=2)
    host.runs["j#0"].put(finished("j#0", "a"))
    choices.cancel(host, "j")
    assert host.cancelled == [Cancel("j#0"), Cancel("j#1")]
    host.runs["j#1"].put(Stopped("j#1", 5, 3))
    assert await events(run) == [Stopped("j", 5, 5)]


@pytest.mark.parametrize("event", [Refused("j#1", "BAD_REQUEST", "no"), EngineDied(ran=True)])
async def test_what_ends_one_text_otherwise_ends_all(event: RunEvent) -> None:
    """Once, with the others cancelled and no more heard of them."""
    host = Host()
    run = begun(host, n=3)
    host.runs["j#1"].put(event)
    host.runs["j#0"].put(event)
    host.runs["j#2"].put("late")
    told = await events(run)
    assert told == ([Refused("j", "BAD_REQUEST", "no")] if isinstance(event, Refused) else [event])
    assert {cancel.job_id for cancel in host.cancelled} == {"j#0", "j#1", "j#2"}


async def test_nothing_more_is_begun_after_a_failure() -> None:
    """An engine that is not there is told to the caller at once."""
    host = Host()
    host.first = EngineDied(ran=False)
    run = begun(host, n=3)
    assert await events(run) == [EngineDied(ran=False)]
    assert len(host.submitted) == 1
