"""How is a message read that came to a caller's inbox?

Anybody may publish there, so what is not Golek's is told as such.
"""

from typing import Final, Generic, TypeVar

from msgspec import Struct

from golek_client.stored import UNREADABLE
from golek_client.transport import Received
from golek_wire import codec, headers
from golek_wire.errors import ErrorReply, InferenceServiceError, InternalError, from_reply
from golek_wire.orchestration import StepEvent
from golek_wire.parts import Joint
from golek_wire.replies import Accepted, Chunk, EmbeddingReply, InferenceReply, Opened, Queued, Receipt, RerankReply
from golek_wire.vision import VisionReply

DIGITS: Final = 9
"""Of a count in a header: Python refuses to read thousands of them."""

Reply = TypeVar("Reply", bound=InferenceReply | EmbeddingReply | RerankReply | VisionReply | Receipt)
Before = TypeVar("Before", Accepted, Chunk, Opened, Queued)


class Piece(Struct, frozen=True):
    """A chunk of text and the attempt that wrote it."""

    attempt: int
    chunk: Chunk


class Answer(Generic[Reply]):
    """An answer as it comes in: pieces of text, then the final message, whole or in parts."""

    def __init__(self, kind: type[Reply]) -> None:
        self._kind: type[Reply] = kind
        self._joint: Joint | None = None

    def said(self, message: Received, about: dict[str, str]) -> Piece | Reply | None:
        """What a message means that is neither an error nor a status; None when more must come. Raises InternalError.

        1. A part of the reply. 2. A piece of text. 3. The end mark, an empty message. 4. The reply.
        """
        if headers.PART in about:  # 1
            whole = self._joined(message.data, about)
            return final(whole, self._kind) if whole is not None else None
        if headers.ATTEMPT in about and headers.FINAL not in about:  # 2
            return Piece(number(about[headers.ATTEMPT]), before(message, Chunk))
        if not message.data:  # 3
            return None
        return final(message.data, self._kind)  # 4

    def _joined(self, data: bytes, about: dict[str, str]) -> bytes | None:
        """The reply, once all its parts are here."""
        self._joint = self._joint or Joint()
        try:
            return self._joint.add(about[headers.PART], number(about.get(headers.ATTEMPT, "")), data)
        except ValueError as error:
            raise foreign(error) from None


def nobody_heard(message: Received, about: dict[str, str]) -> bool:
    """Whether this is the server's word that nobody listens."""
    return about.get(headers.NATS_STATUS) == headers.NO_RESPONDERS and not message.data


def before(message: Received, kind: type[Before]) -> Before:
    """What comes before a final message. Raises InternalError."""
    try:
        return codec.decode(message.data, kind)
    except UNREADABLE as error:
        raise foreign(error) from None


def step(message: Received) -> StepEvent | None:
    """Word of a step; None where it cannot be read: a later version may say it otherwise, and nobody waits for it."""
    try:
        return codec.decode(message.data, StepEvent)
    except UNREADABLE:
        return None


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
