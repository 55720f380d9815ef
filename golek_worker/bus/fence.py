"""Who of several holders of one job may answer it?

A holder that was frozen wakes while another one runs its job: both may end in the same millisecond, and the job is
still in the queue for both. So whoever doubts its lease claims the right to answer first: an entry that JetStream makes
for one of them alone. It lies in GOLEK_RESULTS, where each entry has a lifetime. See docs/decisions/0063.
"""

import uuid
from typing import Final

from nats.aio.client import Client

from golek_client.bus_client import BusClient
from golek_wire import headers as h
from golek_wire import subjects
from golek_worker.bus.jetstream import WRONG_LAST_SEQUENCE, JetStreamError, patiently, store, stored_message

CLAIM_S: Final = 14
"""A claim whose owner died is open again after so long: longer than an answer is tried to be stored
(`results.STORE_PATIENCE_S` and one more try), or another holder would answer meanwhile."""
STORE_TIMEOUT_S: Final = 2.0
_PROCESS: Final = uuid.uuid4().hex


class Fence:
    """The claims to one job: the message `seq` of `stream`."""

    def __init__(self, client: BusClient, stream: str, seq: int) -> None:
        self._client = client
        self._claim = subjects.answer_claim(stream, seq)
        self._delivery = subjects.answer_delivery(stream, seq)

    async def claim(self) -> bool:
        """True when this holder alone may answer, for CLAIM_S; also when it claimed before. Raises as `api` does."""
        holder = _holder(self._client)
        about = {h.EXPECTED: "0", h.TTL: f"{CLAIM_S}s"}
        try:
            await patiently(
                self._client, lambda: store(self._client, self._claim, holder, about, timeout=STORE_TIMEOUT_S)
            )
        except JetStreamError as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
            found = await stored_message(self._client, subjects.RESULTS_STREAM, {"last_by_subj": self._claim})
            return found is not None and found.data == holder
        return True

    async def announce(self, num_delivered: int, lasts_s: float) -> None:
        """Say that this delivery of the job runs, and writes, for at most `lasts_s`. Raises as `api` does."""
        about = {h.TTL: f"{max(1, int(lasts_s) + 1)}s"}
        await store(self._client, self._delivery, b"%d" % num_delivered, about, timeout=STORE_TIMEOUT_S)

    async def newest(self) -> int:
        """The number of the delivery that was announced last; 0 where none was. Raises as `api` does."""
        found = await stored_message(self._client, subjects.RESULTS_STREAM, {"last_by_subj": self._delivery})
        return int(found.data) if found is not None else 0


def _holder(client: Client) -> bytes:
    """Who claims: a worker's connection, whatever delivery it holds, since it runs a job once at a time."""
    return f"{_PROCESS}.{id(client):x}".encode()
