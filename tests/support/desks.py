"""A desk without a fleet: it knows a queue and dead letters, and writes down what is ordered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from golek_client.queueing import ModelQueue, QueuedJob
from golek_monitor.logs.records import FoundRequests, LogFile
from golek_monitor.records import ReplicaRow
from golek_monitor.tui.desk import Outcome
from golek_monitor.tui.messages import Wanted
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_wire.logs import LoggedRequest
from golek_wire.signals import DeadLetter


class SampleDesk:
    """Answers at once, the same each time; an order ends when `go_on` is set."""

    def __init__(self, *, away: bool = False, letters: int = 3, waiting: int = 4) -> None:
        self.away = away
        self.given: list[Wanted] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._letters = letters
        self._waiting = waiting

    async def letters(self) -> Sequence[DeadLetter]:
        self._here()
        return [letter(number) for number in range(self._letters)]

    async def queue(self, model: str) -> ModelQueue:
        self._here()
        jobs = [job(number, None if number < 2 else number - 1) for number in range(self._waiting + 2)]
        return ModelQueue(
            model_name=model, waiting=self._waiting, running=2, capacity=2000, bytes=9000, strategy="fifo",
            timestamp="2026-01-02T12:00:00.000Z", jobs=jobs,
        )  # fmt: skip

    async def requests(self, row: ReplicaRow) -> FoundRequests:
        self._here()
        log = LogFile(model_name=row.model_name, path=f"data/logs/{row.model_name}.sqlite")
        return FoundRequests(requests=[request(row, at) for at in range(12)], next=None, logs=[log], machine="host1")

    async def settings(self, row: ReplicaRow) -> Mapping[str, str]:
        self._here()
        return {"LLAMA_N_CTX": "8192", "MAX_CONCURRENT": "4", "NATS_PASSWORD": "(hidden)"}

    async def give(self, wanted: Wanted, told: Callable[[str], None]) -> Outcome:
        self._here()
        self.given.append(wanted)
        told(f"{wanted.worker_id}: draining, 2 running after 3s")
        await self.go_on.wait()
        return Outcome(f"{wanted.worker_id or wanted.job_id}: done")

    def _here(self) -> None:
        if self.away:
            raise BusUnavailableError("no connection to nats://127.0.0.1:4222")


def job_id(number: int) -> str:
    """The id of one of the sample's jobs."""
    return subjects.job_id(f"_INBOX.sample.{number}")


def dead_id(number: int) -> str:
    """The same of a job that is dead."""
    return job_id(1000 + number)


def letter(number: int) -> DeadLetter:
    """A job that crashed its engine."""
    return DeadLetter(
        job_id=dead_id(number), req_id=f"report-{number}", model="qwen3-4b",
        worker_id="qwen3-4b-host1-1", at=f"2026-01-02T0{number}:00:00.000Z", crashes=3, input_sha256="ab" * 32,
        log_tail=["GGML_ASSERT: n_past >= 0", "Aborted (core dumped)"],
        payload='{"prompt":"secret"}' if number else None, withheld="" if number else "GOLEK_AUDIT_BODY is off",
        replay=f"golek dlq retry {dead_id(number)}",
    )  # fmt: skip


def job(number: int, position: int | None) -> QueuedJob:
    """A job that runs, or waits at a place."""
    return QueuedJob(
        state="running" if position is None else "waiting", position=position, kind="inference", seq=number + 1,
        job_id=job_id(number), req_id=f"chat-{number}", priority=3 - number % 3, age_s=40.0 - number * 3,
        principal="key_7f3a" if number % 2 else "anonymous", left_s=80.0 - number * 15, bytes=900 + number * 411,
    )  # fmt: skip


def request(row: ReplicaRow, number: int) -> LoggedRequest:
    """A request that was answered, one in five badly."""
    return LoggedRequest(
        model_name=row.model_name, log=f"{row.model_name}.sqlite", row=number, worker_id=row.worker_id,
        timestamp=f"2026-01-02T11:{59 - number:02}:08.000Z", req_id=f"chat-{number}", kind="inference",
        job_id=job_id(100 + number), principal="anonymous", dur_ms=350.0 + 97 * number,
        status="DEADLINE_EXCEEDED" if number % 5 == 3 else "ok", ttft_ms=40.0 + number, queue_ms=3.5 * number,
        tokens_in=120, tokens_out=64 - number, attempt=2 if number == 4 else 1,
    )  # fmt: skip
