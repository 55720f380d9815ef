"""How is a message read that came to a caller's inbox?

Anybody may publish there, so what is not Golek's is told as such.
"""

from typing import Final, TypeVar

from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, headers
from golek_wire.errors import ErrorReply, InferenceServiceError, InternalError, from_reply
from golek_wire.replies import Accepted, Chunk, EmbeddingReply, InferenceReply, Queued, Receipt, RerankReply

DIGITS: Final = 9
"""Of a count in a header: Python refuses to read thousands of them."""

Reply = TypeVar("Reply", bound=InferenceReply | EmbeddingReply | RerankReply | Receipt)
Before = TypeVar("Before", Accepted, Chunk, Queued)


def nobody_heard(message: Received, about: dict[str, str]) -> bool:
    """Whether this is the server's word that nobody listens."""
    return about.get(headers.NATS_STATUS) == headers.NO_RESPONDERS and not message.data


def before(message: Received, kind: type[Before]) -> Before:
    """What comes before a final message. Raises InternalError."""
    try:
        return codec.decode(message.data, kind)
    except UNREADABLE as error:
        raise foreign(error) from None


def final(body: bytes, kind: type[Reply]) -> Reply:
    """A final message. Raises InternalError."""
    try:
        return codec.decode_final(body, kind)
    except UNREADABLE as error:
        raise foreign(error) from None


def error_in(message: Received, about: dict[str, str]) -> InferenceServiceError:
    """The error that `message` tells of, even when only its headers can be read."""
    try:
        return from_reply(codec.decode(message.data, ErrorReply))
    except UNREADABLE:
        return InternalError(f"error {about[headers.ERROR_CODE]}: {about.get(headers.ERROR, 'without a description')}")


def number(text: str) -> int:
    """A count in a header; 0, which is older than any attempt, when it is none."""
    return int(text) if text.isdecimal() and len(text) <= DIGITS else 0


def foreign(error: Exception) -> InternalError:
    """What came is not Golek's."""
    return InternalError(f"the answer is not Golek's ({error}); does something else listen on the model's subject?")
