"""Where do the images of a conversation stand in its prompt?

A mark stands for each, in the place where its part stood among the texts of its turn; what the model wants around an
image its engine adds. The texts on two sides of an image follow each other without a line break, as in llama.cpp's own
server; two texts beside each other get one.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.image_marks import IMAGE_MARK, places

_NO_DATA = {"type": "image_url"}


def bare(request: InferenceRequest) -> InferenceRequest:
    """`request` without the addresses and data of its images, which no prompt shows."""
    if not any(message.parts for message in request.messages or ()):
        return request
    return msgspec.structs.replace(request, messages=[_bare(message) for message in request.messages or ()])


def marked(request: InferenceRequest) -> InferenceRequest:
    """`request` with texts alone: a mark for each image."""
    if not any(message.parts for message in request.messages or ()):
        return request
    return msgspec.structs.replace(request, messages=[_marked(message) for message in request.messages or ()])


def count(request: InferenceRequest) -> int:
    """The images of the conversation."""
    return sum(is_image(part) for message in request.messages or () for part in message.parts or ())


def is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") != "text"


def check(prompt: str, cuts: list[int], images: int) -> None:
    """Raise BadRequestError where a prompt format left out images."""
    shown = len(places(prompt, cuts))
    if shown != images:
        raise BadRequestError(
            f"messages: the model's prompt format shows {shown} of the {images} images; put them into user turns",
            param="messages",
        )


def _bare(message: Message) -> Message:
    if not message.parts:
        return message
    parts = [dict(_NO_DATA) if is_image(part) else part for part in message.parts]
    return msgspec.structs.replace(message, parts=parts)


def _marked(message: Message) -> Message:
    if not message.parts:
        return message
    text = ""
    follows_text = False
    for part in message.parts:
        if is_image(part):
            text += IMAGE_MARK
        else:
            text += "\n" + part["text"] if follows_text else part["text"]
        follows_text = not is_image(part)
    return msgspec.structs.replace(message, content=text, parts=None)
