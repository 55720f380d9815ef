"""How does a process have a file downloaded without doing it itself?

In a child: the worker's own process neither imports the hub's client nor waits for a thread of it when it is told to
stop.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from golek_worker.registry.catalog import Wanted
from golek_worker.registry.report import Downloaded, DownloadError, Failed, Progress, Report

STOP_S = 1.0
"""A child that was told to stop has this long; it has nothing to put away."""
STDERR_LINES = 20


async def fetch(wanted: Wanted, target: Path, tell: Callable[[Progress], None], *, again: bool = False) -> Downloaded:
    """Have the file of `wanted` at `target`; `tell` hears how far it is. With `again` also when it is there.

    Raises DownloadError. Cancelled, it ends the child; what was fetched stays for the next time.
    """
    command = [sys.executable, "-m", "golek_worker.registry.download", "-", str(target)]
    if wanted.sha256 is not None:
        command += ["--sha256", wanted.sha256, f"--named-by={wanted.named_by}"]
    if again:
        command.append("--again")
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert child.stdin is not None
    child.stdin.write(f"{wanted.source.text}\n".encode())  # a command line is everybody's to read
    child.stdin.close()
    stderr: deque[str] = deque(maxlen=STDERR_LINES)
    reading = asyncio.create_task(_read_stderr(child, stderr))
    try:
        last = await _follow(child, tell)
        code = await child.wait()
        await reading
    finally:
        await _end(child)
        reading.cancel()
    match last:
        case Downloaded():
            return last
        case Failed(message):
            raise DownloadError(message)
    said = "\n".join(stderr)
    raise DownloadError(f"{wanted.source}: the process that downloads ended with status {code}\n{said}".rstrip())


async def _follow(child: Process, tell: Callable[[Progress], None]) -> Downloaded | Failed | None:
    """Pass progress on; the last word, None when there was none."""
    assert child.stdout is not None
    last: Downloaded | Failed | None = None
    async for line in child.stdout:
        report: Report = msgspec.json.decode(line, type=Report)
        if isinstance(report, Progress):
            tell(report)
        else:
            last = report
    return last


async def _read_stderr(child: Process, lines: deque[str]) -> None:
    assert child.stderr is not None
    async for line in child.stderr:
        lines.append(line.decode(errors="replace").rstrip())


async def _end(child: Process) -> None:
    """No child is left behind."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
