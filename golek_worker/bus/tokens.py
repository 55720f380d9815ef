"""How does a resumable stream outlive who reads it?

What its inbox gets lies for some minutes in the stream GOLEK_TOKENS as well, on a subject of its own: first what opens
the log, then each chunk in the order written, attempts included, last the final message or the error. `golek_client`
reads it there (`token_log`), the first time as any other.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from golek_client.bus_client import BusClient
from golek_client.connection import publish
from golek_wire import codec, subjects
from golek_wire import headers as h
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import Opened
from golek_wire.subjects import Kind
from golek_worker.bus.jetstream import BUS_ERRORS, JetStreamError, patiently, store
from golek_worker.bus.replies import error_message
from golek_worker.bus.streams import MismatchError, NoStorageError, ensure_stream, tokens_stream_config
from golek_worker.job import Job

log = structlog.get_logger("tokens")

_OPENED = {h.STATUS: "opened", h.EXPECTED: "0"}
"""Stored only where the log is empty: an ingress opens it, and each attempt, should that have been lost."""


class _Metadata(msgspec.Struct):
    metadata: dict[str, Any] | None = None


_metadata_in = msgspec.json.Decoder(_Metadata).decode


class TokenLogs:
    """The logs of resumable streams, as one worker writes them."""

    def __init__(self, client: BusClient, model: str, kind: Kind) -> None:
        self._client = client
        self._model = model
        self._kind = kind

    async def ensure(self) -> None:
        """Make the stream where it is missing. Raises as `ensure_stream` does.

        A broker that has no memory for it keeps no streams; they are answered all the same.
        """
        try:
            await ensure_stream(self._client, tokens_stream_config())
        except (JetStreamError, NoStorageError) as error:
            log.warning("tokens.unkept", problem=str(error))

    async def reconnected(self) -> None:
        """The connection stands again: a broker that was restarted forgot the stream. Raises one of BUS_ERRORS."""
        try:
            await self.ensure()
        except MismatchError as error:
            log.warning("tokens.unkept", problem=str(error))

    async def open(self, job: Job, payload: bytes, created: float) -> None:
        """Begin the log of `job`, a request taken at `created` in epoch seconds, unless it was begun."""
        metadata = _metadata_in(payload).metadata
        model, kind = job.asked_model or self._model, job.asked_kind or self._kind
        opened = Opened(job.job_id, model, int(created), job.budget_ms, kind, job.principal, metadata)
        await publish(self._client, subjects.tokens(job.job_id), codec.encode(opened), _OPENED)

    async def refuse(self, job: Job, error: InferenceServiceError) -> None:
        """End the log of a job that no worker ran."""
        body, about = error_message(job.req_id, error, stream=True, limit=self._client.max_payload)
        await publish(self._client, subjects.tokens(job.job_id), body, about)

    async def end(self, job: Job, final: Iterable[tuple[bytes, dict[str, str]]]) -> None:
        """Store what ends the log, and wait for JetStream's word: without it readers would wait for the deadline.

        That it could not be stored is told and held against nobody: the caller has the answer.
        """
        subject = subjects.tokens(job.job_id)
        try:
            for body, about in final:
                await patiently(self._client, partial(store, self._client, subject, body, about))
        except BUS_ERRORS as error:
            log.warning("tokens.unended", job_id=job.job_id, problem=str(error))
