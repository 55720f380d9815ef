"""How are the queues of other models' streams made?

Who stores jobs for a model that it does not serve asks the server once in a while how many jobs its stream holds and
whether they are queued by priority.
"""

import math
import time
from typing import Final

from msgspec import Struct

from golek_client.bus_client import BusClient
from golek_wire import subjects
from golek_wire.jetstream import STREAM_NOT_FOUND
from golek_worker.bus.jetstream import JetStreamError, api
from golek_worker.bus.queue import NORMAL
from golek_worker.bus.streams import FIFO, STRATEGY

BELIEVED_S: Final = 30.0
"""So long an answer counts: a queue may be made anew with other values."""
ABSENT_S: Final = 1.0


class Form(Struct, frozen=True):
    """What a model's stream says of itself."""

    capacity: int
    strategy: str

    def priority(self, number: int) -> str:
        """The class of jobs with this priority."""
        return NORMAL if self.strategy == FIFO else subjects.PRIORITIES[number]


class Forms:
    """The forms of streams, as they were last seen."""

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[float, Form | None]] = {}

    async def find(self, token: str) -> Form | None:
        """The form of this model's stream; None where there is no stream. Raises as `api` does."""
        at, form = self._seen.get(token, (-math.inf, None))
        if time.monotonic() - at < (ABSENT_S if form is None else BELIEVED_S):
            return form
        try:
            config = (await api(self._client, f"STREAM.INFO.{subjects.job_stream(token)}"))["config"]
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            form = None
        else:
            form = Form(config["max_msgs"], (config.get("metadata") or {}).get(STRATEGY, FIFO))
        self._seen[token] = time.monotonic(), form
        return form
