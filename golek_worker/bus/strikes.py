"""Which jobs crash engines?

When an engine's child dies, its worker writes one strike for every job that may be at fault. A job with a strike is a
suspect and has a trial; one with two runs alone. Delivery counts prove nothing: a drain counts too. See room.py.
"""

import msgspec
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_worker.bus.streams import bucket_config, open_bucket, revision_of_deleted

TTL_S = 3600
ATTEMPTS = 20


class Strikes(msgspec.Struct, frozen=True):
    """How often the engine died under one job."""

    crashes: int = 0
    alone: int = 0
    """Of these, while the job was accused: on trial, or alone in the engine."""


class StrikeBook:
    """The bucket GOLEK_STRIKES: shared by all replicas, so that a poison job does not walk from one to the next."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    @classmethod
    async def open(cls, client: BusClient) -> "StrikeBook":
        """Create or find the bucket."""
        return cls(await open_bucket(client, bucket_config(subjects.STRIKES_BUCKET, TTL_S)))

    async def of(self, job_id: str) -> Strikes:
        """The strikes of one job."""
        return (await self._read(job_id))[0]

    async def add(self, job_id: str, *, alone: bool) -> Strikes:
        """One more crash, by compare-and-set, since two replicas may crash on one job."""
        for _ in range(ATTEMPTS):
            strikes, revision = await self._read(job_id)
            strikes = Strikes(strikes.crashes + 1, strikes.alone + alone)
            try:
                await self._bucket.update(job_id, msgspec.json.encode(strikes), last=revision)
            except KeyWrongLastSequenceError:
                continue
            return strikes
        raise RuntimeError(f"{ATTEMPTS} compare-and-set attempts on the strikes of {job_id} failed")

    async def clear(self, job_id: str) -> None:
        """The job is done with."""
        await self._bucket.purge(job_id)

    async def _read(self, job_id: str) -> tuple[Strikes, int]:
        try:
            entry = await self._bucket.get(job_id)
        except KeyNotFoundError as error:
            return Strikes(), revision_of_deleted(error)
        return msgspec.json.decode(entry.value or b"{}", type=Strikes), entry.revision or 0
