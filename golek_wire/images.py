"""Which parts may a turn have beside its text, and which images does a request bring?

Images are in OpenAI's form: by address, by the name of an object in the bus's own store, or as data in base64. Nothing
here fetches or reads them: whoever answers does.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import structs

from golek_wire.errors import BadRequestError
from golek_wire.requests import ImageSource, InferenceRequest, Message, Request, VisionRequest

Json = dict[str, Any]
STORED: Final = "nats-object://"
"""Before `<bucket>/<name>`: an image in an object store of the bus."""
SCHEMES: Final = ("https://", "http://", "data:image/", STORED)
UNDECLARED: Final = "data:;base64,"
"""Before base64 of which nobody says what it is."""
DETAILS: Final = ("auto", "low", "high", "original")


def part(url: object, place: str, detail: object = None) -> Json:
    """An image as a part. Raises BadRequestError for what is no address of one."""
    if not isinstance(url, str) or not url.startswith(SCHEMES):
        said = f"{url[:32]!r}" if isinstance(url, str) else type(url).__name__
        raise BadRequestError(
            f"{place}: {said} is no address of an image; https://…, or data:image/png;base64,… is", param=place
        )
    if url.startswith("data:") and ";base64," not in url[:128]:
        raise BadRequestError(f"{place}: an image's data are base64: data:image/png;base64,…", param=place)
    image = {"url": url} | ({"detail": detail} if detail in DETAILS else {})
    return {"type": "image_url", "image_url": image}


class Image(NamedTuple):
    """An image of a request."""

    place: str
    """The field that has it, for errors."""
    url: str
    """Its address, or its data."""


def named(request: VisionRequest) -> list[tuple[str, ImageSource]]:
    """The images of a vision request, each with its field."""
    if request.images is None:
        return [] if request.image is None else [("image", request.image)]
    return [(f"images[{number}]", source) for number, source in enumerate(request.images)]


def address(source: ImageSource, place: str) -> str:
    """Where an image of a vision request is, or its data. Raises BadRequestError for what is neither."""
    if isinstance(source, dict):
        _check_image(source, place, "not `image_url`")
        return shown_at(source)
    if source.startswith(SCHEMES):
        return str(part(source, place)["image_url"]["url"])
    if not source or ":" in source[:64]:
        raise BadRequestError(
            f"{place}: {source[:32]!r} is no image; give https://…, {STORED}<bucket>/<name>, "
            "data:image/png;base64,… or its bytes in base64",
            param=place,
        )
    return UNDECLARED + source


def listed(request: Request) -> list[Image]:
    """All images of a request that was read, in their order."""
    if isinstance(request, VisionRequest):
        return [Image(place, address(source, place)) for place, source in named(request)]
    turns = request.messages or () if isinstance(request, InferenceRequest) else ()
    return [
        Image(f"messages[{i}].parts[{j}].image_url.url", shown_at(one))
        for i, turn in enumerate(turns)
        for j, one in enumerate(turn.parts or ())
        if one.get("type") == "image_url"
    ]


def shown(url: str) -> str:
    """An address for logs; of data how many characters they have."""
    head, comma, said = url.partition(",")
    return f"{head},… ({len(said)} characters)" if comma and url.startswith("data:") else url


def without_data(turns: Sequence[Message] | None) -> list[Message]:
    """Turns for logs: images as `shown` has them."""
    return [
        turn if turn.parts is None else structs.replace(turn, parts=[_without_data(one) for one in turn.parts])
        for turn in turns or ()
    ]


def _without_data(part: Json) -> Json:
    return part if part.get("type") != "image_url" else {**part, "image_url": {"url": shown(shown_at(part))}}


def text(said: str) -> Json:
    """A text as a part."""
    return {"type": "text", "text": said}


def content(parts: Sequence[Json]) -> tuple[str, list[Json] | None]:
    """A turn's text, and its parts where one of them is no text."""
    words = "\n".join(one["text"] for one in parts if one["type"] == "text")
    return words, list(parts) if any(one["type"] != "text" for one in parts) else None


def shown_at(part: Json) -> str:
    """Where the image of a part is, or its data; empty for what is no image."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""


def is_address(part: Json) -> bool:
    """Whether this is an image that whoever answers has to fetch."""
    url = shown_at(part)
    return bool(url) and not url.startswith("data:")


def check(parts: Sequence[object], place: str) -> None:
    """Raise BadRequestError for a part that is neither text nor image."""
    if not parts:
        raise BadRequestError(f"{place}: is empty; leave it out where there is text alone", param=place)
    for number, one in enumerate(parts):
        if not (isinstance(one, dict) and one.get("type") == "text" and isinstance(one.get("text"), str)):
            _check_image(one, f"{place}[{number}]", "neither `text` nor `image_url`")


def _check_image(one: object, at: str, what: str) -> None:
    kind = one.get("type") if isinstance(one, dict) else None
    if not isinstance(one, dict) or kind != "image_url":
        raise BadRequestError(f"{at}: {str(kind)[:32]!r} is {what}", param=at)
    image = one.get("image_url")
    part(image.get("url") if isinstance(image, dict) else image, f"{at}.image_url.url")
