"""A router takes the requests for all models, and has others answer."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from nats.aio.msg import Msg

from golek_client import (
    BadRequestError,
    DeadlineExceededError,
    ForbiddenError,
    Golek,
    InferenceServiceError,
    ModelNotFoundError,
    NoWorkersError,
    RouteLoopError,
    UnauthorizedError,
)
from golek_wire import codec, moments, subjects
from golek_wire import headers as h
from golek_wire.replies import InferenceReply
from golek_wire.routing import TABLE
from golek_wire.signals import Health, ModelInfo, ModelRecord
from tests.support import clouds, minilm, raw, reranker
from tests.support.clouds import Cloud
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

TWO = {"ENGINE": "echo", "MODEL_NAME": "second", "WORKER_CONCURRENCY": 8}
"""Another model, of another deployment."""
WORDS = " ".join(f"w{i}" for i in range(120))


def router(url: str, data: Path, routes: str = "", **settings: object) -> WorkerProcess:
    """A router with these routes."""
    data.mkdir(parents=True, exist_ok=True)
    file = data / "routes.yaml"
    file.write_text(routes)
    return WorkerProcess(url, data, "router", ROUTES_FILE=file, **settings)


def providers(data: Path, cloud: Cloud) -> dict[str, object]:
    """Settings of a router that knows one cloud."""
    data.mkdir(parents=True, exist_ok=True)
    file = data / "providers.yaml"
    file.write_text(
        f"providers:\n  cloud: {{dialect: openai, base_url: '{cloud.base_url}', key_env: CLOUD_KEY, prefills: true,\n"
        "    models: [{id: big, context_size: 100000}]}\n"
    )
    return {"PROVIDERS_FILE": file, "CLOUD_KEY": clouds.KEY}


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """An echo worker and a router."""
    with WorkerProcess(nats_server, tmp_path / "echo"), router(nats_server, tmp_path / "router"):
        yield nats_server


async def until_idle(golek: Golek, model: str) -> None:
    """Wait until nothing runs at the model's worker."""
    async with asyncio.timeout(5):
        while (await golek.health(model)).active:
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("fleet")
async def test_auto_is_answered_by_a_worker_of_the_fleet(golek: Golek) -> None:
    """Who asks for `auto`, or for the router itself, gets a worker's answer, and is told whose and why."""
    for name in ("auto", "router"):
        reply = await golek.ask(name, "one two three", req_id="r1", seed=7)
        assert (reply.text, reply.req_id, reply.seed, reply.model) == ("one two three", "r1", 7, name)
        route = reply.route
        assert route is not None
        assert (route.target, route.model, route.provider) == ("local:echo", "echo", "local")
        assert route.worker.startswith("echo-")
        assert route.router.startswith("router-")
        assert route.reason
        assert [tried.outcome for tried in route.chain] == ["answered"]


@pytest.mark.usefixtures("fleet")
async def test_auto_is_streamed(golek: Golek) -> None:
    """The pieces of a stream through a router are its text; so are those of several texts, each by its index."""
    async with golek.stream("auto", "one two three") as stream:
        pieces = [piece async for piece in stream]
    assert "".join(pieces) == stream.reply.text == "one two three"
    assert stream.reply.route is not None
    several = golek.stream("auto", "one two", n=2)
    texts = ["", ""]
    async for piece in several.pieces():
        texts[piece.index] += piece.text
    assert texts == [choice.text for choice in several.reply.all_choices] == ["one two", "one two"]


@pytest.mark.usefixtures("fleet")
async def test_a_models_own_requests_pass_through(golek: Golek) -> None:
    """Requests for a model that a worker serves are answered as without a router, whoever received them."""
    replies = [await golek.ask("echo", f"number {i}") for i in range(40)]
    assert [reply.text for reply in replies] == [f"number {i}" for i in range(40)]
    assert all(reply.route is None and reply.model == "echo" for reply in replies)
    receipts = [await golek.submit("echo", f"later {i}") for i in range(20)]
    results = [await golek.wait(receipt, 10) for receipt in receipts]
    assert [result.text for result in results if isinstance(result, InferenceReply)] == [
        f"later {i}" for i in range(20)
    ]


@pytest.mark.usefixtures("fleet")
async def test_a_job_is_left_for_auto(golek: Golek) -> None:
    """A job that is submitted for `auto` has a receipt, and later its result."""
    receipt = await golek.submit("auto", "later")
    result = await golek.wait(receipt, 10)
    assert isinstance(result, InferenceReply)
    assert result.text == "later"
    assert result.route is not None


@pytest.mark.usefixtures("fleet")
async def test_a_repeat_with_one_key_is_one_answer(golek: Golek) -> None:
    """Two requests for `auto` with one idempotency key have one answer, seed included."""
    first = await golek.ask("auto", "once", idempotency_key="k")
    again = await golek.ask("auto", "once", idempotency_key="k")
    assert first.seed == again.seed


async def test_a_typo_is_told_at_once(fleet: str, golek: Golek) -> None:
    """While a plain program listens to heartbeats, each name that nobody knows is a 404 with what was meant."""
    async with raw.connected(fleet) as other:
        await other.subscribe("models.*.heartbeat")
        for name in ("ecco", "autoo"):
            for _ in range(100):
                with pytest.raises(ModelNotFoundError) as told:
                    await golek.ask(name, "hello")
                assert told.value.details["did_you_mean"] == {"ecco": "echo", "autoo": "auto"}[name]
        assert {"echo", "auto"} <= set(told.value.details["available"])


@pytest.mark.usefixtures("fleet")
async def test_another_kind_is_told_where_to_ask(golek: Golek) -> None:
    """Vectors are asked of a model that writes text: 400 naming where it is asked, and of `auto` why nobody can."""
    for _ in range(10):
        with pytest.raises(BadRequestError, match=r"inference\.request\.echo"):
            await golek.embed("echo", "hello")
    with pytest.raises(NoWorkersError, match="no model for embedding"):
        await golek.embed("auto", "hello")


async def test_another_kind_of_a_new_model_is_told_so(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Also before the router has heard what kind it is: the first one who asks is told as the later ones are."""
    with router(nats_server, tmp_path / "router"):
        for number in range(2):
            with WorkerProcess(nats_server, tmp_path / f"{number}", MODEL_NAME=f"new{number}"):
                for _ in range(10):
                    with pytest.raises(BadRequestError, match=rf"inference\.request\.new{number}"):
                        await golek.embed(f"new{number}", "hello")


async def test_who_came_through_too_many_routers_is_refused(fleet: str) -> None:
    """A request that says it came through as many routers as may pass it on is a loop."""
    async with raw.connected(fleet) as client:
        for hops in (str(h.HOPS_LIMIT), "99999999", "x"):
            told, _ = await raw.ask(client, "inference.request.auto", {"input": "hi"}, **{h.HOPS: hops})
            assert told["error"]["code"] == RouteLoopError.code
        told, _ = await raw.ask(client, "inference.request.auto", {"input": "hi"}, **{h.HOPS: "1"})
        assert told["text"] == "hi"


async def test_a_cancel_ends_the_step(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Whoever leaves a stream through a router, or stops waiting, leaves no work behind."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo", ENGINE_STEP_MIN_MS=20, WORKER_CONCURRENCY=1),
        router(nats_server, tmp_path / "router"),
    ):
        async with golek.stream("auto", " ".join(["word"] * 3000)) as stream:
            async for _ in stream:
                break
        await until_idle(golek, "echo")
        running = golek.stream("auto", " ".join(["word"] * 3000))
        await anext(aiter(running))
        waits = asyncio.create_task(golek.ask("auto", "behind"))
        async with raw.connected(nats_server) as client:
            info = f"$JS.API.STREAM.INFO.{subjects.job_stream('echo')}"
            async with asyncio.timeout(5):
                while json.loads((await client.request(info)).data)["state"]["messages"] < 2:
                    await asyncio.sleep(0.02)
                waits.cancel()
                while json.loads((await client.request(info)).data)["state"]["messages"] > 1:
                    await asyncio.sleep(0.02)
        await running.aclose()
        await until_idle(golek, "echo")


async def test_a_stream_goes_on_elsewhere(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """The worker of a stream is killed: another model goes on behind the text, and the route tells of both."""
    routes = "routes: {both: {targets: [local:echo, local:second], strategy: in_order}}"
    with (
        WorkerProcess(nats_server, tmp_path / "echo", ENGINE_STEP_MIN_MS=20) as first,
        WorkerProcess(nats_server, tmp_path / "second", "golek-tiny", **TWO),
        router(nats_server, tmp_path / "router", routes),
    ):
        text = ""
        async with golek.stream("both", WORDS) as stream:
            async for piece in stream:
                if text.count(" ") < 5 <= (text + piece).count(" "):
                    first.signal(signal.SIGKILL)
                text += piece
        assert text == stream.reply.text == WORDS
        assert stream.reply.route is not None
        outcomes = [(tried.target, tried.outcome) for tried in stream.reply.route.chain]
        assert outcomes == [("local:echo", "NO_WORKERS"), ("local:second", "answered")]


async def test_a_model_that_is_gone_has_its_fallback(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A worker stopped for good: its model is 503 at once, or another model's answer where its policy says so."""
    routes = "models: {echo: {policy: never_cloud, fallback: [local:second]}}"
    with WorkerProcess(nats_server, tmp_path / "second", "golek-tiny", **TWO):
        with router(nats_server, tmp_path / "router", routes):
            with WorkerProcess(nats_server, tmp_path / "echo"):
                async with asyncio.timeout(20):
                    while (await golek.ask("echo", "hi")).route is not None:  # the router hears of it in a moment
                        await asyncio.sleep(0.02)
            reply = await golek.ask("echo", "hi")
            assert reply.text == "hi"
            assert reply.model == "echo"
            assert reply.route is not None
            assert reply.route.target == "local:second"
        with router(nats_server, tmp_path / "plain"):
            async with asyncio.timeout(20):
                while True:
                    try:
                        await golek.ask("echo", "hi", deadline=1)
                    except NoWorkersError:
                        break
                    except InferenceServiceError:  # its workers left a moment ago
                        continue
            for _ in range(50):
                with pytest.raises(NoWorkersError):
                    await golek.ask("echo", "hi", deadline=0.5)


async def test_a_cloud_answers_where_nobody_else_does(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A cloud's own name, and a local model whose fallback it is: unary, streamed, with its name in the route."""
    routes = "models: {echo: {policy: local_first, fallback: ['cloud:big']}}"
    async with Cloud() as cloud:
        with router(nats_server, tmp_path / "router", routes, **providers(tmp_path, cloud)):
            for name in ("cloud:big", "cloud/big", "echo"):
                reply = await golek.ask(name, "hi")
                assert reply.text == clouds.TEXT
                assert reply.route is not None
                assert (reply.route.target, reply.route.provider) == ("cloud:big", "cloud")
            async with golek.stream("cloud:big", "hi") as stream:
                assert "".join([piece async for piece in stream]) == clouds.TEXT
            cloud.then("429-ms", None)
            assert (await golek.ask("cloud:big", "hi")).text == clouds.TEXT
            cloud.then("401")
            with pytest.raises(Exception, match="cloud") as told:
                await golek.ask("cloud:big", "hi")
            assert "route" in vars(told.value)["details"]
            assert clouds.KEY not in str(told.value)


async def test_what_is_kept_from_clouds_stays_so(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """`local:`, and names whose policy is never_cloud: not even while they wait in the queue of a model that died, and
    for which a cloud may answer when it is asked by its own name.
    """
    routes = "routes: {ours: {targets: ['local:echo']}}\nmodels: {echo: {policy: local_first, fallback: ['cloud:big']}}"
    slow = {"ENGINE_STEP_MIN_MS": 50, "WORKER_CONCURRENCY": 1}
    names = ["local:echo", "ours", "auto"]
    async with Cloud() as cloud:
        with (
            WorkerProcess(nats_server, tmp_path / "echo", **slow) as worker,
            router(nats_server, tmp_path / "router", routes, **providers(tmp_path, cloud)),
        ):
            assert (await golek.ask("local:echo", "hi")).text == "hi"
            asked = [asyncio.create_task(golek.ask(name, WORDS, deadline=12)) for name in names for _ in range(3)]
            async with raw.connected(nats_server) as client:
                info = f"$JS.API.STREAM.INFO.{subjects.job_stream('echo')}"
                async with asyncio.timeout(5):
                    while json.loads((await client.request(info)).data)["state"]["messages"] < len(asked):
                        await asyncio.sleep(0.02)
            worker.signal(signal.SIGKILL)
            async with asyncio.timeout(20):
                while (await golek.ask("echo", "hi")).text != clouds.TEXT:
                    await asyncio.sleep(0.02)
            helped = len(cloud.asked)
            assert {type(one) for one in await asyncio.gather(*asked, return_exceptions=True)} <= {
                DeadlineExceededError, NoWorkersError,
            }  # fmt: skip
            assert len(cloud.asked) == helped


async def test_a_routers_names_are_known_from_its_first_word(nats_server: str, tmp_path: Path) -> None:
    """Who asks for one of them while it starts waits for it, and is not told that nobody knows that name."""
    told: list[ModelRecord] = []

    async def keep(message: Msg) -> None:
        told.append(codec.decode(message.data, ModelRecord))

    with WorkerProcess(nats_server, tmp_path / "echo"):
        async with raw.connected(nats_server) as client, Golek(nats_server, deadline=20) as golek:
            await client.subscribe(f"$KV.{subjects.MODELS_BUCKET}.router", cb=keep)
            await client.flush()
            starting = router(nats_server, tmp_path / "router")
            try:
                starting.start(wait=False)
                async with asyncio.timeout(20):
                    while not told:
                        await asyncio.sleep(0.001)
                assert told[0].state == "starting"
                assert (await golek.ask("auto", "a b")).text == "a b"
                assert all("auto" in [offer.name for offer in record.offers] for record in told)
            finally:
                starting.end()


async def test_a_key_is_for_the_names_it_says(nats_server: str, tmp_path: Path) -> None:
    """A key for a model does not open `auto`; one for both is answered by that model alone."""
    data = tmp_path / "router"
    data.mkdir()
    ann, bob, eve = ("ann-key-0123456789abcdef", "bob-key-0123456789abcdef", "eve-key-0123456789abcdef")
    (data / "api_keys.txt").write_text(
        f"ann:{ann} models=second,auto\nbob:{bob} models=echo\neve:{eve} models=nothing,auto\n"
    )
    keys = {"GOLEK_NATS_IDENTITY": "keys"}
    with (
        router(nats_server, data, **keys),
        WorkerProcess(nats_server, tmp_path / "echo", **keys),
        WorkerProcess(nats_server, tmp_path / "second", "golek-tiny", **TWO, **keys),
    ):
        async with Golek(nats_server, key=ann, deadline=10) as golek:
            for _ in range(10):
                reply = await golek.ask("auto", "hi")
                assert reply.route is not None
                assert reply.route.target == "local:second"
            with pytest.raises(ForbiddenError):
                await golek.ask("echo", "hi")
        async with Golek(nats_server, key=bob, deadline=10) as golek:
            for _ in range(10):
                assert (await golek.ask("echo", "hi")).text == "hi"
                with pytest.raises(ForbiddenError):
                    await golek.ask("auto", "hi")
        async with Golek(nats_server, key=eve, deadline=10) as golek:
            with pytest.raises(ForbiddenError):
                await golek.ask("auto", "hi")


async def test_a_router_is_never_laxer_than_the_workers(nats_server: str, tmp_path: Path) -> None:
    """Where workers want keys and the router does not, nobody is let in without one: neither by the models' own names,
    nor by `auto` or an alias. The router says so, and does not start where it can know that before.
    """
    data, key = tmp_path / "echo", "ann-key-0123456789abcdef"
    data.mkdir()
    (data / "api_keys.txt").write_text(f"ann:{key}\n")
    both = "GOLEK_NATS_IDENTITY=keys, and this router has GOLEK_NATS_IDENTITY=open"
    with (
        router(nats_server, tmp_path / "router", "routes: {smart: {targets: ['local:echo']}}") as lax,
        WorkerProcess(nats_server, data, GOLEK_NATS_IDENTITY="keys"),
    ):
        async with Golek(nats_server, key="", deadline=10) as golek:
            for name in ("echo", "auto", "smart") * 10:
                with pytest.raises((UnauthorizedError, NoWorkersError)) as told:
                    await golek.ask(name, "hi")
                assert name != "echo" or isinstance(told.value, UnauthorizedError)
                assert both in str(told.value) or "this fleet wants" in str(told.value)
        async with raw.connected(nats_server) as client:
            table = json.loads((await client.request(TABLE, b"", timeout=5)).data)
        assert len([problem for problem in table["problems"] if both in problem]) == 1
        await _told(lax, 1)
        another = WorkerProcess(nats_server, tmp_path / "another", "router", 2)
        assert both in another.start_failing()
        with WorkerProcess(nats_server, data, "router", 3, GOLEK_NATS_IDENTITY="keys"):
            async with Golek(nats_server, key="", deadline=10) as golek:
                for name in ("auto", "echo") * 10:
                    with pytest.raises((UnauthorizedError, NoWorkersError)):
                        await golek.ask(name, "hi")
            await _told(lax, 2)  # of the other router, too


async def _told(lax: WorkerProcess, times: int) -> None:
    """Wait until it has logged for so many that it is laxer."""
    async with asyncio.timeout(15):
        while len(lax.log_lines("router.laxer")) < times:
            await asyncio.sleep(0.02)
    assert len(lax.log_lines("router.laxer")) == times


async def test_what_came_while_the_last_worker_left_is_told_so(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Not at its deadline, but once nobody is expected back; a job that was submitted stays for who comes later."""
    slow = {"ENGINE_STEP_MIN_MS": 30, "WORKER_CONCURRENCY": 1}
    with router(nats_server, tmp_path / "router"):
        with WorkerProcess(nats_server, tmp_path / "echo", **slow) as worker:
            running = asyncio.create_task(golek.ask("echo", WORDS, deadline=30))
            async with raw.connected(nats_server) as client:
                info = f"$JS.API.CONSUMER.INFO.{subjects.job_stream('echo')}.{subjects.consumer('echo', 'inference')}"
                async with asyncio.timeout(10):
                    while not json.loads((await client.request(info)).data)["num_ack_pending"]:
                        await asyncio.sleep(0.02)
            receipt = await golek.submit("echo", "for later", deadline=60)
            worker.signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait_for_line, "shutdown")
            late = [asyncio.create_task(golek.ask("echo", "hi", deadline=15)) for _ in range(10)]
            assert (await running).text == WORDS
            assert worker.process is not None
            await asyncio.to_thread(worker.process.wait, 10)  # a second signal would have it leave without a word
        async with asyncio.timeout(20):
            ends = await asyncio.gather(*late, return_exceptions=True)
        assert [type(one) for one in ends] == [NoWorkersError] * len(late)
        with WorkerProcess(nats_server, tmp_path / "echo"):
            assert (await golek.wait(receipt, 20)).text == "for later"


async def test_a_full_queue_is_as_patient_as_its_workers(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Through a router as well: requests that find no place wait where the model's workers let them wait."""
    patient = {"ENGINE_STEP_MIN_MS": 10, "WORKER_CONCURRENCY": 1, "QUEUE_CAPACITY": 2}
    with (
        WorkerProcess(nats_server, tmp_path / "echo", INFERENCE_REJECT_WHEN_FULL="false", **patient),
        router(nats_server, tmp_path / "router"),
    ):
        replies = await asyncio.gather(*(golek.ask("echo", f"n {i}", deadline=30) for i in range(40)))
    assert [reply.text for reply in replies] == [f"n {i}" for i in range(40)]


async def test_a_router_serves_the_fleet_over_http(nats_server: str, tmp_path: Path) -> None:
    """On its HTTP_ADDR all models are asked, and `auto` by who names none where that is set."""
    port = free_port()
    settings = {"HTTP_ADDR": port, "INFERENCE_AUTO_ROUTE_ENABLED": True}
    with (
        WorkerProcess(nats_server, tmp_path / "echo"),
        router(nats_server, tmp_path / "router", "routes: {smart: {targets: ['local:echo']}}", **settings),
    ):
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            assert (await http.get("/health/ready")).json()["status"] == "ready"
            listed = {model["id"] for model in (await http.get("/v1/models")).json()["data"]}
            assert {"echo", "smart", "auto"} <= listed
            turns = [{"role": "user", "content": "hello"}]
            for name, route in (("echo", None), ("smart", "local:echo"), (None, "local:echo")):
                body = {"messages": turns} | ({"model": name} if name else {})
                answer = await http.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                assert answer.headers.get("x-golek-route") == route


async def test_several_routers_are_one(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Three routers share the work; while one is killed and another one stopped, each request is answered."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo", ENGINE_STEP_MIN_MS=5),
        WorkerProcess(nats_server, tmp_path / "r", "router"),
        WorkerProcess(nats_server, tmp_path / "r", "router", 2) as second,
        WorkerProcess(nats_server, tmp_path / "r", "router", 3) as third,
    ):
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(golek.ask("auto", f"n {i}", deadline=30)) for i in range(200)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            second.kill()
            third.signal(signal.SIGTERM)
            asked += [tasks.create_task(golek.ask("auto", f"n {i}", deadline=30)) for i in range(200, 300)]
        replies = [task.result() for task in asked]
        assert [reply.text for reply in replies] == [f"n {i}" for i in range(300)]
        assert len({reply.route.router for reply in replies if reply.route is not None}) > 1


async def test_queues_by_priority_get_their_steps(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A model that queues by priority is asked in its own way, through the router and straight."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo", INFERENCE_QUEUE_STRATEGY="priority"),
        router(nats_server, tmp_path / "router"),
    ):
        for priority in (1, 2, 3):
            assert (await golek.ask("auto", "hi", priority=priority)).text == "hi"
            for _ in range(6):
                assert (await golek.ask("echo", "hi", priority=priority)).text == "hi"


async def test_a_conversation_goes_on_wherever_it_is_answered(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A session is one conversation, whether a cloud or a model of the fleet answers, through a router or straight."""
    async with Cloud() as cloud:
        with (
            WorkerProcess(nats_server, tmp_path / "echo"),
            router(nats_server, tmp_path / "router", **providers(tmp_path, cloud)),
        ):
            first = await golek.ask("echo", "alpha", session_id="s")
            second = await golek.ask("cloud:big", "beta", session_id="s")
            third = await golek.ask("auto", "gamma", session_id="s")
        turns = [reply.session.turns for reply in (first, second, third) if reply.session is not None]
        assert turns == [0, 1, 2]
        said = [message["content"] for message in cloud.asked[-1].body["messages"]]
        assert said == ["alpha", first.text, "beta"]


async def test_requests_wait_for_a_model_that_starts(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A model that is on its way and has no queue yet: what comes meanwhile is answered once it is there."""
    with router(nats_server, tmp_path / "router"):
        async with raw.connected(nats_server) as client:
            record = ModelRecord("late", [], "starting", "late", moments.stamp(), worker_id="late-1")
            bucket = await client.jetstream().key_value(subjects.MODELS_BUCKET)
            await bucket.put("late", codec.encode(record))
            health = Health("late", "starting", "", [], "", "", "", ModelInfo(), "late-1")
            await client.publish(subjects.heartbeat("late"), codec.encode(health))
            await client.flush()
        waiting = [asyncio.create_task(golek.ask("late", f"n {i}", deadline=30)) for i in range(5)]
        await asyncio.wait(waiting, timeout=1.5)
        assert not any(task.done() for task in waiting), [task.exception() for task in waiting if task.done()]
        with WorkerProcess(nats_server, tmp_path / "late", MODEL_NAME="late"):
            assert [(await task).text for task in waiting] == [f"n {i}" for i in range(5)]


async def test_a_body_that_no_message_carries_is_routed(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """A prompt of several MiB goes through the router to a worker, and is there for it to read."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo", CTX_SIZE=2_000_000),
        router(nats_server, tmp_path / "router"),
    ):
        for name in ("auto", "echo", "auto", "echo"):
            reply = await golek.ask(name, "word " * 600_000, max_tokens=3)
            assert reply.text.split() == ["word"] * 3
            assert (reply.route is None) == (name == "echo")


async def test_what_waits_in_a_models_queue_is_looked_after(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """Of requests that a router put into a model's queue streams are told their place, and each comes to an end."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo", ENGINE_STEP_MIN_MS=50, WORKER_CONCURRENCY=1),
        router(nats_server, tmp_path / "router"),
    ):
        places: list[int] = []

        async def read(number: int) -> str:
            return await golek.stream(
                "echo", f"a b c d {number}", on_queued=lambda place, _: places.append(place)
            ).text()

        texts = await asyncio.gather(*(read(i) for i in range(12)))
        assert texts == [f"a b c d {i}" for i in range(12)]
        assert places
        with pytest.raises(InferenceServiceError):
            await asyncio.gather(*(golek.ask("echo", WORDS, deadline=2) for _ in range(9)))
        assert (await golek.health("router")).status == "online"


async def test_vectors_and_scores_are_routed(nats_server: str, golek: Golek, tmp_path: Path) -> None:
    """`auto` is answered by a model of the kind that is asked for; each model still answers to its own name."""
    with (
        WorkerProcess(nats_server, tmp_path / "echo"),
        WorkerProcess(
            nats_server, tmp_path / "v", "golek-tiny", 1, MODEL_NAME="vectors", MODEL_PATH=minilm.model_file()
        ),
        WorkerProcess(
            nats_server, tmp_path / "s", "golek-tiny", 2, MODEL_NAME="judge", MODEL_PATH=reranker.model_file()
        ),
        router(nats_server, tmp_path / "router"),
    ):
        straight, routed = await golek.embed("vectors", "a lease"), await golek.embed("auto", "a lease")
        assert routed.vectors == straight.vectors
        assert routed.route
        assert routed.route.target == "local:vectors"
        ranked = await golek.rerank("auto", "river of the king", ["the river is long", "snow"])
        assert {one.index for one in ranked.results} == {0, 1}
        assert ranked.route
        assert ranked.route.target == "local:judge"
        assert (await golek.ask("auto", "hi")).text == "hi"
        for _ in range(5):
            assert (await golek.embed("vectors", "a lease")).vectors == straight.vectors
