"""How does a request look whose images all lie in it?

Servers of their own are given images as data, with the type that they have: what was fetched here shall not be fetched
again there, by other rules.
"""

import base64
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from golek_wire.images import shown_at
from golek_wire.requests import InferenceRequest
from golek_wire.sniffing import sniff


def inlined(request: InferenceRequest, seen: Mapping[str, bytes]) -> InferenceRequest:
    """`request` with the files of `seen` where their addresses stand."""
    if not any(turn.parts for turn in request.messages or ()):
        return request
    turns = [
        turn if turn.parts is None else structs.replace(turn, parts=[_inlined(part, seen) for part in turn.parts])
        for turn in request.messages or ()
    ]
    return structs.replace(request, messages=turns)


def _inlined(part: dict[str, Any], seen: Mapping[str, bytes]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return part
    data = seen[shown_at(part)]
    picture = sniff(data)
    head = f"data:{picture.type if picture is not None else 'image/*'};base64,"
    url, image = shown_at(part), part["image_url"]
    rest = {name: value for name, value in image.items() if name != "url"} if isinstance(image, dict) else {}
    inline = url if url.startswith(head) else head + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": inline} | rest}
