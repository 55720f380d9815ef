"""A fake: an engine whose runtime is asyncio's and that does what a prompt says, in the real child's process.

    python -m tests.engines.toy --fd N

What it does with a prompt stands beside its name in `Toy.run`. It tells on stderr which generators were closed before
their end, and that it was closed itself.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from golek_wire.errors import BadRequestError
from golek_wire.signals import ModelInfo
from golek_worker.engine import child
from golek_worker.engine.asynchronous import AsyncEngine, AsyncEngineFactory, Counts, EngineDiedError
from golek_worker.engine.base import (
    AdapterChanged,
    Computed,
    EngineConfig,
    EngineLoadError,
    Finished,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceStart,
    Submit,
    UnloadAdapter,
)

FLOOD = 16 * 1024
"""Characters of a piece of a flood."""


class Toy:
    """It writes its numbers."""

    def __init__(self, config: EngineConfig) -> None:
        self.ready = Ready(
            ModelInfo(architecture="toy", modalities=["text"], context_size=100, model_family="toy"),
            ["text-generation"],
            "none",
            config.slots,
            100,
        )
        self._note = Path(config.model_path)
        self._begun = 0
        self._dead = asyncio.Event()
        self._loaded: list[str] = []

    async def run(self, command: SequenceStart, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        """Do what the prompt says; its end tells the adapters that are loaded."""
        assert isinstance(command, Submit)
        self._begun += 1
        what, _, number = command.prompt.partition(" ")
        try:
            async for piece in self._write(what, int(number or 0)):
                counts.tokens_out += 1
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            print(f"closed: {command.job_id}", file=sys.stderr, flush=True)
            raise
        if what != "endless":
            yield Finished(command.job_id, ",".join(self._loaded), "stop", 1, counts.tokens_out)

    async def _write(self, what: str, number: int) -> AsyncGenerator[Piece, None]:
        match what:
            case "count" | "endless":  # pieces, each in a turn of its own; without an end, or without telling it
                for n in range(number):
                    await asyncio.sleep(0)
                    yield f"{n} "
            case "wait":  # after one piece, for ever
                yield "one"
                await asyncio.Event().wait()
            case "flood":  # large pieces, as fast as they are taken
                for n in range(number):
                    await asyncio.sleep(0)
                    self._note.write_text(str(n))
                    yield "x" * FLOOD
            case "refuse":
                raise BadRequestError("params.what: no", param="params.what")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "dead":
                raise EngineDiedError("its runtime is gone")
            case "unwell":  # its watch finds out
                self._dead.set()
                await asyncio.Event().wait()

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """It takes one that is slow, and fails where one is called so."""
        match command.name:
            case "bug":
                raise ZeroDivisionError("a bug")
            case "dead":
                raise EngineDiedError("its runtime is gone")
            case "slow":
                for _ in range(100):
                    await asyncio.sleep(0)
                self._loaded.append("slow")
                return AdapterChanged("slow", self._loaded)
        return AdapterChanged(command.name, [], "a toy takes no adapters")

    async def watch(self) -> None:
        """Until it was told that it is unwell."""
        await self._dead.wait()
        raise EngineDiedError("its watch heard nothing")

    def gauges(self) -> Gauges | None:
        """How many sequences it began."""
        return Gauges(running=self._begun)

    async def close(self) -> None:
        """Say so."""
        print("closed: the toy", file=sys.stderr, flush=True)


async def build(config: EngineConfig, progress: Callable[[int, int], None]) -> AsyncEngine:
    """Of a context that it cannot have none is built."""
    progress(1, 2)
    await asyncio.sleep(0)
    if config.ctx_size < 0:
        raise EngineLoadError("CTX_SIZE=-1: a toy has a context")
    progress(2, 2)
    return Toy(config)


def toy_factory(_config: EngineConfig) -> AsyncEngineFactory:
    """A toy, whatever is asked for."""
    return build


if __name__ == "__main__":
    vars(child)["async_engine_factory"] = toy_factory
    child.main()
