"""How is a program that serves HTTP, the gateway or the monitor, started on this machine, stopped and found?

A process of its own session, as a worker is: what is known of it lies in `<GOLEK_DATA>/run/<name>.json`, its log below
`logs/<name>/`. It has started when it answers.
"""

import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
from msgspec import Struct

from golek_program.web.ping import answers
from golek_worker import process
from golek_worker.machine import logfiles, runfile
from golek_worker.process import ProcessId

POLL_S: Final = 0.05

Say = Callable[[str], None]


class ServiceError(Exception):
    """It could not be started; the message is all there is to say."""


class Kind(Struct, frozen=True, kw_only=True):
    """One such program."""

    name: str
    """As people call it; its run file and the folder of its logs, too."""
    command: tuple[str, ...]
    """Behind `python -m`: its module and what follows that."""
    ping: str
    """Where it answers as soon as it serves."""
    start_s: float
    """So long a start may take."""
    drain_s: float
    """So long it may take to end."""
    host_key: str
    """The setting that says where it listens."""


class State(Struct, frozen=True, kw_only=True):
    """The one of a data folder."""

    pid: int
    created: float
    url: str
    host: str = ""
    """Where it listens: the URL is that of this machine, also where all addresses are listened on."""
    health_url: str = ""
    """Where it says that its process lives, without TLS; empty for nowhere."""
    nats_url: str = ""
    log: str = ""

    @property
    def id(self) -> ProcessId:
        return ProcessId(self.pid, self.created)


class Place(Struct, frozen=True, kw_only=True):
    """Where one shall serve: what becomes of it stands in its state."""

    data: Path
    url: str
    host: str
    health_url: str = ""
    nats_url: str = ""
    remark: str = ""
    """What whoever starts it should know."""


def running(kind: Kind, data: Path) -> State | None:
    """The one that was started here and still runs."""
    try:
        found = msgspec.json.decode(_file(kind, data).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if process.is_running(found.id) else None


def note(kind: Kind, place: Place, pid: int, log: str) -> State:
    """Write down that the process `pid` is it."""
    born = process.identify(pid)
    state = State(
        pid=born.pid,
        created=born.created,
        url=place.url,
        host=place.host,
        health_url=place.health_url,
        nats_url=place.nats_url,
        log=log,
    )
    process.write_atomically(_file(kind, place.data), msgspec.json.encode(state))
    return state


def forget(kind: Kind, data: Path) -> None:
    """There is none any more."""
    _file(kind, data).unlink(missing_ok=True)


async def start(
    kind: Kind, place: Place, problems: Callable[[], list[str]], say: Say = print, *, module: str = ""
) -> State:
    """Start it and wait until it answers; one that runs already is taken as it is. `problems` says why it cannot serve.

    Raises ServiceError.
    """
    if (known := running(kind, place.data)) is not None:
        _refuse_other(kind, known, place)
        say(f"{kind.name} runs already at {known.url} (pid {known.pid})")
        return known
    if wrong := problems():
        raise ServiceError("\n".join(wrong))
    first, *rest = kind.command
    child, state = spawn(kind, place, [sys.executable, "-m", module or first, *rest])
    began = time.monotonic()
    while not await answers(state.url, kind.ping):
        if child.poll() is not None or time.monotonic() - began > kind.start_s:
            raise ServiceError(_failure(kind, place.data, child, state))
        await asyncio.sleep(POLL_S)
    process.leave_running(child)
    health = f", says that it lives at {state.health_url}" if state.health_url else ""
    say(f"{kind.name} answers at {state.url} after {time.monotonic() - began:.1f} s{health}")
    if place.remark:
        say(place.remark)
    return state


def spawn(kind: Kind, place: Place, command: list[str]) -> "tuple[subprocess.Popen[bytes], State]":
    """Start its process, and note it; it does not answer yet."""
    log = logfiles.create(logfiles.service_folder(place.data, kind.name), "boot")
    child = process.spawn([*command, "--log", str(log)], log)
    return child, note(kind, place, child.pid, str(log))


def stop(kind: Kind, data: Path, say: Say = print) -> bool:
    """Stop it: SIGTERM, and SIGKILL after its time. True when one ran."""
    known = running(kind, data)
    if known is not None:
        say(f"{kind.name} is told to stop")
        began = time.monotonic()
        process.terminate(known.id)
        willing = process.wait_or_kill(known.id, kind.drain_s)
        seconds = time.monotonic() - began
        say(f"{kind.name} stopped after {seconds:.1f} s" if willing else f"{kind.name} killed after {seconds:.0f} s")
    forget(kind, data)
    return known is not None


def problem_in(log: str) -> str:
    """What it said last of why it does not serve; the end of its log when it said nothing."""
    text = process.last_lines(Path(log), 15)
    for line in reversed(text.splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            said = msgspec.json.decode(line, type=dict[str, object])
            if isinstance(said.get("problem"), str):
                return str(said["problem"])
    return "\n".join(f"  | {line}" for line in text.splitlines())


def taken(host: str, port: int) -> str | None:
    """Why nothing can be served at this address; None when it can."""
    with _probe(host) as (probe, plain):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plain, port))
            probe.listen(1)
        except OSError as error:
            return "in use" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return None


def unknown_host(host: str) -> str | None:
    """Why `host` is no address of this machine; None when it is one."""
    with _probe(host) as (probe, plain):
        try:
            probe.bind((plain, 0))
        except OSError as error:
            return f"is no address of this machine ({error.strerror or error})"
    return None


def holder(data: Path, port: int, *kinds: Kind) -> str:
    """Who listens on `port`, ours by their names; empty when that is not known."""
    try:
        listening = {one.pid for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN
                     and one.laddr and one.laddr.port == port and one.pid}  # fmt: skip
    except psutil.Error:
        return ""
    ours = {state.pid: f"the worker {state.deployment}-{state.replica}" for state in runfile.read_all(data)}
    ours |= {state.pid: f"the {kind.name}" for kind in kinds if (state := running(kind, data)) is not None}
    names = []
    for pid in sorted(listening):
        with contextlib.suppress(psutil.Error):
            names.append(f"{ours.get(pid) or psutil.Process(pid).name()} (pid {pid})")
    return ", ".join(names)


@contextlib.contextmanager
def _probe(host: str) -> Iterator[tuple[socket.socket, str]]:
    """A socket of the family of `host`, and that without brackets."""
    plain = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in plain else socket.AF_INET, socket.SOCK_STREAM) as probe:
        yield probe, plain


def _refuse_other(kind: Kind, known: State, place: Place) -> None:
    """One that runs stays as it is, whatever is asked now. Raises ServiceError."""
    if known.url != place.url or known.host != place.host:
        raise ServiceError(
            f"the {kind.name} runs already, but at {known.url}, {kind.host_key}={known.host} (pid {known.pid}); "
            f"`golek {kind.name} stop` stops it, another GOLEK_DATA has one of its own"
        )


def _failure(kind: Kind, data: Path, child: "subprocess.Popen[bytes]", state: State) -> str:
    code = child.poll()
    if code is None:
        process.terminate(state.id)
        process.wait_or_kill(state.id, 2.0)
        child.poll()
    forget(kind, data)
    ended = f"it ended with code {code}" if code is not None else f"it did not answer within {kind.start_s:.0f} s"
    return f"the {kind.name} did not start, {ended}: {problem_in(state.log)} (log: {state.log})"


def _file(kind: Kind, data: Path) -> Path:
    return data / "run" / f"{kind.name}.json"
