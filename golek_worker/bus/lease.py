"""How long is a delivered job ours?

A lease is a delivered, un-acked job. It is renewed every 2 s while its engine makes progress, and ends in exactly one
of ack, nak or term, unless its worker dies first. Not renewed for `ACK_WAIT_S`, the job goes to another replica.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from golek_client.bus_client import BusClient, Delivery
from golek_client.connection import publish
from golek_wire.errors import BusUnavailableError
from golek_wire.jetstream import MESSAGE_GONE
from golek_worker.bus.fence import CLAIM_S, Fence
from golek_worker.bus.jetstream import JetStreamError, api
from golek_worker.bus.streams import ACK_WAIT_S
from golek_worker.job import Job, from_headers

RENEW_S = 2.0
SAFE_S = ACK_WAIT_S - 1.0
"""A final may be published without asking while the last renewal is younger than this."""
DEADLINE_GRACE_S = 0.9
"""The ingress answers for the worker 1 s after the deadline."""
TICK_S = 0.1
SLEPT_S = 1.0
"""The keeper's clock stood for this long: this process was stopped, or its host slept."""
WAKING_S = 1.0
"""So long after a sleep a delivery is doubtful: it may have lain in the socket meanwhile."""
LOOK_S = 0.25
"""Who may not answer looks so often whether the job was answered."""


class SupersededError(Exception):
    """A newer delivery of this stream's job writes to its caller: it answers, and the job is left to it as it is."""


class Lease:
    """One delivered job."""

    def __init__(self, client: BusClient, message: Delivery, server_time: float) -> None:
        """`server_time` is the broker's clock now, in epoch seconds: the job was stored by that clock.

        Raises KeyError, IndexError or ValueError when the message is not a job that an ingress wrote."""
        self._client = client
        self._ack_subject = message.reply
        self.payload = message.data
        # $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>
        fields = message.reply.split(".")
        first = 2 if len(fields) == 9 else 4
        self.stream = fields[first]
        self.num_delivered = int(fields[first + 2])
        self.seq = int(fields[first + 3])
        self.stored_at = int(fields[first + 5]) / 1e9
        self.leased_at = time.monotonic()
        self.renewed_at = self.leased_at
        self.doubtful = False
        """True when the server may have given the job to another replica meanwhile."""
        self.job: Job = from_headers(message.headers or {})
        self._newest = self.num_delivered
        self._fence = Fence(client, self.stream, self.seq)
        self.on_end: Callable[[bool], None] | None = None
        """Told when it has ended, and whether the job runs again, by whom has no consumer to be told."""
        self.waited_s = max(0.0, server_time - self.stored_at)
        self.queue_ms = round(self.waited_s * 1000)
        self.deadline = self.leased_at + self.job.budget_ms / 1000 - self.waited_s
        """Monotonic time after which the answer is of no use."""

    async def ack(self, confirm_at: str = "") -> None:
        """The job is answered; it leaves the queue. The server says so at `confirm_at`, if given."""
        await self._end(b"+ACK", confirm_at)

    async def term(self, confirm_at: str = "") -> None:
        """The job ended in an error; it leaves the queue. The server says so at `confirm_at`, if given."""
        await self._end(b"+TERM", confirm_at)

    async def nak(self, delay_s: float = 0.0) -> None:
        """The job must run again, after `delay_s`."""
        await self._end(b'-NAK {"delay": %d}' % int(delay_s * 1e9) if delay_s else b"-NAK")

    async def renew(self) -> None:
        """Keep the job for another ACK_WAIT_S; doubtful when that may come too late, as after an engine's pause."""
        if not self._client.is_connected:
            return  # it would lie in a buffer while the server gives the job away
        self.doubtful = self.doubtful or time.monotonic() - self.renewed_at >= SAFE_S
        await publish(self._client, self._ack_subject, b"+WPI")
        self.renewed_at = time.monotonic()

    def adopt(self, newer: "Lease") -> None:
        """The job was delivered here again while it still runs: go on under the newer delivery."""
        self._ack_subject = newer._ack_subject
        self._newest = newer.num_delivered
        self.doubtful = True

    async def announce(self) -> None:
        """Say that this delivery runs, so that an older holder of a stream gives way. Raises as `api` does."""
        await self._fence.announce(self.num_delivered, self.deadline - time.monotonic() + CLAIM_S)

    async def is_mine(self) -> bool:
        """True while nobody else can answer: renewed lately and in time, or claimed and still in the stream.

        A job that came here a second time is claimed in any case: the worker that had it before may have woken. Who
        does not get the claim waits until the job is answered, or claims it when its owner died.

        Raises SupersededError when that is a newer delivery's part; BusUnavailableError or JetStreamError when it
        cannot be told.
        """
        now = time.monotonic()
        recent = now - self.renewed_at < SAFE_S and now < self.deadline + DEADLINE_GRACE_S
        if recent and self.num_delivered == 1 and not self.doubtful and self._client.is_connected:
            return True
        if self.job.stream and await self._fence.newest() > self._newest:
            if await self._is_queued():
                raise SupersededError
            return False
        while True:
            claimed = await self._fence.claim()
            if not await self._is_queued():
                return False
            if claimed:
                return True
            await asyncio.sleep(LOOK_S)

    async def _is_queued(self) -> bool:
        """True while nobody answered: asked behind the claim, or another one might answer between the two."""
        try:
            await api(self._client, f"STREAM.MSG.GET.{self.stream}", {"seq": self.seq})
        except JetStreamError as error:
            if error.code in MESSAGE_GONE:
                return False
            raise
        return True

    async def _end(self, verdict: bytes, confirm_at: str = "") -> None:
        await publish(self._client, self._ack_subject, verdict, reply=confirm_at)


class LeaseKeeper:
    """Renews all leases of a worker, and tells when a deadline has come."""

    def __init__(self, may_renew: Callable[[], bool]) -> None:
        self._may_renew = may_renew
        self._leases: dict[Lease, Callable[[], None] | None] = {}
        self._ticked_at = time.monotonic()
        self._waking_until = 0.0

    def hold(self, lease: Lease, on_deadline: Callable[[], None]) -> None:
        """Keep `lease` until `drop`; call `on_deadline` once when its deadline comes."""
        self._leases[lease] = on_deadline

    def doubt(self) -> None:
        """The connection was away: any lease may have been given to another replica."""
        for lease in self._leases:
            lease.doubtful = True

    def drop(self, lease: Lease) -> None:
        """The lease has ended."""
        self._leases.pop(lease, None)

    def notice_sleep(self) -> bool:
        """True when this process slept until just now; then all leases are doubtful, those that come now as well.

        Asked wherever a lease counts: after a sleep the keeper's own turn may come later than that.
        """
        now = time.monotonic()
        if now - self._ticked_at > SLEPT_S:
            self._waking_until = now + WAKING_S
            self.doubt()
        self._ticked_at = now
        return now < self._waking_until

    async def run(self) -> None:
        """Renew and watch deadlines, for as long as the worker lives."""
        while True:
            await asyncio.sleep(TICK_S if self._leases else TICK_S * 5)
            self.notice_sleep()
            now = time.monotonic()
            renewing = self._may_renew()
            for lease, on_deadline in list(self._leases.items()):
                if on_deadline is not None and now >= lease.deadline:
                    self._leases[lease] = None
                    on_deadline()
                if renewing and now - lease.renewed_at >= RENEW_S:
                    with contextlib.suppress(BusUnavailableError):  # the connection is being restored: tried again
                        await lease.renew()
