"""What a URL may be, and what of it may be shown."""

import asyncio

import pytest

from golek_client import BadRequestError, BusUnavailableError, Golek
from golek_client.connection import check_url, connect, shown

NOBODY = 1
"""A port where nobody listens."""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nats://127.0.0.1:abc", "its port is no number"),
        ("nats://127.0.0.1:99999", "its port is no number"),
        ("http://x", "its scheme is 'http'"),
        ("nats://[::1", "its host cannot be read"),
        ("nats://", "it names no host"),
        ("nats://:4222", "it names no host"),
        ("nats://a b:4222", "it names no host"),
        ("", "it names no host"),
        ("nats://a:4222,", "it names no host"),
        ("nats://a:4222,http://b", "its scheme is 'http'"),
    ],
)
def test_a_wrong_url_is_refused_before_connecting(url: str, problem: str) -> None:
    """The mistake is the caller's, so that no retry helps, and the error says what is wrong."""
    with pytest.raises(BadRequestError, match=problem) as raised:
        asyncio.run(connect(url, "test"))
    assert raised.value.details == {"param": "url", "url": url}


@pytest.mark.parametrize(
    "url",
    ["nats://127.0.0.1:4222", "nats://h", "tls://u:p@h:1", "ws://h", "h", "h:4222", "nats://[::1]:4222", "u:p@h:1",
     "nats://a,nats://b:1", "a, b:1,c", "nats://u:p,q@a,nats://u:p,q@b"],
)  # fmt: skip
def test_a_url_may_leave_out_scheme_and_port(url: str) -> None:
    """Whatever nats-py takes is taken."""
    check_url(url)


def test_several_servers_have_one_user() -> None:
    """A server that others tell of is asked as the same one; two would be a guess."""
    with pytest.raises(BadRequestError, match="these URLs name several") as raised:
        check_url("nats://a:secret@one,nats://b:secret@two")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("nats://me:secret@h:4222", "nats://h:4222"),
        ("nats://secret@h", "nats://h"),
        ("me:secret@h:4222", "h:4222"),
        ("nats://me:sec@ret/secret@h", "nats://h"),
        ("tls://me:secret@[::1", "tls://[::1"),
        ("nats://me:sec,ret@a:1, nats://me:sec,ret@b:2", "nats://a:1,nats://b:2"),
        ("me:secret@a,me:secret@b", "b"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, safe: str) -> None:
    """User, password and token are nobody's business who reads an error."""
    assert shown(url) == safe


@pytest.mark.parametrize(
    "url", ["nats://me:secret@127.0.0.1:1", "nats://secret@127.0.0.1:1", "nats://me:secret/x@h", "http://me:secret@h"]
)
async def test_an_error_holds_no_secret(url: str) -> None:
    """Neither the message, nor the details, nor the errors it came from."""
    with pytest.raises((BusUnavailableError, BadRequestError)) as raised:
        await Golek(url).ask("tiny", "hi")
    error: BaseException | None = raised.value
    while error is not None:
        assert "secret" not in f"{error!r} {getattr(error, 'details', None)}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


async def test_a_cancel_is_not_forgotten() -> None:
    """Whenever it comes while nobody listens, also in the moment in which that is noticed."""
    for moment in range(200):
        connecting = asyncio.create_task(connect(f"nats://127.0.0.1:{NOBODY}", "test"))
        for _ in range(moment):
            await asyncio.sleep(0)
        if not connecting.cancel():
            break
        await asyncio.wait([connecting])
        assert connecting.cancelled(), moment
    assert isinstance(connecting.exception(), BusUnavailableError)
