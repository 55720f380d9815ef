"""How do many processes change one record without losing a change?

By compare-and-set on a key of the bucket GOLEK_QUOTA: what was changed is written only if nobody else wrote meanwhile.
Of each record one write at a time is on its way from a process, and carries all changes that wait. What a change means
is not known here: it is a function of the record, and may be applied again, so it must do no harm twice.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError
from golek_worker.bus.jetstream import (
    BUS_ERRORS,
    WRONG_LAST_SEQUENCE,
    JetStreamError,
    store,
    stored_message,
    walk,
)
from golek_worker.bus.streams import bucket_config, ensure_stream

log = structlog.get_logger("quota")

TRY_S: Final = 2.0
"""JetStream's word on one write is waited for so long."""
PAUSE_S: Final = 0.1
"""Between two tries while the bus is away."""
CONFLICT_S: Final = 0.002
"""Who lost a race waits at most so long times how often it did, at random: another process writes, too."""
CONFLICTS: Final = 25
"""The pause after a conflict grows no longer than so many times."""
CANCEL_S: Final = 0.2
"""So long a cancel may take to be obeyed before it is given again."""
AT_ONCE: Final = 512
"""Changes in one write."""
WAITING_LIMIT: Final = 8192
"""Changes that may wait for one record."""
IDLE_LIMIT: Final = 1024
"""Records that are remembered while nothing waits for them."""

_PREFIX: Final = f"$KV.{subjects.QUOTA_BUCKET}."
_STREAM: Final = f"KV_{subjects.QUOTA_BUCKET}"

Value = TypeVar("Value")
Outcome = TypeVar("Outcome")
Change = Callable[[Value], tuple[Value, Outcome]]
"""The record after the change, or as it was, and what the change came to."""


class Form(Struct, Generic[Value], frozen=True):
    """What lies in the records."""

    kind: type[Value]
    first: Callable[[str], str]
    """The key of the record whose end a new one continues; empty for none."""
    opened: Callable[[Value | None], Value]
    """A new record, after that one."""
    lasts_s: Callable[[str], int]
    """For how many seconds a record is kept once it was written; 0 is for good."""


class _Waiting(Generic[Value]):
    def __init__(self, change: Change[Value, Any], patience_s: float) -> None:
        self.change = change
        self.until = time.monotonic() + patience_s
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class _Record(Generic[Value]):
    """What is known of one key, and what shall become of it."""

    def __init__(self) -> None:
        self.value: Value | None = None
        """None when it has to be read."""
        self.revision = 0
        self.waiting: list[_Waiting[Value]] = []
        self.task: asyncio.Task[None] | None = None


class Records(Generic[Value]):
    """The records of GOLEK_QUOTA, as one process changes them."""

    def __init__(self, client: BusClient, form: Form[Value]) -> None:
        self._client = client
        self._form = form
        self._decode = msgspec.json.Decoder(form.kind).decode
        self._records: dict[str, _Record[Value]] = {}
        self.writes = 0
        """Writes that were tried."""
        self.conflicts = 0
        """Of these, how many came too late."""

    def change(self, key: str, change: Change[Value, Outcome], patience_s: float) -> "asyncio.Future[Outcome]":
        """Apply `change` to the record; the future has what it came to, once that is written.

        It has BusUnavailableError where the bus did not take it in `patience_s`, as a try tells that ends later, or too
        many wait already. A future that is cancelled before its change is on its way takes that back.
        """
        record = self._records.pop(key, None) or _Record()
        self._records[key] = record  # the newest stand last
        waiting = _Waiting(change, patience_s)
        if len(record.waiting) >= WAITING_LIMIT:
            waiting.outcome.set_exception(
                BusUnavailableError(f"{WAITING_LIMIT} changes of this key's account wait already", may_run=False)
            )
            return waiting.outcome
        record.waiting.append(waiting)
        if record.task is None:
            record.task = asyncio.get_running_loop().create_task(self._run(key, record))
        return waiting.outcome

    async def close(self, patience_s: float) -> None:
        """Write what waits, for at most so long."""
        tasks = [record.task for record in self._records.values() if record.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        while late:  # one cancel may be lost: Python 3.11's wait_for swallows it where an answer comes at that moment
            for task in late:
                task.cancel()
            _, late = await asyncio.wait(late, timeout=CANCEL_S)

    async def _run(self, key: str, record: _Record[Value]) -> None:
        """Write until nothing waits any more."""
        try:
            lost = 0
            while record.waiting:
                batch = record.waiting[:AT_ONCE]
                try:
                    outcomes = await self._written(key, record, batch)
                except BUS_ERRORS as error:
                    record.value = None
                    if isinstance(error, JetStreamError) and error.code == WRONG_LAST_SEQUENCE:
                        lost += 1
                        self.conflicts += 1
                        await asyncio.sleep(random.uniform(0, CONFLICT_S * min(lost, CONFLICTS)))
                    else:
                        await asyncio.sleep(PAUSE_S)
                    self._give_up(record, error)
                    continue
                lost = 0
                del record.waiting[: len(batch)]
                for one, outcome in zip(batch, outcomes, strict=True):
                    if not one.outcome.done():
                        one.outcome.set_result(outcome)
        except Exception:
            log.exception("quota.failed", key=key)
        finally:
            record.task = None
            record.value = None if record.waiting else record.value
            self._end(record.waiting, "this worker could not write it")
            record.waiting.clear()
            self._forget_idle()

    async def _written(self, key: str, record: _Record[Value], batch: list[_Waiting[Value]]) -> list[Any]:
        """What its changes came to, once they are written. Where nothing changes, that is by the newest record, not by
        one that another process may have changed meanwhile. Raises BUS_ERRORS.
        """
        remembered = record.value is not None
        if record.value is None:
            await self._read(key, record)
        while True:
            assert record.value is not None
            value, outcomes = _applied(record.value, batch)
            if value is not record.value:
                record.revision = await self._write(key, value, record.revision)
                record.value = value
                return outcomes
            if not remembered:
                return outcomes
            remembered = False
            await self._read(key, record)

    async def _read(self, key: str, record: _Record[Value]) -> None:
        record.value, record.revision = await self._stored(key)
        if record.value is None:
            before = self._form.first(key)
            record.value = self._form.opened((await self._stored(before))[0] if before else None)

    async def _stored(self, key: str) -> tuple[Value | None, int]:
        found = await stored_message(self._client, _STREAM, {"last_by_subj": f"{_PREFIX}{key}"})
        if found is None:
            return None, 0
        if h.KV_OPERATION in found.headers:
            return None, found.seq
        return self._decoded(key, found.data), found.seq

    def _decoded(self, key: str, data: bytes) -> Value | None:
        try:
            return self._decode(data)
        except msgspec.DecodeError as error:
            log.error("quota.record", key=key, problem=f"it begins anew: {error}")  # noqa: TRY400 - a sentence
            return None

    async def _write(self, key: str, value: Value, revision: int) -> int:
        self.writes += 1
        lasts_s = self._form.lasts_s(key)
        headers = {h.EXPECTED: str(revision)} | ({h.TTL: f"{lasts_s}s"} if lasts_s else {})
        return await store(self._client, _PREFIX + key, msgspec.json.encode(value), headers, timeout=TRY_S)

    def _give_up(self, record: _Record[Value], error: BaseException) -> None:
        """End those whose patience is over."""
        now = time.monotonic()
        late = [one for one in record.waiting if now >= one.until]
        record.waiting = [one for one in record.waiting if now < one.until]
        self._end(late, str(error) or type(error).__name__)

    def _end(self, unwritten: list[_Waiting[Value]], problem: str) -> None:
        for one in unwritten:
            if not one.outcome.done():
                silent = BusUnavailableError(f"the account of this key could not be written: {problem}", may_run=False)
                one.outcome.set_exception(silent)

    def _forget_idle(self) -> None:
        if len(self._records) > IDLE_LIMIT:
            for key in [key for key, record in self._records.items() if record.task is None][: IDLE_LIMIT // 2]:
                del self._records[key]


def _applied(value: Value, batch: list[_Waiting[Value]]) -> tuple[Value, list[Any]]:
    """The record after the changes, without those that nobody wants any more, and what each came to."""
    outcomes: list[Any] = []
    for one in batch:
        outcome = None
        if not one.outcome.cancelled():
            value, outcome = one.change(value)
        outcomes.append(outcome)
    return value, outcomes


async def ensure_bucket(client: BusClient) -> None:
    """Create the bucket, or find it. Raises as `ensure_stream` does."""
    await ensure_stream(client, bucket_config(subjects.QUOTA_BUCKET) | {"allow_msg_ttl": True})


async def stored_records(client: BusClient, kind: type[Value]) -> dict[str, Value]:
    """All records by their keys, as they lie there; what cannot be read is left out. Raises as `api` does."""
    found: dict[str, Value] = {}
    async for one in walk(client, _STREAM, _PREFIX):
        with contextlib.suppress(msgspec.DecodeError):
            found[one.subject.removeprefix(_PREFIX)] = msgspec.json.decode(one.data, type=kind)
    return found
