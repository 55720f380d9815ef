"""How is a conversation kept for a caller, and how is it read and removed over the bus?

A request with a `session_id` goes on with what was said under it. On `sessions.get` and `sessions.delete`, as JSON, the
caller reads and removes what is kept; of other callers' conversations nobody hears.
"""

from msgspec import Struct, field

from golek_wire.requests import Message, SessionId


class SessionQuestion(Struct, frozen=True):
    """The body on `sessions.get` and `sessions.delete`."""

    session_id: SessionId


class Turn(Struct, frozen=True, omit_defaults=True):
    """What one job added: the messages of its request, then the answer."""

    job_id: str
    messages: list[Message]
    tokens: int = 0
    """About how many they are for the model that answered."""


class Session(Struct, frozen=True, omit_defaults=True):
    """A conversation: the answer on `sessions.get`, and the value in the bucket `GOLEK_SESSIONS`."""

    session_id: str
    created: str
    """RFC 3339."""
    updated: str
    """When its last turn was added; it is forgotten GOLEK_SESSION_TTL later."""
    system: list[Message] = field(default_factory=list[Message])
    """What its first request, or the last one that brought any, began with of `system` and `developer` messages."""
    turns: list[Turn] = field(default_factory=list[Turn])
    """Oldest first."""
    dropped: int = 0
    """Older turns that are kept no more: all together had become too large for one message."""


class SessionDeleted(Struct, frozen=True):
    """The answer on `sessions.delete`."""

    session_id: str
    deleted: bool = True
