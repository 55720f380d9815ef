"""How is a list read whose elements say themselves what they are?

OpenAI's and Anthropic's conversations are lists of objects with a `type`; each is read as its own struct, and what is
wrong is named with its place in the whole request: `input[2].content[0].text`. `renamed` gives errors about our own
request the names that the caller used.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from msgspec import Raw, Struct

from golek_wire import codec
from golek_wire.errors import BadRequestError, InferenceServiceError

T = TypeVar("T")

IMAGE: Final = "image_url.url"
"""Where an image stands in a part; another API's name for it is among its names."""
_PART: Final = re.compile(r"(?P<turn>messages\[\d+\])\.parts(?P<place>\[\d+\])\.image_url\.url$")


class _Typed(Struct, frozen=True):
    type: str | None = None
    role: str | None = None


def type_of(raw: Raw, place: str, absent: str = "") -> str:
    """What the element says it is; `absent` where it says nothing but has a `role`. Raises BadRequestError."""
    said = read(raw, _Typed, place)
    if said.type is not None:
        return said.type
    if absent and said.role is not None:
        return absent
    raise BadRequestError(f"{place}.type: is missing", param=f"{place}.type")


def read(raw: Raw, kind: type[T], place: str) -> T:
    """The element as `kind`. Raises BadRequestError naming the field below `place`."""
    try:
        return codec.decode_body(bytes(raw), kind)
    except BadRequestError as error:
        raise _inside(place, error) from None


def renamed(error: InferenceServiceError, names: Mapping[str, str]) -> InferenceServiceError:
    """`error` in the caller's words, where it is about a field that has another name there. The error is changed."""
    param = error.details.get("param")
    if not isinstance(param, str):
        return error
    if (part := _PART.match(param)) is not None:  # who asks over HTTP writes parts into the content
        said = f"{part['turn']}.content{part['place']}.{names.get(IMAGE, IMAGE)}"
        error.message = error.message.replace(param, said)
        error.args = (error.message,)
        error.details["param"] = param = said
    ours = max((name for name in names if _is_below(param, name)), key=len, default=None)
    if ours is None:
        return error
    error.details["param"] = names[ours] + param.removeprefix(ours)
    if error.message.startswith(ours):
        error.message = names[ours] + error.message.removeprefix(ours)
        error.args = (error.message,)
    return error


def _is_below(param: str, name: str) -> bool:
    return param.startswith(name) and param[len(name) : len(name) + 1] in ("", ".", "[", "=")


def _inside(place: str, error: BadRequestError) -> BadRequestError:
    param = error.details.get("param")
    if not isinstance(param, str):
        return BadRequestError(f"{place}: {error.message}", param=place)
    whole = f"{place}{param}" if param.startswith("[") else f"{place}.{param}"
    return BadRequestError(whole + error.message.removeprefix(param), param=whole)
