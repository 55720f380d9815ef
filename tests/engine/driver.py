"""The parent's end of a real engine child, for tests: blocking, with a deadline for every wait."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from golek_wire.requests import Params
from golek_worker.engine import environment
from golek_worker.engine.base import (
    Constraint,
    Embedded,
    EngineCommand,
    EngineConfig,
    EngineEvent,
    Finished,
    FrameReader,
    Ready,
    SequenceEnd,
    Submit,
    Tokens,
    frame,
)

PATIENCE_S = 20.0
E = TypeVar("E")


class Child:
    """A running child. `events` keeps everything it said, in order."""

    def __init__(self, config: EngineConfig, module: str = "golek_worker.engine.child") -> None:
        self.socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", module, "--fd", str(theirs.fileno())]
        surroundings = environment(config) | os.environ
        # A file, not a pipe: a child that writes more than a pipe holds would wait for a reader.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=self._log, env=surroundings)
        theirs.close()
        self.socket.settimeout(PATIENCE_S)
        self.socket.sendall(frame(config))
        self.events: list[EngineEvent] = []
        self._awaited = 0
        """How many of the events lie before what is waited for next: one read may bring more than one waits for."""
        self._reader: FrameReader[EngineEvent] = FrameReader(EngineEvent)

    def send(self, *commands: EngineCommand) -> None:
        self.socket.sendall(b"".join(map(frame, commands)))

    def receive(self) -> list[EngineEvent]:
        """What one read of the socket gives; raises EOFError when the child is gone."""
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            raise self._silent() from None
        if not data:
            raise EOFError(self.stderr()[-3000:])
        events = self._reader.feed(data)
        self.events += events
        return events

    def until(self, condition: Callable[[EngineEvent], bool]) -> EngineEvent:
        """Read until an event that `condition` holds for; it is returned. The next wait begins behind it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            while self._awaited < len(self.events):
                event = self.events[self._awaited]
                self._awaited += 1
                if condition(event):
                    return event
            if time.monotonic() > deadline:
                raise self._silent()
            self.receive()

    def until_a(self, kind: type[E]) -> E:
        event = self.until(lambda event: isinstance(event, kind))
        assert isinstance(event, kind)
        return event

    def until_ended(self, *job_ids: str) -> None:
        """Read until each of the sequences has ended. The next wait begins behind the last of their ends."""
        while not set(job_ids) <= {end.job_id for end in self.ends()}:
            self.receive()
        for place, event in enumerate(self.events):
            if isinstance(event, SequenceEnd) and event.job_id in job_ids:
                self._awaited = max(self._awaited, place + 1)

    def ends(self) -> list[SequenceEnd]:
        return [event for event in self.events if isinstance(event, SequenceEnd)]

    def end_of(self, job_id: str) -> SequenceEnd:
        (end,) = [end for end in self.ends() if end.job_id == job_id]
        return end

    def finished(self, job_id: str) -> Finished:
        end = self.end_of(job_id)
        assert isinstance(end, Finished), end
        return end

    def embedded(self, job_id: str) -> Embedded:
        end = self.end_of(job_id)
        assert isinstance(end, Embedded), end
        return end

    def streamed(self, job_id: str) -> list[tuple[int, str]]:
        """(step, text) of a sequence."""
        steps = [event for event in self.events if isinstance(event, Tokens)]
        pieces = [(step.n, piece) for step in steps for job, piece in step.deltas if job == job_id]
        return [(n, piece if isinstance(piece, str) else piece.text) for n, piece in pieces]

    def wait(self) -> int:
        """Read to the end of the socket; the exit status."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            return self.process.wait(PATIENCE_S)

    def stderr(self) -> str:
        """What it wrote there so far."""
        # By position: the file's own place is shared with the child, which writes there.
        return os.pread(self._log.fileno(), 1 << 26, 0).decode(errors="replace")

    def _silent(self) -> TimeoutError:
        return TimeoutError(
            f"not among {len(self.events)} events within {PATIENCE_S:.0f} s; stderr:\n{self.stderr()[-3000:]}"
        )

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self._log.close()


@contextmanager
def running(config: EngineConfig, module: str = "golek_worker.engine.child") -> Iterator[Child]:
    """A child whose engine is loaded."""
    child = Child(config, module)
    try:
        child.until_a(Ready)
        yield child
    finally:
        child.close()


def echo(slots: int = 4, step_min_ms: float = 0.0, ctx_size: int = 0, cache_tokens: int = 0) -> EngineConfig:
    return EngineConfig("echo", "", slots, ctx_size, 0, step_min_ms=step_min_ms, cache_tokens=cache_tokens)


def counting(job_id: str, tokens: int, stream: bool = True) -> Submit:
    """A sequence of `tokens` tokens, each with its number."""
    return Submit(job_id, "go", Params(max_tokens=tokens, ignore_eos=True), 1, stream)


def counted(tokens: int) -> str:
    """The text of `counting`."""
    return "go" + "".join(f" #{n}" for n in range(1, tokens))


def without_numbers(model: Path, path: Path) -> Path:
    """`model` copied to `path`, the second half of its weights NaN: that is what all ones are, in 16 and in 32 bits."""
    content = model.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\xff" * (len(content) - half))
    return path


def untimed(end: Finished) -> Finished:
    """`end` without what depends on the machine and on what ran before: two that are equal wrote the same."""
    return msgspec.structs.replace(end, tokens_cached=0, waited_ms=0.0, prefill_ms=0.0, decode_ms=0.0)


def gbnf(params: Params) -> Constraint | None:
    """The constraint that a worker makes of a grammar."""
    return None if params.grammar is None else Constraint("gbnf", params.grammar)


def children() -> list[psutil.Process]:
    """The engines that this process has started and that live; earlier tests may have left other processes."""
    return [
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE and "golek_worker.engine.child" in process.cmdline()
    ]
