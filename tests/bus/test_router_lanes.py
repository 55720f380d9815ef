"""A router that keeps conversations together, with replicas that say what they had of a prompt already."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from golek_client import Golek
from golek_wire import subjects
from golek_wire.replies import InferenceReply
from tests.support import raw
from tests.support.workers import WorkerProcess

MODEL = Path("data/models/golek-tiny/model.gguf").absolute()
ROUTES = "routes: {together: {strategy: prefix_affinity, targets: [local:echo]}, apart: {targets: [local:echo]}}"
REPLICAS = 3
SYSTEM = " ".join(f"rule-{number}" for number in range(64))


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """Three echo workers with room for prompts, and a router."""
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES)
    replicas = [
        WorkerProcess(nats_server, tmp_path / "echo", replica=number + 1, ECHO_CACHE_TOKENS=32768)
        for number in range(REPLICAS)
    ]
    router = WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=str(routes))
    for process in (*replicas, router):
        process.start(wait=False)
    try:
        for process in (*replicas, router):
            process.wait_for("online")
        yield replicas
    finally:
        for process in (router, *replicas):
            process.end()


class Conversation:
    """Turns of one conversation."""

    def __init__(self, golek: Golek, name: str, system: str = SYSTEM) -> None:
        self._golek = golek
        self._name = name
        self._said = [{"role": "system", "content": system}]

    async def turn(self) -> InferenceReply:
        return await self.say(" ".join(f"{self._name}-{len(self._said)}-{number}" for number in range(32)))

    async def say(self, text: str) -> InferenceReply:
        self._said.append({"role": "user", "content": text})
        reply = await self._golek.chat("together", self._said, max_tokens=8)
        self._said.append({"role": "assistant", "content": reply.text})
        return reply


async def known(url: str, golek: Golek, token: str = "echo") -> None:
    """Wait until the router knows who has a lane: it asks from the first conversation on, here three times."""
    async with raw.connected(url) as client:
        calls = await client.subscribe(subjects.lanes_called(token))
        await client.flush()
        await Conversation(golek, "first").turn()
        for _ in range(3):
            await calls.next_msg(5)


def who(reply: InferenceReply) -> str:
    assert reply.route is not None
    return reply.route.worker


@pytest.mark.usefixtures("fleet")
async def test_a_conversation_stays_where_its_beginning_is(nats_server: str, golek: Golek) -> None:
    """Each of nine has one replica, which has what was said before in its cache; all replicas have some of them."""
    await known(nats_server, golek)
    conversations = [Conversation(golek, f"c{number}") for number in range(9)]
    homes = [who(await conversation.turn()) for conversation in conversations]
    assert len(set(homes)) == REPLICAS
    for turn in range(1, 4):
        for conversation, home in zip(conversations, homes, strict=True):
            reply = await conversation.turn()
            assert who(reply) == home
            assert reply.tokens_cached >= reply.tokens_in - 64 >= 32 * turn


async def test_with_a_frozen_replica_nobody_waits_for_long(
    nats_server: str, golek: Golek, fleet: list[WorkerProcess]
) -> None:
    """Its conversations go on at another one, and so do requests that any replica may take; nobody fails."""
    conversations = [Conversation(golek, f"c{number}") for number in range(12)]
    await known(nats_server, golek)
    homes = [who(await conversation.turn()) for conversation in conversations]
    await asyncio.gather(*(golek.ask("apart", "a") for _ in range(12)))
    frozen = next(replica for replica in fleet if replica.worker_id in homes)
    family = [psutil.Process(frozen.pid), *frozen.children]
    for process in family:
        process.send_signal(signal.SIGSTOP)

    async def timed(conversation: Conversation | None) -> tuple[str, float]:
        began = time.monotonic()
        reply = await (conversation.turn() if conversation is not None else golek.ask("apart", "a"))
        return who(reply), time.monotonic() - began

    try:
        answers = await asyncio.gather(*(timed(conversation) for conversation in conversations + [None] * 12))
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)
    assert frozen.worker_id not in {worker for worker, _ in answers}
    assert max(took for _, took in answers) < 4.0  # half a second, on a machine that does nothing else


async def test_what_llamacpp_keeps_is_found_again(nats_server: str, tmp_path: Path, golek: Golek) -> None:
    """Two replicas of a real model: each of four conversations finds its last turn in the KV cache of its replica; that
    is more than the beginning that all of them share.
    """
    routes = tmp_path / "routes.yaml"
    routes.write_text(ROUTES.replace("local:echo", "local:golek-tiny"))
    settings = {"MODEL_PATH": MODEL}
    data = tmp_path / "tiny"
    with (
        WorkerProcess(nats_server, data, "golek-tiny", 1, **settings),
        WorkerProcess(nats_server, data, "golek-tiny", 2, **settings),
        WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=str(routes)),
    ):
        await known(nats_server, golek, "golek-tiny")
        conversations = [Conversation(golek, f"c{number}", "Be brief.") for number in range(4)]
        last = [await conversation.say(f"Tell me about number {n}") for n, conversation in enumerate(conversations)]
        for turn in range(3):
            for number, conversation in enumerate(conversations):
                reply = await conversation.say(f"And {turn}?")
                assert who(reply) == who(last[number])
                # The first turn is too short to be worth a slot of its own: the next conversation may take its place.
                assert turn == 0 or reply.tokens_cached >= last[number].tokens_in
                last[number] = reply
