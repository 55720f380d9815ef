"""How do `golek req` and `golek sub` speak to the bus?

They honour what the `nats` CLI does (natscli, cli/req_command.go and cli/sub_command.go): bodies on standard output;
log lines with the time of day on standard error; the first reply within --timeout; later ones within the average round
trip plus --reply-timeout, or with --replies=0 until --timeout. Unlike it, `golek req` exits with 1 without an answer,
and when an answer is an error; and `golek sub` writes bodies alone where its output is no terminal, so that
`golek sub SUBJECT | jq` works: the `nats` CLI needs --raw for that.
"""

import asyncio
import itertools
import re
import sys
import time
from datetime import datetime

import nats.errors
import typer
from msgspec import Struct
from nats.aio.msg import Msg

from golek_client import duration
from golek_client.connection import CLIENT_RECONNECT_S, close, connect, flush, subscribe
from golek_client.inbox import not_permitted, refused_subject
from golek_client.line import Line
from golek_client.terminal import fail
from golek_client.transport import Received
from golek_wire import headers as names
from golek_wire import subjects as tokens
from golek_wire.errors import BusUnavailableError, InferenceServiceError, PayloadTooLargeError

NAME = "golek-cli"
_BY_REFERENCE = (
    "a larger request goes by reference, as `golek chat` and golek_client send it: its body lies in the bucket "
    f"GOLEK_OBJECTS, and the header {names.OBJECT} names it"
)
_REPORTS = re.compile(r"monitoring\.inference\.([^*>]+\.[^*>]+)|models\.([^*>]+\.[^*>]+)\.heartbeat")
"""Load reports and heartbeats of a model whose name has a dot, under that name."""


class Question(Struct, frozen=True):
    """A request and how many replies to take. Times are in seconds."""

    subject: str
    body: bytes
    headers: dict[str, str]
    timeout: float
    reply_timeout: float
    replies: int
    wait_for_empty: bool


def parse_headers(given: list[str]) -> dict[str, str]:
    """`K:V` texts as headers; one without a colon or a key ends the program."""
    parsed = {}
    for text in given:
        key, colon, value = text.partition(":")
        if not colon or not key.strip():
            raise typer.BadParameter(f"{text!r} is no header; write K:V", param_hint="--header")
        parsed[key.strip()] = value.strip()
    return parsed


def standard_input(raw: bool) -> bytes:
    """The body from a pipe or file, as it is; empty at a terminal."""
    if sys.stdin.isatty():
        return b""
    if not raw:
        _log("Reading payload from STDIN")
    return sys.stdin.buffer.read()


async def ask(server: str, question: Question, count: int, raw: bool) -> None:
    """Send `question` `count` times and print the replies.

    Ends the program with 1 where they do not come, and at the end when one was an error.
    """
    failed = False
    line = await Line.open(server, NAME)
    try:
        for _ in range(count):
            if not raw:
                _log(f'Sending request on "{question.subject}"')
            failed |= await _ask_once(line, question, raw)
    finally:
        await line.close()
    if failed:
        raise typer.Exit(1)


async def _ask_once(line: Line, question: Question, raw: bool) -> bool:
    """One request: take replies until enough came, an empty one came, or the time is up. True when one is an error."""
    failed = False
    began = time.monotonic()
    round_trips: list[float] = []
    with line.mux.open() as inbox:
        inbox.asked = question.subject
        try:
            await line.send(question.subject, question.body, inbox.subject, question.headers or None)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{error.message}; {_BY_REFERENCE}", **error.details) from None
        while not _enough(question, len(round_trips)):
            wait = _next_wait(question, round_trips, time.monotonic() - began)
            reply = await inbox.get(asyncio.get_running_loop().time() + wait)
            if reply is None:
                _too_few(question, len(round_trips), wait)
                return failed
            about = reply.headers or {}
            if about.get(names.NATS_STATUS) == names.NO_RESPONDERS and not reply.data:
                _log("No responders are available")
                raise typer.Exit(1)
            failed |= names.ERROR_CODE in about
            if question.wait_for_empty and not reply.data:
                return failed
            round_trips.append(time.monotonic() - began)
            _print_reply(reply, round_trips[-1], raw)
    return failed


def _enough(question: Question, taken: int) -> bool:
    return not question.wait_for_empty and 0 < question.replies <= taken


def _next_wait(question: Question, round_trips: list[float], passed: float) -> float:
    """Seconds to wait for the next reply."""
    if not round_trips:
        return question.timeout
    if question.wait_for_empty:
        return question.reply_timeout
    if question.replies == 0:
        return max(0.0, question.timeout - passed)
    return sum(round_trips) / len(round_trips) + question.reply_timeout


def _too_few(question: Question, taken: int, wait: float) -> None:
    """The time is up: with --replies=0 that is how it ends, else say what is missing and exit with 1."""
    if taken == 0:
        fail(f"no reply within {duration.show(wait)}; --timeout waits longer")
    if question.wait_for_empty:
        fail(f"no reply for {duration.show(wait)} and no empty one yet; --reply-timeout waits longer")
    if question.replies:
        fail(f"{taken} of {question.replies} replies; --reply-timeout waits longer")


def _print_reply(reply: Received, rtt: float, raw: bool) -> None:
    if not raw:
        _log(f"Received with rtt {duration.show(rtt)}")
        for key, value in (reply.headers or {}).items():
            _log(f"{key}: {value}")
        if reply.headers:
            _log("")
    _write(reply.data or b"nil body")
    if not raw:
        _write(b"")


async def listen(server: str, subjects: list[str], count: int, raw: bool, headers_only: bool) -> None:
    """Print messages on `subjects` until `count` came, or for ever with 0. Bodies alone with `raw`, and into a pipe.

    Raises BadRequestError for a subject that is none, ForbiddenError for one that the server does not let this login
    hear, BusUnavailableError when the server closes the connection.
    """
    came: asyncio.Queue[Msg | InferenceServiceError] = asyncio.Queue()
    bodies_alone = raw or not (headers_only or sys.stdout.isatty())

    def lost(reason: str) -> None:
        came.put_nowait(BusUnavailableError(reason))

    def failed(error: str) -> None:
        if refused := refused_subject(error):
            came.put_nowait(not_permitted("subscribe to", refused))

    client = await connect(server, NAME, on_closed=lost, on_error=failed, reconnect_s=CLIENT_RECONNECT_S)
    try:
        for subject in subjects:
            await subscribe(client, subject, came.put)
        try:
            await flush(client)
        except nats.errors.Error as error:
            raise BusUnavailableError(f"the server does not answer: {error}") from error
        if not raw:
            # Only now: who reads this line may publish.
            for subject in subjects:
                _log(f"Subscribing on {subject}")
        for subject in subjects:
            _hint_at_token(subject)
        await _print_messages(came, count, bodies_alone, headers_only)
    finally:
        await close(client)


async def _print_messages(
    came: asyncio.Queue[Msg | InferenceServiceError], count: int, bodies_alone: bool, headers_only: bool
) -> None:
    """Print what comes until `count` did; raises an error that comes."""
    for number in itertools.count(1):
        message = await came.get()
        if isinstance(message, InferenceServiceError):
            raise message
        _print_message(message, number, bodies_alone, headers_only)
        if number == count:
            return


def _hint_at_token(subject: str) -> None:
    """Say where the reports are when `subject` names a model with a dot: nothing is ever published there."""
    named = _REPORTS.fullmatch(subject)
    if named is None:
        return
    load, beat = named.groups()
    token = tokens.load_report(tokens.model_token(load)) if load else tokens.heartbeat(tokens.model_token(beat))
    print(f"hint: reports of a model with a dot in its name go to its token: {token}", file=sys.stderr, flush=True)


def _print_message(message: Msg, number: int, bodies_alone: bool, headers_only: bool) -> None:
    if bodies_alone:
        _write(message.data)
        return
    reply = f' with reply "{message.reply}"' if message.reply else ""
    _write(f'[#{number}] Received on "{message.subject}"{reply}'.encode())
    for key, value in (message.headers or {}).items():
        _write(f"{key}: {value}".encode())
    if message.headers:
        _write(b"")
    if not headers_only:
        _write(message.data)
        _write(b"")


def _write(body: bytes) -> None:
    """A line on standard output, as bytes: a body need not be text."""
    sys.stdout.buffer.write(body if body.endswith(b"\n") else body + b"\n")
    sys.stdout.buffer.flush()


def _log(line: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S} {line}".rstrip(), file=sys.stderr, flush=True)
