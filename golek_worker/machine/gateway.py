"""How is the fleet's gateway started on this machine, stopped and found?

A process of its own session, as a worker is: what is known of it lies in `<GOLEK_DATA>/run/gateway.json`, its log below
`logs/gateway/`. It has started when it answers `/ping`.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import psutil
from msgspec import Struct

from golek_client.connection import shown
from golek_program.settings.http import Address, Gateway, is_loopback
from golek_worker import process
from golek_worker.machine import logfiles, runfile
from golek_worker.process import ProcessId

MODULE: Final = "golek_worker.front"
START_S: Final = 30.0
"""A gateway connects to the broker before it answers."""
DRAIN_S: Final = 32.0
"""So long it may take to end what runs through it."""
PING_S: Final = 2.0
POLL_S: Final = 0.05

Say = Callable[[str], None]


class GatewayError(Exception):
    """The gateway could not be started; the message is all there is to say."""


class GatewayState(Struct, frozen=True, kw_only=True):
    """The gateway of a data folder."""

    pid: int
    created: float
    url: str
    host: str = ""
    """INFERENCE_HOST: the URL is that of this machine, also where all addresses are listened on."""
    health_url: str = ""
    """Where it says that its process lives, without TLS; empty for nowhere."""
    nats_url: str = ""
    log: str = ""

    @property
    def id(self) -> ProcessId:
        return ProcessId(self.pid, self.created)


def url(chosen: Gateway) -> str:
    """Where it answers."""
    return chosen.url(Address(chosen.inference_host, chosen.inference_port))


def reached_by_others(chosen: Gateway) -> str:
    """What whoever opens it to other machines should know; empty when only this one reaches it."""
    if is_loopback(chosen.inference_host):
        return ""
    ports = [f"port {chosen.inference_port}"]
    if chosen.golek_health_port:
        ports.append(f"port {chosen.golek_health_port} (GOLEK_HEALTH_PORT)")
    said = f"other machines reach it: INFERENCE_HOST={chosen.inference_host} opens {' and '.join(ports)}"
    if chosen.golek_allow_anon:
        said += "; while nobody has a key everybody is served (GOLEK_ALLOW_ANON)"
    if not chosen.http_tls_cert:
        said += "; without HTTP_TLS_CERT keys and texts travel in the clear"
    return said


def running(data: Path) -> GatewayState | None:
    """The gateway that was started here and still runs."""
    try:
        found = msgspec.json.decode(_file(data).read_bytes(), type=GatewayState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if process.is_running(found.id) else None


def note(chosen: Gateway, pid: int, log: str) -> GatewayState:
    """Write down that the process `pid` is the gateway."""
    born = process.identify(pid)
    plain = chosen.url(Address(chosen.inference_host, chosen.golek_health_port)).replace("https:", "http:", 1)
    state = GatewayState(
        pid=born.pid,
        created=born.created,
        url=url(chosen),
        host=chosen.inference_host,
        health_url=plain if chosen.golek_health_port else "",
        nats_url=shown(chosen.nats_url),
        log=log,
    )
    process.write_atomically(_file(chosen.data), msgspec.json.encode(state))
    return state


def forget(data: Path) -> None:
    """There is none any more."""
    _file(data).unlink(missing_ok=True)


def problems(chosen: Gateway) -> list[str]:
    """Why its addresses cannot be listened on; each names the setting, and who has the port if that is known."""
    wanted = {"INFERENCE_PORT": chosen.inference_port}
    if chosen.golek_health_port:
        wanted["GOLEK_HEALTH_PORT"] = chosen.golek_health_port
    found = []
    if (why := _unknown_host(chosen.inference_host)) is not None:
        return [f"INFERENCE_HOST={chosen.inference_host}: {why}"]
    for key, port in wanted.items():
        if (why := _refusal(chosen.inference_host, port)) is not None:
            found.append(f"{key}={port}: {why}")
    if chosen.inference_port == chosen.golek_health_port:
        found.append(f"GOLEK_HEALTH_PORT={chosen.golek_health_port}: the gateway's own port; 0 is none")
    holders = [holder(chosen.data, wanted[one.partition("=")[0]]) for one in found]
    return [f"{one} by {who}" if who else one for one, who in zip(found, holders, strict=True)]


async def start(chosen: Gateway, *, module: str = MODULE, say: Say = print) -> GatewayState:
    """Start it and wait until it answers; one that runs already is taken as it is.

    The broker must be there. Raises GatewayError.
    """
    if (known := running(chosen.data)) is not None:
        _refuse_other(known, chosen)
        say(f"gateway runs already at {known.url} (pid {known.pid})")
        return known
    if wrong := problems(chosen):
        raise GatewayError("\n".join(wrong))
    child, state = spawn(chosen, [sys.executable, "-m", module])
    began = time.monotonic()
    while not await answers(state.url):
        if child.poll() is not None or time.monotonic() - began > START_S:
            raise GatewayError(_failure(chosen, child, state))
        await asyncio.sleep(POLL_S)
    process.leave_running(child)
    health = f", says that it lives at {state.health_url}" if state.health_url else ""
    say(f"gateway answers at {state.url} after {time.monotonic() - began:.1f} s{health}")
    if reach := reached_by_others(chosen):
        say(reach)
    return state


def spawn(chosen: Gateway, command: list[str]) -> "tuple[subprocess.Popen[bytes], GatewayState]":
    """Start its process, and note it; it does not answer yet."""
    log = logfiles.create(logfiles.gateway_folder(chosen.data), "boot")
    child = process.spawn([*command, "--log", str(log)], log)
    return child, note(chosen, child.pid, str(log))


def stop(data: Path, say: Say = print) -> bool:
    """Stop it: SIGTERM, and SIGKILL after `DRAIN_S`. True when one ran."""
    known = running(data)
    if known is not None:
        say("gateway is told to stop")
        began = time.monotonic()
        process.terminate(known.id)
        willing = process.wait_or_kill(known.id, DRAIN_S)
        seconds = time.monotonic() - began
        say(f"gateway stopped after {seconds:.1f} s" if willing else f"gateway killed after {seconds:.0f} s")
    forget(data)
    return known is not None


async def answers(where: str) -> bool:
    """Whether something answers `/ping` at this URL."""
    parts = urlsplit(where)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # that it is ours its pid says
    try:
        async with asyncio.timeout(PING_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
            try:
                writer.write(f"GET /ping HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


def problem_in(log: str) -> str:
    """What it said last of why it does not serve; the end of its log when it said nothing."""
    text = process.last_lines(Path(log), 15)
    for line in reversed(text.splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            said = msgspec.json.decode(line, type=dict[str, object])
            if isinstance(said.get("problem"), str):
                return str(said["problem"])
    return "\n".join(f"  | {line}" for line in text.splitlines())


def _failure(chosen: Gateway, child: "subprocess.Popen[bytes]", state: GatewayState) -> str:
    code = child.poll()
    if code is None:
        process.terminate(state.id)
        process.wait_or_kill(state.id, 2.0)
        child.poll()
    forget(chosen.data)
    ended = f"it ended with code {code}" if code is not None else f"it did not answer within {START_S:.0f} s"
    return f"the gateway did not start, {ended}: {problem_in(state.log)} (log: {state.log})"


def _refuse_other(known: GatewayState, chosen: Gateway) -> None:
    """One that runs stays as it is, whatever is asked now. Raises GatewayError."""
    if known.url != url(chosen) or known.host != chosen.inference_host:
        at = f"{known.url}, INFERENCE_HOST={known.host}"
        raise GatewayError(
            f"the gateway runs already, but at {at} (pid {known.pid}); `golek gateway stop` stops it, another "
            "GOLEK_DATA has one of its own"
        )


def _refusal(host: str, port: int) -> str | None:
    """Why nothing can be served at this address; None when it can."""
    plain = host.strip("[]")
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plain, port))
            probe.listen(1)
        except OSError as error:
            return "in use" if error.errno == errno.EADDRINUSE else str(error.strerror or error)
    return None


def _unknown_host(host: str) -> str | None:
    """Why `host` is no address of this machine; None when it is one."""
    plain = host.strip("[]")
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((plain, 0))
        except OSError as error:
            return f"is no address of this machine ({error.strerror or error})"
    return None


def holder(data: Path, port: int) -> str:
    """Who listens on `port`; empty when that is not known."""
    try:
        listening = {one.pid for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN
                     and one.laddr and one.laddr.port == port and one.pid}  # fmt: skip
    except psutil.Error:
        return ""
    ours = {state.pid: f"the worker {state.deployment}-{state.replica}" for state in runfile.read_all(data)}
    if (door := running(data)) is not None:
        ours[door.pid] = "the gateway"
    names = []
    for pid in sorted(listening):
        with contextlib.suppress(psutil.Error):
            names.append(f"{ours.get(pid) or psutil.Process(pid).name()} (pid {pid})")
    return ", ".join(names)


def _file(data: Path) -> Path:
    return data / "run" / "gateway.json"
