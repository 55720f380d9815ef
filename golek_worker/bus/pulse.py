"""Does a replica that runs a step still speak?

Whoever waits for a step of which nothing comes asks its replica for a sign of life, beside everything else. Its process
answers, however long a token takes its engine: a slow one is not a silent one. Who says nothing to two questions is
frozen, cut off or gone. There are two because the first may have found ourselves asleep: its time was over when we
woke, and the answer lay in the socket.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

import nats.errors

from golek_client.bus_client import BusClient
from golek_wire import subjects

PATIENCE_S: Final = (0.35, 0.15)
"""For each of the two answers; a process at work answers within milliseconds."""
DOUBT_S: Final = 0.1
"""Without an answer for so long, who else could take its steps is of interest."""
AGAIN_S: Final = 0.2
"""That a replica is at work is believed for so long."""
SILENT_S: Final = 1.0
"""That it is silent, unless it is heard meanwhile: who did not find another place at once need not ask again."""
_NEVER: Final = math.inf


class Pulse:
    """One router's questions: one at a time and replica, however many steps it has."""

    def __init__(self, client: BusClient, incarnation: Callable[[str], str]) -> None:
        """`incarnation` has the one of a replica, by its worker id; empty where that is not known."""
        self._client = client
        self._incarnation = incarnation
        self._questions: dict[str, _Question] = {}

    def is_silent(self, worker_id: str, heard_at: float, wake: Callable[[], None]) -> bool:
        """Whether a replica of which nothing was heard since `heard_at`, on the loop's clock, does not answer either.

        It is asked; `wake` is called once it is known that it does not.
        """
        now = asyncio.get_running_loop().time()
        question = self._questions.get(worker_id)
        if question is None or not question.counts(now):
            question = self._ask(worker_id, now)
        question.wakes.add(wake)
        return question.is_silent and heard_at < question.asked_at

    def is_in_doubt(self, worker_id: str) -> bool:
        """Whether an answer is overdue, or did not come."""
        question = self._questions.get(worker_id)
        now = asyncio.get_running_loop().time()
        if question is None:
            return False
        return question.is_silent or (question.ended_at == _NEVER and now - question.asked_at > DOUBT_S)

    def _ask(self, worker_id: str, now: float) -> "_Question":
        self._questions = {key: one for key, one in self._questions.items() if one.counts(now)}
        question = self._questions[worker_id] = _Question(now)
        question.task = asyncio.get_running_loop().create_task(self._listen(question, self._incarnation(worker_id)))
        return question

    async def _listen(self, question: "_Question", incarnation: str) -> None:
        try:
            question.is_silent = bool(incarnation) and not await self._answers(incarnation)
        finally:
            question.ended_at = asyncio.get_running_loop().time()
        for wake in question.wakes if question.is_silent else ():
            wake()

    async def _answers(self, incarnation: str) -> bool:
        for patience_s in PATIENCE_S:
            try:
                await self._client.request(subjects.micro("PING", incarnation), b"", timeout=patience_s)
                return True
            except nats.errors.NoRespondersError:
                await asyncio.sleep(patience_s)  # it may be about to reconnect
            except (TimeoutError, nats.errors.TimeoutError):
                continue
            except nats.errors.Error:
                return True  # it is our connection that is bad
        return not self._client.is_connected


class _Question:
    """What one replica was asked, and what is known of the answer."""

    __slots__ = ("asked_at", "ended_at", "is_silent", "task", "wakes")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.ended_at = _NEVER
        """When it was known."""
        self.is_silent = False
        self.wakes: set[Callable[[], None]] = set()
        self.task: asyncio.Task[None] | None = None

    def counts(self, now: float) -> bool:
        """Whether it is not known yet, or what is known is still believed."""
        return now - self.ended_at < (SILENT_S if self.is_silent else AGAIN_S)
