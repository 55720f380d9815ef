"""Socket.IO, as its own client speaks it."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import socketio

from golek_client import Golek
from golek_client.testing import FakeFleet
from golek_program.settings.http import Address, Gateway
from golek_program.web import server
from golek_worker.gateway import sockets
from golek_worker.gateway.app import application
from golek_worker.gateway.door import Door
from tests.gateway.test_auth import NoKeys
from tests.support.fronts import Fleet, GatewayProcess
from tests.support.workers import WorkerProcess

ANSWERS_S = 20.0
ASKED: dict[str, Any] = {
    "prompt": "Name a colour.",
    "max_tokens": 12,
    "temperature": 0,
    "seed": 1,
    "model": "golek-tiny",
}


class Listener:
    """A client that keeps the events it hears."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._came = asyncio.Event()
        for name in ("inference_step", "inference_token", "inference_complete", "inference_error"):
            self.client.on(name, self._taking(name))

    def _taking(self, name: str) -> Any:
        async def take(data: dict[str, Any]) -> None:
            self.events.append((name, data))
            self._came.set()

        return take

    async def until(self, name: str) -> dict[str, Any]:
        """Wait for an event of this name; the first one."""
        async with asyncio.timeout(ANSWERS_S):
            while True:
                for event, data in self.events:
                    if event == name:
                        return data
                self._came.clear()
                await self._came.wait()

    async def call(self, event: str, data: Any) -> Any:
        """Say something; the acknowledgement."""
        return await self.client.call(event, data, timeout=ANSWERS_S)

    def text(self, request_id: str) -> str:
        """The tokens of a request, joined."""
        return "".join(
            data["token"]
            for name, data in self.events
            if name == "inference_token" and data["request_id"] == request_id
        )


@asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.client.connect(url, **given)
    try:
        yield listener
    finally:
        await listener.client.disconnect()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
@pytest.mark.parametrize("front", ["worker", "gateway"])
async def test_a_prompt_is_answered_token_by_token(fleet: Fleet, front: str, transports: list[str]) -> None:
    """The acknowledgement says under which id; the tokens joined are the whole answer."""
    async with connected(getattr(fleet, front), transports=transports) as listener:
        told = await listener.call("inference_prompt", ASKED)
        end = await listener.until("inference_complete")
        assert end["request_id"] == told["request_id"]
        assert listener.text(told["request_id"]) == end["text"] != ""
        assert (end["model"], end["tokens_out"] <= 12) == ("golek-tiny", True)


async def test_guests_of_a_room_hear_together_at_all_gateways(fleet: Fleet) -> None:
    """Who joined hears all, at another gateway too; who left, and who is in another room, hears nothing."""
    with GatewayProcess(fleet.nats, fleet.data / "second") as second:
        async with (
            connected(fleet.gateway) as asker,
            connected(second.url) as far,
            connected(second.url) as elsewhere,
            connected(fleet.gateway) as gone,
        ):
            assert await far.call("join", {"room": "kitchen"}) == {"room": "kitchen"}
            await elsewhere.call("join", "cellar")
            await gone.call("join", "kitchen")
            await gone.call("leave", {"room": "kitchen"})
            await asker.call("inference_prompt", ASKED | {"room": "kitchen", "request_id": "r1"})
            end = await asker.until("inference_complete")
            assert (await far.until("inference_complete"))["text"] == end["text"]
            assert far.text("r1") == asker.text("r1") == end["text"]
            await elsewhere.call("join", "attic")  # whatever was sent to it before has come by now
            assert elsewhere.events == gone.events == []


async def test_a_conversation_goes_on(fleet: Fleet) -> None:
    """By its session id, and it is the one that HTTP and the bus know."""
    async with connected(fleet.gateway) as listener, Golek(fleet.nats) as golek:
        await listener.call("inference_prompt", ASKED | {"session_id": "socket-1", "request_id": "a"})
        await listener.until("inference_complete")
        await golek.ask("golek-tiny", "And another one.", session_id="socket-1", max_tokens=8)
        kept = await golek.session("socket-1")
        asked = [turn.messages[0].content for turn in kept.turns]
        assert asked == ["Name a colour.", "And another one."]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (3, 400, "BAD_REQUEST"),
        ({}, 400, "BAD_REQUEST"),
        ({"prompt": "x", "room": ""}, 400, "BAD_REQUEST"),
        ({"prompt": "x", "request_id": "a b"}, 400, "BAD_REQUEST"),
        ({"prompt": "x", "model": "nobody"}, 404, "MODEL_NOT_FOUND"),
        ({"prompt": "x", "model": "golek-tiny", "temperature": -1}, 400, "BAD_REQUEST"),
        ({"prompt": "x", "model": "local:golek-tiny", "route": {"policy": "cloud_first"}}, 400, "BAD_REQUEST"),
    ],
)
async def test_what_is_wrong_is_an_event(fleet: Fleet, said: Any, status: int, code: str) -> None:
    """With the status and the object that HTTP would answer; the connection stays."""
    async with connected(fleet.gateway) as listener:
        await listener.call("inference_prompt", said)
        told = await listener.until("inference_error")
        assert (told["status"], told["error"]["code"]) == (status, code)
        await listener.call("inference_prompt", ASKED)
        await listener.until("inference_complete")


async def idle(golek: Golek) -> None:
    """Wait until the worker runs nothing."""
    async with asyncio.timeout(ANSWERS_S):
        while (await golek.health("echo")).active:
            await asyncio.sleep(0.02)


async def test_cancelling_and_leaving_free_the_slot(nats_server: str, tmp_path: Path) -> None:
    """A cancel is told as error 499; who disconnects ends what it asked."""
    endless = {"prompt": "go", "params": {"ignore_eos": True, "max_tokens": 5000}}
    with (
        WorkerProcess(nats_server, tmp_path / "worker", ENGINE_STEP_MIN_MS=20),
        GatewayProcess(nats_server, tmp_path) as gateway,
    ):
        async with Golek(nats_server) as golek:
            async with connected(gateway.url) as listener:
                told = await listener.call("inference_prompt", endless)
                await listener.until("inference_token")
                other = await listener.call("inference_cancel", {"request_id": "unknown"})
                assert other == {"request_id": "unknown", "cancelled": False}
                assert (await listener.call("inference_cancel", told))["cancelled"] is True
                error = await listener.until("inference_error")
                assert (error["request_id"], error["status"]) == (told["request_id"], 499)
                await idle(golek)
                listener.events.clear()
                await listener.call("inference_prompt", endless)
                await listener.until("inference_token")
            await idle(golek)


async def test_a_gateway_that_stops_lets_prompts_end(nats_server: str, tmp_path: Path) -> None:
    """What is being answered is answered to its end; then the gateway hangs up, on clients that poll as well."""
    slow = {"prompt": "go", "params": {"ignore_eos": True, "max_tokens": 60}}
    with (
        WorkerProcess(nats_server, tmp_path / "worker", ENGINE_STEP_MIN_MS=20),
        GatewayProcess(nats_server, tmp_path) as gateway,
    ):
        async with (
            connected(gateway.url) as listener,
            connected(gateway.url, transports=["polling"]) as other,
        ):
            await listener.call("inference_prompt", slow)
            await listener.until("inference_token")
            gateway.signal(signal.SIGTERM)
            assert (await listener.until("inference_complete"))["tokens_out"] == 60
            async with asyncio.timeout(5):
                await listener.client.wait()
                await other.client.wait()
                await asyncio.to_thread(gateway.wait)


def test_the_library_is_loaded_when_the_first_client_comes() -> None:
    """A gateway that nobody asks over Socket.IO does without its 34 MB."""
    look = "import sys, golek_worker.front; print([name for name in ('socketio', 'engineio') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


async def test_who_does_not_say_who_it_is_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that only stands there ends when others come; one that said it stays."""
    monkeypatch.setattr(sockets, "STRANGER_S", 0.2)
    door = Door(FakeFleet().client(), Gateway(), NoKeys(), keyless="here")
    serving = await server.serve(application(door), Address("127.0.0.1", 0), Gateway())
    url = f"http://127.0.0.1:{serving.where.port}"
    handshake = "/socket.io/?EIO=4&transport=polling"
    try:
        async with connected(url, transports=["websocket"]) as guest, httpx2.AsyncClient(base_url=url) as client:
            opened = (await client.get(handshake)).text
            sid = json.loads(opened[1:])["sid"]
            async with asyncio.timeout(5):
                while (await client.post(f"{handshake}&sid={sid}", content="3")).status_code == 200:
                    await client.get(handshake)
            assert await guest.call("join", "kitchen") == {"room": "kitchen"}
    finally:
        for close_it in door.closing:
            await close_it(0.1)
        await serving.close(1.0)
