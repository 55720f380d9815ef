"""Three real nats-servers that are one broker, for tests."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from tests.support.broker import NatsServer
from tests.support.ports import free_port

NODES = 3
READY_S = 20.0


class NatsCluster:
    """A cluster on free ports of loopback; each node can be killed and started again by itself."""

    def __init__(self, folder: Path, *, jetstream_options: str = "") -> None:
        ports = [free_port() for _ in range(NODES)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.nodes = []
        for number, port in enumerate(ports, start=1):
            (folder / str(number)).mkdir(parents=True)
            about = f'cluster {{ name: "test", listen: "127.0.0.1:{port}", routes: [{routes}] }}'
            self.nodes.append(
                NatsServer(folder / str(number), f"server_name: n{number}", about, jetstream_options=jetstream_options)
            )

    @property
    def url(self) -> str:
        """All nodes, as NATS_URL names them."""
        return ",".join(node.url for node in self.nodes)

    def start(self) -> "NatsCluster":
        """Start all nodes; `ready` waits until they have a leader."""
        for node in self.nodes:
            node.start()
        return self

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    async def ready(self, client: Client) -> None:
        """Wait until streams of three replicas can be made."""
        probe = {"name": "PROBE", "subjects": ["probe"], "num_replicas": NODES, "storage": "memory"}
        deadline = time.monotonic() + READY_S
        while "error" in await ask(client, "STREAM.CREATE.PROBE", probe):
            if time.monotonic() > deadline:
                raise AssertionError(f"the cluster has not found together within {READY_S:.0f} s")
            await asyncio.sleep(0.05)
        await ask(client, "STREAM.DELETE.PROBE")

    async def leader(self, client: Client, stream: str) -> NatsServer:
        """The node that leads `stream`, once all its replicas are current."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            group = (await ask(client, f"STREAM.INFO.{stream}")).get("cluster", {})
            peers = group.get("replicas", [])
            if group.get("leader") and len(peers) == NODES - 1 and all(p.get("current") for p in peers):
                return self.nodes[int(group["leader"].removeprefix("n")) - 1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"{stream} is not whole after {READY_S:.0f} s: {group}")


async def ask(client: Client, call: str, body: Any = None) -> dict[str, Any]:
    """JetStream's answer; an error of ours when it is silent, as during an election."""
    try:
        message = await client.request(f"$JS.API.{call}", b"" if body is None else json.dumps(body).encode(), timeout=2)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next try tells
        return {"error": repr(error)}
    answer: dict[str, Any] = json.loads(message.data)
    return answer
