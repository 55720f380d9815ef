"""Why is nats-py's client not used as it is?

A worker's event loop handles six messages for one request, and nats-py 2.16 spent a third of its time on two things:
header names and values are checked one by one, character by character; and each message passes a queue and a task
before its callback. `BusClient` writes and reads headers whose names are all Golek's own in one go, and can call back
straight from the reader. It also closes a broken connection to the end. Everything else is left to nats-py, whose
version is pinned because private methods are replaced; tests/unit holds both equal. See docs/decisions/0005.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import ParseResult

from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from golek_client.reader import Reader
from golek_wire import headers

HEADERS_READ = headers.REQUEST_RESERVE
"""Bytes of headers that a direct delivery reads: a million lines would keep the reader from all others."""
WITHDRAW_TIMEOUT_S = 2

_NAMES = {
    value.encode(): value
    for name, value in vars(headers).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_")
}
_KNOWN = frozenset(_NAMES.values())
_FIRST_LINE = b"NATS/1.0\r\n"


class Delivery:
    """A message given to a direct callback."""

    __slots__ = ("data", "headers", "reply", "subject", "unread")

    def __init__(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers
        self.unread = 0
        """Bytes of headers that were not read, because there are too many."""


DirectCallback = Callable[[Delivery], Awaitable[None]]


class _TcpTransport(TcpTransport):
    """nats-py's, without two faults of its TLS (2.16): `wait_closed` waits for ever after a handshake that failed, and
    asyncio complains on standard error when the server hangs up.
    """

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        try:
            await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
            # As asyncio's `StreamWriter.start_tls` does: over TLS the reader cannot stay open after the end.
            writer: Any = self._io_writer
            writer._protocol._over_ssl = True
        except BaseException:
            if self._io_writer is not None:
                self._io_writer.transport.abort()
            self._io_reader = self._io_writer = None
            raise

    def __bool__(self) -> bool:
        """True also while it is not connected: a false one nats-py would replace by its own."""
        return True


class BusClient(Client):
    """A nats-py client that is quick about known headers, and offers direct subscriptions."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = Reader(self)
        self._direct: dict[int, DirectCallback] = {}
        self.must_encrypt = False
        """Whether a server that offers no TLS is not spoken to; nats-py (2.16) would go on in clear."""
        self.replicas = 0
        """On how many servers the streams that are made through this connection lie; 0 is the broker's own number."""

    @property
    def wants(self) -> str:
        """What the server wants of a client beyond a connection: `certificate`, `login` or nothing."""
        if self._server_info.get("tls_verify"):
            return "certificate"
        return "login" if self._server_info.get("auth_required") else ""

    @property
    def has_login(self) -> bool:
        """Whether this program logged in as somebody."""
        return self._auth_configured

    @property
    def cluster(self) -> str:
        """The name of the cluster that the server belongs to; empty for a server alone."""
        return str(self._server_info.get("cluster", ""))

    async def subscribe_direct(self, subject: str, callback: DirectCallback, queue: str = "") -> Subscription:
        """Subscribe with a callback that the reader itself awaits.

        It may publish. It must not wait for a message: while it runs, none is read.
        """
        number = self._sid + 1  # nats-py numbers subscriptions; the server may deliver before `subscribe` returns
        self._direct[number] = callback
        try:
            return await self.subscribe(subject, queue=queue)
        except BaseException:
            self._direct.pop(number)
            raise

    async def withdraw(self, subscription: Subscription) -> None:
        """Unsubscribe, and return once everything the server sent before has reached the callback.

        nats-py's `drain` may send its PING ahead of the UNSUB, and drops what the server sends between the two.
        """
        try:
            await self._send_unsubscribe(subscription._id)
            await self.flush(WITHDRAW_TIMEOUT_S)
            await self.flush(WITHDRAW_TIMEOUT_S)
        finally:
            self._remove_sub(subscription._id)  # also where the connection broke: a new one must not take it up again

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """As nats-py does, but to the end where the connection is broken.

        nats-py (2.16) writes what is pending; when that raises it has not yet ended its tasks nor called back, and a
        second `close` does nothing.
        """
        if self._flush_queue is None:  # `connect` had not begun
            self._status = status
            return
        try:
            await super()._close(status, do_cbs)
        except OSError:
            self._pending, self._pending_data_size = [], 0
            self._status = Client.DISCONNECTED
            await super()._close(status, do_cbs)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is None and s.uri.scheme in ("nats", "tls"):
            self._transport = _TcpTransport()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """As nats-py does; but where encryption is a must, TLS that is only offered is taken, and none is an error."""
        if initial_connection and self.must_encrypt and not self.options["tls_handshake_first"]:
            info["tls_required"] = info.get("tls_required") or info.get("tls_available")
            if not info["tls_required"]:
                raise NatsError("the server offers no TLS, and it is asked for")
        await super()._process_info(info, initial_connection)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """A subject that is no text ends nobody's connection, as it would in nats-py: nobody can be answered there."""
        callback = self._direct.get(sid)
        try:
            if callback is None:
                await super()._process_msg(sid, subject, reply, data, headers)
                return
            message = Delivery(subject.decode(), reply.decode(), data, None)
        except UnicodeDecodeError as error:
            await self._error_cb(error)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        if headers and len(headers) > HEADERS_READ:
            message.unread = len(headers)
        else:
            message.headers = await self._process_headers(headers)
        try:
            await callback(message)
        except Exception as error:  # noqa: BLE001 - as nats-py does: the reader must go on
            await self._error_cb(error)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        block = encode_known(headers) if headers else None
        if block is None:
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        line = f"HPUB {subject} {reply} {len(block)} {len(block) + payload_size}\r\n".encode()
        await self._send_command(b"%b%b%b\r\n" % (line, block, payload))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """As nats-py does; but what is no block of headers counts as none, where nats-py would end the connection."""
        found = decode_known(headers) if headers else None
        if found is not None:
            return found
        try:
            return await super()._process_headers(headers)
        except (IndexError, UnicodeDecodeError, ValueError) as error:
            await self._error_cb(error)
            return None


def encode_known(headers: dict[str, str]) -> bytes | None:
    """The header block on the wire; None when a name is not ours or a value holds a line break."""
    if not _KNOWN.issuperset(headers):
        return None
    text = "".join([f"{name}: {value.strip()}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        return None
    return _FIRST_LINE + f"{text}\r\n".encode()


def decode_known(block: bytes) -> dict[str, str] | None:
    """The headers in a block; None when a name is not ours, or the first line carries a status."""
    if not block.startswith(_FIRST_LINE):
        return None
    found = {}
    for line in block[len(_FIRST_LINE) :].split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            known = _NAMES.get(name)
            if known is None:
                return None
            found[known] = value.strip().decode("utf-8", "replace")
    return found
