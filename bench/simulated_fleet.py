"""A fleet that only speaks: WORKERS that say what busy workers say, without running anything.

    python bench/simulated_fleet.py [WORKERS] [MODELS] [PER_SECOND]

Each beats every 30 s and reports once a second, spread over the second, with figures that change; `$SRV.PING` is
answered for each, and `monitoring.ask` makes all speak at once. PER_SECOND is how many reports come in a second, if not
one of each. The first worker is a probe: its `last_token_age_ms` says when it spoke, in milliseconds since PROBE_ERA.
"""

import asyncio
import random
import sys
import time
from typing import Final

import msgspec
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from support import ROOT

from golek_client.connection import close, connect, publish
from golek_wire import codec, subjects
from golek_wire.moments import stamp
from golek_wire.signals import EngineStats, Health, LoadReport, ModelInfo, ModelRecord, Traffic, load_level

HEARTBEAT_S: Final = 30.0
PROBE: Final = "sim-0000-1"
PROBE_ERA: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
SLICES: Final = 50
"""Of a second: those of a slice are written together."""


class SimulatedWorker:
    """One of them."""

    def __init__(self, number: int, model: str) -> None:
        self.worker_id = f"sim-{number:04}-1"
        self.model = model
        self.incarnation = f"sim{number:06}"
        self._drawn = random.Random(number)
        self._seq = 0
        self._requests = 0
        self._tokens = 0
        self._active = 2
        self._started = stamp(time.time())

    def report(self, pending: int) -> LoadReport:
        drawn = self._drawn
        self._seq += 1
        self._active = drawn.randint(1, 4)
        self._requests += drawn.randint(0, 3)
        self._tokens += drawn.randint(50, 120)
        now = time.time()
        age = round((now - PROBE_ERA) * 1000) if self.worker_id == PROBE else drawn.randint(1, 300)
        return LoadReport(
            model_name=self.model, pending_messages=pending, active_processing=self._active, timestamp=stamp(now),
            worker_count=4, queue_capacity=2000, status=load_level(pending, self._active, 2000, stalled=False),
            worker_id=self.worker_id, seq=self._seq, incarnation=self.incarnation, last_token_age_ms=age,
            utilization=round((pending + self._active) / 2000, 4), engine_stats=self._stats(), state="online",
            traffic=Traffic(
                requests=self._requests, errors=self._requests // 500, answered=self._requests,
                answered_ms=self._requests * 812.5, tokens_in=self._tokens // 4, tokens_out=self._tokens,
            ),
        )  # fmt: skip

    def health(self) -> Health:
        return Health(
            model_name=self.model, status="online", last_activity=stamp(time.time()),
            capabilities=["text-generation", "grammar-constrained"], endpoint="",
            nats_topic=f"inference.request.{self.model}", version="0.1.0",
            model_info=ModelInfo(
                architecture="llama", modalities=["text"], parameter_count="4.0B", context_size=8192,
                embedding_size=2560, quantization="Q4_K_M", model_family="llama",
            ),
            worker_id=self.worker_id, engine="llamacpp", device="cpu", slots=4, active=self._active,
            last_token_age_ms=10, monitor_subject=subjects.load_report(subjects.model_token(self.model)),
            engine_stats=self._stats(), incarnation=self.incarnation, started_at=self._started,
        )  # fmt: skip

    def _stats(self) -> EngineStats:
        drawn = self._drawn
        return EngineStats(
            window_s=60.0, running=self._active, waiting=0, tokens_per_s=round(drawn.uniform(40, 90), 1),
            prompt_tokens_per_s=20.0, requests=90, ttft_ms_p50=round(drawn.uniform(50, 90), 1), ttft_ms_p95=140.2,
            itl_ms_p50=11.2, itl_ms_p95=19.9, batch_occupancy=0.6, decode_share=0.95, prefix_hit_rate=0.4,
            kv_cells=900, kv_kept=300, kv_capacity=8192, kv_use=round(drawn.random(), 3),
        )  # fmt: skip


class SimulatedFleet:
    """All of them, on one connection."""

    def __init__(self, client: Client, workers: int, models: int, per_second: int) -> None:
        self._client = client
        self._workers = [SimulatedWorker(number, f"model-{number % models:03}") for number in range(workers)]
        self._by_incarnation = {worker.incarnation: worker for worker in self._workers}
        self._reports_per_s = per_second or workers
        self._models = models
        self.sent = 0

    async def begin(self) -> None:
        """Write the records, answer questions, and say hello."""
        records = await self._client.jetstream().create_key_value(bucket=subjects.MODELS_BUCKET)
        for number in range(self._models):
            name = f"model-{number:03}"
            record = ModelRecord(
                name, ["inference"], "online", name, stamp(time.time()), 8192, capabilities=["text-generation"]
            )
            await records.put(subjects.model_token(name), codec.encode(record))
        await self._client.subscribe(subjects.micro("PING", "*"), cb=self._pong)
        await self._client.subscribe(subjects.SIGNALS_ASKED, cb=self._all)
        await self._all(None)

    async def run(self) -> None:
        """Speak until cancelled."""
        loop, turn = asyncio.get_running_loop(), 0
        began, size = loop.time(), len(self._workers)
        due_reports = due_beats = 0.0
        spoken = beaten = 0
        while True:
            turn += 1
            await asyncio.sleep(max(0.0, began + turn / SLICES - loop.time()))
            due_reports += self._reports_per_s / SLICES
            due_beats += size / HEARTBEAT_S / SLICES
            while spoken < int(due_reports):
                await self._report(self._workers[spoken % size])
                spoken += 1
            while beaten < int(due_beats):
                await self._beat(self._workers[beaten % size])
                beaten += 1

    async def _report(self, worker: SimulatedWorker) -> None:
        pending = (int(time.time() * 2) + hash(worker.model)) % 7
        subject = subjects.load_report(subjects.model_token(worker.model))
        await publish(self._client, subject, codec.encode(worker.report(pending)))
        self.sent += 1

    async def _beat(self, worker: SimulatedWorker) -> None:
        subject = subjects.heartbeat(subjects.model_token(worker.model))
        await publish(self._client, subject, codec.encode(worker.health()))
        self.sent += 1

    async def _all(self, _: Msg | None) -> None:
        for worker in self._workers:
            await self._beat(worker)
            await self._report(worker)

    async def _pong(self, message: Msg) -> None:
        if (incarnation := message.subject.rpartition(".")[2]) in self._by_incarnation and message.reply:
            told = {"type": "io.nats.micro.v1.ping_response", "name": "golek", "id": incarnation, "version": "0.1.0"}
            await publish(self._client, message.reply, msgspec.json.encode(told))


async def main(workers: int = 1000, models: int = 50, per_second: int = 0) -> None:
    import os

    client = await connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), "simulated-fleet")
    fleet = SimulatedFleet(client, workers, models, per_second)
    try:
        await fleet.begin()
        print("ready", flush=True)
        await fleet.run()
    finally:
        await close(client)


if __name__ == "__main__":
    assert ROOT
    uvloop.run(main(*map(int, sys.argv[1:])))
