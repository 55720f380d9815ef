"""Where handoff states lie, and how tokens are counted: a real Redis server, a real worker with the demo model."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from golek_wire.requests import InferenceRequest
from golek_worker.conducting.between_steps import open_handoffs
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp.model import Model
from golek_worker.orchestration.base import Member
from golek_worker.orchestration.caches import Lru
from golek_worker.orchestration.counting import Counter
from golek_worker.orchestration.handoff import HandoffState
from golek_worker.settings import Settings
from tests.engine.tiny import MODEL
from tests.support import raw
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess

STATE = HandoffState("j1", "What is NATS?", 1, 3, decisions_made=["a bus"])
NAME = "golek:ann.handoff:j1"
TEXTS = (
    "a", "What is NATS?", "NATS is a bus.\n" * 20, "日本語 é 🧑 \x00\x7f", "<|end|> x <|user|>", " \n\t ", "x" * 900,
)  # fmt: skip


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def chosen(store: str) -> Settings:
    return Settings(model_name="router", golek_session_store=store)


@pytest.mark.parametrize("store", ["kv", "memory"])
async def test_without_redis_they_lie_in_memory(store: str) -> None:
    """No broker is asked between two steps."""
    cache = await open_handoffs(chosen(store))
    await cache.store("ann", STATE)
    assert await cache.get("ann", "j1") == STATE
    await cache.close()


async def test_in_redis_they_lie_for_an_hour(redis_server: RedisServer) -> None:
    """Under a name that says what it is. Another router finds them, another caller does not."""
    cache, other = [await open_handoffs(chosen(redis_server.url)) for _ in range(2)]
    await cache.store("ann", STATE)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys() == [NAME.encode()]
        assert 3590 < client.ttl(NAME) <= 3600
    assert await other.get("ann", "j1") == STATE
    assert await other.get("bob", "j1") is None
    await cache.delete("ann", "j1")
    assert await other.get("ann", "j1") is None
    await asyncio.gather(cache.close(), other.close())


async def test_a_redis_that_goes_away_stops_no_request(redis_server: RedisServer) -> None:
    """What cannot be kept is not kept."""
    cache = await open_handoffs(chosen(redis_server.url))
    redis_server.stop()
    await cache.store("ann", STATE)
    await cache.delete("ann", "j1")
    redis_server.start()
    await cache.close()


async def test_a_workers_count_is_its_tokenizers(nats_server: str, tmp_path: Path) -> None:
    """Names of control tokens, blanks and all of Unicode; a text alone is counted as it is, without a template."""

    async def count(model: str, request: InferenceRequest) -> int:
        body = msgspec.json.encode(request)
        async with raw.connected(nats_server) as client:
            return int((await raw.ask(client, f"inference.request.{model}", body))[0]["tokens_in"])

    model = Model(EngineConfig("llamacpp", str(MODEL), 1, 0, 1), lambda done, total: None)
    counter = Counter(count, Lru(), lambda _: "")
    with WorkerProcess(nats_server, tmp_path / "data", "golek-tiny", MODEL_THREADS=1):
        assert [await counter.text(Member("golek-tiny"), text) for text in TEXTS] == [
            len(model.tokenize(text)) for text in TEXTS
        ]
    model.close()
