"""How does a worker run its engine?

The parent's side of the engine's child: spawn, frames, watchdog, restart, and unloading, which ends the child and gives
all its memory back. The process that holds leases and ingress never runs native code; a crash costs one attempt of the
jobs in the batch.
"""

import asyncio
import contextlib
import signal
import socket
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable

import structlog
from msgspec import Struct

from golek_wire.errors import PayloadTooLargeError
from golek_wire.orchestration import StepEvent
from golek_worker.engine.adapters import AdapterBook
from golek_worker.engine.base import (
    ASIDE,
    FRAME_LIMIT,
    AdapterChanged,
    Cancel,
    Classified,
    Embedded,
    EngineConfig,
    EngineEvent,
    EngineLoadError,
    Exit,
    Finished,
    FrameReader,
    Gauges,
    LoadAdapter,
    LoadFailed,
    Made,
    Phase,
    Piece,
    Ranked,
    Ready,
    Refused,
    SequenceStart,
    Step,
    Stopped,
    Tokens,
    UnloadAdapter,
    frame,
    refusal,
)
from golek_worker.engine.launch import MODULE, Launch, launch

log = structlog.get_logger("engine")

STDERR_LINES = 200
STDERR_LINE = 2000
STDERR_CHUNK = 64 * 1024
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Waits before the n-th restart in a row that never became ready."""
EXIT_PATIENCE_S = 1.0
WATCH_S = 0.1
GAUGES_KEPT = 64
"""They come at most 1 s apart: those of the last minute."""


class EngineDied(Struct, frozen=True):
    """What a sequence hears when its engine's child is gone."""

    ran: bool
    """True when the sequence was in the engine: then it is a suspect."""


RunEnd = Made | Stopped | Refused | EngineDied
RunEvent = Piece | StepEvent | RunEnd
"""What was written, how a step went of one that several models answer, or how the sequence ended."""


class Run:
    """The events of one sequence, in order."""

    def __init__(self) -> None:
        self._events: deque[RunEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Callable[[RunEvent], None] | None = None

    def put(self, event: RunEvent) -> None:
        if self._listener is not None:
            self._listener(event)
            return
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def redirect(self, listener: Callable[[RunEvent], None]) -> None:
        """From now on `listener` gets the events, those that lie here first, and nobody else."""
        self._listener = listener
        while self._events:
            listener(self._events.popleft())

    async def next(self, until: float | None = None) -> RunEvent | None:
        """The next event; None when the monotonic time `until` comes first."""
        if not self._events:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()
            timer = None
            if until is not None:
                timer = loop.call_later(max(0.0, until - time.monotonic()), _wake, waiter)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._events.popleft() if self._events else None


class CannotLoadError(RuntimeError):
    """The engine cannot load its model; the message is its own."""


class EngineHost:
    """One engine in one child, restarted when it dies, and not there while it is unloaded.

    `on_change` is called each time it begins or ceases to take sequences (ready, stall, crash, unloaded) and when it is
    loaded again, `on_stderr` with each line that the child writes there.
    """

    stays = ""
    """Why it is never unloaded; empty where it may be."""

    def __init__(
        self,
        config: EngineConfig | None,
        stall_s: float,
        on_change: Callable[[], None],
        on_stderr: Callable[[str], None] = lambda _: None,
        adapters: AdapterBook | None = None,
    ) -> None:
        self._config = config
        self._stall_s = stall_s
        self._on_change = on_change
        self._on_stderr = on_stderr
        self._runs: dict[str, Run] = {}
        self._process: Process | None = None
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._progress_at = time.monotonic()
        self._longest_step_s = 0.0
        self._closing = False
        self._load_failed: str | None = None
        self._wanted = asyncio.Event()
        """Set while there shall be an engine."""
        self._wanted.set()
        self._gone = asyncio.Event()
        """Set while there is no child."""
        self._gone.set()
        self._is_ending = False
        """Whether the child was told to end: its exit is no crash."""
        self.ready: Ready | None = None
        """What the engine said when it was loaded last; None before the first load."""
        self.loading: float | None = None
        """The share of a load that is done, 0 to 1; None while none goes on."""
        self.serving = False
        """True while the engine takes sequences."""
        self.stalled = False
        self.problem: str | None = None
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self.gauges: deque[tuple[float, Gauges]] = deque(maxlen=GAUGES_KEPT)
        """What the engine measured of itself and when (monotonic), newest last; nothing without an engine."""
        self.adapters = adapters if adapters is not None else AdapterBook()
        """Its LoRA adapters; they are loaded again with the engine."""

    @property
    def unloaded(self) -> bool:
        """Whether there is no engine, and shall be none."""
        return not self._wanted.is_set() and self._gone.is_set()

    @property
    def is_unloading(self) -> bool:
        """Whether the engine is on its way out."""
        return not self._wanted.is_set() and not self._gone.is_set()

    @property
    def stall_limit_s(self) -> float:
        """Without progress for this long the engine counts as stalled."""
        return max(self._stall_s, 5 * self._longest_step_s)

    @property
    def progress_age_s(self) -> float:
        """Since the child's last frame."""
        return time.monotonic() - self._progress_at

    @property
    def is_alive(self) -> bool:
        """True while leases may be renewed: the loop turned within the stall limit."""
        return self.progress_age_s < self.stall_limit_s

    def submit(self, command: SequenceStart, run: Run | None = None) -> Run:
        """Start a sequence; its events come from the run, a new one where none is given."""
        run = run or Run()
        if self._transport is None or not self.serving:
            run.put(EngineDied(ran=False))
            return run
        data = frame(command)
        if len(data) > FRAME_LIMIT:
            run.put(refusal(command.job_id, _too_large(len(data))))
            return run
        self._runs[command.job_id] = run
        self._send(data)
        return run

    def cancel(self, job_id: str) -> None:
        """Ask the engine to end a sequence; the run then hears `Stopped`."""
        if job_id in self._runs:
            self._send(frame(Cancel(job_id)))

    async def change_adapter(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or free a LoRA adapter; how that went. While there is no engine it is remembered for the next."""
        if self._transport is None or not self.serving:
            return self.adapters.note(command)
        answer = self.adapters.ask(command)
        self._send(frame(command))
        return await answer

    async def run(self) -> None:
        """Keep an engine running, for as long as the worker lives.

        Raises CannotLoadError when the first load fails: then it is a setting that is wrong, and a restart cannot help.
        """
        failures = 0
        while not self._closing:
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            if self.unloaded:
                failures = 0
                await self._wanted.wait()
            was_ready = await self._live()
            failures = 0 if was_ready else failures + 1
            if self.ready is None and self._load_failed is not None:
                raise CannotLoadError(self._load_failed)

    def load(self) -> None:
        """Let there be an engine again. `on_change` tells when it is ready, or how it failed (`problem`)."""
        if self.unloaded and not self._closing:
            self._wanted.set()
            self.loading = 0.0
            self._on_change()

    async def unload(self) -> None:
        """End the engine until `load`: the child's memory is free when this returns. Runs in it end as in a crash."""
        was_wanted = self._wanted.is_set()
        self._wanted.clear()
        self.serving, self.stalled, self.loading, self.problem = False, False, None, None
        await self._end_child()
        await self._gone.wait()
        if was_wanted:
            self._on_change()

    async def close(self) -> None:
        """End the child, by asking and then by force."""
        self._closing = True
        await self._end_child()

    async def _end_child(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._is_ending = True
        self._send(frame(Exit()))
        try:
            async with asyncio.timeout(EXIT_PATIENCE_S):
                await process.wait()
        except TimeoutError:
            _kill(process)
            await process.wait()

    def _send(self, data: bytes) -> None:
        """Write `data` to the child, together with what else is sent in this turn of the event loop."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(data)

    def _flush(self) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        if self._transport is not None:
            self._transport.write(data)

    async def _live(self) -> bool:
        """One life of a child, from spawn to exit; True when it became ready."""
        assert self._config is not None
        try:
            start = launch(self._config)
        except EngineLoadError as error:
            self._load_failed = self.problem = str(error)
            self._on_change()
            return False
        try:
            return await self._live_in(start)
        finally:
            await asyncio.to_thread(start.close)

    async def _live_in(self, start: Launch) -> bool:
        assert self._config is not None
        ours, theirs = socket.socketpair()
        self._load_failed = None
        self._longest_step_s = 0.0
        self._progress_at = time.monotonic()
        self._gone.clear()
        self._is_ending = False
        self.loading = 0.0
        process = self._process = await asyncio.create_subprocess_exec(
            start.python, "-m", MODULE, "--fd", str(theirs.fileno()),
            pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, env=start.variables,
        )  # fmt: skip
        theirs.close()
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: _Frames(self), sock=ours)
        self._transport = transport
        self._send(frame(self._config))
        if self.is_unloading:  # since the child was begun
            self._is_ending = True
            _kill(process)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_stderr(process))
            watchdog = tasks.create_task(self._watch(process))
            code = await process.wait()
            watchdog.cancel()
        transport.close()
        return self._ended(code)

    def _ended(self, code: int) -> bool:
        """Tell everybody that the child is gone."""
        was_ready, self.serving, self._transport = self.serving or self._is_ending, False, None
        self._outgoing.clear()
        self.stalled = False
        self.loading = None
        self.gauges.clear()
        runs, self._runs = self._runs, {}
        self.adapters.lost(crashed=not (self._is_ending or self._closing))
        self._gone.set()
        if not (self._is_ending or self._closing):
            self.problem = self._load_failed or f"the engine ended with {_exit_text(code)}"
            self._on_stderr(f"the engine ended with {_exit_text(code)}")
            log.warning(
                "engine.died", exit=_exit_text(code), jobs=len(runs), last_line=self.stderr[-1] if self.stderr else ""
            )
            self._on_change()
        for run in runs.values():
            run.put(EngineDied(ran=True))
        return was_ready

    async def _read_stderr(self, process: Process) -> None:
        assert process.stderr is not None
        rest = b""
        # Not readline(): a line may be as long as a caller's grammar, and readline() raises beyond its limit.
        while chunk := await process.stderr.read(STDERR_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._keep_line(line)
            if len(rest) > STDERR_LINE:
                self._keep_line(rest)
                rest = b""

    def _keep_line(self, line: bytes) -> None:
        text = line[:STDERR_LINE].decode(errors="replace").rstrip()
        if not text:
            return
        self._on_stderr(text)
        if not text.startswith(ASIDE):
            self.stderr.append(text)
            log.info("engine.stderr", line=text)

    async def _watch(self, process: Process) -> None:
        """Notice a child that makes no progress: stalled at the limit, killed at twice the limit."""
        while True:
            await asyncio.sleep(WATCH_S)
            if not self.serving:
                continue  # a load may be silent for long: weights are read, memory is allotted
            if self.progress_age_s >= 2 * self.stall_limit_s:
                log.error("engine.killed", reason="stalled", silent_s=round(self.progress_age_s, 1))
                _kill(process)
                return
            if self.stalled == self.is_alive:
                self.stalled = not self.is_alive
                log.warning("engine.stalled" if self.stalled else "engine.resumed")
                self._on_change()

    def received(self, events: list[EngineEvent]) -> None:
        """Frames from the child, in order."""
        self._progress_at = time.monotonic()
        runs = self._runs
        for event in events:
            if isinstance(event, Tokens):
                for job_id, piece in event.deltas:
                    if (run := runs.get(job_id)) is not None:
                        run.put(piece)
            elif isinstance(event, Finished | Embedded | Ranked | Classified | Stopped | Refused):
                if (ended := runs.pop(event.job_id, None)) is not None:
                    ended.put(event)
            else:
                self._on_signal(event)

    def _on_signal(self, event: Step | Ready | Phase | AdapterChanged | LoadFailed) -> None:
        """What the child says of itself."""
        match event:
            case Step():
                self._longest_step_s = max(self._longest_step_s, event.longest_ms / 1000)
                if event.gauges is not None:
                    self.gauges.append((self._progress_at, event.gauges))
            case Ready():
                if self.is_unloading:
                    return  # it came too late
                self.ready, self.serving, self.problem, self.loading = event, True, None, None
                for command in self.adapters.begin():  # before any sequence can need one
                    self._send(frame(command))
                self._on_change()
            case Phase():
                if event.name == "loading" and not self.is_unloading:
                    self.loading = round(event.done / max(1, event.total), 2)
                log.debug("engine.progress", phase=event.name, done=event.done, total=event.total)
            case AdapterChanged():
                log.info("engine.adapter", name=event.name, problem=event.problem)
                self.adapters.changed(event)
                self._on_change()
            case LoadFailed():
                self._load_failed = event.message


class _Frames(asyncio.Protocol):
    """Cuts what the child writes into events."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self._reader: FrameReader[EngineEvent] = FrameReader(EngineEvent)

    def data_received(self, data: bytes) -> None:
        self._host.received(self._reader.feed(data))


def _too_large(size: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The prompt has {size} bytes as the model reads it; at most {FRAME_LIMIT} go to an engine",
        size=size,
        limit=FRAME_LIMIT,
    )


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
