"""Who may look at the fleet and give it orders, by key, cookie and page."""

import pytest

from golek_monitor.web import access as door
from golek_monitor.web.access import Access
from golek_program.web.errors import HttpError
from golek_wire.errors import ConflictError, ForbiddenError, RateLimitedError, UnauthorizedError

HERE = {"host": "127.0.0.1:5780"}
JSON = HERE | {"content-type": "application/json"}
RIGHT = {"authorization": "Bearer s3cret"}
PEER = "192.0.2.7"


class Wall:
    def __init__(self) -> None:
        self.now = 1_767_355_200.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


def cookie(access: Access, key: str = "s3cret", peer: str = PEER) -> dict[str, str]:
    """What a browser sends after a login."""
    return {"cookie": access.login(key, peer, secure=False).partition(";")[0]}


def test_without_a_key_this_machine_looks_and_acts() -> None:
    """Who acts is told as the address it came from."""
    access = Access()
    access.look(HERE, "127.0.0.1")
    assert access.act(JSON, "127.0.0.1") == "anonymous@127.0.0.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.org"},
        {"sec-fetch-site": "cross-site"},
        {"host": "rebound.example.org:5780"},
        {"origin": "http://127.0.0.1:8000"},
    ],
)
def test_without_a_key_pages_of_others_get_nothing(headers: dict[str, str]) -> None:
    """Neither by a script or picture of theirs, nor under a name that leads here."""
    with pytest.raises(ForbiddenError, match="MONITOR_KEY"):
        Access().look(JSON | headers, "127.0.0.1")
    with pytest.raises(ForbiddenError):
        Access().act(JSON | headers, "127.0.0.1")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x=y"])
def test_an_order_is_json(kind: str) -> None:
    """What a form of any page could have sent is refused, key or not."""
    for access in (Access(), Access("s3cret")):
        with pytest.raises(HttpError, match="content-type") as refused:
            access.act(HERE | RIGHT | {"content-type": kind}, PEER)
        assert refused.value.http == 415


def test_with_a_key_orders_want_it_and_looking_here_does_not() -> None:
    """On an address of this machine."""
    access = Access("s3cret")
    access.look(HERE, "127.0.0.1")
    with pytest.raises(UnauthorizedError):
        access.act(JSON, "127.0.0.1")
    assert access.act(JSON | RIGHT, "127.0.0.1") == "key"
    assert access.act(JSON | cookie(access), "127.0.0.1") == "key"


def test_from_other_machines_looking_wants_the_key_too() -> None:
    """As a header or as a cookie; a door that others reach and that has no key lets nobody in."""
    access = Access("s3cret", public=True)
    with pytest.raises(UnauthorizedError):
        access.look(HERE, PEER)
    access.look(HERE | RIGHT, PEER)
    access.look({"host": "golek.example.org"} | cookie(access), PEER)
    for call in (Access(public=True).look, Access(public=True).act):
        with pytest.raises(UnauthorizedError):
            call(JSON, PEER)


def test_a_page_of_another_door_cannot_use_the_cookie() -> None:
    """Though a browser might send it: one of the same site on another port is another door."""
    access = Access("s3cret")
    with pytest.raises(ForbiddenError, match="origin"):
        access.act(JSON | cookie(access) | {"origin": "http://127.0.0.1:8000"}, PEER)
    assert access.act(JSON | cookie(access) | {"origin": "http://127.0.0.1:5780"}, PEER) == "key"


def test_a_cookie_is_for_this_monitor_alone_and_for_a_time(wall: Wall) -> None:
    """It is kept from scripts; it survives a restart, not another key, nor a change, nor its time."""
    access = Access("s3cret", public=True, wall=wall)
    said = access.login("s3cret", PEER, secure=True)
    assert all(word in said for word in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/"))
    ticket = cookie(access)
    assert Access("s3cret", public=True, wall=wall).is_known(ticket, PEER)
    assert not Access("other", public=True, wall=wall).is_known(ticket, PEER)
    until, nonce, signature = ticket["cookie"].removeprefix(f"{door.COOKIE}=").split(".")
    forged = f"{door.COOKIE}={int(until) + 1}.{nonce}.{signature}"
    for text in (forged, f"{door.COOKIE}=", f"{door.COOKIE}=..", "x", f"{door.COOKIE}=é.ü.ö"):
        assert not access.is_known({"cookie": text}, PEER)
    wall.now += door.LASTS_S
    assert not access.is_known(ticket, PEER)


def test_guessing_is_slow(wall: Wall) -> None:
    """After five wrong keys of an address not even the right one helps it, for a minute; others go on."""
    access = Access("s3cret", public=True, wall=wall)
    for _ in range(door.TRIES):
        with pytest.raises(UnauthorizedError):
            access.login("guess", PEER, secure=False)
    with pytest.raises(RateLimitedError) as refused:
        access.look(HERE | RIGHT, PEER)
    assert 59_000 <= refused.value.retry_after_ms <= 60_000
    access.look(HERE | RIGHT, "192.0.2.8")
    wall.now += door.WINDOW_S
    access.look(HERE | RIGHT, PEER)


def test_only_so_many_addresses_are_remembered(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys from everywhere fill no memory."""
    monkeypatch.setattr(door, "PEERS_LIMIT", 3)
    access = Access("s3cret", wall=wall)
    for number in range(9):
        with pytest.raises(UnauthorizedError):
            access.login("guess", f"192.0.2.{number}", secure=False)
    assert len(access._wrong) == 3


def test_where_there_is_no_key_there_is_no_login() -> None:
    """It would mean nothing."""
    with pytest.raises(ConflictError, match="MONITOR_KEY"):
        Access().login("", PEER, secure=False)
