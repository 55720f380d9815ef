"""Our short cut for headers writes and reads what nats-py does."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from golek_client.fast_headers import _KNOWN, FastHeadersClient, decode_known, encode_known

VALUES = st.text(st.characters(codec="utf-8"), max_size=40)


class Written:
    """Mixed into a client: keeps commands instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[bytes] = []

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.commands.append(cmd)


class Ours(Written, FastHeadersClient): ...


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
        raw = block[len(b"NATS/1.0\r\n") :]
        assert decode_known(raw) == Client._parse_header_lines(raw)


@pytest.mark.parametrize("raw", [b"X-Other: 1\r\n", b"no colon\r\n", b"Golek-Job : a\r\n", b"golek-job: a\r\n"])
def test_what_is_not_ours_is_left_to_nats_py(raw: bytes) -> None:
    """Any other name, or a malformed line, takes nats-py's way."""
    assert decode_known(raw) is None
    assert FastHeadersClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
