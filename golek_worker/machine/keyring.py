"""How are keys made and taken away, and what have their holders used?

Keys are lines of the key file, which workers import; it is written whole, and readable by its owner only. What the
fleet has of them lies on the bus, and so does the ledger of what was used.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nats.errors
from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_client.connection import close, connect
from golek_wire import subjects
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.jetstream import STREAM_NOT_FOUND
from golek_wire.keys import Budget, Key, digest, parse_budget
from golek_wire.replies import Allowances
from golek_wire.routing import TABLE, RouteTable
from golek_worker import process
from golek_worker.admission import quota
from golek_worker.admission.quota import Ledger
from golek_worker.bus import keyfile, keys
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.bus.quota import stored_records
from golek_worker.charging import FLEET

KEY_BYTES = 32
GATEWAYS_OWN = "auth"
"""`Key.source` of those that GOLEK_AUTH let in."""
ROUTER_S = 1.0
"""A router that is there says within this time what it serves."""
HEAD = "# A key per line: key_id:sha256:<digest of the key> and its limits; docs/security.md says more.\n"


class KeyringError(Exception):
    """A key cannot be made or taken away; the message says why."""


class Made(Struct, frozen=True):
    """A key that was made."""

    key: str
    """Its text, which is kept nowhere."""
    others: list[Key]
    """Keys of the same key_id that were there before."""


class Listed(Struct, frozen=True):
    """A key, and who knows it."""

    key: Key
    in_file: bool
    in_fleet: bool | None
    """None where the fleet could not be asked."""


class Book(Struct, frozen=True):
    """The keys of the file and of the fleet."""

    keys: list[Listed]
    remarks: list[str]
    """What in the file is skipped, and that the fleet could not be asked."""


class Usage(Struct, frozen=True):
    """What the holder of a key used, and may still use, in one window."""

    key_id: str
    window: str
    """`2026-11`, `2026-11-21`, `2026-11-21T14` or `total`."""
    requests: int
    tokens: int
    in_flight: int
    """Requests that have not ended."""
    reserved: int
    """Tokens that they may cost."""
    micros: int
    """Millionths of a dollar that clouds took."""
    reserved_micros: int
    """That calls of clouds on their way may take."""
    limits: Key | None
    """As the fleet knows them; None for a key that was taken away, or has none."""
    allowances: Allowances | None
    """Of the present window."""


def create(file: Path, key_id: str, fields: list[str]) -> Made:
    """Make a key and add its line to `file`; `fields` are `name=value`. Raises KeyringError, KeyFileError."""
    if not keyfile.is_key_id(key_id):
        raise KeyringError(f"{key_id[:64]!r}: {keyfile.KEY_ID}")
    try:
        keyfile.fields(fields)
    except ValueError as error:
        raise KeyringError(str(error)) from None
    key = secrets.token_hex(KEY_BYTES)
    with _locked(file):
        text = _text(file)
        others = [one for one in keyfile.rows(text, str(file)).keys.values() if one.key_id == key_id]
        line = " ".join([f"{key_id}:sha256:{digest(key)}", *fields])
        _write(file, f"{text if text.endswith(chr(10)) or not text else text + chr(10)}{line}\n")
    return Made(key, others)


async def revoke(file: Path, key_id: str, url: str) -> tuple[int, int]:
    """Take away all keys of `key_id`; how many stood in the file, and how many others the fleet knew.

    Raises KeyringError where there is none.
    """
    with _locked(file):
        lines = _text(file).splitlines(keepends=True)
        kept = [line for line in lines if keyfile.key_id_of(line) != key_id]
        count = len(lines) - len(kept)
        taken = _digests([line for line in lines if line not in kept])
        if count:
            _write(file, "".join(kept))
    try:
        rows = await _fleet_rows(url, without=key_id)
    except InferenceServiceError as error:
        if count:
            return count, 0
        raise KeyringError(f"{file}: holds no key of {key_id}, and the fleet could not be asked: {error}") from None
    others = {hashed for hashed, key in rows.items() if key.key_id == key_id} - taken
    if not count and not others:
        raise KeyringError(f"nobody knows a key of {key_id}; `golek keys list` shows whose there are")
    return count, len(others)


def _digests(lines: list[str]) -> set[str]:
    """Of the keys in these lines; lines that are wrong have none that anybody knows."""
    found = set[str]()
    for line in lines:
        with contextlib.suppress(KeyFileError):
            found.update(keyfile.rows(line, "").keys)
    return found


async def listed(file: Path, url: str) -> Book:
    """The keys of `file` in its order, then what else the fleet knows. Raises KeyFileError."""
    found = keyfile.rows(_text(file), str(file))
    remarks = found.remarks
    fleet: dict[str, Key] | None = None
    try:
        fleet = await _fleet_rows(url)
    except InferenceServiceError as error:
        remarks = [*remarks, f"the fleet could not be asked which keys it knows: {error}"]
    ours = [Listed(key, True, None if fleet is None else one in fleet) for one, key in found.keys.items()]
    theirs = [Listed(key, False, True) for one, key in (fleet or {}).items() if one not in found.keys]
    return Book([*ours, *sorted(theirs, key=lambda one: one.key.key_id)], remarks)


async def _fleet_rows(url: str, *, without: str = "") -> dict[str, Key]:
    """The keys that the fleet knows, by digest, but for those that GOLEK_AUTH makes and takes away by itself. Those of
    `without` are taken away. Raises InferenceServiceError.
    """
    client = await connect(url, "golek-keys")
    try:
        read = {hashed: keys.read_row(hashed, row) for hashed, row in (await keys.rows(client)).items()}
        found = {hashed: key for hashed, key in read.items() if key is not None and key.source != GATEWAYS_OWN}
        gone = [hashed for hashed, key in found.items() if without and key.key_id == without]
        if gone:
            bucket = await client.jetstream().key_value(subjects.KEYS_BUCKET)
            for hashed in gone:
                await bucket.delete(hashed)
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            return {}
        raise BusUnavailableError(str(error)) from None
    except BUS_ERRORS as error:
        raise BusUnavailableError(str(error) or type(error).__name__) from None
    finally:
        await close(client)
    return found


async def usage(url: str, key_id: str | None = None, now: float | None = None) -> list[Usage]:
    """What each key with limits used in its present window, and each account that there is besides.

    Raises as `connect` and `api` do, KeyringError for a `key_id` that nobody knows.
    """
    now = time.time() if now is None else now
    client = await connect(url, "golek-keys")
    try:
        rows = {key: keys.read_row(key, row) for key, row in (await keys.rows(client)).items()}
        accounts = await stored_records(client, Ledger)
        fleet = await _fleet_budget(client)
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            raise BusUnavailableError(
                "this fleet knows no keys yet: a worker makes their buckets when it starts"
            ) from None
        raise
    finally:
        await close(client)
    limited = [one for one in rows.values() if one is not None and one.has_limits]
    if fleet is not None:
        limited.append(Key(FLEET, budget=fleet))
    found = _usages(limited, accounts, now)
    if key_id is None:
        return found
    known = key_id in {one.key_id for one in rows.values() if one is not None}
    chosen = [one for one in found if one.key_id == key_id]
    if not chosen and not known:
        raise KeyringError(f"nobody in this fleet knows a key of {key_id}; `golek keys usage` shows all")
    return chosen


async def _fleet_budget(client: BusClient) -> Budget | None:
    """ROUTER_BUDGET, as a router tells it; None where none has one, or none is there."""
    try:
        told = await client.request(TABLE, b"", timeout=ROUTER_S)
        said = msgspec.json.decode(told.data, type=RouteTable).budget
        return parse_budget(said) if said else None
    except (nats.errors.Error, msgspec.MsgspecError, TimeoutError, ValueError):
        return None


def _usages(limited: list[Key], accounts: dict[str, Ledger], now: float) -> list[Usage]:
    found, told = [], set()
    for key in sorted(limited, key=lambda one: one.key_id):
        window = quota.window(key.budget, now)
        told.add(f"{key.key_id}.{window}")
        ledger = accounts.get(f"{key.key_id}.{window}", Ledger()).seen(now)
        one = _usage(key.key_id, window, ledger, key, quota.allowances(ledger, key, now))
        if one not in found:  # two keys of one holder with the same limits
            found.append(one)
    for name, ledger in sorted(accounts.items()):
        if name not in told:
            key_id, _, window = name.rpartition(".")
            found.append(_usage(key_id, window, ledger.seen(now), None, None))
    return found


def _usage(key_id: str, window: str, ledger: Ledger, limits: Key | None, left: Allowances | None) -> Usage:
    spent = ledger.spent
    return Usage(
        key_id,
        window,
        spent.requests,
        spent.tokens,
        len(ledger.holds),
        sum(hold.tokens for hold in ledger.holds.values()),
        spent.micros,
        sum(bill.micros for bill in ledger.bills.values()),
        limits,
        left,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return HEAD
    except (OSError, UnicodeDecodeError) as error:
        raise KeyringError(f"{file}: cannot be read ({error})") from None


def _write(file: Path, text: str) -> None:
    """Readable by its owner alone: that is how a temporary file is made."""
    try:
        process.write_atomically(file, text.encode())
    except OSError as error:
        raise KeyringError(f"{file}: cannot be written ({error})") from None


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One at a time: two that change the file at once would lose a key."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyringError(f"{file}: cannot be written ({error})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
