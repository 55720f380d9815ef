"""Our short cuts through nats-py do what nats-py does."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from golek_client.bus_client import _KNOWN, BusClient, decode_known, encode_known

VALUES = st.text(st.characters(codec="utf-8"), max_size=40)


class Written:
    """Mixed into a client: keeps commands instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[bytes] = []

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.commands.append(cmd)


class Ours(Written, BusClient): ...


class Theirs(Written, Client): ...


@given(st.dictionaries(st.sampled_from(sorted(_KNOWN)) | st.just("X-Other"), VALUES, min_size=1, max_size=9))
def test_a_message_is_written_as_nats_py_writes_it(headers: dict[str, str]) -> None:
    """Byte for byte, with known and unknown names, line breaks and blanks around values."""
    ours, theirs = Ours(), Theirs()
    for client in (ours, theirs):
        asyncio.run(client._send_publish("a.b", "r", b"payload", 7, headers))
    assert ours.commands == theirs.commands
    assert ours.stats == theirs.stats


@given(st.dictionaries(st.sampled_from(sorted(_KNOWN)), VALUES, min_size=1, max_size=9))
def test_headers_are_read_as_nats_py_reads_them(headers: dict[str, str]) -> None:
    """What was written is read back alike by both."""
    block = encode_known(headers)
    if block is not None:
        assert decode_known(block) == asyncio.run(Theirs()._process_headers(block))


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0\r\nX-Other: 1\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nGolek-Job : a\r\n\r\n",
        b"NATS/1.0\r\ngolek-job: a\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1016\r\n\r\n",
    ],
)
def test_what_is_not_ours_is_left_to_nats_py(block: bytes) -> None:
    """Any other name, a malformed line or a status takes nats-py's way."""
    assert decode_known(block) is None
    assert asyncio.run(Ours()._process_headers(block)) == asyncio.run(Theirs()._process_headers(block))
