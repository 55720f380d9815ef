"""Which jobs crash engines?

When an engine's child dies, its worker writes one strike for every job that may be at fault. A job with a strike is a
suspect and has a trial; one with two runs alone. Delivery counts prove nothing: a drain counts too. See room.py.
A strike that cannot be written is remembered by its worker: else a job would crash the engine again and again.
"""

import msgspec
import structlog
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.streams import bucket_config, open_bucket, revision_of_deleted

log = structlog.get_logger("strikes")

TTL_S = 3600
ATTEMPTS = 20
UNWRITTEN_LIMIT = 1000
"""Jobs whose strikes a worker remembers."""


class Strikes(msgspec.Struct, frozen=True):
    """How often the engine died under one job."""

    crashes: int = 0
    alone: int = 0
    """Of these, while the job was accused: on trial, or alone in the engine."""

    def and_one(self, *, alone: bool) -> "Strikes":
        """With one more."""
        return Strikes(self.crashes + 1, self.alone + alone)


class StrikeBook:
    """The bucket GOLEK_STRIKES: shared by all replicas, so that a poison job does not walk from one to the next."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._unwritten: dict[str, Strikes] = {}

    @classmethod
    async def open(cls, client: BusClient) -> "StrikeBook":
        """Create or find the bucket."""
        return cls(await open_bucket(client, bucket_config(subjects.STRIKES_BUCKET, TTL_S)))

    async def of(self, job_id: str) -> Strikes:
        """The strikes of one job. Raises one of BUS_ERRORS when nothing is known of it here or there."""
        try:
            written, _ = await self._read(job_id)
        except BUS_ERRORS:
            if job_id not in self._unwritten:
                raise
            written = Strikes()
        return self._known(job_id, written)

    async def add(self, job_id: str, *, alone: bool) -> Strikes:
        """One more crash, by compare-and-set, since two replicas may crash on one job."""
        strikes = self._known(job_id, Strikes()).and_one(alone=alone)
        problem = f"{ATTEMPTS} compare-and-set attempts failed"
        try:
            for _ in range(ATTEMPTS):
                written, revision = await self._read(job_id)
                strikes = self._known(job_id, written).and_one(alone=alone)
                try:
                    await self._bucket.update(job_id, msgspec.json.encode(strikes), last=revision)
                except KeyWrongLastSequenceError:
                    continue
                self._unwritten.pop(job_id, None)
                return strikes
        except BUS_ERRORS as error:
            problem = str(error) or type(error).__name__
        log.warning("strike.unwritten", job_id=job_id, problem=problem)
        self._unwritten[job_id] = strikes
        if len(self._unwritten) > UNWRITTEN_LIMIT:
            del self._unwritten[next(iter(self._unwritten))]
        return strikes

    async def clear(self, job_id: str) -> None:
        """The job is done with."""
        self._unwritten.pop(job_id, None)
        await self._bucket.purge(job_id)

    def _known(self, job_id: str, written: Strikes) -> Strikes:
        """The newer of what is written and what is remembered."""
        return max(written, self._unwritten.get(job_id, written), key=lambda strikes: strikes.crashes)

    async def _read(self, job_id: str) -> tuple[Strikes, int]:
        try:
            entry = await self._bucket.get(job_id)
        except KeyNotFoundError as error:
            return Strikes(), revision_of_deleted(error)
        return msgspec.json.decode(entry.value or b"{}", type=Strikes), entry.revision or 0
