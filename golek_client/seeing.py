"""How do images become a request?

As data in base64, or by address. A request that no message carries goes by reference, whatever makes it large.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from golek_wire import codec, images
from golek_wire.errors import BadRequestError
from golek_wire.routing import RouteWish
from golek_wire.sniffing import FORMATS, sniff
from golek_wire.vision import LabelScore, VisionReply

Source = bytes | Path | str
"""The bytes of an image, the file that has them, or where it is: https://…, nats-object://<bucket>/<name>, data:…"""
DECIMALS = 4


class ClassifyOptions(TypedDict, total=False):
    """Keyword arguments of `classify`. What is left out, or None, takes its default."""

    labels: Sequence[str] | None
    """What may be said of an image; without it all labels of a classifier, or a language model's own words."""
    prompt: str | None
    """What a language model is asked of each image."""
    top_k: int | None
    """Only so many scores of each image, the best ones."""
    req_id: str | None
    """A label of at most 128 printable characters, repeated in the reply and the logs."""
    priority: int | None
    """1 low, 2 normal, 3 high; used by a fleet that queues by priority."""
    reply_to: str | None
    """A subject where the answer is published as well."""
    metadata: dict[str, Any] | None
    route: RouteWish | dict[str, Any] | None
    """As in `Options`."""


def image(source: Source, *, detail: str | None = None) -> dict[str, Any]:
    """An image as a part of a message, for chats.

        message = {"role": "user", "parts": [image(Path("cat.png")), {"type": "text", "text": "What is this?"}]}

    `detail` is for clouds: auto, low or high. Raises OSError for a file that cannot be read, BadRequestError for what
    is no image.
    """
    return images.part(url(source), "image", detail)


def url(source: Source) -> str:
    """Where an image is, or its data. Raises as `image`."""
    if isinstance(source, str):
        if not source.startswith(images.SCHEMES):
            raise BadRequestError(
                f"image: {source[:64]!r} is no address; https://…, {images.STORED}<bucket>/<name> or "
                "data:image/png;base64,… is, and a file is given as a Path",
                param="image",
            )
        return source
    data = source.read_bytes() if isinstance(source, Path) else source
    picture = sniff(data)
    if picture is None:
        what = f"{source}: " if isinstance(source, Path) else ""
        begin = f"{len(data)} bytes that begin with {data[:8].hex(' ')}"
        raise BadRequestError(f"image: {what}no image: {FORMATS} are read, this is {begin}", param="image")
    return f"data:{picture.type};base64,{base64.b64encode(data).decode()}"


def build(sources: Source | Sequence[Source], options: ClassifyOptions, deadline: float) -> bytes:
    """The request's bytes. Raises BadRequestError for what a worker would refuse, OSError for a file that cannot be
    read, TypeError for a keyword that does not exist.
    """
    unknown = options.keys() - ClassifyOptions.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unexpected keyword {', '.join(sorted(unknown))}; there is {', '.join(ClassifyOptions.__annotations__)}"
        )
    fields: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if isinstance(sources, bytes | Path | str):
        fields["image"] = url(sources)
    else:
        fields["images"] = [url(one) for one in sources]
    try:
        payload = codec.encode({**fields, "deadline_ms": max(1, round(deadline * 1000))})
    except (TypeError, UnicodeEncodeError, msgspec.EncodeError) as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}") from None
    codec.decode_vision(payload)
    return payload


def as_json(reply: VisionReply) -> str:
    """`reply` as a person reads it: in one line, scores with a few decimals."""
    results = [
        msgspec.structs.replace(
            result,
            score=round(result.score, DECIMALS),
            scores=[LabelScore(one.label, round(one.score, DECIMALS)) for one in result.scores],
        )
        for result in reply.results
    ]
    return codec.encode(msgspec.structs.replace(reply, results=results)).decode()
