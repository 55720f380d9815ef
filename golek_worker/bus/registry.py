"""What does the fleet know of this model?

The bucket GOLEK_MODELS, one record per token: written before a load, renewed with each heartbeat. It is how a client
tells a typo from a model that is away.
"""

import contextlib
import time
from datetime import datetime

import msgspec
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.signals import ModelRecord
from golek_worker.bus.jetstream import patiently
from golek_worker.bus.streams import MismatchError, bucket_config, open_bucket, revision_of_deleted

FRESH_S = 90
"""A record renewed within this time belongs to a living worker."""


class Registry:
    """This worker's record in the bucket."""

    def __init__(self, client: BusClient, bucket: KeyValue, token: str) -> None:
        self._client = client
        self._bucket = bucket
        self._token = token

    @classmethod
    async def open(cls, client: BusClient, token: str) -> "Registry":
        """Create or find the bucket."""
        return cls(client, await open_bucket(client, bucket_config(subjects.MODELS_BUCKET)), token)

    async def claim(self, record: ModelRecord) -> None:
        """Write the first record; an election is waited out.

        Raises MismatchError when a living worker serves another name under this token, another file under this name, or
        another model at a subject of this one.
        """
        await patiently(self._client, lambda: self._claim(record))

    async def _claim(self, record: ModelRecord) -> None:
        found, _ = await self._read()
        if found is not None and _is_fresh(found, time.time()):
            if found.name != record.name:
                raise MismatchError(
                    f"two names with one token {self._token!r}: this worker's {record.name!r} and {found.name!r} "
                    f"of deployment {found.deployment!r}; rename one"
                )
            if found.digest != record.digest and found.digest and record.digest:
                raise MismatchError(
                    f"two models under one name {record.name!r}: this worker's is {record.digest[:16]}…, "
                    f"deployment {found.deployment!r} serves {found.digest[:16]}…; stop it or rename one"
                )
        await self._refuse_shared(record)
        await self.renew(record)

    async def renew(self, record: ModelRecord) -> None:
        """Write the record anew. A replica that is not online leaves the fresh word of another one alone."""
        found, revision = await self._read()
        another = found is not None and found.worker_id != record.worker_id and _is_fresh(found, time.time())
        if another and record.state != "online":
            return
        with contextlib.suppress(KeyWrongLastSequenceError):  # another replica was quicker; the next beat follows
            await self._bucket.update(self._token, msgspec.json.encode(record), last=revision)

    async def _refuse_shared(self, record: ModelRecord) -> None:
        """Requests on a shared subject would go to either model. Raises MismatchError when a living one has it."""
        try:
            tokens = await self._bucket.keys() if record.subjects else []
        except NoKeysError:
            return
        for token in tokens:
            with contextlib.suppress(msgspec.DecodeError):  # what a later release writes
                found, _ = await self._read(token)
                shared = set(record.subjects).intersection(found.subjects if found is not None else ())
                if found is not None and shared and found.name != record.name and _is_fresh(found, time.time()):
                    raise MismatchError(
                        f"two models at one subject {min(shared)}: this worker's {record.name!r} and {found.name!r} of "
                        f"deployment {found.deployment!r}; give one of them another SUBJECT, or stop "
                        f"{found.deployment!r} (if it was killed, its record lapses within {FRESH_S} s)"
                    )

    async def _read(self, token: str = "") -> tuple[ModelRecord | None, int]:
        """The record and its revision; this worker's own, or that of `token`."""
        try:
            entry = await self._bucket.get(token or self._token)
        except KeyNotFoundError as error:
            return None, revision_of_deleted(error)
        return msgspec.json.decode(entry.value or b"", type=ModelRecord), entry.revision or 0


def _is_fresh(record: ModelRecord, now: float) -> bool:
    """A worker that left wrote so; one that died stops renewing."""
    return (
        record.state not in ("draining", "offline", "failed")
        and now - datetime.fromisoformat(record.last_seen).timestamp() < FRESH_S
    )
