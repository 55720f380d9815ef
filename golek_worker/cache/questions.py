"""What of a request may be worded otherwise, and what must be equal?

Only the last turn of the user may differ. All else is its scope: model, adapter, caller, turns before, parameters.
Pure.
"""

from typing import Final

from msgspec import Struct, structs

from golek_wire.requests import InferenceRequest, Message
from golek_worker.cache import guards
from golek_worker.cache.base import Asked, CacheKey
from golek_worker.cache.keys import key
from golek_worker.cache.responses import obstacle

KEEP_S: Final = 5.0
"""So long what is kept may wait for its vector: nobody waits for that."""


class Question(Struct, frozen=True):
    """What is looked up."""

    scope: CacheKey
    """All that must be equal."""
    text: str
    """What may be worded otherwise."""


def question(asked: Asked) -> Question | str:
    """What of a request is looked up, or why nothing is, for people.

    Not where the model's own text is continued (`raw`), where tools may be called, whose arguments are of the words,
    and where an image is part of the turn.
    """
    request = asked.request
    if not isinstance(request, InferenceRequest):
        return "it asks for no text"
    if why := obstacle(request):
        return why
    if request.raw or request.tools:
        return "raw prompts, and those with tools, are not compared"
    found = _without_question(request)
    if found is None:
        return "its last turn is not a user's text"
    rest, text = found
    if why := guards.obstacle(text):
        return why
    before, _, after = asked.prompt.rpartition(text.strip())  # what a template says beside it, such as the date
    return Question(key(structs.replace(asked, request=rest, prompt=f"{before}\0{after}")), text)


def _without_question(request: InferenceRequest) -> tuple[InferenceRequest, str] | None:
    """The request with an empty question, and the question."""
    if request.messages is None:
        text = request.input or ""
        return (structs.replace(request, input=""), text) if text.strip() else None
    last = request.messages[-1] if request.messages else Message(role="user")
    if last.role != "user" or last.parts or not (last.content or "").strip():
        return None
    turns = [*request.messages[:-1], structs.replace(last, content="")]
    return structs.replace(request, messages=turns), last.content or ""
