"""How does a process serve HTTP: a worker for its model, the gateway for the fleet?

    python -m golek_worker.front [--log FILE]        the fleet's gateway

Both serve the same application on the bus, as clients of it. Without keys that is open on loopback alone.
"""

import argparse
import asyncio
import contextlib
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog
import uvloop
from nats.aio.msg import Msg

from golek_client import Golek
from golek_client.bus_client import BusClient
from golek_client.connection import close, connect, flush, publish
from golek_program import logging as front_logging
from golek_program import tracing
from golek_program.garbage import settle_garbage
from golek_program.settings import SettingsError
from golek_program.settings.http import Address, Gateway, Http, is_loopback
from golek_program.web import server
from golek_program.web.server import AddressError, Server
from golek_wire import codec, subjects
from golek_wire.errors import BusUnavailableError, InferenceServiceError
from golek_wire.keys import Key
from golek_wire.signals import Health
from golek_worker import settings
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.keyfile import KeyFileError
from golek_worker.bus.keys import KeyBook
from golek_worker.gateway import strangers
from golek_worker.gateway.access import AccessLog
from golek_worker.gateway.app import application
from golek_worker.gateway.door import Door, Keyless
from golek_worker.gateway.metrics import Meters
from golek_worker.gateway.offers import Offers
from golek_worker.gateway.reporting import Reporter
from golek_worker.gateway.strangers import AuthError, Strangers
from golek_worker.machine import logfiles, startable
from golek_worker.process import raise_file_limit
from golek_worker.telemetry.signals import Reports

if TYPE_CHECKING:
    from golek_program.spans import Tracing

log = structlog.get_logger("gateway")

GARBAGE = 2_000, 5
"""When the collector looks again: later, bodies that were refused would lie about for long."""
DRAIN_S = 30.0
FRONT_ERRORS = (*BUS_ERRORS, KeyFileError, AddressError, SettingsError, RuntimeError)
"""What keeps HTTP from being served and is not a bug: shown as a sentence, without a traceback."""


class OpenToAllError(RuntimeError):
    """Others could reach this address, and there are no keys."""


class Ring:
    """The keys of the fleet, for who serves HTTP; none where there is no book of them."""

    def __init__(self, book: KeyBook | None) -> None:
        self._book = book
        self._none: dict[str, Key] = {}

    @property
    def known(self) -> Mapping[str, Key]:
        return self._book.known if self._book is not None else self._none

    async def find(self, digest: str) -> Key | None:
        if self._book is None:
            return None
        if (key := self._book.find(digest)) is not None or not self._book.is_worth_a_look(digest):
            return key
        with _said_plainly("the broker does not say whether it knows this key"):
            return await self._book.look(digest)

    async def put(self, digest: str, key: Key) -> None:
        """Store a row, known here at once. Raises BusUnavailableError."""
        assert self._book is not None
        with _said_plainly("the broker does not take who was let in"):
            await self._book.put(digest, key)

    async def forget(self, digest: str) -> None:
        """Remove a row. Raises BusUnavailableError."""
        assert self._book is not None
        with _said_plainly("the broker does not forget who was let in"):
            await self._book.forget(digest)


@contextlib.contextmanager
def _said_plainly(why: str) -> Iterator[None]:
    """What the bus fails with is told as BusUnavailableError: `why`."""
    try:
        yield
    except BUS_ERRORS as error:
        raise BusUnavailableError(why) from error


class Front:
    """HTTP on one address, and what goes on beside it."""

    def __init__(self, serving: Server, door: Door, meters: Meters) -> None:
        self.where = serving.where
        self.reporter = Reporter(door, meters, door.settings.url(self.where), self.where.port)
        self._server = serving
        self._closing = door.closing
        self._beside = [asyncio.create_task(side) for side in (door.watch.run(), door.ready.run())]

    async def ended(self) -> None:
        """Wait until it serves no more. Raises what it, or what goes on beside it, ended in."""
        serving = asyncio.create_task(self._server.ended())
        try:
            done, _ = await asyncio.wait([serving, *self._beside], return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
        for task in done:
            task.result()

    async def close(self, patience_s: float) -> None:
        """As `Server.close`; then what goes on beside it ends."""
        clock = asyncio.get_running_loop().time
        until = clock() + patience_s
        self._server.refuse()
        await asyncio.gather(*(close_it(patience_s) for close_it in self._closing))
        await self._server.close(max(1.0, until - clock()))
        for side in self._beside:
            side.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)


async def open_front(
    stack: AsyncExitStack,
    where: Address,
    chosen: Http,
    book: KeyBook | None,
    traced: "Tracing | None" = None,
    *,
    auto: bool = False,
    served: str = "",
    own: Callable[[], Health] | None = None,
) -> Front:
    """Serve HTTP on `where` until `stack` closes; of the worker that does, `served` is its model and `own` how it is.
    Without `served` all models are; then `auto` says whether who names none asks for `auto`.

    Raises one of FRONT_ERRORS.
    """
    ring = Ring(book)
    _refuse_open(where, chosen, ring)
    tracer = traced.requests if traced is not None else None
    seconds = chosen.inference_request_timeout
    golek = Golek(chosen.nats_url, login=chosen.login, key="", deadline=seconds, tracer=tracer)
    stack.push_async_callback(golek.close)
    access = AccessLog(chosen.data / "logs")
    stack.push_async_callback(access.close)
    offers = None if served else Offers(golek, startable.here)
    admits = await _strangers(stack, chosen, book, ring, golek)
    door = Door(
        golek,
        chosen,
        ring,
        served,
        access.told,
        offers,
        seconds,
        own,
        admits,
        _keyless(where, chosen),
        tracing=traced,
        auto=auto,
    )
    stack.push_async_callback(door.lingering.close)
    with contextlib.suppress(InferenceServiceError):  # else it is opened by `run`
        await door.watch.open()
    meters = Meters(door)
    front = Front(await server.serve(application(door, meters), where, chosen), door, meters)
    stack.push_async_callback(front.close, DRAIN_S)
    return front


async def _strangers(
    stack: AsyncExitStack, chosen: Http, book: KeyBook | None, ring: Ring, golek: Golek
) -> Strangers | None:
    """Who GOLEK_AUTH lets in; None without it. Raises AuthError."""
    if not chosen.golek_auth:
        return None
    if book is None:
        raise AuthError(
            f"GOLEK_AUTH={chosen.golek_auth}: does not go with GOLEK_NATS_IDENTITY=accounts, where the server says who "
            "asks and keys have no meaning"
        )
    found = Strangers(strangers.load(chosen.golek_auth), ring, golek)
    await book.forget_lapsed(strangers.SOURCE)
    stack.push_async_callback(found.close)
    return found


def _refuse_open(where: Address, chosen: Http, ring: Ring) -> None:
    """Raises OpenToAllError."""
    if _keyless(where, chosen) != "nobody" or chosen.golek_auth or ring.known:
        return
    raise OpenToAllError(
        f"{where.host}:{where.port} can be reached by others, and nobody has a key: `golek keys create NAME` makes "
        "one, GOLEK_ALLOW_ANON=1 serves everybody, 127.0.0.1 this machine alone"
    )


def _keyless(where: Address, chosen: Http) -> Keyless:
    """Who needs no key while there is none."""
    return "everybody" if chosen.golek_allow_anon else "here" if is_loopback(where.host) else "nobody"


class GatewayProcess:
    """The fleet's gateway as a process of its own."""

    def __init__(self, chosen: Gateway) -> None:
        self._settings = chosen
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop. Raises one of FRONT_ERRORS."""
        chosen, loop = self._settings, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        async with AsyncExitStack() as stack:
            traced = tracing.start(chosen, "gateway", f"gateway-{socket.gethostname()}-{os.getpid()}")
            if traced is not None:
                stack.push_async_callback(traced.close)
            client = await connect(chosen.nats_url, "golek-gateway", login=chosen.login)
            client.replicas = chosen.nats_replicas
            stack.push_async_callback(close, client)
            book = await self._keys(client)
            await self._open_health_port(stack)  # first, so that it is the last to close: what drains is alive
            where = Address(chosen.inference_host, chosen.inference_port)
            serving = await open_front(stack, where, chosen, book, traced, auto=chosen.inference_auto_route_enabled)
            settle_garbage(*GARBAGE)
            log.info("gateway.ready", url=chosen.url(serving.where), open_files_limit=raise_file_limit())
            sides = [asyncio.create_task(self._stop.wait()), asyncio.create_task(serving.ended())]
            sides.append(asyncio.create_task(await self._report(stack, client, serving.reporter)))
            if book is not None:
                sides.append(asyncio.create_task(book.run()))
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            log.info("gateway.stops")
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            for side in done:
                side.result()

    async def _report(self, stack: AsyncExitStack, client: BusClient, reporter: Reporter) -> Coroutine[Any, Any, None]:
        """Say on the bus how this gateway is, until it leaves: what runs as long as it does."""

        async def send() -> None:
            with contextlib.suppress(*BUS_ERRORS):  # the next report follows
                await publish(client, subjects.gateway_report(reporter.gateway_id), codec.encode(reporter.report()))

        async def leave() -> None:
            reporter.leave()
            await send()
            with contextlib.suppress(*BUS_ERRORS):
                await flush(client)

        reports = Reports(send, lambda: reporter.is_busy, lambda: reporter.ended)

        async def asked(_: Msg) -> None:
            reports.report_now()

        await client.subscribe(subjects.SIGNALS_ASKED, cb=asked)
        stack.push_async_callback(leave)
        return reports.run()

    def _on_signal(self) -> None:
        """The first SIGTERM or SIGINT drains, the second ends the process at once."""
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()

    async def _open_health_port(self, stack: AsyncExitStack) -> None:
        """The port where a platform asks whether the process lives; without TLS, and it touches nothing."""
        chosen = self._settings
        if chosen.golek_health_port:
            plain = msgspec.structs.replace(chosen, http_tls_cert="", http_tls_key="")
            where = Address(chosen.inference_host, chosen.golek_health_port)
            try:
                health = await server.serve(server.alive, where, plain)
            except AddressError as error:
                raise AddressError(f"GOLEK_HEALTH_PORT={chosen.golek_health_port}: {error}; 0 is for none") from None
            stack.push_async_callback(health.close, 1.0)

    async def _keys(self, client: BusClient) -> KeyBook | None:
        """The fleet's keys; None between accounts, where the server says who asks."""
        if self._settings.golek_nats_identity == "accounts":
            return None
        return await KeyBook.open(client, self._settings.key_file)


def main() -> int:
    """Serve the fleet; the exit status is 0 after a stop, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="golek_worker.front", description="Serve the fleet over HTTP.")
    parser.add_argument("--log", help="the file that stderr goes to; without it the gateway makes one beside stderr")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        try:
            chosen = settings.load_gateway()
            _log(chosen, arguments.log, stack)
        except SettingsError as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            print(f"GOLEK_DATA={chosen.data}: no log can be written there: {error}", file=sys.stderr)
            return 1
        try:
            uvloop.run(GatewayProcess(chosen).run())
        except FRONT_ERRORS as error:
            log.error("gateway.failed", problem=str(error))  # noqa: TRY400 - a sentence, not a traceback
            return 1
    return 0


def _log(chosen: Gateway, file: str | None, stack: ExitStack) -> None:
    """Log to stderr, and to a file of this start unless stderr goes to one. Raises OSError."""
    streams: list[TextIO] = []
    if not file:
        opened = logfiles.open_to_write(logfiles.create(logfiles.service_folder(chosen.data, "gateway"), "boot"))
        streams.append(io.TextIOWrapper(stack.enter_context(opened), "utf-8", write_through=True))
    level, form = chosen.golek_log_level, chosen.golek_log_format
    front_logging.configure(level, *streams, form=form, into_file=bool(file), worker_id="gateway")


if __name__ == "__main__":
    sys.exit(main())
