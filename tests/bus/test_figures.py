"""The engine's figures as operators meet them: real server, worker and demo model."""

import asyncio
import json
from pathlib import Path

from golek_client import Golek
from golek_worker.store.requests import recent_requests
from tests.support import raw
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
PROMPT = "Tell me of the cat, the dog, the bird, the fish, the fox and all the others that there are."


async def test_an_engines_figures_are_told_everywhere(nats_server: str, tmp_path: Path) -> None:
    """In the answer, health, a load report, `$SRV.STATS` and the request log; without an engine nowhere."""
    with WorkerProcess(nats_server, tmp_path, MODEL, WORKER_CONCURRENCY=2):
        async with Golek(nats_server, deadline=20.0) as golek, raw.connected(nats_server) as client:
            for _ in range(2):
                reply = await golek.ask(MODEL, PROMPT, raw=True, max_tokens=64, ignore_eos=True)
            assert 0 < reply.tokens_cached < reply.tokens_in
            assert reply.ttft_ms <= reply.ms

            reports = await client.subscribe(f"monitoring.inference.{MODEL}")
            async with asyncio.timeout(5.0):
                while (stats := (await golek.health(MODEL)).engine_stats) is None or stats.prefix_hit_rate is None:
                    await asyncio.sleep(0.1)
            assert (stats.running, stats.waiting, stats.kv_cells, stats.requests) == (0, 0, 0, 2)
            assert stats.tokens_per_s is not None
            assert stats.tokens_per_s > 0
            assert stats.batch_occupancy == 0.5, "one of two slots wrote"
            assert stats.ttft_ms_p50 is not None
            assert stats.itl_ms_p50 is not None
            assert stats.kv_kept
            assert 0 < stats.prefix_hit_rate < 1
            assert stats.decode_share is not None
            assert 0 < stats.decode_share <= 1

            micro, _ = await raw.ask(client, "$SRV.STATS.golek", {})
            assert micro["endpoints"][0]["data"]["kv_capacity"] == stats.kv_capacity
            await golek.ask(MODEL, PROMPT, raw=True, max_tokens=900, ignore_eos=True)
            report = json.loads((await reports.next_msg(12.0)).data)
            assert report["engine_stats"]["kv_capacity"] == stats.kv_capacity

            await golek.unload(MODEL)
            assert (await golek.health(MODEL)).engine_stats is None

    newest, second, _ = recent_requests(tmp_path / "logs" / f"{MODEL}.sqlite", 3)
    assert newest["texts"] == 1
    assert second["tokens_cached"] == reply.tokens_cached
    assert second["waited_ms"] + second["prefill_ms"] + second["decode_ms"] <= second["dur_ms"]
    assert 0 < second["ttft_ms"] < second["dur_ms"]
    assert round(second["tokens_per_s"], 3) == round(63_000 / second["decode_ms"], 3)
