"""What does this worker's gate ask of a request, and whose does the job become?

The gate and what follows it are pure (`admission`); here they get the settings, the server's limits, who asks, and
randomness.
"""

import random
from collections.abc import Callable
from typing import Final

import msgspec
from nats.aio.client import Client

from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import RouteLoopError
from golek_wire.keys import Key
from golek_wire.requests import EmbeddingRequest, Request, RerankRequest, VisionRequest
from golek_wire.subjects import Kind
from golek_worker.admission import gate, quota
from golek_worker.admission.retained import SUBMITTED_DEADLINE_MS, retained
from golek_worker.bus.identity import Callers
from golek_worker.job import Charge, Job, money
from golek_worker.settings import Settings

HOPS_DIGITS: Final = 4
DECODERS: Final[dict[str, Callable[[bytes], EmbeddingRequest | RerankRequest | VisionRequest]]] = {
    "embedding": codec.decode_embedding,
    "rerank": codec.decode_rerank,
    "vision": codec.decode_vision,
}


class Gatekeeper:
    """Admits the requests of one worker."""

    def __init__(
        self,
        chosen: Settings,
        kind: Kind,
        callers: Callers,
        client: Client,
        able: Callable[[Request], None],
        *,
        model: str = "",
        chosen_later: bool = False,
    ) -> None:
        """`kind` is that of the queue. `able` raises BadRequestError for what the model is known to be unable to do.
        `model` is the one that is asked, where that is not the worker's own; `chosen_later`: its jobs go to a router's
        stream.
        """
        self._settings = chosen
        self._model = model or chosen.model_name
        self._chosen_later = chosen_later
        self._kind: Kind = kind
        self.callers = callers
        self._client = client
        self._able = able
        self._random = random.Random()

    def check(self, payload: bytes, headers: dict[str, str] | None, reply: str, subject: str) -> Job:
        """The job that a request becomes, which was asked at `subject`. Raises the InferenceServiceError that says why
        it becomes none.
        """
        kind, submitted = subjects.kind_of(subject), subjects.is_submit(subject)
        callers, limits, new_inbox = self.callers, self._limits(submitted=submitted), self._client.new_inbox
        key = callers.key(headers)
        name = callers.request_name(headers)
        if kind == "inference":
            job = gate.check(payload, headers, reply, limits, self._seed, new_inbox, key.key_id, name)
        else:
            decode = DECODERS[kind]
            job = gate.check_whole(decode, payload, headers, reply, limits, new_inbox, key.key_id, name)
        hops = _hops(headers)
        if self._chosen_later:
            job = self._for_router(job, kind, key, hops)
        elif hops or kind != self._kind:  # the first, should a router take it from the model's queue
            job = msgspec.structs.replace(job, hops=hops, asked=kind if kind != self._kind else "")
        if key.has_limits:
            job = msgspec.structs.replace(
                job, charge=Charge(key, self._estimate(kind, payload)), money=money(key.budget)
            )
        if key.cache is not None:
            job = msgspec.structs.replace(job, cache=key.cache)
        if not headers and reply and not submitted:
            return job
        return callers.owned(retained(job, payload, headers, kind, self._model, submitted=submitted))

    def _for_router(self, job: Job, kind: Kind, key: Key, hops: int) -> Job:
        """What a router has to know of a request. Raises RouteLoopError."""
        if hops >= h.HOPS_LIMIT:
            raise route_loop(hops)
        asked = f"{kind} {self._model}"
        return msgspec.structs.replace(job, asked=asked, hops=hops + 1, allowed=",".join(key.models))

    def _estimate(self, kind: Kind, payload: bytes) -> int:
        """The tokens that an admitted request may cost. It is read a second time, so that nobody else pays for this."""
        decode = codec.decode_request if kind == "inference" else DECODERS[kind]
        return quota.estimate(decode(payload), self._settings.golek_quota_reserve)

    def check_object(self, size: int) -> None:
        """Raise PayloadTooLargeError for a body in the object store that has too many bytes."""
        gate.check_size(size, self._limits(), by_reference=True)

    def _limits(self, *, submitted: bool = False) -> gate.Limits:
        chosen = self._settings
        usual_ms = round(chosen.inference_request_timeout * 1000)
        return gate.Limits(
            max_payload=self._client.max_payload,
            default_deadline_ms=SUBMITTED_DEADLINE_MS if submitted else usual_ms,
            default_priority=chosen.inference_default_priority,
            may_redirect=self.callers.may_redirect,
            max_body=chosen.golek_max_body * 2**20 if chosen.golek_objects else 0,
            able=self._able,
        )

    def _seed(self) -> int:
        return self._random.getrandbits(31)


def route_loop(hops: int) -> RouteLoopError:
    """The error of a request that came through so many routers that none may pass it on."""
    return RouteLoopError(
        f"The request came through {hops} routers already, at most {h.HOPS_LIMIT} may pass it on: two of them send it "
        "to each other, or one to itself. Look for names of `routes.yaml` that stand for each other",
        hops=hops,
        limit=h.HOPS_LIMIT,
    )


def _hops(headers: dict[str, str] | None) -> int:
    """Through how many routers the request came, as it says; what is no number counts as too many."""
    said = (headers or {}).get(h.HOPS, "0")
    return int(said) if said.isdecimal() and len(said) < HOPS_DIGITS else h.HOPS_LIMIT
