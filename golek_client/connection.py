"""How does a Golek program connect to NATS, publish, subscribe and hang up?

The one place that calls nats-py's `connect`, `publish`, `subscribe` and `close` for the client, and `connect` and
`publish` for workers. Its errors become ours here.
"""

import asyncio
import contextlib
import ipaddress
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import nats
import nats.errors
from nats.aio.client import Client

from golek_client.bus_client import BusClient
from golek_client.login import Login, refusal
from golek_client.transport import Subscribed, Transport
from golek_wire.errors import BadRequestError, BusUnavailableError, InferenceServiceError, PayloadTooLargeError
from golek_wire.headers import REQUEST_RESERVE, message_size

log = logging.getLogger("golek.bus")

CONNECT_TIMEOUT_S = 2
PING_INTERVAL_S = 2
TOLD_AGAIN_S: Final = 60.0
"""So often an error that goes on stands in the log."""
"""With two outstanding pings a dead server is noticed in about 6 s."""

Pause = tuple[float, float]
"""The range in seconds that a pause is drawn from, once per connection, so that a fleet does not come back in step."""

WORKER_RECONNECT_S: Final[Pause] = (0.25, 2.0)
CLIENT_RECONNECT_S: Final[Pause] = (0.1, 0.25)
"""A client is back before the workers are: an answer to an inbox that nobody listens on yet is lost."""

_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_USERINFO: Final = re.compile(r"^([A-Za-z+]*://)?.*@", re.DOTALL)
_NEXT_SERVER: Final = re.compile(r",\s*(?=[A-Za-z+]+://)")


async def connect(
    url: str,
    name: str,
    *,
    login: Login | None = None,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
    on_closed: Callable[[str], None] | None = None,
    on_error: Callable[[str], None] | None = None,
    reconnect_s: Pause = WORKER_RECONNECT_S,
) -> BusClient:
    """A connection that, once it stood, is restored for ever when it breaks, one attempt every `reconnect_s`.

    `url` may list servers of one cluster with commas between. One that answers is taken; after a break any of them, or
    of those that they tell of.

    Only an error that the server itself sends, such as an expired user or a connection too many, closes it for good:
    then `is_closed` is true and `on_closed` is called with the reason, as it is after `close`. Other errors, such as
    that a subject may not be used, go to the log and to `on_error`.

    `login` says as whom, and how TLS is spoken; without it the environment does.

    Raises at once, with URL and cause: BadRequestError for a URL that is none and for a login that cannot be read,
    UnauthorizedError for one that the server refuses, BusUnavailableError when nobody answers and for a certificate
    that is not trusted.
    """
    check_url(url)
    login = Login.from_environment() if login is None else login
    listed = servers(url)
    random.shuffle(listed)  # a fleet spreads over its brokers
    watch = _Watch(on_error, on_closed)
    options: dict[str, Any] = {"reconnected_cb": on_reconnect} if on_reconnect else {}
    options |= {"name": name, **login.options(url), **_login(listed)}
    # nats-py goes on to the next server when nobody listens, but not from one that hangs or refuses: so each has its
    # turn to be the first.
    for left in reversed(range(len(listed))):
        watch.client = client = BusClient()
        client.must_encrypt = login.demands_tls(url)
        try:
            await _connect_once(client, listed, watch, options)
            break
        except (OSError, TimeoutError, nats.errors.Error) as error:
            _notice_cancel()
            if not left:
                cause = watch.cause or error
                raise refusal(shown(url), login.shown(url), cause, client.wants) or _nobody_at(url, cause) from error
            listed = [*listed[1:], listed[0]]
    watch.stands = True
    client.options.update(
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=random.uniform(*reconnect_s),
        dont_randomize=False,
    )
    return client


def _notice_cancel() -> None:
    """Raise CancelledError if this task was cancelled: Python 3.11's `wait_for`, by which nats-py connects, forgets it
    when the connection is refused in the same moment (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Watch:
    """What becomes of a connection, by nats-py's word."""

    def __init__(self, on_error: Callable[[str], None] | None, on_closed: Callable[[str], None] | None) -> None:
        self._on_error = on_error
        self._on_closed = on_closed
        self.client: BusClient
        self.stands = False
        """Whether it stood once; before that errors are the caller's to see."""
        self.cause: Exception | None = None
        """The last error."""
        self._told_at: dict[str, float] = {}
        """When each error was told last: one comes with every attempt, and with every message that is refused."""

    async def error(self, error: Exception) -> None:
        self.cause = error
        if self.stands and self._is_news(f"{type(error).__name__}: {error}"):
            log.warning("nats: %s: %s", type(error).__name__, error)
        if self.stands and self._on_error is not None:
            self._on_error(str(error))

    def _is_news(self, text: str) -> bool:
        now = time.monotonic()
        self._told_at = {said: at for said, at in self._told_at.items() if now - at < TOLD_AGAIN_S}
        return self._told_at.setdefault(text, now) == now

    async def closed(self) -> None:
        if self._on_closed is not None and self.stands:
            reason = self.client.last_error or "by this program"
            self._on_closed(f"the connection to NATS was closed ({reason})")


async def _connect_once(client: BusClient, listed: list[str], watch: _Watch, options: dict[str, Any]) -> None:
    """Connect to the first of the `listed` that listens; where that fails the client is closed."""
    task = asyncio.current_task()
    assert task is not None
    cancelling = task.cancelling()
    try:
        await client.connect(
            listed,
            error_cb=watch.error,
            closed_cb=watch.closed,
            # The first connect fails fast; patience comes once the connection stood.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            dont_randomize=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            **options,
        )
        _check_cancelled(task, cancelling)
    except BaseException:
        await close(client)
        _check_cancelled(task, cancelling)
        raise


def _check_cancelled(task: "asyncio.Task[Any]", before: int) -> None:
    """Raise the cancellation that was forgotten: `asyncio.wait_for` of Python 3.11, by which nats-py connects, does so
    when the connection stands or fails in the same moment (github.com/python/cpython/issues/86296).
    """
    if task.cancelling() > before:
        raise asyncio.CancelledError


def servers(url: str) -> list[str]:
    """The URLs that `url` lists with commas between.

    Where one has a user or password each needs its scheme, because a password may hold a comma.
    """
    return _NEXT_SERVER.split(url) if "@" in url else [one.strip() for one in url.split(",")]


def _login(listed: list[str]) -> dict[str, str]:
    """nats-py's options for the user in the URLs: from there it would not reach servers that others tell of."""
    for url in listed:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.username and parts.password is not None:
            return {"user": parts.username, "password": parts.password}
        if parts.username:
            return {"token": parts.username}
    return {}


def check_url(url: str) -> None:
    """Raises BadRequestError saying what is wrong with `url`, one or several; a scheme and a port may be left out."""
    listed = servers(url)
    problem = next((problem for one in listed if (problem := _problem(one))), None)
    if problem is None and len({user for one in listed if (user := urlsplit(one).netloc.rpartition("@")[0])}) > 1:
        problem = "the servers of a cluster are asked as one user, and these URLs name several"
    if problem:
        raise BadRequestError(
            f"{shown(url)!r} is no URL of a NATS server: {problem}; nats://127.0.0.1:4222 is one",
            param="url",
            url=shown(url),
        )


def _problem(url: str) -> str | None:
    """What is wrong with the URL of one server."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.scheme not in _SCHEMES:
            return f"its scheme is {parts.scheme!r}, not one of {', '.join(_SCHEMES)}"
        if not parts.hostname or re.search(r"\s", parts.hostname):
            return "it names no host"
    except ValueError:
        return "its host cannot be read; an IPv6 address stands in brackets"
    try:
        _ = parts.port
    except ValueError:  # whose text may hold a piece of a password
        return "its port is no number from 0 to 65535"
    return None


def _nobody_at(url: str, cause: Exception) -> BusUnavailableError:
    """What to tell who could not connect: the URL, the cause, and how to get a server."""
    make = "make nats" if len(servers(url)) == 1 else "make nats-cluster"
    start = f"`{make}` starts one on this machine; " if is_loopback(url) else ""
    return BusUnavailableError(
        f"no NATS server answers at {shown(url)} ({type(cause).__name__}: {cause}). {start}NATS_URL names another",
        url=shown(url),
    )


def is_loopback(url: str) -> bool:
    """True when `url` names this machine by a loopback address; of several URLs all must."""
    return all(_is_loopback(urlsplit(one if "://" in one else f"nats://{one}").hostname or "") for one in servers(url))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(url: str) -> str:
    """`url` as it may be shown: without user, password or token, also where it lists several."""
    return ",".join(_USERINFO.sub(r"\1", one) for one in servers(url))


async def publish(
    client: Transport, subject: str, payload: bytes, headers: dict[str, str] | None = None, reply: str = ""
) -> None:
    """Publish one message, after checking its whole size: nats-py checks only the payload, and the server answers an
    oversize message by closing the connection.

    Raises BadRequestError for a subject or header that cannot be written, PayloadTooLargeError with both sizes,
    BusUnavailableError when the connection is closed or, while it is being restored, its buffer is full.
    """
    size = len(payload)
    try:
        if headers and size > client.max_payload - REQUEST_RESERVE:
            size = message_size(payload, headers)  # encodes them: not worth its time for the many small messages
        if size > client.max_payload:
            raise PayloadTooLargeError(
                f"a message of {size} bytes to {subject}; the server takes {client.max_payload}",
                size=size,
                limit=client.max_payload,
            )
        await client.publish(subject, payload, reply, headers)
    except (nats.errors.Error, OSError, UnicodeEncodeError) as error:
        raise _ours(error, subject) from error


async def subscribe(client: Transport, subject: str, deliver: Callable[[Any], Awaitable[None]]) -> Subscribed:
    """Call `deliver` with every message on `subject`.

    Raises BadRequestError for a subject that is none, BusUnavailableError when the connection is closed.
    """
    try:
        return await client.subscribe(subject, cb=deliver)
    except (nats.errors.Error, OSError, UnicodeEncodeError) as error:
        raise _ours(error, subject) from error


async def hear(client: Transport, subject: str, take: Callable[[Any], None]) -> Subscribed:
    """Call `take` with every message on `subject`, from the connection's reader where it can: a message that passes
    nats-py's queue and task costs twice as much. Raises as `subscribe` does.
    """

    async def deliver(message: Any) -> None:
        take(message)

    if not isinstance(client, BusClient):
        return await subscribe(client, subject, deliver)
    try:
        return await client.subscribe_direct(subject, deliver)
    except (nats.errors.Error, OSError, UnicodeEncodeError) as error:
        raise _ours(error, subject) from error


async def unsubscribe(subscribed: Subscribed) -> None:
    """Hear no more; that the connection is closed is no error here."""
    with contextlib.suppress(nats.errors.Error, OSError):
        await subscribed.unsubscribe()


async def close(client: Transport) -> None:
    """Send what was published and hang up; that the connection is broken is no error here."""
    with contextlib.suppress(OSError, RuntimeError):  # uvloop's word for a transport that is closed already
        await client.close()


def _ours(error: Exception, subject: str) -> InferenceServiceError:
    """What nats-py's `error` at `subject` is for our callers: their mistake, or the connection's state."""
    match error:
        case nats.errors.BadSubjectError():
            return BadRequestError(f"{subject!r} is no subject: tokens between dots, no blanks", param="subject")
        case nats.errors.BadHeaderError():
            return BadRequestError(f"{error.key!r} is no name of a header: ASCII without blanks", param="headers")
        case UnicodeEncodeError():
            return BadRequestError(f"the subject or a header of the message to {subject!r} is no text: {error.reason}")
        case _:
            return BusUnavailableError(f"the connection to NATS does not take messages: {error}")


async def flush(client: Client) -> None:
    """Return once the server has processed everything subscribed and published before.

    nats-py's own `flush` sends its PING ahead of commands that still wait to be written (2.16, `Client._send_ping`), so
    its PONG says nothing about them; by the second round trip they are out.
    """
    await client.flush()
    await client.flush()
