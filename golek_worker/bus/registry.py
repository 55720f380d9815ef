"""What does the fleet know of this model?

The bucket GOLEK_MODELS, one record per token: written before a load, renewed with each heartbeat. It is how a client
tells a typo from a model that is away.
"""

import time
from collections.abc import Callable
from datetime import datetime

import msgspec
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from golek_wire import subjects
from golek_wire.signals import ModelRecord
from golek_worker.bus.streams import MismatchError, bucket_config, ensure_stream

FRESH_S = 90
"""A record renewed within this time belongs to a living worker."""


class Registry:
    """This worker's record in the bucket."""

    def __init__(self, bucket: KeyValue, token: str) -> None:
        self._bucket = bucket
        self._token = token

    @classmethod
    async def open(cls, client: Client, token: str) -> "Registry":
        """Create or find the bucket."""
        await ensure_stream(client, bucket_config(subjects.MODELS_BUCKET))
        return cls(await client.jetstream().key_value(subjects.MODELS_BUCKET), token)

    async def claim(self, record: ModelRecord, clock: Callable[[], float] = time.time) -> None:
        """Write the first record.

        Raises MismatchError when a living worker serves another name under this token, or another file under this name.
        """
        found = await self._read()
        if found is not None and _is_fresh(found, clock()):
            if found.name != record.name:
                raise MismatchError(
                    f"two names with one token {self._token!r}: this worker's {record.name!r} and {found.name!r} "
                    f"of deployment {found.deployment!r}; rename one"
                )
            if found.digest != record.digest and found.digest and record.digest:
                raise MismatchError(
                    f"two files under one name {record.name!r}: this worker's digest is {record.digest[:16]}…, "
                    f"deployment {found.deployment!r} serves {found.digest[:16]}…; stop it or rename one"
                )
        await self.renew(record)

    async def renew(self, record: ModelRecord) -> None:
        """Write the record anew."""
        await self._bucket.put(self._token, msgspec.json.encode(record))

    async def _read(self) -> ModelRecord | None:
        try:
            entry = await self._bucket.get(self._token)
        except KeyNotFoundError:
            return None
        return msgspec.json.decode(entry.value or b"", type=ModelRecord)


def _is_fresh(record: ModelRecord, now: float) -> bool:
    """A worker that left on its own account wrote `draining`; one that died stops renewing."""
    return record.state != "draining" and now - datetime.fromisoformat(record.last_seen).timestamp() < FRESH_S
