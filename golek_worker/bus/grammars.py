"""Which grammars are stored under a name, and how do they change?

The bucket GOLEK_GRAMMARS is the only store; every worker holds it in memory and any of them answers on `grammars.*`.
The server repeats each row to all workers as it stores it, so a put is known everywhere within moments of its answer;
what was missed while the connection was away is read after at most `LOOK_S`. Built-in grammars are only read.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct
from nats.aio.msg import Msg

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, grammars, subjects
from golek_wire.errors import (
    BadRequestError,
    BusUnavailableError,
    ConflictError,
    InferenceServiceError,
    UnknownGrammarError,
)
from golek_wire.grammars import Deleted, Draft, Grammar, Grammars, Question
from golek_worker.bus.identity import Callers, Headers
from golek_worker.bus.jetstream import (
    BUS_ERRORS,
    WRONG_LAST_SEQUENCE,
    JetStreamError,
    api,
    patiently,
    store,
    stored_message,
    walk,
)
from golek_worker.bus.replies import send_error
from golek_worker.bus.streams import bucket_config, ensure_stream

log = structlog.get_logger("grammars")

LOOK_S: Final = 5.0
_STREAM: Final = f"KV_{subjects.GRAMMARS_BUCKET}"
_KEY: Final = f"$KV.{subjects.GRAMMARS_BUCKET}."
_REPEATED: Final = subjects.stored_grammar("")
_DELETED: Final = ("DEL", "PURGE")

Check = Callable[[str, str], None]
"""Raises InvalidGrammarError for a text, under the name of its field."""


class _Row(Struct, frozen=True):
    """A value in the bucket."""

    content: str
    description: str = ""
    created: str = ""
    updated: str = ""


class GrammarBook:
    """All grammars, kept up to date by `run`."""

    def __init__(self, client: BusClient, built_in: Mapping[str, Grammar], check: Check) -> None:
        self._client = client
        self._built_in = built_in
        self._check = check
        self._rows: dict[str, tuple[int, _Row | None]] = {}
        """By name, with the revision; None once it is deleted."""
        self._state: tuple[int, ...] = ()

    @classmethod
    async def open(cls, client: BusClient, built_in: Mapping[str, Grammar], check: Check) -> "GrammarBook":
        """Create or find the bucket and read it. Raises as `ensure_stream` does."""
        await ensure_stream(client, config())
        book = cls(client, built_in, check)
        await client.subscribe(f"{_REPEATED}>", cb=book._hear)
        await patiently(client, book._look)
        return book

    async def serve(self, callers: Callers) -> None:
        """Answer on `grammars.*`, one worker per question. Who may order may put and delete."""
        answers: dict[str, Callable[[bytes], Awaitable[Struct]]] = {
            "list": self._list, "get": self._get, "put": self._put, "delete": self._delete
        }  # fmt: skip

        async def answer(message: Msg) -> None:
            verb = message.subject.partition(".")[2]
            if not subjects.is_reply_inbox(message.reply):
                return
            with contextlib.suppress(*BUS_ERRORS):  # the broker went away, and with it who would hear
                try:
                    if verb in ("put", "delete"):
                        callers.may_order(message.headers)
                    said = await answers[verb](message.data)
                except JetStreamError as refused:
                    unstored = BusUnavailableError(f"{subjects.GRAMMARS_BUCKET}: {refused}")
                    await send_error(self._client, message.reply, "", unstored, stream=False)
                except InferenceServiceError as error:
                    await send_error(self._client, message.reply, "", error, stream=False)
                else:
                    await publish(self._client, message.reply, codec.encode(said))

        for verb in answers:
            await self._client.subscribe(subjects.grammars(verb), queue=subjects.QUEUE_GROUP, cb=answer)

    async def run(self) -> None:
        """Read what was missed, for as long as the worker lives. While the bus is away, what is known counts."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
            except BUS_ERRORS as error:
                log.warning("grammars.unread", problem=str(error) or type(error).__name__)

    def text(self, name: str) -> str | None:
        """The grammar of this name; None when there is none."""
        if name in self._built_in:
            return self._built_in[name].content
        _, row = self._rows.get(name, (0, None))
        return row.content if row is not None else None

    # -- questions ---------------------------------------------------------------------------------------------

    async def _list(self, _: bytes) -> Grammars:
        stored = [_told(name, revision, row) for name, (revision, row) in self._rows.items() if row is not None]
        known = [_without_content(one) for one in (*self._built_in.values(), *stored)]
        return Grammars(sorted(known, key=lambda one: one.name))

    async def _get(self, body: bytes) -> Grammar:
        name = codec.decode_body(body, Question).name
        if name in self._built_in:
            return self._built_in[name]
        revision, row, _ = await self._read(name) if grammars.is_name(name) else (0, None, 0)
        if row is None:
            raise _unknown(name)
        return _told(name, revision, row)

    async def _put(self, body: bytes) -> Grammar:
        draft = codec.decode_body(body, Draft)
        self._check_name(draft.name)
        self._check(draft.content, "content")
        while True:
            revision, found, last = await self._read(draft.name)
            _compare(draft.name, draft.revision, revision)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            row = _Row(draft.content, draft.description, found.created if found is not None else now, now)
            try:
                seq = await self._store(draft.name, msgspec.json.encode(row), last)
            except JetStreamError as error:
                if error.code != WRONG_LAST_SEQUENCE:
                    raise
                if draft.revision is not None:
                    raise _conflict(draft.name, draft.revision, None) from None
                continue  # another put of this name came between; this one overwrites it
            self._know(draft.name, seq, row)
            log.info("grammar.put", name=draft.name, revision=seq)
            return _without_content(_told(draft.name, seq, row))

    async def _delete(self, body: bytes) -> Deleted:
        question = codec.decode_body(body, Question)
        self._check_name(question.name)
        revision, row, last = await self._read(question.name)
        if row is None:
            raise _unknown(question.name)
        _compare(question.name, question.revision, revision)
        try:
            seq = await self._store(question.name, b"", last, {"KV-Operation": "DEL"})
        except JetStreamError as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
            raise _conflict(question.name, question.revision, None) from None
        self._know(question.name, seq, None)
        log.info("grammar.deleted", name=question.name)
        return Deleted(question.name)

    def _check_name(self, name: str) -> None:
        if name in self._built_in:
            raise BadRequestError(f"name: {name} is built in and cannot be changed; take another name", param="name")
        if not grammars.is_name(name):
            raise BadRequestError(
                f"name: {name[: grammars.NAME_LIMIT]!r} is not 1 to {grammars.NAME_LIMIT} of A-Z a-z 0-9 . _ - "
                "with no dot first, last or beside another",
                param="name",
            )

    # -- the bucket --------------------------------------------------------------------------------------------

    async def _store(self, name: str, value: bytes, last: int, about: dict[str, str] | None = None) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last), **(about or {})}
        return await store(self._client, _KEY + name, value, headers)

    async def _read(self, name: str) -> tuple[int, _Row | None, int]:
        """Revision and row as the leader has them, and the last sequence, which a delete has, too."""
        found = await stored_message(self._client, _STREAM, {"last_by_subj": _KEY + name})
        if found is None:
            return 0, None, 0
        row = None if found.headers.get("KV-Operation") in _DELETED else _decoded(name, found.data)
        return (found.seq if row is not None else 0), row, found.seq

    async def _hear(self, message: Msg) -> None:
        """A row, as the server repeats it once it is stored."""
        about: Headers = message.headers
        seq = int((about or {}).get("Nats-Sequence", "0"))
        gone = (about or {}).get("KV-Operation") in _DELETED
        name = message.subject.removeprefix(_REPEATED)
        self._know(name, seq, None if gone else _decoded(name, message.data))

    async def _look(self) -> None:
        """Read all rows, when there was a change that was not heard."""
        state = (await api(self._client, f"STREAM.INFO.{_STREAM}"))["state"]
        now = (state["last_seq"], state["first_seq"], state["messages"])
        if now == self._state:
            return
        async for row in walk(self._client, _STREAM, _KEY):
            name = row.subject.removeprefix(_KEY)
            self._know(name, row.seq, _decoded(name, row.data) if row.data else None)
        self._state = now

    def _know(self, name: str, revision: int, row: _Row | None) -> None:
        """The newer of two words counts, in whatever order they are heard."""
        if revision >= self._rows.get(name, (0, None))[0]:
            self._rows[name] = (revision, row)


def config() -> dict[str, Any]:
    """The bucket: each row is told to all workers once it is stored."""
    repeat = {"src": f"{_KEY}>", "dest": f"{_REPEATED}>"}
    return bucket_config(subjects.GRAMMARS_BUCKET) | {"republish": repeat}


def _decoded(name: str, data: bytes) -> _Row | None:
    """The row; None, with a word in the log, for what is none."""
    try:
        return msgspec.json.decode(data, type=_Row)
    except msgspec.DecodeError as error:
        log.warning("grammar.row", name=name[:64], problem=str(error))
        return None


def _told(name: str, revision: int, row: _Row) -> Grammar:
    return Grammar(name, row.description, row.created, row.updated, revision, content=row.content)


def _without_content(grammar: Grammar) -> Grammar:
    return msgspec.structs.replace(grammar, content="")


def _unknown(name: str) -> UnknownGrammarError:
    return UnknownGrammarError(f"name: no grammar is stored under the name {name[:64]!r}", param="name")


def _compare(name: str, wanted: int | None, found: int) -> None:
    if wanted is not None and wanted != found:
        raise _conflict(name, wanted, found)


def _conflict(name: str, wanted: int | None, found: int | None) -> ConflictError:
    now = "was changed meanwhile" if found is None else f"has revision {found}" if found else "is not stored"
    asked = "" if wanted is None else f" and not {wanted}" if found else f" under revision {wanted}"
    return ConflictError(f"{name} {now}{asked}; read it and try again", param="revision", revision=found)
