"""Which keys does the fleet know, and how do they get there?

The bucket GOLEK_KEYS, a row per key under the SHA-256 of its text, held in memory by every worker. A worker that finds
the key file imports it at its start and whenever the file changes, removals too; rows from elsewhere are left alone.
"""

import asyncio
import base64
import contextlib
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.jetstream import MESSAGE_GONE
from golek_wire.keys import Key
from golek_worker.bus import keyfile
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError, api
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.bus.streams import bucket_config, ensure_stream

log = structlog.get_logger("keys")

LOOK_S = 2.0
"""So often file and bucket are looked at; a change of the bucket is usually heard at once."""
SETTLE_S = 0.05
"""A change is heard a moment before it is stored, and others follow it."""

_PREFIX: Final = f"$KV.{subjects.KEYS_BUCKET}."
_STREAM: Final = f"KV_{subjects.KEYS_BUCKET}"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeyBook:
    """The keys, kept up to date by `run`."""

    def __init__(self, client: BusClient, bucket: KeyValue, file: Path) -> None:
        self.known: dict[str, Key] = {}
        """By digest. Changed in place."""
        self._client = client
        self._bucket = bucket
        self._file = file
        self._rows: dict[str, bytes] = {}
        self._state: tuple[int, ...] = ()
        self._stamp: tuple[int, ...] = ()
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, client: BusClient, file: Path) -> "KeyBook":
        """Create or find the bucket, import the file and read all keys. Raises KeyFileError."""
        await ensure_stream(client, bucket_config(subjects.KEYS_BUCKET))
        book = cls(client, await client.jetstream().key_value(subjects.KEYS_BUCKET), file)
        await client.subscribe(f"{_PREFIX}>", cb=book._hear)
        await book._read_bucket()
        await book._import_file()
        if not book.known:
            log.warning("keys.none", detail=f"no key is known, so that nobody may ask; {file} is where keys stand")
        return book

    async def run(self) -> None:
        """Follow bucket and file for as long as the worker lives. While the bus is away, what is known counts."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
                await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            try:
                await self._read_bucket()
                await self._import_file()
            except KeyFileError as error:
                log.error("keys.file", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
            except BUS_ERRORS as error:
                log.warning("keys.unread", problem=str(error) or type(error).__name__)

    async def _hear(self, _: Msg) -> None:
        self._changed.set()

    async def _read_bucket(self) -> None:
        """Read all rows, when there was a change."""
        state = (await api(self._client, f"STREAM.INFO.{_STREAM}"))["state"]
        now = (state["last_seq"], state["first_seq"], state["messages"])
        if now == self._state:
            return
        rows: dict[str, bytes] = {}
        seq = 1
        while (found := await self._next(seq)) is not None:
            seq, key, row = found
            if row:
                rows[key] = row
            else:
                rows.pop(key, None)  # the mark of a deleted one
            seq += 1
        self._rows, self._state = rows, now
        known = {key: one for key, row in rows.items() if (one := _read(key, row)) is not None}
        self.known.clear()
        self.known.update(known)

    async def _next(self, seq: int) -> tuple[int, str, bytes] | None:
        """The first row from `seq` on: its sequence, key and value; None after the last."""
        query = {"seq": seq, "next_by_subj": f"{_PREFIX}>"}
        try:
            message = (await api(self._client, f"STREAM.MSG.GET.{_STREAM}", query))["message"]
        except JetStreamError as error:
            if error.code in MESSAGE_GONE:
                return None
            raise
        return message["seq"], message["subject"].removeprefix(_PREFIX), base64.b64decode(message.get("data", ""))

    async def _import_file(self) -> None:
        """Make the bucket's rows from the file what the file says, when it was changed. Raises KeyFileError."""
        try:
            about = self._file.stat()
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            found = keyfile.read(self._file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyFileError(f"GOLEK_KEY_FILE={self._file}: cannot be read ({error})") from None
        if about.st_mode & 0o077:
            log.warning("keys.mode", detail=f"others than its owner may read {self._file}: chmod 600 {self._file}")
        wanted = {key: msgspec.json.encode(row) for key, row in found.items()}
        gone = [key for key, one in self.known.items() if one.source == keyfile.SOURCE and key not in wanted]
        changed = [key for key, row in wanted.items() if self._rows.get(key) != row]
        try:
            for key in gone:
                await self._bucket.delete(key)
            for key in changed:
                await self._bucket.put(key, wanted[key])
        except BUS_ERRORS:
            self._stamp = ()
            raise
        log.info("keys.imported", file=str(self._file), keys=len(wanted), changed=len(changed), removed=len(gone))
        await self._read_bucket()


def _read(key: str, row: bytes) -> Key | None:
    """The row of a key; None, with a word in the log, for what is none."""
    problem: Any = "its name is no SHA-256 in hex"
    if _DIGEST.fullmatch(key):
        try:
            return msgspec.json.decode(row, type=Key)
        except msgspec.DecodeError as error:
            problem = error
    log.warning("keys.row", key=key[:64], problem=str(problem))
    return None
