"""Which parts may a turn have beside its text?

Images, in OpenAI's form: by address, or as data in base64. Nothing here fetches or reads them: whoever answers does.
"""

from collections.abc import Sequence
from typing import Any, Final

from golek_wire.errors import BadRequestError

Json = dict[str, Any]
SCHEMES: Final = ("https://", "http://", "data:image/")
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


def text(said: str) -> Json:
    """A text as a part."""
    return {"type": "text", "text": said}


def content(parts: Sequence[Json]) -> tuple[str, list[Json] | None]:
    """A turn's text, and its parts where one of them is no text."""
    words = "\n".join(one["text"] for one in parts if one["type"] == "text")
    return words, list(parts) if any(one["type"] != "text" for one in parts) else None


def is_address(part: Json) -> bool:
    """Whether this is an image that whoever answers has to fetch."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return isinstance(url, str) and not url.startswith("data:")


def check(parts: Sequence[object], place: str) -> None:
    """Raise BadRequestError for a part that is neither text nor image."""
    if not parts:
        raise BadRequestError(f"{place}: is empty; leave it out where there is text alone", param=place)
    for number, one in enumerate(parts):
        at = f"{place}[{number}]"
        kind = one.get("type") if isinstance(one, dict) else None
        if isinstance(one, dict) and kind == "text" and isinstance(one.get("text"), str):
            continue
        if not isinstance(one, dict) or kind != "image_url":
            raise BadRequestError(f"{at}: {str(kind)[:32]!r} is neither `text` nor `image_url`", param=at)
        image = one.get("image_url")
        part(image.get("url") if isinstance(image, dict) else image, f"{at}.image_url.url")
