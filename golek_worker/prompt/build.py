"""What exact text does the engine continue for a request?

1. `raw`: the input as it is.
2. The model has a chat template: messages, or the input as one user turn, through it.
3. No template, an input: the input as it is, for base models are asked so.
4. No template, messages: refused, for no one knows how this model marks turns.
"""

from typing import Any

import msgspec

from golek_wire.errors import BadRequestError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.prompt.templates import ChatTemplate


def build(request: InferenceRequest, template: ChatTemplate | None) -> str:
    """The prompt of `request` for a model with this chat template. Raises BadRequestError."""
    if request.raw:
        return request.input or ""
    if template is None:
        if request.messages is not None:
            raise BadRequestError(
                "messages: this model has no chat template; send `input` with `raw: true` and write the turns as the "
                "model knows them",
                param="messages",
            )
        return request.input or ""
    messages = request.messages if request.messages is not None else [Message("user", request.input or "")]
    return template.render([_as_dict(message) for message in messages], request.tools)


def _as_dict(message: Message) -> dict[str, Any]:
    """A message as templates expect it: absent fields are not there, `content` always is."""
    fields = {name: value for name, value in msgspec.structs.asdict(message).items() if value is not None}
    return {"content": "", **fields} if "content" not in fields else fields
