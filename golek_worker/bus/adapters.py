"""Where does the fleet keep which LoRA adapters a model has?

In the bucket GOLEK_ADAPTERS, key `<token>.<name>`: what operators loaded while workers ran, for replicas that start
later or were away. What an env file names is not in it.
"""

import contextlib

import msgspec
from nats.js.errors import KeyNotFoundError, NoKeysError
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.adapters import AdapterFile
from golek_worker.bus.streams import bucket_config, open_bucket


class AdapterBucket:
    """The adapters of one model in the bucket."""

    def __init__(self, bucket: KeyValue, token: str) -> None:
        self._bucket = bucket
        self._prefix = f"{token}."

    @classmethod
    async def open(cls, client: BusClient, token: str) -> "AdapterBucket":
        """Create or find the bucket."""
        return cls(await open_bucket(client, bucket_config(subjects.ADAPTERS_BUCKET)), token)

    async def all(self) -> list[AdapterFile]:
        """What it holds for this model, by name. Raises BUS_ERRORS."""
        try:
            keys = [key for key in await self._bucket.keys() if key.startswith(self._prefix)]
        except NoKeysError:
            return []
        found = []
        for key in sorted(keys):
            with contextlib.suppress(KeyNotFoundError, msgspec.DecodeError):  # gone, or of a later release
                entry = await self._bucket.get(key)
                found.append(msgspec.json.decode(entry.value or b"", type=AdapterFile))
        return found

    async def put(self, adapter: AdapterFile) -> None:
        """Keep it. Raises BUS_ERRORS."""
        await self._bucket.put(self._prefix + adapter.name, msgspec.json.encode(adapter))

    async def remove(self, name: str) -> None:
        """Forget it, whether or not it is there. Raises BUS_ERRORS."""
        await self._bucket.delete(self._prefix + name)
