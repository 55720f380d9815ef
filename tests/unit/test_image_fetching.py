"""Images by URL: a real server on a port of this machine, which allows and leads where a test says."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from golek_wire.errors import BadRequestError, InferenceServiceError, PayloadTooLargeError, TemporaryResourceError
from golek_wire.images import Image
from golek_worker.vision.fetching import Fetcher
from golek_worker.vision.limits import Domain, Limits, parse_domains
from tests.support.image_server import Server, serving
from tests.support.pictures import GREEN, jpeg_head, png, url


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as found:
        yield found


def limits(server: Server, **other: object) -> Limits:
    values = {"max_bytes": 4000, "max_pixels": 100, "fetch_s": 5.0, "domains": [Domain("127.0.0.1", server.port)]}
    return Limits(**values | other)  # type: ignore[arg-type]


async def fetched(limits: Limits, *urls: str) -> list[bytes]:
    seen: dict[str, bytes] = {}
    await Fetcher(limits).fetch([Image(f"images[{number}]", one) for number, one in enumerate(urls)], seen)
    return [seen[one] for one in urls]


async def refused(limits: Limits, address: str) -> InferenceServiceError:
    with pytest.raises(InferenceServiceError) as caught:
        await fetched(limits, address)
    assert caught.value.details["param"] == "images[0]"
    return caught.value


async def test_images_come_by_url_and_as_data(server: Server) -> None:
    """In their order; what is named twice is fetched once; a type that a server declares wrongly is no harm."""
    cat, green, behind = server.at("/cat.png"), url(png(GREEN)), server.at("/to/cat.png")
    found = await fetched(limits(server), cat, green, cat, behind, server.at("/wrongly.png"))
    assert found == [png(), png(GREEN), png(), png(), jpeg_head(8, 8)]
    assert sorted(server.asked) == ["/cat.png", "/cat.png", "/to/cat.png", "/wrongly.png"]


async def test_what_is_there_already_is_not_fetched_again(server: Server) -> None:
    """As for a conversation whose oldest turns were left out."""
    image, seen = Image("image", server.at("/cat.png")), dict[str, bytes]()
    fetcher = Fetcher(limits(server))
    await fetcher.fetch([image], seen)
    await fetcher.fetch([image], seen)
    assert server.asked == ["/cat.png"]


async def test_nothing_is_asked_where_one_address_is_forbidden(server: Server) -> None:
    """Nor anything else of that request."""
    with pytest.raises(BadRequestError, match="images\\[1\\]"):
        await fetched(limits(server), server.at("/cat.png"), server.at("/cat.png", "localhost"))
    assert server.asked == []


@pytest.mark.parametrize(
    "leads_to", ["http://localhost:{port}/cat.png", "http://169.254.169.254/", "file:///etc/passwd"]
)
async def test_a_redirect_must_be_allowed_too(server: Server, leads_to: str) -> None:
    """The place that it leads to is named, and not asked."""
    to = leads_to.format(port=server.port)
    found = await refused(limits(server), server.at(f"/to/{to}"))
    assert isinstance(found, BadRequestError)
    assert f"leads to '{to.rstrip('/')}" in found.message
    assert len(server.asked) == 1


async def test_redirects_end(server: Server) -> None:
    """A fourth one is too much."""
    found = await refused(limits(server), server.at("/to" * 4 + "/cat.png"))
    assert "leads on more than 3 times" in found.message
    assert await fetched(limits(server), server.at("/to" * 3 + "/cat.png")) == [png()]


async def test_a_name_of_a_wildcard_must_have_a_public_address(server: Server) -> None:
    """What a name stands for is looked at when it is asked; the same name is asked where it is named itself."""
    everybody = limits(server, domains=parse_domains(f"*:{server.port}"))
    found = await refused(everybody, server.at("/cat.png", "localhost"))
    assert isinstance(found, BadRequestError)
    assert "localhost (" in found.message
    assert "no public address" in found.message
    assert server.asked == []
    named = limits(server, domains=[*everybody.domains, Domain("localhost", server.port)])
    assert await fetched(named, server.at("/cat.png", "localhost")) == [png()]


@pytest.mark.parametrize("path", ["/announced", "/endless"])
async def test_a_large_image_is_not_read_to_its_end(server: Server, path: str) -> None:
    """Whether the server says how large it is or not."""
    found = await refused(limits(server), server.at(path))
    assert isinstance(found, PayloadTooLargeError)
    assert found.details["limit"] == 4000


async def test_images_have_a_limit_together(server: Server) -> None:
    """Four times that of one: an engine may have to decode them all before it shrinks any."""
    images = [Image(f"images[{number}]", url(png())) for number in range(5)]
    await Fetcher(limits(server, max_pixels=64)).fetch(images[:4], {})
    with pytest.raises(PayloadTooLargeError, match=r"images\[4\]: 5 images have 320 pixels together; at most 256 of"):
        await Fetcher(limits(server, max_pixels=64)).fetch(images, {})


async def test_a_slow_server_has_its_time(server: Server) -> None:
    """However steadily it sends; the connection is closed."""
    began = time.monotonic()
    found = await refused(limits(server, fetch_s=0.3), server.at("/slow"))
    assert isinstance(found, TemporaryResourceError)
    assert "within 0.3 s (VISION_FETCH_S)" in found.message
    assert time.monotonic() - began < 2
    await asyncio.wait_for(server.hung_up.wait(), 2)


async def test_who_is_cancelled_hangs_up(server: Server) -> None:
    """A job that is stopped meanwhile leaves no connection behind."""
    task = asyncio.create_task(fetched(limits(server), server.at("/slow")))
    while "/slow" not in server.asked:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait_for(server.hung_up.wait(), 2)


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("/status/404", BadRequestError, "answers 404 Not Found"),
        ("/status/403", BadRequestError, "answers 403"),
        ("/status/503", TemporaryResourceError, "answers 503"),
        ("/status/429", TemporaryResourceError, "answers 429"),
        ("/page", BadRequestError, "declared as text/html"),
        ("/to/nowhere", BadRequestError, "answers 404"),
    ],
)
async def test_what_a_server_answers_instead(server: Server, path: str, kind: type, says: str) -> None:
    """Whether another try may help follows from it."""
    found = await refused(limits(server), server.at(path))
    assert type(found) is kind
    assert says in found.message


async def test_nobody_answers(server: Server) -> None:
    """A closed port is worth another try."""
    found = await refused(limits(server, domains=[Domain("127.0.0.1", 1)]), "http://127.0.0.1:1/cat.png")
    assert isinstance(found, TemporaryResourceError)
    assert "cannot be asked" in found.message
