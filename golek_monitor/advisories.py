"""What do the server's advisories mean for people?

JetStream tells what becomes of its streams and consumers (nats-server, `jsm.go` and ADR-25). Most are everyday life;
what somebody should know is put into words here, the rest is None.
"""

from typing import Final

import msgspec
from msgspec import Struct

from golek_client.stored import UNREADABLE
from golek_monitor.events import EventLevel, Happening


class _Advisory(Struct, frozen=True):
    """What the messages that are read here have."""

    stream: str = ""
    consumer: str = ""
    leader: str = ""
    server: str = ""


_decode: Final = msgspec.json.Decoder(_Advisory).decode
_PREFIX: Final = "$JS.EVENT.ADVISORY."


_WORDS: Final[dict[str, tuple[str, EventLevel, str, str]]] = {
    "STREAM.CREATED": ("stream.created", "info", "stream {stream} was made", "streams were made"),
    "STREAM.DELETED": ("stream.deleted", "warning", "stream {stream} was deleted", "streams were deleted"),
    "STREAM.UPDATED": ("stream.changed", "info", "stream {stream} was changed", "streams were changed"),
    "STREAM.LEADER_ELECTED": (
        "stream.leader_elected", "info", "server {leader} leads stream {stream} now", "streams have another leader",
    ),
    "STREAM.QUORUM_LOST": (
        "stream.quorum_lost", "error",
        "stream {stream} has lost its majority of servers: it stores nothing until they are back",
        "streams have lost their majority of servers",
    ),
    "CONSUMER.LEADER_ELECTED": (
        "consumer.leader_elected", "info", "server {leader} leads consumer {consumer} of {stream} now",
        "consumers have another leader",
    ),
    "CONSUMER.QUORUM_LOST": (
        "consumer.quorum_lost", "error",
        "consumer {consumer} of {stream} has lost its majority of servers: it hands out no jobs",
        "consumers have lost their majority of servers",
    ),
    "DOMAIN.LEADER_ELECTED": (
        "broker.leader_elected", "info", "server {leader} leads JetStream now", "elections of JetStream's leader",
    ),
    "SERVER.OUT_OF_STORAGE": (
        "broker.out_of_storage", "error", "server {server} has no storage left: streams take nothing more",
        "servers have no storage left",
    ),
    "SERVER.REMOVED": (
        "broker.server_removed", "warning", "server {server} was removed from the cluster", "servers were removed",
    ),
}  # fmt: skip
"""Code, level, sentence, and what is said of many."""


def told(subject: str, data: bytes) -> Happening | None:
    """The advisory on `subject` for the event log; None for one that means nothing to people, or is none."""
    kind = ".".join(subject.removeprefix(_PREFIX).split(".")[:2])
    if (words := _WORDS.get(kind)) is None:
        return None
    try:
        said = _decode(data)
    except UNREADABLE:
        return None
    code, level, message, several = words
    shown = {name: value or "?" for name, value in msgspec.structs.asdict(said).items()}
    return Happening(code, level, message.format_map(shown), several)
