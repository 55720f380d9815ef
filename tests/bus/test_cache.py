"""Answers that are kept, and runs that are shared: real broker, real workers, runs counted in the engine's process."""

import asyncio
import os
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import aiohttp
import nats.aio.client
import psutil
import pytest
from typer.testing import CliRunner

from golek_client import Golek, ModelNotFoundError
from golek_client.connection import connect
from golek_wire import subjects
from golek_worker.admission.quota import Ledger
from golek_worker.bus.answers import LOOK_S, SharedAnswers
from golek_worker.bus.quota import stored_records
from golek_worker.commands.workers import app
from tests.support import minilm, raw
from tests.support.broker import NatsServer
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

REQUEST = "inference.request.echo"
TEXT = "one two three four five six seven eight nine ten " * 3
GREEDY: dict[str, Any] = {"input": TEXT, "params": {"temperature": 0}}
EXACT: dict[str, Any] = GREEDY | {"cache": {"mode": "exact"}}
COUNTED = Path(__file__).parents[1] / "support" / "counted"
ANN, BOB = "ann-key-0123456789abcdef", "bob-key-0123456789abcdef"


class Counted:
    """Workers whose engines write down what they begin."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._file = folder / "runs"

    @property
    def runs(self) -> list[int]:
        """Of each run of an engine: how many texts it had."""
        return [int(line) for line in self._file.read_text().split()] if self._file.exists() else []

    def worker(self, deployment: str = "echo", **settings: object) -> AbstractContextManager[WorkerProcess]:
        path = os.pathsep.join([str(COUNTED), os.environ.get("PYTHONPATH", "")])
        counting = {"COUNT_RUNS": self._file, "PYTHONPATH": path}
        return WorkerProcess(self._url, self._folder / "data", deployment, **counting, **settings)

    def slow(self, **settings: object) -> AbstractContextManager[WorkerProcess]:
        """Four slots; the text above takes 600 ms."""
        return self.worker(ENGINE_STEP_MIN_MS=20, STREAM_GATHER_MS=0, WORKER_CONCURRENCY=4, **settings)


@pytest.fixture
def counted(nats_server: str, tmp_path: Path) -> Counted:
    return Counted(nats_server, tmp_path)


async def streams(
    client: nats.aio.client.Client, count: int, body: dict[str, Any], **headers: str
) -> list[raw.Streamed]:
    """So many equal streams at once."""
    return [await raw.stream(client, REQUEST, body | {"req_id": f"r{n}"}, **headers) for n in range(count)]


async def whole(asked: list[raw.Streamed]) -> None:
    """Each of them gets the text as if it were alone, and a final message of its own."""
    await asyncio.gather(*(stream.rest() for stream in asked))
    assert {stream.joined() for stream in asked} == {TEXT}
    assert {stream.final["text"] for stream in asked} == {TEXT}
    assert len({stream.final["req_id"] for stream in asked}) == len(asked)


async def test_twenty_equal_streams_are_one_run(counted: Counted, nats_server: str) -> None:
    """They are leased together though there are four slots; nobody asked for a cache, and no reply speaks of one."""
    with counted.slow():
        async with raw.connected(nats_server) as client:
            asked = await streams(client, 20, GREEDY)
            await whole(asked)
            assert counted.runs == [1]
            assert not [stream.final["cache"] for stream in asked if "cache" in stream.final]
            async with Golek(nats_server) as golek:
                (told,) = await golek.cache_stats("echo")
            assert (told.shared, told.hits, told.misses) == (19, 0, 0)
            again, _ = await raw.ask(client, REQUEST, GREEDY)
            assert (again["text"], counted.runs) == (TEXT, [1, 1]), "what ended is over: nobody keeps it unasked"


async def test_two_tenants_are_two_runs(counted: Counted, nats_server: str, tmp_path: Path) -> None:
    """What is computed for one key is given to no other, concurrent or kept; each tenant's own twenty share."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"ann:{ANN}\nbob:{BOB}\n")
    keys.chmod(0o600)
    with counted.slow(GOLEK_NATS_IDENTITY="keys", GOLEK_KEY_FILE=keys, GOLEK_CACHE="exact"):
        async with raw.connected(nats_server) as client:
            both = [await streams(client, 20, GREEDY, Authorization=f"Bearer {key}") for key in (ANN, BOB)]
            await asyncio.gather(*map(whole, both))
            assert counted.runs == [1, 1]
            for asked in both:
                assert sorted(stream.final["cache"] for stream in asked) == ["hit"] * 19 + ["miss"]
            kept = await _kept(client)
            assert len(kept) == 2, "each tenant has a key of its own"
            for key in (ANN, BOB):
                reply, _ = await raw.ask(client, REQUEST, GREEDY, Authorization=f"Bearer {key}")
                assert (reply["cache"], counted.runs) == ("hit", [1, 1])


async def _kept(client: nats.aio.client.Client, count: int = 2) -> list[str]:
    """The keys in the shared bucket, once there are so many."""
    bucket = await client.jetstream().key_value(subjects.CACHE_BUCKET)
    async with asyncio.timeout(5):
        while True:
            try:
                found = await bucket.keys()
            except nats.js.errors.NoKeysError:
                found = []
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("leaves", [0, 2], ids=["the leader", "a follower"])
async def test_who_leaves_takes_nothing_from_the_others(counted: Counted, nats_server: str, leaves: int) -> None:
    """One of them is cancelled while the text is written: the others have all of it, by the same run."""
    with counted.slow():
        async with raw.connected(nats_server) as client:
            asked = await streams(client, 6, GREEDY)
            for stream in asked:
                await stream.next()
            gone = asked.pop(leaves)
            await client.publish(f"inference.cancel.{subjects.job_id(gone.inbox)}", b"")
            await gone.rest()
            assert gone.final["error"]["code"] == "CANCELLED"
            await whole(asked)
            assert counted.runs == [1]
            different = [await raw.stream(client, REQUEST, {"input": f"{n} {TEXT}"}) for n in range(8)]
            await asyncio.gather(*(stream.rest() for stream in different))
            assert len(counted.runs) == 9, "the slots are all there again"


async def test_the_run_ends_when_the_last_one_leaves(counted: Counted, nats_server: str) -> None:
    """All of them are cancelled: the engine is free at once."""
    with counted.slow():
        async with raw.connected(nats_server) as client:
            body = GREEDY | {"params": {"temperature": 0, "ignore_eos": True, "max_tokens": 5000}}
            asked = await streams(client, 5, body)
            for stream in asked:
                await stream.next()
                await client.publish(f"inference.cancel.{subjects.job_id(stream.inbox)}", b"")
            for stream in asked:
                await stream.rest()
                assert stream.final["error"]["code"] == "CANCELLED"
            async with asyncio.timeout(5):
                while (await _load(client))["active"]:
                    await asyncio.sleep(0.02)


async def _load(client: nats.aio.client.Client) -> dict[str, Any]:
    return (await raw.ask(client, "models.echo.health", b""))[0]


async def test_a_crash_is_the_leaders_alone(counted: Counted, nats_server: str) -> None:
    """The engine dies under a shared run: one job is struck, all run again, together, and are answered in full."""
    with counted.slow() as worker:
        async with raw.connected(nats_server) as client:
            asked = await streams(client, 6, GREEDY)
            for stream in asked:
                await stream.next()
            worker.child.kill()
            await whole(asked)
            assert len(worker.log_lines("job.struck")) == 1
            assert len(counted.runs) <= 3, "those who follow share their second run as well"


async def test_draws_are_not_shared(counted: Counted, nats_server: str) -> None:
    """Without a seed each answer is another one; with one they are equal; `off` always runs."""
    drawn: dict[str, Any] = {"input": TEXT}
    with counted.slow():
        async with raw.connected(nats_server) as client:
            for body, runs in (
                (drawn, 3),
                (drawn | {"seed": 7}, 1),
                (GREEDY | {"cache": {"mode": "off"}}, 3),
                (GREEDY | {"user": "u1"}, 3),
                (GREEDY | {"cache": {"time_sensitive": True}}, 3),
            ):
                before = len(counted.runs)
                await whole(await streams(client, 3, body))
                assert len(counted.runs) - before == runs, body


async def test_an_answer_is_kept_for_who_asks_the_same(counted: Counted, nats_server: str) -> None:
    """Miss, hit, hit as a stream, refresh; then a worker that is started anew knows it, until the model is unloaded."""
    with counted.worker():
        async with raw.connected(nats_server) as client:
            first, _ = await raw.ask(client, REQUEST, EXACT | {"req_id": "a"})
            second, _ = await raw.ask(client, REQUEST, EXACT | {"req_id": "b"})
            assert (first["cache"], second["cache"], counted.runs) == ("miss", "hit", [1])
            assert (second["req_id"], second["text"], second["tokens_out"]) == ("b", TEXT, first["tokens_out"])
            streamed = await raw.stream(client, REQUEST, EXACT)
            await streamed.rest()
            assert (streamed.joined(), streamed.final["cache"], counted.runs) == (TEXT, "hit", [1])
            assert streamed.messages[0].headers is not None
            assert streamed.messages[0].headers["Golek-Cache"] == "hit"
            anew, _ = await raw.ask(client, REQUEST, GREEDY | {"cache": {"mode": "refresh"}})
            assert (anew["cache"], counted.runs) == ("bypass", [1, 1])
            without, _ = await raw.ask(client, REQUEST, GREEDY)
            assert ("cache" in without, counted.runs) == (False, [1, 1, 1])
            mine, _ = await raw.ask(client, REQUEST, EXACT | {"user": "u1"})
            assert (mine["cache"], len(counted.runs)) == ("bypass", 4)
            assert len(await _kept(client, 1)) == 1
    with counted.worker():
        async with raw.connected(nats_server) as client:
            warm, _ = await raw.ask(client, REQUEST, EXACT | {"req_id": "c"})
            if warm["cache"] == "miss":  # the first look finds the bucket
                warm, _ = await raw.ask(client, REQUEST, EXACT | {"req_id": "c"})
            assert warm["cache"] == "hit"
            health, _ = await raw.ask(client, "models.echo.health", b"")
            assert health["status"] == "online"
            await raw.ask(client, "models.echo.unload", b"", 10)
            cold, _ = await raw.ask(client, REQUEST, EXACT)
            assert cold["cache"] == "miss"


async def test_a_hit_costs_a_request_and_no_tokens(counted: Counted, nats_server: str, tmp_path: Path) -> None:
    """The ledger of a key counts what was computed for it; its line in the key file may ask for the cache."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"ann:{ANN} tpm=100000 cache=exact\n")
    keys.chmod(0o600)
    with counted.worker(GOLEK_NATS_IDENTITY="keys", GOLEK_KEY_FILE=keys):
        async with Golek(nats_server, key=ANN, deadline=5) as golek:
            replies = [await golek.ask("echo", TEXT, temperature=0) for _ in range(3)]
        assert [reply.cache for reply in replies] == ["miss", "hit", "hit"]
        client = await connect(nats_server, "test")
        try:
            async with asyncio.timeout(5):
                while True:
                    found = await stored_records(client, Ledger)
                    (account,) = [one for key, one in found.items() if key.startswith("ann.")]
                    if account.spent.requests == 3 and not account.holds:
                        break
                    await asyncio.sleep(0.02)
        finally:
            await client.close()
        assert account.spent.tokens == replies[0].tokens_in + replies[0].tokens_out


async def test_of_a_list_only_new_texts_are_computed(counted: Counted, nats_server: str) -> None:
    """Each text's vector is kept by itself, at its full width; tokens are told as if all had been computed."""
    settings = {"MODEL_NAME": "minilm", "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1, "GOLEK_CACHE": "exact"}
    with counted.worker("golek-tiny", **settings):
        async with Golek(nats_server, deadline=20) as golek:
            first = await golek.embed("minilm", ["a river", "a lease"])
            more = await golek.embed("minilm", ["a bank", "a lease", "a river"])
            again = await golek.embed("minilm", ["a river", "a lease", "a bank"], encoding_format="base64")
            short = await golek.embed("minilm", "a lease", dimensions=8)
            with pytest.raises(Exception, match="384"):
                await golek.embed("minilm", "a lease", dimensions=400)
    assert counted.runs == [2, 1]
    assert [reply.cache for reply in (first, more, again, short)] == ["miss", "miss", "hit", "hit"]
    assert more.vectors[1:] == first.vectors[::-1]
    assert again.vectors[2] == pytest.approx(more.vectors[0], abs=1e-6)
    assert again.usage.prompt_tokens == more.usage.prompt_tokens
    assert len(short.vectors[0]) == 8


async def test_equal_lists_are_one_run(counted: Counted, nats_server: str) -> None:
    """Vectors are shared as texts are."""
    settings = {"MODEL_NAME": "minilm", "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1}
    with counted.worker("golek-tiny", **settings):
        async with Golek(nats_server, deadline=20) as golek:
            texts = [f"{n} " + "a sentence of some length " * 20 for n in range(40)]
            replies = await asyncio.gather(*(golek.embed("minilm", texts) for _ in range(8)))
    assert counted.runs == [40]
    assert all(reply.vectors == replies[0].vectors for reply in replies)


async def test_operators_see_and_clear_what_is_kept(counted: Counted, nats_server: str) -> None:
    """Each replica tells what it has and how often that helped; cleared, the same question runs again."""
    with counted.worker(GOLEK_CACHE="exact"):
        async with Golek(nats_server, deadline=5) as golek:
            for text in ("a", "b", "a", "a"):
                await golek.ask("echo", text, temperature=0)
            (told,) = await golek.cache_stats("echo")
            assert (told.entries, told.hits, told.misses, told.limit) == (2, 2, 2, 64 * 2**20)
            assert 0 < told.bytes < 10_000
            (cleared,) = await golek.clear_cache("echo")
            assert (cleared.entries, cleared.forgotten, cleared.problem) == (0, 2, None)
            assert (await golek.ask("echo", "a", temperature=0)).cache == "miss"
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["cache", "clear", "echo", "--server", nats_server])
        assert shown.exit_code == 0, shown.output
        assert shown.stdout.splitlines()[-1].split()[-1] == "1"
    assert len(counted.runs) == 3


async def test_over_http_a_header_tells(counted: Counted) -> None:
    """`x-golek-cache` stands beside whole answers, streams and vectors' lists alike."""
    port = free_port()
    body: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
    with counted.worker(HTTP_ADDR=f":{port}", GOLEK_CACHE="exact"):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

            async def told(**more: object) -> str:
                async with http.post("/v1/chat/completions", json=body | more) as response:
                    assert response.status == 200, await response.text()
                    await response.read()
                    return response.headers.get("x-golek-cache", "")

            assert [await told(), await told(), await told(stream=True)] == ["miss", "hit", "hit"]
            assert await told(cache={"mode": "refresh"}) == "bypass"
            assert await told(user="u1", stream=True) == "bypass"
            assert await told(cache={"mode": "off"}) == ""
            async with http.get("/metrics") as response:
                figures = await response.text()
            assert 'golek_cached_requests_total{model="echo",cache="hit"} 2.0' in figures.replace(
                'cache="hit",model="echo"', 'model="echo",cache="hit"'
            )


async def test_a_router_keeps_and_shares(counted: Counted, nats_server: str, tmp_path: Path) -> None:
    """Who asks for `auto` at the same time shares one step; what is kept needs none, and tells its route."""
    routes = tmp_path / "routes.yaml"
    routes.write_text("")
    with counted.slow(), WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=routes):
        async with raw.connected(nats_server) as client:
            asked = [await raw.stream(client, "inference.request.auto", EXACT | {"req_id": f"r{n}"}) for n in range(8)]
            await whole(asked)
            assert counted.runs == [1]
            assert sorted(stream.final["cache"] for stream in asked) == ["hit"] * 7 + ["miss"]
            later, _ = await raw.ask(client, "inference.request.auto", EXACT)
            assert (later["cache"], later["text"], counted.runs) == ("hit", TEXT, [1])
            assert later["route"]["target"] == "local:echo"
            await _kept(client, 1)
            async with Golek(nats_server, deadline=5) as golek:
                (cleared,) = await golek.clear_cache("router")
            assert (cleared.entries, cleared.forgotten, cleared.problem) == (0, 1, None)
            anew, _ = await raw.ask(client, "inference.request.auto", EXACT)
            assert [tried["outcome"] for tried in anew["route"]["chain"]] == ["answered"], "the worker is asked again"
            assert (anew["cache"], counted.runs) == ("hit", [1]), "which has kept it, too, and says so"
            asked = [
                await raw.stream(client, "inference.request.auto", GREEDY | {"seed": 1, "req_id": f"r{n}"})
                for n in range(4)
            ]
            for stream in asked:
                await stream.next()
            gone = asked.pop(0)
            await client.publish(f"inference.cancel.{subjects.job_id(gone.inbox)}", b"")
            await gone.rest()
            assert gone.final["error"]["code"] == "CANCELLED"
            await whole(asked)


async def test_what_a_router_passes_on_is_kept_no_sooner(counted: Counted, nats_server: str, tmp_path: Path) -> None:
    """The worker that a router asks keeps nothing of a conversation, and nothing for a key that wants no cache."""
    keys, routes = tmp_path / "keys.txt", tmp_path / "routes.yaml"
    keys.write_text(f"ann:{ANN} cache=off\nbob:{BOB}\n")
    keys.chmod(0o600)
    routes.write_text("")
    known = {"GOLEK_NATS_IDENTITY": "keys", "GOLEK_KEY_FILE": keys}
    with (
        counted.worker(GOLEK_CACHE="exact", **known),
        WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=routes, **known),
    ):
        async with raw.connected(nats_server) as client:

            async def runs(key: str, **fields: str) -> int:
                """Runs that the request takes."""
                before = len(counted.runs)
                told, _ = await raw.ask(
                    client, "inference.request.auto", GREEDY | fields, Authorization=f"Bearer {key}"
                )
                assert told["text"] == TEXT
                return len(counted.runs) - before

            assert [await runs(BOB, session_id=name) for name in ("s1", "s2")] == [1, 1]
            assert [await runs(ANN) for _ in range(2)] == [1, 1]
            assert [await runs(BOB) for _ in range(2)] == [1, 0]


async def test_questions_that_mean_the_same_share_an_answer(counted: Counted, nats_server: str) -> None:
    """With an embedding model in the fleet `semantic` looks twice; another question gets its own."""
    vectors = {"MODEL_NAME": "all-minilm-l6-v2", "MODEL_PATH": minilm.model_file(), "MODEL_THREADS": 1}
    wish: dict[str, Any] = {"temperature": 0, "cache": {"mode": "semantic"}}
    with counted.worker("golek-tiny", **vectors), counted.worker(INFERENCE_REQUEST_TIMEOUT=20):
        async with Golek(nats_server, deadline=20) as golek:
            question = "What is the capital of France?"
            await golek.ask("echo", question, **wish)
            for blanks in range(2, 100):  # each wording is another request; the first ones may come before the vector
                found = await golek.ask("echo", question.replace(" ", " " * blanks, 1), **wish)
                if found.cache == "hit":
                    break
                await asyncio.sleep(0.02)
            assert (found.cache, " ".join(found.text.split())) == ("hit", question)
            assert found.text != question.replace(" ", " " * blanks, 1)
            other = await golek.ask("echo", "What is the capital of Italy?", **wish)
            assert (other.cache, other.text) == ("miss", "What is the capital of Italy?")


async def test_a_silent_broker_costs_a_look_a_moment(broker: NatsServer) -> None:
    """What replicas share is asked for for at most LOOK_S; then nobody asks for a while."""
    client = await connect(broker.url, "test")
    try:
        answers = SharedAnswers(client)
        answers.store("m", "d", b"value", 60)
        async with asyncio.timeout(5):
            while await answers.get("m", "d") != b"value":
                await asyncio.sleep(0.02)
        os.kill(broker.pid, signal.SIGSTOP)
        async with asyncio.timeout(5):
            while psutil.Process(broker.pid).status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.001)
        try:
            began = time.monotonic()
            assert await answers.get("m", "d") is None
            assert time.monotonic() - began < LOOK_S + 0.5
            began = time.monotonic()
            assert [await answers.get("m", "d") for _ in range(100)] == [None] * 100
            assert time.monotonic() - began < LOOK_S
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await answers.close()
    finally:
        await client.close()


async def test_a_router_answers_for_the_names_it_serves(counted: Counted, nats_server: str, tmp_path: Path) -> None:
    """What is kept for an alias is counted and forgotten by its name, and goes with that of the model that answered;
    a name that nobody knows gets the suggestion that it gets without a router.
    """
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: {smart.v1: {targets: ['local:echo']}}\n")
    with counted.worker(), WorkerProcess(nats_server, tmp_path / "router", "router", ROUTES_FILE=routes):
        async with raw.connected(nats_server) as client, Golek(nats_server, deadline=5) as golek:
            for name in ("smart.v1", "auto"):
                await raw.ask(client, f"inference.request.{name}", EXACT)
            (told,) = await golek.cache_stats("smart.v1")
            assert (told.model_name, told.entries) == ("router", 2)
            (cleared,) = await golek.clear_cache("smart.v1")
            assert (cleared.forgotten, cleared.entries) == (1, 1)
            forgotten = {one.model_name: one.forgotten for one in await golek.clear_cache("echo")}
            assert forgotten == {"echo": 1, "router": 1}
            (own,) = await golek.cache_stats("echo")
            assert (own.model_name, own.entries) == ("echo", 0)
            with pytest.raises(ModelNotFoundError, match=r"did you mean smart\.v1"):
                await golek.cache_stats("smart.v2")


async def test_what_a_workers_cache_answered_is_a_hit_behind_a_router_too(nats_server: str, tmp_path: Path) -> None:
    """In the reply, in the first chunk of a stream, and in the router's count; the router itself keeps nothing."""
    data = tmp_path / "data"
    with (
        WorkerProcess(nats_server, data, GOLEK_CACHE="exact"),
        WorkerProcess(nats_server, data, "router"),
    ):
        async with raw.connected(nats_server) as client:
            first, _ = await raw.ask(client, "inference.request.auto", GREEDY)
            again, _ = await raw.ask(client, "inference.request.auto", GREEDY)
            assert (first["cache"], again["cache"], again["text"]) == ("miss", "hit", TEXT)
            stream = await raw.stream(client, "inference.request.auto", GREEDY)
            await whole([stream])
            assert (stream.final["cache"], stream.messages[0].headers["Golek-Cache"]) == ("hit", "hit")
