"""Requests without a place in the queue: what a failed try leaves behind."""

import asyncio

import pytest

from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_worker.bus.overflow import Overflow, Unstored
from golek_worker.job import Job


def kept() -> Unstored:
    job = Job("id", "r", "_INBOX.a", False, "anonymous", 1, 1000, "m", {})
    return Unstored(job, b"{}", {}, since=0.0)


async def test_a_request_that_could_not_be_sent_is_tried_again() -> None:
    """Else it would keep its place for ever, unanswered, and others behind it."""
    sent: list[Unstored] = []

    async def send(request: Unstored) -> None:
        sent.append(request)
        if len(sent) == 1:
            raise BusUnavailableError("the buffer is full")

    async def answer(request: Unstored, error: InferenceServiceError) -> None:
        raise AssertionError(request, error)

    overflow = Overflow(send, answer)
    overflow.keep(kept())
    with pytest.raises(BusUnavailableError):
        await overflow.sweep(0.1)
    await overflow.sweep(0.2)
    assert len(sent) == 2
    await overflow.settled("m", 0.3, stored=True)
    assert not overflow


async def test_who_leaves_waits_for_those_on_their_way() -> None:
    """One that JetStream refuses while the worker leaves is answered; none is tried any more."""
    sent: list[Unstored] = []
    answered: list[str] = []

    async def send(request: Unstored) -> None:
        sent.append(request)

    async def answer(request: Unstored, error: InferenceServiceError) -> None:
        answered.append(error.code)

    overflow = Overflow(send, answer)
    overflow.keep(kept())
    await overflow.sweep(0.1)
    closing = asyncio.create_task(overflow.close(BusUnavailableError("this worker leaves")))
    await asyncio.sleep(0)
    overflow.refused("m")
    await closing
    await overflow.sweep(0.2)
    assert (len(sent), answered) == (1, ["BUS_UNAVAILABLE"])
