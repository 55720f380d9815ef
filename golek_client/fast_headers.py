"""Why is nats-py's client not used as it is?

A job's message carries seven headers, and nats-py 2.16 checks each name by a regular expression and each value
character by character: a fifth of what a worker's event loop does for one request. `FastHeadersClient` writes and reads
blocks whose header names are all Golek's own in one go, and leaves everything else to nats-py. tests/unit holds both
ways equal. The version of nats-py is pinned because two of its private methods are replaced.
"""

from typing import Any

from nats.aio.client import Client

from golek_wire import headers

_NAMES = {
    value.encode(): value
    for name, value in vars(headers).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_")
}
_KNOWN = frozenset(_NAMES.values())


class FastHeadersClient(Client):
    """A nats-py client that is quick about known headers."""

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

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found = decode_known(raw)
        return found if found is not None else Client._parse_header_lines(raw)


def encode_known(headers: dict[str, str]) -> bytes | None:
    """The header block on the wire; None when a name is not ours or a value holds a line break."""
    if not _KNOWN.issuperset(headers):
        return None
    text = "".join([f"{name}: {value.strip()}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        return None
    return f"NATS/1.0\r\n{text}\r\n".encode()


def decode_known(raw: bytes) -> dict[str, str] | None:
    """The headers in a block without its first line; None when a name is not ours."""
    found = {}
    for line in raw.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            known = _NAMES.get(name)
            if known is None:
                return None
            found[known] = value.strip().decode("utf-8", "replace")
    return found
