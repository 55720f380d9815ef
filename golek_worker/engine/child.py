"""What does the engine's process do?

    python -m golek_worker.engine.child --fd N

N is one end of a socketpair, inherited from the parent. Its first frame is an `EngineConfig`, then `EngineCommand`s
come; `EngineEvent`s go back. The main thread is the step loop: read commands, decode one step, send what it gave.

- It never waits for the parent: what the socket does not take lies in a buffer; above `BUFFER_LIMIT` decoding pauses
  until the buffer is empty.
- It dies with its parent: at end-of-file, and on Linux also by a signal of the kernel. (That signal comes when the
  *thread* that spawned the child ends, so the parent spawns from a thread that stays.)
- SIGINT and SIGTERM are ignored: the parent decides, and a Ctrl-C in a terminal must not end engines in mid-drain.

Exit status: 0 after `Exit` or when the parent is gone, 1 when the engine could not be built, 70 after a bug, 71 when
the runtime behind the engine is gone.
"""

import argparse
import gc
import os
import select
import signal
import socket
import sys
import threading
import traceback
from time import monotonic
from typing import TYPE_CHECKING, Literal, NoReturn

from golek_wire.errors import InferenceServiceError
from golek_worker.engine import async_engine_factory, engine_factory
from golek_worker.engine.base import (
    STATUS_BUG,
    STATUS_LOAD_FAILED,
    Cancel,
    Classify,
    Embed,
    Engine,
    EngineCommand,
    EngineConfig,
    EngineEvent,
    EngineLoadError,
    Exit,
    Finished,
    FrameReader,
    LoadAdapter,
    LoadFailed,
    Phase,
    Piece,
    Rank,
    Refused,
    SequenceStart,
    Step,
    Submit,
    Tokens,
    UnloadAdapter,
    frame,
    refusal,
)
from golek_worker.orphan import die_with_parent

if TYPE_CHECKING:
    from golek_worker.engine.asynchronous import AsyncEngineFactory

BUFFER_LIMIT = 4 * 1024 * 1024
REPORT_S = 0.9
"""Between two `Step` events; a little below the promised second."""
SHARE_S = 0.0002
"""Steps shorter than this share one visit to the socket, which costs about a tenth of it."""
PROGRESS_S = 0.1
RECV_SIZE = 64 * 1024
"""Small enough that its buffer comes from the heap: a larger one is mapped anew each time, for 12 µs."""
RECV_SIZE_LARGE = 1024 * 1024
"""After a read that filled its buffer: there is more of a large prompt."""


class Outbox:
    """Bytes on their way to the parent; sending never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, data: bytes) -> None:
        """Give `data` to the socket; what it does not take waits here."""
        if not self._waiting:
            sent = self._send_now(data)
            if sent == len(data):
                return
            data = data[sent:]
        self._waiting += data

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        sent = self._send_now(self._waiting)
        del self._waiting[:sent]

    def _send_now(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


class StepLoop:
    """Reads commands, steps the engine, sends events; one turn after the other."""

    def __init__(self, sock: socket.socket, outbox: Outbox, engine: Engine, step_min_s: float) -> None:
        self._sock = sock
        self._outbox = outbox
        self._engine = engine
        self._step_min_s = step_min_s
        self._commands: FrameReader[EngineCommand] = FrameReader(EngineCommand)
        self._recv_size = RECV_SIZE
        self._n = 0
        self._next_step = 0.0
        self._next_report = 0.0
        self._longest_s = 0.0
        self._pauses = 0
        self._paused = False
        self._leaving = False

    def run(self) -> None:
        """Turn until `Exit`."""
        while not self._leaving:
            self._wait()
            if self._is_paused():
                continue
            events = self._steps()
            if events:
                self._outbox.send(events)

    def _steps(self) -> bytes:
        """One step, or as many as fit into `SHARE_S`; all their text, then the ends, then a report when one is due."""
        start = now = monotonic()
        deltas: list[tuple[str, Piece]] = []
        frames: list[bytes] = [b""]
        while self._engine.running and now >= self._next_step:
            now = self._step(now, deltas, frames)
            if now - start >= SHARE_S:
                break
        if deltas:
            frames[0] = frame(Tokens(self._n, deltas))
        if now >= self._next_report:
            frames.append(self._report(now))
        return b"".join(frames)

    def _wait(self) -> None:
        """Read and write the socket; sleep in it until the next step or report is due."""
        due = self._next_report
        if self._paused:
            due = monotonic() + REPORT_S
        elif self._engine.running:
            due = min(due, self._next_step)
        wait_s = max(0.0, due - monotonic()) if due else 0.0
        outgoing = [self._sock] if self._outbox else []
        readable, writable, _ = select.select([self._sock], outgoing, [], wait_s)
        if writable:
            self._outbox.flush()
        if readable:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(self._recv_size)
        except ConnectionResetError:
            os._exit(0)  # the parent closed its end with events unread in it
        self._recv_size = RECV_SIZE_LARGE if len(data) == self._recv_size else RECV_SIZE
        if not data:
            os._exit(0)
        answers = [self._obey(command) for command in self._commands.feed(data)]
        if any(answers):
            self._outbox.send(b"".join([frame(answer) for answer in answers if answer is not None]))

    def _obey(self, command: EngineCommand) -> EngineEvent | None:
        """Do what the parent says; what is to be answered at once."""
        match command:
            case Submit() | Embed() | Rank() | Classify():
                return self._submit(command)
            case Cancel(job_id):
                return self._engine.cancel(job_id)
            case LoadAdapter() | UnloadAdapter():
                return self._engine.change_adapter(command)
            case Exit():
                self._leaving = True
                return None

    def _submit(self, command: SequenceStart) -> Finished | Refused | None:
        """Admit a sequence; its end where it ends at once."""
        try:
            return self._engine.submit(command)
        except InferenceServiceError as error:
            return refusal(command.job_id, error)

    def _step(self, start: float, deltas: list[tuple[str, Piece]], ends: list[bytes]) -> float:
        """One decode step: its text goes to `deltas`, its ends as frames to `ends`; when it was done."""
        self._n += 1
        self._next_step = start + self._step_min_s
        for output in self._engine.step():
            if isinstance(output, tuple):
                deltas.append(output)
            else:
                ends.append(frame(output))
        now = monotonic()
        self._longest_s = max(self._longest_s, now - start)
        return now

    def _report(self, now: float) -> bytes:
        report = Step(self._n, self._engine.running, self._longest_s * 1000.0, self._pauses, self._engine.gauges())
        self._longest_s = 0.0
        self._next_report = now + REPORT_S
        return frame(report)

    def _is_paused(self) -> bool:
        """True from a full buffer until it is empty again."""
        if self._paused:
            self._paused = len(self._outbox) > 0
        elif len(self._outbox) >= BUFFER_LIMIT:
            self._paused = True
            self._pauses += 1
        return self._paused


def main() -> None:
    """Build the engine that the parent asks for and run it until `Exit`."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fd", type=int, required=True, help="inherited end of a socketpair")
    sock = socket.socket(fileno=parser.parse_args().fd)
    threading.Thread(target=_watch_parent, args=(sock,), name="watchdog", daemon=True).start()
    _leave(_serve(sock))


def _serve(sock: socket.socket) -> int:
    """The child's life; its exit status."""
    outbox = Outbox(sock)
    try:
        config = _read_config(sock)
        progress = _Progress(outbox)
        try:
            if (awaited := async_engine_factory(config)) is not None:
                return _await(sock, awaited, config, progress)
            engine = engine_factory(config)(config, progress)
        except EngineLoadError as error:
            outbox.send(frame(LoadFailed(str(error))))
            return STATUS_LOAD_FAILED
        outbox.send(frame(engine.ready))
        progress.phase = "prefill"
        gc.freeze()
        StepLoop(sock, outbox, engine, config.step_min_ms / 1000.0).run()
        engine.close()
        outbox.flush()
    except Exception:  # noqa: BLE001 - the last frame of the process: the parent reads stderr and restarts
        traceback.print_exc()
        return STATUS_BUG
    return 0


def _await(sock: socket.socket, build: "AsyncEngineFactory", config: EngineConfig, progress: "_Progress") -> int:
    """The child's life where the engine's runtime is asyncio's. Raises EngineLoadError."""
    import asyncio

    import uvloop

    from golek_worker.engine.asynchronous import TaskLoop

    async def serve() -> None:
        await TaskLoop(await build(config, progress)).run(sock)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


class _Progress:
    """Tells the parent how far long work is, at most every `PROGRESS_S` and at the end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._next = 0.0
        self.phase: Literal["loading", "prefill"] = "loading"

    def __call__(self, done: int, total: int) -> None:
        now = monotonic()
        if now >= self._next or done >= total:
            self._next = now + PROGRESS_S
            self._outbox.send(frame(Phase(self.phase, done, total)))


def _read_config(sock: socket.socket) -> EngineConfig:
    """The first frame, and not a byte more."""
    header = sock.recv(4, socket.MSG_WAITALL)
    body = sock.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
    if not body:
        _leave(0)
    (config,) = FrameReader[EngineConfig](EngineConfig).feed(header + body)
    return config


def _watch_parent(sock: socket.socket) -> None:
    """End the process when the parent's end of the socket closes, even while native code computes."""
    poll = select.poll()
    poll.register(sock, 0)  # no events: hang-up and error are always reported
    poll.poll()
    os._exit(0)


def _leave(status: int) -> NoReturn:
    """End at once: the kernel frees faster than the interpreter, and no thread of native code is waited for."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # so is this called in processes that vLLM starts
    from golek_worker.engine.vllm import guard

    guard.begin()
