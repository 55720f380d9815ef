"""What is a prompt, and what must a prompt format be able to do?

A format turns requests into the text that one model continues. There are four: markers around the turns (turns.py), the
template in the model's file (templates.py), OpenAI's harmony (harmony.py), and the input as it is (build.py).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from golek_wire.requests import InferenceRequest, Message
from golek_worker.output import Output
from golek_worker.prompt.style import Way


class Prompt(Struct, frozen=True):
    """What the engine continues, and how."""

    text: str
    output: Output = Output()
    stops: list[str] = field(default_factory=list)
    """Strings that end the answer beside those of the request: a model without an end of its own would run on."""
    ways: Sequence[Way] = ()
    """Ways to go on, of which the answer must take one: a call of a tool."""
    cuts: list[int] = field(default_factory=list)
    """Where the text is cut before it becomes tokens."""


class Format(Protocol):
    """How requests become prompts for one loaded model."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What conversations in this format can express: `reasoning`, `tool-calling`."""
        ...

    @property
    def raw_output(self) -> Output:
        """How the answer to a raw prompt is shown."""
        ...

    def prompt(self, request: InferenceRequest) -> Prompt:
        """The prompt of a request that is not raw. Raises BadRequestError when the format cannot express it."""
        ...


def messages_of(request: InferenceRequest) -> list[Message]:
    """The conversation; an input is one turn of the user."""
    return request.messages if request.messages is not None else [Message("user", request.input or "")]


def as_dict(message: Message) -> dict[str, Any]:
    """A message as templates expect it: absent fields are not there, `content` always is."""
    fields = {name: value for name, value in msgspec.structs.asdict(message).items() if value is not None}
    return {"content": "", **fields} if "content" not in fields else fields
