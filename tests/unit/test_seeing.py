"""Images to a request and back: what `golek.classify` sends, and what a fake fleet answers."""

from pathlib import Path
from typing import Any

import pytest

from golek_client import BadRequestError, VisionReply, image
from golek_client.seeing import ClassifyOptions, as_json, build
from golek_client.testing import FakeFleet
from golek_wire import codec
from golek_wire.requests import VisionRequest
from tests.support.pictures import BLUE, bmp, png, url

HERE = "https://images.example.com/a.png"


def test_an_image_is_bytes_a_file_or_an_address(tmp_path: Path) -> None:
    """Data say what they are, whatever the file is called."""
    (tmp_path / "a.jpg").write_bytes(bmp())
    payload = build(
        [png(), tmp_path / "a.jpg", HERE, "nats-object://GOLEK_IMAGES/a"], {"labels": ["a"], "top_k": None}, 1.5
    )
    assert codec.decode_vision(payload) == VisionRequest(
        images=[url(png()), url(bmp(), "image/bmp"), HERE, "nats-object://GOLEK_IMAGES/a"],
        labels=["a"],
        deadline_ms=1500,
    )
    assert codec.decode_vision(build(png(), {}, 1)).image == url(png())
    assert image(tmp_path / "a.jpg") == {"type": "image_url", "image_url": {"url": url(bmp(), "image/bmp")}}
    assert image(HERE, detail="low")["image_url"] == {"url": HERE, "detail": "low"}


@pytest.mark.parametrize(
    ("images", "options", "named"),
    [
        (b"hello", {}, "image: no image: PNG, JPEG, .* are read, this is 5 bytes that begin with 68 65"),
        ("cat.png", {}, "image: 'cat.png' is no address.*a file is given as a Path"),
        ([], {}, "images: Expected `array` of length >= 1"),
        (HERE, {"labels": []}, "labels: Expected `array` of length >= 1"),
        (HERE, {"labels": ["a", "a"]}, "labels: 'a' is there twice"),
        (HERE, {"top_k": 0}, "top_k: Expected `int` >= 1"),
        (HERE, {"prompt": "\ud800"}, "cannot be written as JSON"),
    ],
)
def test_a_wrong_question_is_refused_by_name(images: Any, options: ClassifyOptions, named: str) -> None:
    """Before it is sent."""
    with pytest.raises(BadRequestError, match=named):
        build(images, options, 1)


def test_mistakes_of_the_program() -> None:
    """A file that is not there, and a keyword that does not exist."""
    with pytest.raises(FileNotFoundError):
        image(Path("nowhere.png"))
    with pytest.raises(TypeError, match="unexpected keyword lables; there is labels"):
        build(HERE, {"lables": ["a"]}, 1)  # type: ignore[typeddict-unknown-key]


async def test_a_fake_classifier() -> None:
    """Its scores depend on label and image alone; labels that it does not have are named; other calls find none."""
    async with FakeFleet({"phi-4": "hi"}, sees={"pets": ["cat", "dog", "bird"]}) as fleet:
        golek = fleet.client()
        reply = await golek.classify("pets", [png(), png(BLUE), png()], req_id="r")
        first, second, third = reply.results
        assert sum(one.score for one in first.scores) == pytest.approx(1)
        assert (first.label, first.score) == (first.scores[0].label, first.scores[0].score)
        assert first.scores == third.scores != second.scores
        assert (reply.req_id, reply.model) == ("r", "pets")
        some = await golek.classify("pets", png(), labels=["dog", "cat"], top_k=1)
        assert [one.label for one in some.results[0].scores] == [some.results[0].label]
        assert fleet.looked[1].request.labels == ["dog", "cat"]
        with pytest.raises(BadRequestError, match="pets has no label fish; it has cat, dog, bird"):
            await golek.classify("pets", png(), labels=["fish", "cat"])
        with pytest.raises(BadRequestError, match=r"phi-4: ask it on inference\.request\.phi-4"):
            await golek.classify("phi-4", png())
        kept = await golek.wait(await golek.submit("pets", kind="vision", images=png()))
        assert isinstance(kept, VisionReply)
        assert kept.results[0].scores == first.scores
        large = await golek.classify("pets", bmp(width=700, height=700))
        assert len(large.results) == 1
        with pytest.raises(TypeError, match="asked with `images`"):
            await golek.submit("pets", "a text", kind="vision")
        (record, *_) = [one for one in await golek.models() if one.name == "pets"]
        assert record.kinds == ["vision"]
        assert (await golek.health("pets")).capabilities == ["image-classification"]


async def test_the_reply_in_one_line() -> None:
    """As the command line prints it."""
    async with FakeFleet(sees={"pets": ["cat", "dog"]}) as fleet:
        told = as_json(await fleet.client().classify("pets", png()))
    assert "\n" not in told
    assert codec.decode(told.encode(), VisionReply).results[0].label in ("cat", "dog")
