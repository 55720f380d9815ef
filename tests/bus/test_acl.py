"""A locked fleet: the shipped server configuration, a worker behind it, and two tenants who try what they must not."""

import asyncio
import json
import shutil
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from golek_client import (
    BadRequestError,
    ForbiddenError,
    Golek,
    JobCancelledError,
    ModelNotFoundError,
    NotFoundError,
    UnauthorizedError,
)
from golek_client.login import Login
from golek_monitor.observer import Observer
from golek_monitor.picture import Picture
from golek_wire import subjects
from golek_wire.replies import InferenceReply
from tests.support import raw
from tests.support.broker import NatsServer
from tests.support.workers import WorkerProcess

SHIPPED = Path("scripts/nats/locked.conf")
PASSWORDS = {"GOLEK_WORKER_PASSWORD": "worker-pw", "ALPHA_PASSWORD": "alpha-pw", "BETA_PASSWORD": "beta-pw"}
ALICE, BOB = Login(user="alice", password="alpha-pw"), Login(user="bob", password="beta-pw")
REQUEST = "inference.request.echo"
ASK = json.dumps({"input": "hi"}).encode()


class Fleet:
    """The server and its worker."""

    def __init__(self, server: NatsServer, worker: WorkerProcess) -> None:
        self.server = server
        self.url = server.url
        self.worker = worker

    def responses(self) -> int:
        """How many answers the server still expects across accounts."""
        (ports,) = self.server.folder.glob("*.ports")
        at = json.loads(ports.read_text())["monitoring"][0]
        with urllib.request.urlopen(f"{at}/accountz?acc=GOLEK") as answer:
            return len(json.load(answer)["account_detail"].get("responses") or {})


def locked(folder: Path) -> NatsServer:
    """A server with the shipped file, on a port of its own."""
    shutil.copy(SHIPPED, folder)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in ({"GOLEK_STORE": f'"{folder / "store"}"'} | PASSWORDS).items():
            patch.setenv(key, value)
        options = ("include ./locked.conf", "listen: 127.0.0.1:-1", "http: 127.0.0.1:-1")
        return NatsServer(folder, *options, jetstream=False).start()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("locked")
    server = locked(folder)
    login = {"NATS_USER": "worker", "NATS_PASSWORD": "worker-pw", "GOLEK_NATS_IDENTITY": "accounts"}
    try:
        with WorkerProcess(server.url, folder / "data", ENGINE_STEP_MIN_MS=20, **login) as worker:
            yield Fleet(server, worker)
    finally:
        server.kill()


class Person:
    """A raw connection, with what the server objected to."""

    def __init__(self, client: Client, refusals: list[str]) -> None:
        self.client = client
        self.refusals = refusals

    async def heard(self, subject: str) -> asyncio.Queue[Msg]:
        """What comes on `subject` from now on."""
        came: asyncio.Queue[Msg] = asyncio.Queue()
        await self.client.subscribe(subject, cb=came.put)
        await self.client.flush()
        return came

    async def violates(self, subject: str) -> bool:
        """Whether the server said that this person may not use `subject`."""
        await self.client.flush()
        await asyncio.sleep(0.02)
        return any(subject.lower() in text.lower() and "permissions violation" in text for text in self.refusals)


@pytest.fixture
async def people(fleet: Fleet) -> AsyncIterator[dict[str, Person]]:
    """alice and bob, each a tenant, and an operator in the fleet's own account."""
    async with AsyncExitStack() as stack:
        found = {}
        for user, password in (("alice", "alpha-pw"), ("bob", "beta-pw"), ("worker", "worker-pw")):
            refusals: list[str] = []

            async def note(error: Exception, refusals: list[str] = refusals) -> None:
                refusals.append(str(error).lower())

            client = await nats.connect(fleet.url, user=user, password=password, error_cb=note)
            stack.push_async_callback(client.close)
            found[user] = Person(client, refusals)
        yield found


async def test_a_tenant_can_do_all_that_a_client_does(fleet: Fleet) -> None:
    """Ask, stream, cancel, health, models and the errors of models that are not there; all through the import."""
    async with Golek(fleet.url, login=ALICE, deadline=10) as golek:
        assert (await golek.ask("echo", "one two")).text == "one two"
        stream = golek.stream("echo", "one two three four")
        assert "".join([piece async for piece in stream]) == "one two three four"
        assert (await golek.health("echo")).status == "online"
        assert [record.name for record in await golek.models()] == ["echo"]
        assert [grammar.name for grammar in await golek.grammars()] == ["code", "json"]
        assert "root" in (await golek.grammar("json")).content
        with pytest.raises(ModelNotFoundError, match="did you mean echo"):
            await golek.ask("ecko", "hi")
        with pytest.raises(BadRequestError, match=r"inference\.request\.echo"):
            await golek.embed("echo", "hi")
        with pytest.raises(BadRequestError, match=r"inference\.request\.echo"):
            await golek.rerank("echo", "hi", ["a"])


async def test_a_tenant_sends_and_gets_what_no_message_carries(fleet: Fleet) -> None:
    """A body of 2 MB goes through the bucket, where the tenant may write and nothing else, and the answer in parts."""
    text = "x" * 2_000_000
    async with Golek(fleet.url, login=ALICE, deadline=20) as golek:
        assert (await golek.ask("echo", text, raw=True)).text == text


async def test_a_tenant_fetches_what_it_submitted(fleet: Fleet) -> None:
    """By its receipt; to another tenant the receipt is worth nothing. A repeat with its key is the same job."""
    async with Golek(fleet.url, login=ALICE, deadline=10) as alice, Golek(fleet.url, login=BOB, deadline=10) as bob:
        receipt = await alice.submit("echo", "for later", idempotency_key="k1")
        assert receipt.principal == "ALPHA/alice"
        reply = await alice.wait(receipt, 10)
        assert isinstance(reply, InferenceReply)
        assert reply.text == "for later"
        assert (await alice.submit("echo", "for later", idempotency_key="k1")).job_id == receipt.job_id
        assert (await bob.submit("echo", "of bob", idempotency_key="k1")).job_id != receipt.job_id
        assert await bob.result(receipt) is None


async def test_a_tenant_reads_no_body(fleet: Fleet, people: dict[str, Person]) -> None:
    """Neither lists nor gets, not even its own."""
    for asked in ("$JS.API.STREAM.MSG.GET.OBJ_GOLEK_OBJECTS", "$JS.API.DIRECT.GET.OBJ_GOLEK_OBJECTS"):
        await people["alice"].client.publish(asked, b'{"seq": 1}', reply=people["alice"].client.new_inbox())
        assert await people["alice"].violates(f'publish to "{asked}"')


async def test_a_tenant_cancels_its_own_stream_and_no_other(fleet: Fleet, people: dict[str, Person]) -> None:
    """To another tenant the job's id means nothing, even when it is known."""
    jobs = await people["worker"].heard("inference.job.echo.>")
    async with Golek(fleet.url, login=ALICE, deadline=10) as alice, Golek(fleet.url, login=BOB) as bob:
        words = " ".join(["word"] * 200)
        stream = alice.stream("echo", words)
        pieces = [await anext(stream)]
        for known in (stream.job_id, (await jobs.get()).headers["Golek-Job"]):
            await bob.cancel(known)
        pieces += [await anext(stream) for _ in range(3)]
        await alice.cancel(stream.job_id)
        with pytest.raises(JobCancelledError):
            pieces += [piece async for piece in stream]
        assert len("".join(pieces)) < len(words)


async def test_copies_of_a_request_are_one_job(fleet: Fleet, people: dict[str, Person]) -> None:
    """The server gives each copy another inbox; what they have in common is the id that the client gave them."""
    jobs = await people["worker"].heard("inference.job.echo.>")
    alice = people["alice"].client
    inbox = alice.new_inbox()
    answers = await people["alice"].heard(inbox)
    for _ in range(2):
        await alice.publish(REQUEST, ASK, reply=inbox, headers={"Nats-Msg-Id": inbox, "Golek-Accept": "1"})
    came = [await asyncio.wait_for(answers.get(), 5) for _ in range(4)]
    assert sorted(bool(m.data) for m in came) == [False, True, True, True]  # accepted twice, the answer, its end
    ids = {(await asyncio.wait_for(jobs.get(), 5)).headers["Nats-Msg-Id"] for _ in range(2)}
    assert len(ids) == 1
    assert (await people["worker"].client.jetstream().stream_info("GOLEK_JOBS_echo")).state.messages == 0


async def test_the_server_forgets_an_answered_request(fleet: Fleet) -> None:
    """Each request leaves a mapping in the server; the empty message at the end takes it away."""
    async with Golek(fleet.url, login=ALICE, deadline=10) as golek:
        before = fleet.responses()
        for _ in range(20):
            await golek.ask("echo", "hi")
        with pytest.raises(BadRequestError):
            await golek.embed("echo", "hi")
        assert fleet.responses() <= before


async def test_a_tenant_cannot_store_a_job(fleet: Fleet, people: dict[str, Person]) -> None:
    """Job subjects take nothing from it, neither directly nor as a reply subject of anything a worker answers."""
    alice, operator = people["alice"], people["worker"].client
    job = "inference.job.echo.normal.any"
    before = (await operator.jetstream().stream_info("GOLEK_JOBS_echo")).state.last_seq
    await alice.client.publish(job, ASK, headers={"Golek-Job": "x", "Golek-Seed": "1", "Golek-Budget-Ms": "9"})
    assert await alice.violates(job)
    for asked in (subjects.health("echo"), REQUEST, "$SRV.PING.golek"):
        for reply in (job, "golek.dlq.echo", "$KV.GOLEK_MODELS.echo"):
            await alice.client.publish(asked, b"{}", reply=reply)
    await alice.client.flush()
    async with Golek(fleet.url, login=BOB, deadline=10) as golek:
        await golek.ask("echo", "after them")
    streams = operator.jetstream()
    assert (await streams.stream_info("GOLEK_JOBS_echo")).state.last_seq == before + 1  # bob's
    assert (await streams.stream_info("GOLEK_DLQ")).state.messages == 0
    assert b'"name":"echo"' in (await (await streams.key_value("GOLEK_MODELS")).get("echo")).value


async def test_a_tenant_hears_nothing_of_another(fleet: Fleet, people: dict[str, Person]) -> None:
    """Its `_INBOX.>` is its own account's; anything wider is refused."""
    alice = people["alice"]
    inboxes = await alice.heard("_INBOX.>")
    for wide in (">", "inference.>", REQUEST, "_R_.>", "golek.>", "$JS.>"):
        await alice.client.subscribe(wide)
        assert await alice.violates(f'subscription to "{wide}"')
    async with Golek(fleet.url, login=BOB, deadline=10) as golek:
        assert (await golek.ask("echo", "for bob alone")).text == "for bob alone"
    await alice.client.flush()
    assert inboxes.empty()


async def test_a_tenant_reads_its_own_results_alone(fleet: Fleet, people: dict[str, Person]) -> None:
    """By subject, per principal; the requests that name a result in their body are not open to it."""
    streams = people["worker"].client.jetstream()
    bucket = await streams.key_value("GOLEK_RESULTS")
    for principal in ("ALPHA/alice", "BETA/bob"):
        await bucket.put(f"{principal}.j1", principal.encode())
    alice, direct = people["alice"], "$JS.API.DIRECT.GET.KV_GOLEK_RESULTS"
    mine = await alice.client.request(f"{direct}.$KV.GOLEK_RESULTS.ALPHA/alice.j1", b"", timeout=2)
    assert mine.data == b"ALPHA/alice"
    with pytest.raises(nats.errors.NoRespondersError):
        await alice.client.request(f"{direct}.$KV.GOLEK_RESULTS.BETA/bob.j1", b"", timeout=2)
    for asked in (direct, "$JS.API.STREAM.MSG.GET.KV_GOLEK_RESULTS", "$JS.API.CONSUMER.CREATE.KV_GOLEK_RESULTS"):
        body = json.dumps({"last_by_subj": "$KV.GOLEK_RESULTS.BETA/bob.j1"}).encode()
        await alice.client.publish(asked, body, reply=alice.client.new_inbox())
        assert await alice.violates(f'publish to "{asked}"')


async def test_a_worker_writes_into_no_other_inbox(fleet: Fleet, people: dict[str, Person]) -> None:
    """Bob's inbox as alice's reply subject is an inbox of alice's account; `reply_to` is refused."""
    alice, bob = people["alice"], people["bob"]
    his = bob.client.new_inbox()
    heard = await bob.heard(his)
    await alice.client.publish(REQUEST, ASK, reply=his)
    body, _ = await raw.ask(alice.client, REQUEST, {"input": "hi", "reply_to": "somewhere.else"})
    assert (body["error"]["status"], body["error"]["param"]) == (400, "reply_to")
    await bob.client.flush()
    assert heard.empty()


async def test_nobody_claims_to_be_another(fleet: Fleet, people: dict[str, Person]) -> None:
    """The server's word replaces every claim, however it is written; where it gives none nobody is answered."""
    alice, operator = people["alice"].client, people["worker"].client
    jobs = await people["worker"].heard("inference.job.echo.>")
    bob = '{"acc":"BETA","user":"bob"}'
    inbox = alice.new_inbox()
    for names in (["Nats-Request-Info"], ["Nats-Request-Info"] * 3, ["nats-request-info", "Golek-Principal", "X"]):
        block = "NATS/1.0\r\n" + "".join(f"{name}: {bob}\r\n" for name in names) + "\r\n"
        line = f"HPUB {REQUEST} {inbox} {len(block)} {len(block) + len(ASK)}\r\n"
        await alice._send_command(line.encode() + block.encode() + ASK + b"\r\n")
        await alice._flush_pending()
        job = await asyncio.wait_for(jobs.get(), 5)
        assert job.headers["Golek-Principal"] == "ALPHA/alice"
    with pytest.raises(
        nats.errors.TimeoutError
    ):  # in the fleet's own account nobody asks: such a claim could be forged
        await operator.request(REQUEST, ASK, timeout=0.3, headers={"Nats-Request-Info": bob})


async def test_nobody_answers_for_a_model(fleet: Fleet, people: dict[str, Person]) -> None:
    """Neither by listening where requests come, nor by a record, a heartbeat or a load report of its own."""
    alice = people["alice"]
    await alice.client.subscribe(REQUEST, queue="golek")
    assert await alice.violates(f'subscription to "{REQUEST}"')
    reports = await people["worker"].heard("monitoring.inference.fake")
    for subject in ("$KV.GOLEK_MODELS.fake", "models.fake.heartbeat", "monitoring.inference.fake"):
        await alice.client.publish(subject, b"{}")
        assert await alice.violates(f'publish to "{subject}"')
    assert reports.empty()
    async with Golek(fleet.url, login=ALICE, deadline=10) as golek:
        assert [record.name for record in await golek.models()] == ["echo"]
        assert (await golek.ask("echo", "still the worker")).text == "still the worker"


async def test_a_tenant_gives_no_orders_about_adapters(fleet: Fleet, people: dict[str, Person]) -> None:
    """Neither by asking the workers nor in the bucket; the operator's account may."""
    order = "models.echo.adapters.list"
    for subject in (order, "models.echo.adapters.load", "$KV.GOLEK_ADAPTERS.echo.x"):
        await people["alice"].client.publish(subject, b"{}")
        assert await people["alice"].violates(f'publish to "{subject}"')
    with pytest.raises(ForbiddenError):
        async with Golek(fleet.url, login=ALICE, deadline=10) as golek:
            await golek.adapters("echo")
    async with Golek(fleet.url, login=Login(user="worker", password="worker-pw"), deadline=10) as golek:
        (report,) = await golek.load_adapter("echo", "one", "x")
        assert report.problem == "ENGINE=echo takes no adapters"


async def test_operators_are_in_the_fleets_own_account(fleet: Fleet, people: dict[str, Person]) -> None:
    """A tenant loads and unloads nothing: the server does not pass it on. Who is in the workers' account may."""
    async with Golek(fleet.url, login=ALICE, deadline=5) as golek:
        with pytest.raises(ForbiddenError, match=r"models\.echo\.unload"):
            await golek.unload("echo")
    request_info = json.dumps({"acc": "ALPHA", "user": "alice"})
    refused, _ = await raw.ask(
        people["worker"].client, "models.echo.unload", b"", **{"Nats-Request-Info": request_info}
    )
    assert refused["error"]["code"] == "FORBIDDEN"
    async with Golek(fleet.url, login=Login(user="worker", password="worker-pw"), deadline=10) as golek:
        assert [each.status for each in await golek.unload("echo")] == ["unloaded"]
        assert [each.status for each in await golek.load("echo")] == ["online"]
        assert (await golek.health("echo")).status == "online"


async def test_a_stranger_is_not_let_in(fleet: Fleet) -> None:
    """Without a login of a tenant there is no connection."""
    with pytest.raises(UnauthorizedError):
        await Golek(fleet.url, login=Login()).ask("echo", "hi")


async def test_only_operators_store_grammars(fleet: Fleet, people: dict[str, Person]) -> None:
    """A tenant may neither ask a worker to store or remove one nor write the bucket; an operator may."""
    alice = people["alice"]
    for subject in ("grammars.put", "grammars.delete", "$KV.GOLEK_GRAMMARS.mine", "golek.grammar.mine"):
        await alice.client.publish(subject, b"{}")
        assert await alice.violates(subject)
    async with Golek(fleet.url, login=Login(user="worker", password="worker-pw"), deadline=10) as operator:
        await operator.put_grammar("theirs", 'root ::= "a"')
        async with Golek(fleet.url, login=ALICE, deadline=10) as golek:
            assert (await golek.grammar("theirs")).content == 'root ::= "a"'
        await operator.delete_grammar("theirs")


async def test_conversations_of_tenants_do_not_meet(fleet: Fleet, people: dict[str, Person]) -> None:
    """The same id is another conversation for each; the bucket and what workers ask each other are out of reach."""
    async with Golek(fleet.url, login=ALICE, deadline=10) as alice, Golek(fleet.url, login=BOB, deadline=10) as bob:
        await alice.ask("echo", "secret", session_id="s")
        for call in (bob.session("s"), bob.delete_session("s")):
            with pytest.raises(NotFoundError):
                await call
        await bob.ask("echo", "mine", session_id="s")
        (turn,) = (await alice.session("s")).turns
        assert turn.messages[0].content == "secret"
        await bob.delete_session("s")
        assert len((await alice.session("s")).turns) == 1
        await alice.delete_session("s")
    mallory = people["bob"]
    key = subjects.session("ALPHA/alice", "s")
    for subject in (subjects.session_peers("get"), subjects.session_peers("delete"), subjects.stored_session(key)):
        await mallory.client.publish(subject, key.encode())
        assert await mallory.violates(subject)
    async with Golek(fleet.url, login=Login(user="worker", password="worker-pw"), deadline=10) as operator:
        with pytest.raises(UnauthorizedError):
            await operator.session("s")


async def test_only_the_fleets_own_account_speaks_and_hears_as_a_monitor(
    fleet: Fleet, people: dict[str, Person]
) -> None:
    """A tenant forges no alert, figure or report of worker or gateway, asks no worker after its life or its settings,
    and hears none of it; a monitor logs in as the workers do, and may do all that it does."""
    alice = people["alice"]
    forged = (
        subjects.ALERTS, subjects.AGGREGATE, subjects.gateway_report("g"), subjects.SIGNALS_ASKED,
        subjects.load_report("echo"), subjects.heartbeat("echo"), f"$KV.{subjects.MONITOR_BUCKET}.echo",
        subjects.micro("PING"), subjects.micro("INFO"), subjects.micro("STATS", "i"), "$JS.EVENT.ADVISORY.API",
    )  # fmt: skip
    for subject in forged:
        await alice.client.publish(subject, b"{}", reply=alice.client.new_inbox())
        assert await alice.violates(f'publish to "{subject}"')
    for subject in (*subjects.ADVISORIES, "monitoring.>", "models.*.heartbeat", "$SRV.>", "$KV.GOLEK_MONITOR.>"):
        await alice.client.subscribe(subject)
        assert await alice.violates(f'subscription to "{subject}"')
    operator = people["worker"]
    alerts = await operator.heard(subjects.ALERTS)
    picture = Picture("m")
    async with Golek(fleet.url, login=Login(user="worker", password="worker-pw"), deadline=10) as golek:
        async with Observer(golek, picture, remembers=True) as observer:
            watching = asyncio.create_task(observer.run())
            async with asyncio.timeout(20):
                while not ((rows := picture.replicas()) and rows[0].in_rotation and rows[0].ping_ms is not None):
                    await asyncio.sleep(0.05)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            assert observer.problem is None
        await golek.tell(subjects.ALERTS, b"{}")
        await golek.tell(subjects.gateway_report("g"), b"{}")
        assert (await golek.info(rows[0].worker_id)).settings["NATS_PASSWORD"] == "(secret)"
    bucket = await operator.client.jetstream().key_value(subjects.MONITOR_BUCKET)
    assert await bucket.keys() == ["echo"]
    assert (await asyncio.wait_for(alerts.get(), 5)).data == b"{}"
    assert operator.refusals == []
