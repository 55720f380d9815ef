"""A program with an engine, to be killed: `python -m tests.engines.parent FILE`, where FILE has the configuration.

It says `serving` when the engine does, and then waits.
"""

import asyncio
import sys
from pathlib import Path

from golek_worker.engine.base import EngineConfig, FrameReader
from golek_worker.engine.host import EngineHost


async def main(path: str) -> None:
    """Run the engine; whoever started this ends it."""
    (config,) = FrameReader[EngineConfig](EngineConfig).feed(Path(path).read_bytes())
    host = EngineHost(config, 10.0, lambda: print("serving", flush=True) if host.serving else None)
    await host.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
