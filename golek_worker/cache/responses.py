"""Which answers may be kept at all, and who wants that?

Only what anybody with the same key would get again: a greedy text, or one with a seed of its caller's; vectors and
scores always. Never what belongs to one user or one moment. What may not be kept is not shared by concurrent requests
either. Pure.
"""

from typing import Final, cast

from golek_wire import images
from golek_wire.requests import InferenceRequest, Request, RerankRequest, VisionRequest
from golek_wire.routing import CacheMode, CacheWish
from golek_worker.cache.keys import is_greedy, seed

KEPT_ENDS: Final = ("stop", "tool_calls", "length")
"""Texts that ended so are whole. What a cloud held back (`content_filter`) is not kept, nor any error."""
LARGEST: Final = 512 * 1024
"""Bytes of a kept answer: a larger one would push out many others, and fits into few messages."""
_NO_WISH: Final = CacheWish()
_SILENT: Final = (RerankRequest, VisionRequest)
"""Requests that say nothing of caches."""


def wish(request: Request) -> CacheWish:
    """What the request says of caches."""
    return _NO_WISH if isinstance(request, _SILENT) or request.cache is None else request.cache


def is_nobodys(request: Request) -> bool:
    """A text of which nothing is said about caches, and that each answer would be another one of: quickly told."""
    if not isinstance(request, InferenceRequest) or request.cache is not None or request.seed is not None:
        return False
    return request.params.temperature != 0 and request.params.seed is None


def mode(request: Request, keys: str, models: str) -> CacheMode:
    """What holds for the request, never `auto`: its own wish, else its key's (empty for none), else the model's."""
    asked = wish(request).mode
    return asked if asked != "auto" else cast("CacheMode", keys or models)


def obstacle(request: Request) -> str:
    """Why its answer may be neither kept nor shared, for people; empty where nothing stands against it."""
    said = wish(request)
    if said.user_specific or (not isinstance(request, _SILENT) and request.user is not None):
        return "it is for one user"
    if said.time_sensitive:
        return "it depends on when it is asked"
    if isinstance(request, VisionRequest):
        return "what images show is looked at anew"
    return _text_obstacle(request) if isinstance(request, InferenceRequest) else ""


def _text_obstacle(request: InferenceRequest) -> str:
    if request.session_id is not None:
        return "it belongs to a conversation"
    if request.resume is not None:
        return "it goes on with another answer"
    if request.params.max_tokens == 0:
        return "it only counts"
    if any(images.is_address(part) for turn in request.messages or () for part in turn.parts or ()):
        return "what lies at an image's address may change"
    return "" if is_greedy(request) or seed(request) is not None else "each answer is another one"
