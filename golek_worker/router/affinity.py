"""Which requests find the same beginning in a KV cache, and at which replica?

All turns of a conversation have one key: its `session_id`, or how it begins, up to its first user's turn. Nothing of
that changes while it goes on, and no later turn counts. Without a system prompt `input` has the key of that text in
`messages`.

Conversations with one system prompt are spread over all replicas on purpose, though all begin alike: each replica reads
that prompt once and has it from then on, which costs less than one replica that has all of the load and others that are
idle. Keyed by the system prompt alone a fleet with one prompt, as most are, would use its replicas one after the other;
and a conversation that moved because its replica was full would find the prompt, but not what was said since.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from golek_wire.requests import InferenceRequest, Message, Request
from golek_worker.router.targets import Lane

SILENT_S: Final = 2.0
"""A replica that is silent for longer takes no part."""
RAW_CHARACTERS: Final = 1024
"""So much of a text without turns counts: texts that go on from each other agree on it once they are as long."""
TURN_CHARACTERS: Final = 64 * 1024
"""So much of a turn counts: a hash of more takes its time, and turns that agree so far have enough in common."""


def affinity(request: Request) -> str:
    """What the requests of one conversation have in common; empty for what is not read by a KV cache."""
    if not isinstance(request, InferenceRequest):
        return ""
    beginning = [request.adapter or "", *_beginning(request)]
    return blake2b("\0".join(beginning).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def lane(key: str, lanes: Sequence[Lane]) -> str:
    """The replica for this key, by its worker id: by rendezvous hashing among those that were heard lately and have a
    free slot; empty where none has.

    When a replica comes, goes or is full, only its own keys move, each to the same next one as the time before.
    """
    able = (one.worker_id for one in lanes if one.free > 0 and one.heard_s <= SILENT_S)
    return max(able, key=lambda worker: _draw(key, worker), default="")


def _draw(key: str, worker: str) -> bytes:
    return blake2b(f"{key} {worker}".encode(), digest_size=8).digest()


def _beginning(request: InferenceRequest) -> list[str]:
    """The texts that stay as they are while the conversation goes on."""
    if request.session_id:
        return ["session", request.session_id]
    if request.raw:
        return ["raw", (request.input or "")[:RAW_CHARACTERS]]
    told = ["turns", _json(request.tools)]
    if request.messages is None:
        return [*told, "user", (request.input or "")[:TURN_CHARACTERS]]
    for turn in request.messages:
        told += [turn.role, _content(turn)]
        if turn.role == "user":
            break
    return told


def _content(turn: Message) -> str:
    return (turn.content or "")[:TURN_CHARACTERS] + _json(turn.parts)[:TURN_CHARACTERS]


def _json(said: list[dict[str, Any]] | None) -> str:
    return json.dumps(said) if said else ""
