"""Which images a worker takes, as far as it can be told without fetching any."""

from typing import Any

import pytest

from golek_wire import codec, images
from golek_wire.errors import BadRequestError, PayloadTooLargeError
from golek_wire.images import Image
from golek_wire.requests import InferenceRequest, VisionRequest
from golek_worker.vision import reading
from golek_worker.vision.addresses import check_url, is_public
from golek_worker.vision.limits import Domain, Limits, parse_domains
from tests.support import pictures
from tests.support.pictures import png, url

LIMITS = Limits(1000, 2, 100, domains=parse_domains("images.example.com, *.example.org, localhost:8080, 10.1.2.3"))


def refusal(*urls: str, limits: Limits = LIMITS) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        reading.check([Image(f"images[{number}]", one) for number, one in enumerate(urls)], limits)
    return caught.value


def test_images_of_a_request_are_listed_with_their_fields() -> None:
    """In the order in which a model reads them; texts are none."""
    part = {"type": "image_url", "image_url": {"url": url(png())}}
    asked = codec.decode_request(
        codec.encode(
            {"messages": [{"role": "user", "parts": [{"type": "text", "text": "a"}, part]},
                          {"role": "user", "content": "b"}, {"role": "user", "parts": [part, part]}]}
        )
    )  # fmt: skip
    assert [one.place for one in images.listed(asked)] == [
        "messages[0].parts[1].image_url.url", "messages[2].parts[0].image_url.url",
        "messages[2].parts[1].image_url.url",
    ]  # fmt: skip
    assert {one.url for one in images.listed(asked)} == {url(png())}
    assert images.listed(InferenceRequest(input="no image")) == []


def test_a_vision_request_names_images_in_any_form() -> None:
    """Address, object, data, base64 alone, a part of a chat."""
    bare = url(png()).partition(",")[2]
    part = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    request = VisionRequest(images=["http://a/b", "nats-object://B/c", url(png()), bare, part])
    assert codec.decode_vision(codec.encode(request)) == request
    assert [one.url for one in images.listed(request)] == [
        "http://a/b", "nats-object://B/c", url(png()), f"data:;base64,{bare}", "https://a/b.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "param", "says"),
    [
        ({}, "image", "neither is there"),
        ({"image": "aa", "images": ["aa"]}, "image", "both are there"),
        ({"images": []}, "images", "length >= 1"),
        ({"image": "ftp://x/y"}, "image", "is no image; give https"),
        ({"image": ""}, "image", "is no image"),
        ({"images": ["aa", {"type": "text", "text": "a"}]}, "images[1]", "'text' is not `image_url`"),
        ({"images": ["aa", {"type": "video"}]}, "images[1]", "'video' is not `image_url`"),
        ({"image": "aa", "labels": ["a", "b", "a"]}, "labels", "'a' is there twice"),
        ({"image": "aa", "labels": [""]}, "labels[0]", "length >= 1"),
        ({"image": "aa", "top_k": 0}, "top_k", ">= 1"),
    ],
)
def test_what_is_no_vision_request_is_told_by_its_field(request_: dict[str, Any], param: str, says: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(BadRequestError, match=says) as caught:
        codec.decode_vision(codec.encode(request_))
    assert caught.value.details["param"] == param


def test_data_are_decoded_and_held_against_their_type() -> None:
    """`image/jpg` is JPEG as everybody says, and a type that says nothing is none."""
    for declared in ("image/png", "", "image/*", "application/octet-stream"):
        assert reading.data(Image("image", url(png(), declared)), LIMITS) == png()
    jpeg = pictures.jpeg_head(8, 8)
    assert reading.data(Image("image", url(jpeg, "image/jpg")), LIMITS) == jpeg


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        (url(png(), "image/jpeg"), BadRequestError, "is declared as image/jpeg and is image/png"),
        (url(b"hello you"), BadRequestError, "no image: PNG, JPEG, WebP, GIF or BMP are read, this is 9 bytes"),
        (url(b""), BadRequestError, "this is nothing"),
        ("data:image/png;base64,iVBORw0K!", BadRequestError, "is no base64"),
        ("data:image/png;base64,iVBORw0", BadRequestError, "is no base64"),
        (url(png(width=11, height=10)), PayloadTooLargeError, "11 x 10 = 110 pixels; 1 to 100 are read"),
        (url(png()[:16] + b"\0" * 8), PayloadTooLargeError, "0 x 0 = 0 pixels"),
        (url(b"\0" * 1001), PayloadTooLargeError, "1001 bytes; at most 1000"),
    ],
)  # fmt: skip
def test_wrong_data_are_told_with_the_limit(address: str, error: type[BadRequestError], says: str) -> None:
    """Field, value, limit, and which setting."""
    found = refusal(url(png()), address)
    assert type(found) is error
    assert found.message.startswith("images[1]: ")
    assert found.details["param"] == "images[1]"
    assert says in found.message


def test_a_large_image_is_refused_before_it_is_decoded() -> None:
    """By the length of its base64."""
    found = refusal("data:image/png;base64," + "!" * 2000)
    assert (found.code, found.details["limit"]) == ("PAYLOAD_TOO_LARGE", 1000)


def test_more_images_than_allowed() -> None:
    """The first that is too much is named."""
    found = refusal(*[url(png())] * 3)
    assert (found.details["param"], found.details["limit"]) == ("images[2]", 2)


@pytest.mark.parametrize(
    "address",
    ["https://images.example.com/a.png?k=1", "http://IMAGES.example.com./a", "https://a.b.example.org", "http://localhost:8080/x",
     "http://10.1.2.3/x", "https://images.example.com:443/x"],
)  # fmt: skip
def test_allowed_addresses(address: str) -> None:
    """Hosts as they are named, what a wildcard covers, ports as they are named; a private one that is named itself."""
    check_url(Image("image", address), LIMITS)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://evil.example/a.png?token=secret", "only images.example.com, *.example.org, localhost:8080, 10.1.2.3"),
        ("https://example.org/a", "may be asked here (VISION_ALLOWED_DOMAINS)"),
        ("https://images.example.com.evil.example/a", "may be asked here"),
        ("https://images.example.com:8443/a", "may be asked here"),
        ("http://localhost/a", "may be asked here"),
        ("http://127.0.0.1:8080/a", "may be asked here"),
        ("http://user:secret@images.example.com/a", "no name or password"),
        ("http://images.example.com\\@evil.example/a", "is no address"),
        ("http://images.example.com\n.evil.example/a", "is no address"),
        ("http://bücher.example.org/", "is no address"),
        ("http:///a", "is no address"),
        ("http://images.example.com:x/a", "is no address"),
    ],
)
def test_forbidden_addresses(address: str, says: str) -> None:
    """The error names the address without its query, and what may be asked."""
    found = refusal(address)
    assert says in found.message
    assert "secret" not in found.message


def test_without_domains_nothing_is_fetched() -> None:
    """And the error says which setting, and what to send instead."""
    found = refusal("https://images.example.com/a.png", limits=Limits())
    assert "VISION_ALLOWED_DOMAINS is empty" in found.message
    assert "data:image/png;base64" in found.message


def test_a_wildcard_lets_no_private_address_be_asked() -> None:
    """Literal ones are seen at once; names are looked up when they are asked."""
    everybody = Limits(domains=parse_domains("*"))
    check_url(Image("image", "https://anything.example/a"), everybody)
    check_url(Image("image", "https://[2606:4700::1111]/a"), everybody)
    for host in ("127.0.0.1", "10.0.0.8", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "0.0.0.0"):
        with pytest.raises(BadRequestError, match="no public address"):
            check_url(Image("image", f"http://{host}/latest"), everybody)


@pytest.mark.parametrize("address", ["::127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "fd00::1", "ff0e::1"])
def test_an_address_that_wraps_a_private_one_is_private(address: str) -> None:
    """Old forms of IPv4 in IPv6, and the translators' own prefix; a public one behind a translator is public."""
    assert not is_public(address)
    assert is_public("64:ff9b::8.8.8.8")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "%31%32%37.1"])
def test_an_address_has_one_spelling(host: str) -> None:
    """Others are read as an address by some programs, and as a name by others."""
    with pytest.raises(BadRequestError, match="is no address"):
        check_url(Image("image", f"http://{host}/latest"), Limits(domains=parse_domains("*")))
    assert is_public("1.1.1.1")


def test_objects_lie_in_one_bucket() -> None:
    """Requests' bodies, which others wrote, cannot be named."""
    assert (
        "images lie in the bucket GOLEK_IMAGES"
        in refusal("nats-object://GOLEK_OBJECTS/a", limits=Limits(bucket="GOLEK_IMAGES")).message
    )
    assert "(VISION_BUCKET is empty)" in refusal("nats-object://GOLEK_IMAGES/a").message


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", []),
        ("Example.COM", [Domain("example.com")]),
        ("*", [Domain("", None, is_wildcard=True)]),
        ("*.a.b:99 , [::1]:80", [Domain(".a.b", 99, is_wildcard=True), Domain("::1", 80)]),
    ],
)
def test_domains_as_people_write_them(said: str, found: list[Domain]) -> None:
    """With commas and blanks."""
    assert parse_domains(said) == found


@pytest.mark.parametrize("said", ["http://a", "a b", "a*", "a:0", "a:x", "*.", "user@a", "a/b"])
def test_what_is_no_domain(said: str) -> None:
    """The mistake names the entry."""
    with pytest.raises(ValueError, match="is no domain"):
        parse_domains(f"ok.example,{said}")
