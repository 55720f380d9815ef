"""Our short cuts through nats-py do what nats-py does."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from golek_client.bus_client import _KNOWN, BusClient, decode_known, encode_known
from golek_client.reader import Reader

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


class Heard(Parser):
    """Keeps what a parser hands on."""

    def __init__(self) -> None:
        super().__init__(self)
        self.heard: list[tuple[object, ...]] = []

    async def _process_msg(self, *message: object) -> None:
        self.heard.append(tuple(bytes(part) if isinstance(part, bytearray) else part for part in message))

    async def _process_ping(self) -> None:
        self.heard.append(("PING",))

    async def _process_pong(self) -> None:
        self.heard.append(("PONG",))

    async def _process_err(self, text: str) -> None:
        self.heard.append(("ERR", text))


class HeardByUs(Heard, Reader): ...


def _message(subject: str, sid: int, reply: str, head: bytes | None, payload: bytes) -> bytes:
    words = [subject, str(sid), *([reply] if reply else [])]
    if head is None:
        return b"MSG %b %d\r\n%b\r\n" % (" ".join(words).encode(), len(payload), payload)
    sizes = (len(head), len(head) + len(payload))
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (" ".join(words).encode(), *sizes, head, payload)


SUBJECTS = st.sampled_from(["a", "a.b.c", "_INBOX.x.1"])
HEADS = st.binary(max_size=30).map(b"NATS/1.0".__add__)
MESSAGES = st.builds(
    _message, SUBJECTS, st.integers(0, 9999), SUBJECTS | st.just(""), st.none() | HEADS,
    st.binary(max_size=60) | st.just(b"MSG a 1 1\r\nx\r\n"),
)  # fmt: skip
LINES = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Slow Consumer'\r\n"])
WRONG = st.sampled_from([b"MSG a\r\n", b"MSG a x 1\r\n\r\n", b"HMSG a 1 5\r\n", b"NONSENSE\r\n"])


@given(st.lists(MESSAGES | LINES, max_size=8), st.lists(st.integers(0, 400), max_size=6), st.none() | WRONG)
def test_messages_are_found_as_nats_py_finds_them(sent: list[bytes], cuts: list[int], wrong: bytes | None) -> None:
    """However the server's bytes are cut, and whatever stands between them or is wrong at their end."""
    whole = b"".join(sent) + (wrong or b"")
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    found = [_told(kind(), pieces) for kind in (HeardByUs, Heard)]
    assert found[0] == found[1]


def _told(parser: Heard, pieces: list[bytes]) -> tuple[list[tuple[object, ...]], str]:
    async def feed() -> str:
        try:
            for piece in pieces:
                await parser.parse(piece)
        except ProtocolError as error:
            return str(error)
        return ""

    problem = asyncio.run(feed())
    return parser.heard, problem
