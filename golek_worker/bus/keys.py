"""Which keys does the fleet know, and how do they get there?

The bucket GOLEK_KEYS, a row per key under the SHA-256 of its text, held in memory by every worker and gateway. One that
finds the key file imports it at its start and whenever the file changes, removals too; rows from elsewhere are left
alone. A key that is not in memory is asked for in the bucket, once, before it is refused.
"""

import asyncio
import contextlib
import hmac
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.js.kv import KeyValue

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_wire.keys import Key
from golek_worker.bus import keyfile
from golek_worker.bus.jetstream import BUS_ERRORS, api, patiently, stored_message, walk
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.bus.streams import bucket_config, open_bucket

log = structlog.get_logger("keys")

LOOK_S = 2.0
"""So often the bucket is looked at; a change of it is usually heard at once."""
FILE_S = 0.5
"""So often the file's date is looked at."""
SETTLE_S = 0.05
"""A change is heard a moment before it is stored, and others follow it."""
UNKNOWN_S = 1.0
"""For so long a key that the bucket does not know is not asked for again."""
UNKNOWN_KEYLESS_S = 30.0
"""As UNKNOWN_S, where the bucket has no keys at all: whoever brings a made-up one is served then, and of the first key
that is made it is heard."""
UNKNOWN_LIMIT = 4096
"""Such keys that are remembered."""

_PREFIX: Final = f"$KV.{subjects.KEYS_BUCKET}."
_STREAM: Final = f"KV_{subjects.KEYS_BUCKET}"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NOBODY: Final = "0" * 64


class KeyBook:
    """The keys, kept up to date by `run`."""

    def __init__(self, client: BusClient, bucket: KeyValue, file: Path) -> None:
        self.known: dict[str, Key] = {}
        """By digest. Changed in place. One that expired may stand here for a moment: `find` tells."""
        self._client = client
        self._bucket = bucket
        self._file = file
        self._rows: dict[str, bytes] = {}
        """As they lie in the bucket; empty for the mark of a deleted one."""
        self._ends: dict[str, float] = {}
        """When those expire that do, in epoch seconds."""
        self._unknown: dict[str, float] = {}
        """Digests that the bucket did not know, and until when (monotonic) that is believed."""
        self._looking: dict[str, asyncio.Task[None]] = {}
        """By the digest that the bucket is being asked for."""
        self._state: tuple[str, int, int, int] | None = None
        self._stamp: tuple[int, ...] = ()
        self._changed = asyncio.Event()

    @classmethod
    async def open(cls, client: BusClient, file: Path, *, needed: bool = False) -> "KeyBook":
        """Create or find the bucket, import the file and read all keys. Raises KeyFileError.

        `needed`: nobody may ask without a key, so having none is worth a warning.
        """
        bucket = await open_bucket(client, bucket_config(subjects.KEYS_BUCKET))
        book = cls(client, bucket, file)
        await client.subscribe(f"{_PREFIX}>", cb=book._hear)
        await patiently(client, book._read_bucket)
        await patiently(client, book._import_file)
        if needed and not book.known:
            log.warning("keys.none", detail=f"no key is known, so that nobody may ask; {file} is where keys stand")
        return book

    def __len__(self) -> int:
        return len(self.known)

    def find(self, digest: str) -> Key | None:
        """The key of this digest; None for one that is not known, or has expired.

        What is compared are SHA-256 digests, and those in constant time: how long it takes says nothing about how much
        of a wrong key is right.
        """
        key = self.known.get(digest)
        right = hmac.compare_digest(digest if key is not None else _NOBODY, digest)
        if key is None or not right:
            return None
        return None if self._ends and self._ends.get(digest, time.time() + 1) <= time.time() else key

    def is_worth_a_look(self, digest: str) -> bool:
        """Whether `look` may find what `find` did not: not for what the bucket has just denied. One that has expired
        may have been written anew.
        """
        return self._unknown.get(digest, 0.0) < time.monotonic() and self.find(digest) is None

    async def look(self, digest: str) -> Key | None:
        """The key of this digest as the bucket has it: one that was made a moment ago is known at once.

        Who asks while it is being looked for waits for the same answer. What the bucket does not know, or could not
        say, is not asked for again for UNKNOWN_S. Raises one of BUS_ERRORS.
        """
        if not self.is_worth_a_look(digest):
            return self.find(digest)
        looking = self._looking.get(digest)
        if looking is None:
            looking = self._looking[digest] = asyncio.get_running_loop().create_task(self._ask_bucket(digest))
            looking.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more
        await asyncio.shield(looking)
        return self.find(digest)

    async def _ask_bucket(self, digest: str) -> None:
        try:
            found = await stored_message(self._client, _STREAM, {"last_by_subj": f"{_PREFIX}{digest}"})
            if found is not None and h.KV_OPERATION not in found.headers and found.data:
                self._rows[digest] = found.data
                self._learn(digest, found.data)
        finally:
            del self._looking[digest]
            self._unknown.pop(digest, None)  # so that the oldest stand first
            self._unknown[digest] = time.monotonic() + (UNKNOWN_S if self.known else UNKNOWN_KEYLESS_S)
            if len(self._unknown) > UNKNOWN_LIMIT:
                del self._unknown[next(iter(self._unknown))]

    async def put(self, digest: str, key: Key) -> None:
        """Store a row, known here at once. Raises one of BUS_ERRORS."""
        row = msgspec.json.encode(key)
        await self._bucket.put(digest, row)
        self._rows[digest] = row
        self._learn(digest, row)

    async def forget(self, digest: str) -> None:
        """Remove a row without a trace: nothing of it is left in the bucket. Raises one of BUS_ERRORS."""
        await api(self._client, f"STREAM.PURGE.{_STREAM}", {"filter": f"{_PREFIX}{digest}"})
        for known in (self._rows, self.known, self._ends):
            known.pop(digest, None)

    async def forget_lapsed(self, source: str) -> None:
        """Remove the rows of this source that have expired. Raises one of BUS_ERRORS."""
        now = time.time()
        for digest in [one for one, end in self._ends.items() if end <= now and self.known[one].source == source]:
            await self.forget(digest)

    async def run(self) -> None:
        """Follow bucket and file for as long as the process lives. While the bus is away, what is known counts."""
        looked_at = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), FILE_S)
                await asyncio.sleep(SETTLE_S)
            try:
                if self._changed.is_set() or time.monotonic() - looked_at >= LOOK_S:
                    self._changed.clear()
                    looked_at = time.monotonic()
                    await self._read_bucket()
                await self._import_file()
            except KeyFileError as error:
                log.error("keys.file", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
            except BUS_ERRORS as error:
                log.warning("keys.unread", problem=str(error) or type(error).__name__)

    async def _hear(self, _: Msg) -> None:
        self._unknown.clear()
        self._changed.set()

    async def _read_bucket(self) -> None:
        """Read what is new; all rows where some went without a trace, or the bucket was made anew."""
        about = await api(self._client, f"STREAM.INFO.{_STREAM}")
        state, made = about["state"], about["created"]
        now = (made, state["last_seq"], state["first_seq"], state["messages"])
        if now == self._state:
            return
        read = await _entries(self._client, self._state[1] + 1) if self._state and self._state[0] == made else {}
        if len(self._rows | read) != state["messages"]:
            read = await _entries(self._client, 1)
            self._rows = {}
            self.known.clear()
            self._ends.clear()
        self._rows |= read
        self._state = now
        self._unknown.clear()
        for digest, row in read.items():
            self.known.pop(digest, None)
            self._learn(digest, row)

    def _learn(self, digest: str, row: bytes) -> None:
        self._ends.pop(digest, None)
        key = read_row(digest, row) if row else None
        if key is None:
            return
        self.known[digest] = key
        if key.expires is not None:
            self._ends[digest] = ends(key)

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
            if self._stamp:
                self._stamp = ()
                detail = (
                    f"{self._file} is gone; the fleet goes on knowing its keys: `golek keys list`, `golek keys revoke`"
                )
                log.warning("keys.file_gone", detail=detail)
            return
        except OSError as error:
            raise KeyFileError(f"GOLEK_KEY_FILE={self._file}: cannot be read ({error})") from None
        if about.st_mode & 0o077:
            log.warning("keys.mode", detail=f"others than its owner may read {self._file}: chmod 600 {self._file}")
        for remark in found.remarks:
            log.warning("keys.field", detail=remark)
        wanted = {key: msgspec.json.encode(row) for key, row in found.keys.items()}
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


async def rows(client: BusClient) -> dict[str, bytes]:
    """All rows of the bucket by their digest. Raises as `api` does."""
    return {digest: row for digest, row in (await _entries(client, 1)).items() if row}


async def _entries(client: BusClient, seq: int) -> dict[str, bytes]:
    """What lies in the bucket from `seq` on, by digest: rows, and for the marks of deleted ones nothing."""
    return {one.subject.removeprefix(_PREFIX): one.data async for one in walk(client, _STREAM, _PREFIX, seq)}


def ends(key: Key) -> float:
    """When a key expires, in epoch seconds; one whose moment cannot be read has expired: it was to end some time."""
    try:
        return datetime.fromisoformat(key.expires or "").timestamp()
    except ValueError:
        return 0.0


def read_row(digest: str, row: bytes) -> Key | None:
    """The row of a key; None, with a word in the log, for what is none."""
    problem: Any = "its name is no SHA-256 in hex"
    if _DIGEST.fullmatch(digest):
        try:
            return msgspec.json.decode(row, type=Key)
        except msgspec.DecodeError as error:
            problem = error
    log.warning("keys.row", key=digest[:64], problem=str(problem))
    return None
