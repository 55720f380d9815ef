"""Is this an image that a model may be given?

What a request brings along is looked at before it becomes a job, and again where it runs; what is fetched, once it is
there. The type that somebody declares is held against the first bytes, the size against both limits.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from golek_wire.errors import BadRequestError, PayloadTooLargeError
from golek_wire.images import STORED, Image
from golek_wire.sniffing import FORMATS, sniff
from golek_worker.vision.limits import TOGETHER, Limits

SHOWN: Final = 64
_SAME: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-ms-bmp": "image/bmp"}
_ANYTHING: Final = ("", "image/*", "application/octet-stream", "binary/octet-stream")
"""Declarations that say nothing."""


def check(images: Sequence[Image], limits: Limits, *, decodes: bool = True) -> None:
    """Raise BadRequestError, or PayloadTooLargeError, for what can be told without fetching anything: too many images,
    addresses that nobody here will ask; and where it `decodes`, data that are none.
    """
    if len(images) > limits.max_images:
        raise BadRequestError(
            f"{images[limits.max_images].place}: {len(images)} images; at most {limits.max_images} of one request are "
            "read here (VISION_MAX_IMAGES): send fewer, in several requests",
            param=images[limits.max_images].place,
            limit=limits.max_images,
        )
    from golek_worker.vision.addresses import check_bucket, check_url  # urllib.parse is large, and images are seldom

    for image in images:
        if image.url.startswith("data:"):
            if decodes:
                data(image, limits)
        elif image.url.startswith(STORED):
            check_bucket(image, limits)
        else:
            check_url(image, limits)


def check_together(images: Sequence[Image], seen: Mapping[str, bytes], limits: Limits) -> None:
    """Raise PayloadTooLargeError for images, all of which are `seen`, that have too many pixels together."""
    pictures = [sniff(seen[image.url]) for image in images]
    found, limit = sum(picture.pixels for picture in pictures if picture is not None), TOGETHER * limits.max_pixels
    if found > limit:
        place = images[-1].place
        raise PayloadTooLargeError(
            f"{place}: {len(images)} images have {found} pixels together; at most {limit} of one request are read here "
            f"({TOGETHER} times VISION_MAX_PIXELS): send them smaller, or in several requests",
            param=place,
            size=found,
            limit=limit,
        )


def data(image: Image, limits: Limits) -> bytes:
    """The image that lies in a data URL. Raises as `check`."""
    head, _, text = image.url.partition(",")
    _check_size(image, len(text) // 4 * 3 - text[-2:].count("="), limits)
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(
            f"{image.place}: is no base64: {error}; {len(text)} characters that begin with {text[:16]!r}",
            param=image.place,
        ) from None
    _check_size(image, len(found), limits)
    checked(image, found, head.removeprefix("data:").partition(";")[0], limits)
    return found


def checked(image: Image, found: bytes, declared: str, limits: Limits, *, strict: bool = True) -> bytes:
    """`found`, which is an image of the `declared` type. Raises as `check`.

    Not `strict`: another image than was declared is taken all the same, as servers often call theirs wrongly.
    """
    place, picture = image.place, sniff(found)
    if picture is None:
        begins = f"{len(found)} bytes that begin with {found[:8].hex(' ')}" if found else "nothing"
        raise BadRequestError(
            f"{place}: {_shown(image)} is no image: {FORMATS} are read, this is {begins}"
            + (f", declared as {declared[:SHOWN]}" if declared else ""),
            param=place,
        )
    wanted = _SAME.get(declared.lower(), declared.lower())
    if strict and wanted not in (*_ANYTHING, picture.type):
        raise BadRequestError(
            f"{place}: is declared as {declared[:SHOWN]} and is {picture.type}; declare what it is", param=place
        )
    if not picture.pixels or picture.pixels > limits.max_pixels:
        raise PayloadTooLargeError(
            f"{place}: {_shown(image)} has {picture.width} x {picture.height} = {picture.pixels} pixels; 1 to "
            f"{limits.max_pixels} are read here (VISION_MAX_PIXELS): send it smaller",
            param=place,
            size=picture.pixels,
            limit=limits.max_pixels,
        )
    return found


def too_large(image: Image, size: int | None, limits: Limits) -> PayloadTooLargeError:
    """The error of an image of `size` bytes, None where nobody knows how many more would come."""
    has = f"has {size}" if size is not None else f"has more than {limits.max_bytes}"
    return PayloadTooLargeError(
        f"{image.place}: {_shown(image)} {has} bytes; at most {limits.max_bytes} of one image are read here "
        "(VISION_MAX_BYTES): send it smaller",
        param=image.place,
        size=size,
        limit=limits.max_bytes,
    )


def _check_size(image: Image, size: int, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise too_large(image, size, limits)


def _shown(image: Image) -> str:
    """The address without what may be secret in it; of data nothing."""
    if image.url.startswith("data:"):
        return "it"
    return repr(image.url.partition("?")[0][:SHOWN])
