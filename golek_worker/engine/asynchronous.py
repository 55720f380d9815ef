"""What does an engine promise whose runtime is asyncio's, and what turns it?

vLLM and servers behind HTTP are such engines: they batch by themselves, elsewhere, and what they write is awaited. Each
sequence is a task here; the event loop is the child's main thread, as the step loop is for other engines. Frames and
their order are the same (`base`).
"""

import asyncio
import os
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import NoReturn, Protocol

from golek_wire.errors import InferenceServiceError
from golek_wire.replies import Delta
from golek_worker.engine.base import (
    STATUS_BUG,
    STATUS_ENGINE_DIED,
    AdapterChanged,
    Cancel,
    Computed,
    EngineCommand,
    EngineConfig,
    EngineEvent,
    Exit,
    FrameReader,
    Gauges,
    LoadAdapter,
    Piece,
    Ready,
    SequenceStart,
    Step,
    Stopped,
    Submit,
    Tokens,
    UnloadAdapter,
    frame,
    refusal,
)

REPORT_S = 0.9
"""Between two `Step` events; a little below the promised second."""
BUFFER_LIMIT = 4 * 1024 * 1024


class Counts:
    """Tokens of one sequence so far, which the engine keeps up to date: what `Stopped` tells."""

    __slots__ = ("tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.tokens_in = 0
        self.tokens_out = 0


class EngineDiedError(Exception):
    """The runtime behind the engine is gone: the child ends, and its parent starts another."""


class AsyncEngine(Protocol):
    """A runtime that takes sequences as they come, and says itself what it does with them.

    All calls come from one event loop.
    """

    ready: Ready

    def run(self, command: SequenceStart, counts: Counts) -> AsyncGenerator[Piece | Computed, None]:
        """What a sequence writes, if it streams, and its end, which is the last.

        Cancelling what it awaits, or closing it early, aborts the sequence. Raises InferenceServiceError where it
        cannot run or broke off by its own fault, EngineDiedError when the runtime is gone.
        """
        ...

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or free a LoRA adapter beside what runs; how that went. Raises EngineDiedError.

        Never called twice at once, and no sequence that names an adapter begins meanwhile.
        """
        ...

    async def watch(self) -> None:
        """Return never while the runtime is well. Raises EngineDiedError when it is gone, or no longer moves."""
        ...

    def gauges(self) -> Gauges | None:
        """What it measures of itself; None when nothing."""
        ...

    async def close(self) -> None:
        """Free what the engine holds. Nothing runs any more."""
        ...


class AsyncEngineFactory(Protocol):
    """Builds an engine. Raises EngineLoadError.

    `progress(done, total)` is called while it loads, from any thread.
    """

    async def __call__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> AsyncEngine: ...


class TaskLoop(asyncio.Protocol):
    """Reads commands, runs sequences, sends events; all in one event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._commands: FrameReader[EngineCommand] = FrameReader(EngineCommand)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._changing: asyncio.Task[None] | None = None
        """The last change of adapters that was ordered."""
        self._transport: asyncio.Transport | None = None
        self._deltas: list[tuple[str, Piece]] = []
        self._n = 0
        self._takes_more = asyncio.Event()
        self._takes_more.set()
        self._leaving = asyncio.Event()

    async def run(self, sock: socket.socket) -> None:
        """Serve until `Exit`. The process ends here with STATUS_ENGINE_DIED when the runtime is gone."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: self, sock)
        transport.set_write_buffer_limits(high=BUFFER_LIMIT, low=0)
        self._transport = transport
        self._send(self._engine.ready)
        self._own(self._watch())
        self._own(self._report())
        await self._leaving.wait()
        tasks = [*self._others, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is sent before `run` has the transport."""

    def connection_lost(self, _exc: Exception | None) -> None:
        os._exit(0)  # the parent is gone

    def data_received(self, data: bytes) -> None:
        for command in self._commands.feed(data):
            self._obey(command)

    def pause_writing(self) -> None:
        """The parent reads too slowly: who writes waits, and the engine holds back what it has by its own means."""
        self._takes_more.clear()

    def resume_writing(self) -> None:
        self._takes_more.set()

    def _obey(self, command: EngineCommand) -> None:
        match command:
            case Cancel(job_id):
                if (task := self._tasks.get(job_id)) is not None:
                    task.cancel()
            case LoadAdapter() | UnloadAdapter():
                self._changing = self._own(self._change_adapter(command, self._changing))
            case Exit():
                self._leaving.set()
            case _:
                counts = Counts()
                changing = self._changing if isinstance(command, Submit) and command.adapter else None
                task = self._tasks[command.job_id] = asyncio.create_task(self._serve(command, counts, changing))
                task.add_done_callback(partial(self._ended, command.job_id, counts))

    def _own(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        task.add_done_callback(_check)
        return task

    async def _serve(self, command: SequenceStart, counts: Counts, changing: asyncio.Task[None] | None) -> None:
        """One sequence, until its own end is sent; that of a cancelled one is sent by `_ended`.

        It begins behind `changing`, which may load the adapter that it wants.
        """
        has_ended = False
        try:
            if changing is not None:
                await asyncio.wait([changing])
            async with aclosing(self._engine.run(command, counts)) as outputs:
                async for output in outputs:
                    if not isinstance(output, str | Delta):
                        self._send(output)
                        has_ended = True
                        continue
                    self._write(command.job_id, output)
                    if not self._takes_more.is_set():
                        await self._takes_more.wait()
        except InferenceServiceError as error:
            self._send(refusal(command.job_id, error))
        except EngineDiedError as error:
            _end(error)
        else:
            assert has_ended, f"the engine gave no end of {command.job_id}"

    def _ended(self, job_id: str, counts: Counts, task: asyncio.Task[None]) -> None:
        if self._tasks.get(job_id) is task:  # not where the job came again as soon as its end was sent
            del self._tasks[job_id]
        if self._leaving.is_set():
            return  # the parent knows that all end
        if task.cancelled():  # perhaps before it began
            self._send(Stopped(job_id, counts.tokens_in, counts.tokens_out))
        else:
            _check(task)

    async def _change_adapter(self, command: LoadAdapter | UnloadAdapter, before: asyncio.Task[None] | None) -> None:
        """One after the other: the parent takes the answers for those to its orders, in their order."""
        if before is not None:
            await asyncio.wait([before])
        try:
            self._send(await self._engine.change_adapter(command))
        except EngineDiedError as error:
            _end(error)

    async def _watch(self) -> None:
        try:
            await self._engine.watch()
        except EngineDiedError as error:
            _end(error)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._send(Step(self._n, len(self._tasks), gauges=self._engine.gauges()))

    def _write(self, job_id: str, piece: Piece) -> None:
        """Text for the parent, in one frame with what else is written in this turn of the event loop."""
        if not self._deltas:
            asyncio.get_running_loop().call_soon(self._flush)
        self._deltas.append((job_id, piece))

    def _flush(self) -> None:
        if self._deltas and self._transport is not None:
            self._n += 1
            deltas, self._deltas = self._deltas, []
            self._transport.write(frame(Tokens(self._n, deltas)))

    def _send(self, event: EngineEvent) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.write(frame(event))


def _check(task: asyncio.Task[None]) -> None:
    """End the process after a bug: somebody waits for what the task would have sent."""
    if not task.cancelled() and (bug := task.exception()) is not None:
        traceback.print_exception(bug)
        sys.stderr.flush()
        os._exit(STATUS_BUG)


def _end(error: EngineDiedError) -> NoReturn:
    print(f"the engine died: {error}", file=sys.stderr, flush=True)
    os._exit(STATUS_ENGINE_DIED)
