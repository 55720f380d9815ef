"""How is the application served on an address?

By uvicorn inside this process's event loop: it parses with httptools and leaves signals alone. Ending is in order: no
new connections, then what runs ends within its time, then the rest is told so and cut off.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from golek_program.settings.http import Address, Http
from golek_program.web.protocol import Connection

log = structlog.get_logger("gateway")

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75
CUT_S: Final = 2.0
"""For the last word to those who are cut off."""
_ALIVE: Final = b'{"status":"ok"}'


class AddressError(RuntimeError):
    """The address cannot be listened on; the message says why."""


class TakenError(AddressError):
    """Nothing can listen there, because somebody does or because it is no address of this machine."""


class _Quiet(uvicorn.Server):
    """Leaves signals to whose process it is."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One address that is served. Made by `serve`."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket, where: Address) -> None:
        self._server = server
        self._socket = listening
        self.where = where
        """With the port that was found where 0 was asked for."""
        self._running = asyncio.create_task(server.serve([listening]))

    async def ended(self) -> None:
        """Wait until it serves no more. Raises what it ended in."""
        await asyncio.shield(self._running)

    def refuse(self) -> None:
        """Take no new connections."""
        for listener in getattr(self._server, "servers", ()):  # not there before it has begun to serve
            listener.close()

    async def close(self, patience_s: float) -> None:
        """Take no new connections, let what runs end for `patience_s`, then cut it off: who waits is told so."""
        self._server.should_exit = True
        _, runs = await asyncio.wait([self._running], timeout=patience_s)
        if runs:
            await self._cut_off()
            await asyncio.wait([self._running], timeout=CUT_S)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._socket.close()

    async def _cut_off(self) -> None:
        answering = list(self._server.server_state.tasks)
        log.warning("http.cut_off", requests=len(answering))
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering, timeout=CUT_S)
        self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, Connection):
                connection.cut_off()


async def serve(app: ASGIApp, where: Address, settings: Http) -> Server:
    """Listen on `where` and serve `app`. Raises AddressError."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each request that is no HTTP
    if settings.http_tls_key and not settings.http_tls_cert:
        raise AddressError(f"HTTP_TLS_KEY={settings.http_tls_key}: HTTP_TLS_CERT, the certificate to it, is missing")
    listening = _listen(where)
    config = uvicorn.Config(
        app,
        loop="none",
        http=Connection,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        ssl_certfile=settings.http_tls_cert or None,
        ssl_keyfile=settings.http_tls_key or None,
    )
    try:
        config.load()
    except OSError as error:
        listening.close()
        raise AddressError(_no_tls(settings, error)) from None
    return Server(_Quiet(config), listening, Address(where.host, listening.getsockname()[1]))


def _no_tls(settings: Http, error: OSError) -> str:
    given = f"HTTP_TLS_CERT={settings.http_tls_cert}"
    if settings.http_tls_key:
        given += f", HTTP_TLS_KEY={settings.http_tls_key}"
    why = (
        error.strerror
        if isinstance(error, FileNotFoundError | PermissionError)
        else f"no certificate and its key ({error})"
    )
    if not settings.http_tls_key and isinstance(error, ssl.SSLError):
        why = f"{why}; HTTP_TLS_KEY, the file with its key, is missing"
    return f"{given}: {why}"


async def alive(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """An application that says to whoever asks that the process lives, and does nothing else."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ALIVE))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _ALIVE})


def _listen(where: Address) -> socket.socket:
    host = where.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, where.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        why = "something listens there already" if error.errno == errno.EADDRINUSE else error.strerror
        raise TakenError(f"{where.host}:{where.port} cannot be served: {why}") from None
    listening.setblocking(False)
    return listening
