"""What a worker hears of its engine's stderr: crash reports and the log file get what is for them."""

import asyncio
from pathlib import Path

from golek_worker.engine.base import ASIDE, EngineConfig
from golek_worker.engine.host import EngineHost

TINY = Path(__file__).resolve().parents[2] / "data/models/golek-tiny/model.gguf"


async def test_messages_of_a_load_are_no_crash_report() -> None:
    """All lines reach `on_stderr`; the ring that is copied to the dead letter queue has only warnings and worse."""
    ready, heard = asyncio.Event(), list[str]()
    config = EngineConfig(engine="llamacpp", model_path=str(TINY), slots=1, ctx_size=256, threads=1)
    host = EngineHost(config, 10.0, ready.set, heard.append)
    running = asyncio.create_task(host.run())
    async with asyncio.timeout(30):
        await ready.wait()
        await host.close()
        await running
    asides = [line for line in heard if line.startswith(ASIDE)]
    assert len(asides) > 20
    assert any("general.architecture" in line for line in asides)
    assert [line for line in heard if line not in asides] == list(host.stderr)
