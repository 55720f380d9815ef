"""Which requests find the same beginning in a KV cache, and at which replica?"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from golek_wire.requests import InferenceRequest, Request
from golek_worker.router.targets import Lane

SILENT_S: Final = 2.0
"""A replica that is silent for longer takes no part."""


def affinity(request: Request) -> str:
    """What requests of one conversation have in common; empty where nothing is worth it."""
    if not isinstance(request, InferenceRequest):
        return ""
    if request.session_id:
        return request.session_id
    turns = [turn.content or "" for turn in (request.messages or [])[:2]]
    return blake2b("\0".join(turns or [(request.input or "")[:512]]).encode(), digest_size=16).hexdigest()


def lane(affinity: str, lanes: Sequence[Lane]) -> str:
    """The replica for this beginning, by rendezvous hashing among those that are there and have a free slot; empty
    where none is.
    """
    able = [one.worker_id for one in lanes if one.free > 0 and one.heard_s <= SILENT_S]
    return max(able, key=lambda worker: blake2b(f"{affinity} {worker}".encode(), digest_size=8).digest(), default="")
