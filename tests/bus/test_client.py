"""The client against a real server and a scripted worker: one request, from sending to its answer."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from golek_client import (
    BadRequestError,
    BusUnavailableError,
    DeadlineExceededError,
    Golek,
    InternalError,
    Message,
    ModelNotFoundError,
    NoWorkersError,
    PayloadTooLargeError,
    QueueFullError,
    RetriableError,
    retry,
)
from golek_client.connection import flush
from golek_wire import codec, headers, subjects
from golek_wire.errors import PoisonJobError
from golek_wire.signals import DeadLetter, Health, ModelInfo
from tests.support.broker import NatsServer
from tests.support.scripted_worker import ScriptedWorker


@pytest.fixture
def quick_resend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies go out every 50 ms, so that tests need not wait seconds for them."""
    monkeypatch.setattr(retry, "QUICK_S", 0.05)
    monkeypatch.setattr(retry, "STEADY_S", 0.05)


def ago(seconds: float) -> str:
    """That moment as workers write it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


async def test_a_request_says_what_was_asked(golek: Golek, worker: ScriptedWorker) -> None:
    """Keywords become the request's fields, the deadline travels in the payload, `accepted` and parts are asked for."""
    asking = asyncio.create_task(
        golek.ask("tiny", "hi", max_tokens=5, temperature=0, stop="x", seed=3, req_id="r1", raw=True, deadline=7)
    )
    job = await worker.next()
    assert codec.decode(job.payload, dict) == {
        "input": "hi",
        "params": {"max_tokens": 5, "temperature": 0, "stop": "x", "seed": 3},
        "req_id": "r1",
        "raw": True,
        "deadline_ms": 7000,
    }
    assert job.headers == {headers.ACCEPT: "1", headers.PARTS: "1", headers.KEEP: "60"}
    await job.final("hello")
    reply = await asking
    assert (reply.text, reply.req_id, reply.seed) == ("hello", "r1", 7)


async def test_chat_sends_messages(golek: Golek, worker: ScriptedWorker) -> None:
    """A conversation may be given as messages, mappings or one string."""
    asking = asyncio.create_task(golek.chat("tiny", [{"role": "system", "content": "s"}, Message("user", "u")]))
    job = await worker.next()
    assert job.request.messages == [Message("system", "s"), Message("user", "u")]
    await job.final("a")
    assert (await asking).text == "a"
    asking = asyncio.create_task(golek.chat("tiny", "u"))
    job = await worker.next()
    assert job.request.messages == [Message("user", "u")]
    await job.final("b")
    assert (await asking).text == "b"


async def test_calls_share_one_subscription(golek: Golek, worker: ScriptedWorker) -> None:
    """A hundred calls at once need one reply subscription, and each gets its own answer."""
    asking = [asyncio.create_task(golek.ask("tiny", str(number))) for number in range(100)]
    jobs = [await worker.next() for _ in asking]
    assert len({job.inbox.rpartition(".")[0] for job in jobs}) == 1
    for job in reversed(jobs):
        await job.final(f"answer {job.request.input}")
    assert [(await answer).text for answer in asking] == [f"answer {number}" for number in range(100)]


@pytest.mark.usefixtures("quick_resend")
async def test_a_request_nobody_accepts_is_sent_again(golek: Golek, worker: ScriptedWorker) -> None:
    """The copy has the same bytes and the same inbox, and hence the same job."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    first, second, third = [await worker.next() for _ in range(3)]
    assert first.payload == second.payload == third.payload
    assert first.inbox == second.inbox == third.inbox
    await third.final("late but whole")
    assert (await asking).text == "late but whole"


@pytest.mark.usefixtures("quick_resend")
async def test_an_accepted_request_is_not_sent_again(golek: Golek, worker: ScriptedWorker) -> None:
    """`accepted` stops the copies."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    job = await worker.next()
    await job.accept()
    with pytest.raises(TimeoutError):
        await worker.next(patience=0.3)
    await job.final("done")
    assert (await asking).text == "done"


@pytest.mark.usefixtures("quick_resend")
async def test_copies_end_while_they_are_sure_to_be_known(
    golek: Golek, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy later than the job stream's memory could run twice: none is sent, and the call goes on waiting."""
    monkeypatch.setattr(retry, "COPIES_S", 0.12)
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    first, *_ = [await worker.next() for _ in range(3)]
    with pytest.raises(TimeoutError):
        await worker.next(patience=0.3)
    await first.final("late but whole")
    assert (await asking).text == "late but whole"


@pytest.mark.usefixtures("quick_resend")
async def test_copies_that_nobody_took_do_not_count(
    golek: Golek, mute: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that loads for long gets the request when it listens: what the server returned cannot run twice."""
    monkeypatch.setattr(retry, "COPIES_S", 0.12)
    await mute.register(ago(0), "loading")
    looked_up = await mute.client.subscribe("$JS.API.STREAM.MSG.GET.KV_GOLEK_MODELS")
    await flush(mute.client)
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    for _ in range(6):  # one for each copy that comes back
        await looked_up.next_msg()
    await mute.listen()
    await (await mute.next()).final("loaded")
    assert (await asking).text == "loaded"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_may_come_before_accepted(golek: Golek, worker: ScriptedWorker, stream: bool) -> None:
    """The ingress and the worker are two programs: nothing orders their messages."""
    for early in ("final", "chunk") if stream else ("final",):
        answer = golek.stream("tiny", "hi").text() if stream else golek.ask("tiny", "hi")
        asking = asyncio.create_task(answer)  # type: ignore[arg-type, var-annotated]
        job = await worker.next()
        if early == "chunk":
            await job.chunk(1, 0, "ab")
            await job.accept()
            await job.chunk(1, 1, "cd")
        await job.final("abcd")
        await job.accept()
        reply = await asking
        assert (reply if stream else reply.text) == "abcd"


async def test_the_first_of_two_answers_wins(golek: Golek, worker: ScriptedWorker) -> None:
    """A second final message goes nowhere and disturbs no later call."""
    asking = asyncio.create_task(golek.ask("tiny", "one"))
    job = await worker.next()
    await job.final("first")
    await job.final("second")
    assert (await asking).text == "first"
    asking = asyncio.create_task(golek.ask("tiny", "two"))
    await (await worker.next()).final("third")
    assert (await asking).text == "third"


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (QueueFullError("full", retry_after_ms=250), QueueFullError),
        (PoisonJobError(crashes=3), PoisonJobError),
        (BadRequestError("params.top_p: too big", param="params.top_p"), BadRequestError),
    ],
)
async def test_errors_come_out_typed(
    golek: Golek, worker: ScriptedWorker, sent: RetriableError, kind: type[Exception]
) -> None:
    """What a worker refuses is raised as the same class, with message and details."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await (await worker.next()).fail(sent)
    with pytest.raises(kind) as raised:
        await asking
    assert raised.value.args == sent.args
    assert getattr(raised.value, "details", None) == sent.details


@pytest.mark.parametrize("body", [b"pong", b"{}", b'{"text": 3}'])
async def test_an_answer_that_is_not_golek_s_is_said_to_be(golek: Golek, worker: ScriptedWorker, body: bytes) -> None:
    """Another service on the model's subject is not mistaken for a model."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await (await worker.next()).say(body)
    with pytest.raises(InternalError, match="not Golek's"):
        await asking


async def test_a_number_without_end_is_no_attempt(golek: Golek, worker: ScriptedWorker) -> None:
    """Python refuses to read it; what it stands for counts as older than any attempt."""
    stream = golek.stream("tiny", "hi")
    reading = asyncio.create_task(stream.text())
    job = await worker.next()
    await job.say(b'{"req_id": "", "delta": "late", "seq": 0}', {headers.ATTEMPT: "9" * 5000})
    await job.final("whole")
    assert await reading == "whole"


async def test_an_error_with_an_unreadable_body_keeps_its_header(golek: Golek, worker: ScriptedWorker) -> None:
    """The code and text of the headers are passed on when the body cannot be read."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await (await worker.next()).say(b"", {headers.ERROR_CODE: "418", headers.ERROR: "teapot"})
    with pytest.raises(InternalError, match="418: teapot"):
        await asking


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"temperature": "hot"}, "params.temperature"),
        ({"top_p": 3}, "params.top_p"),
        ({"deadline": 10**9}, "deadline"),
        ({"req_id": "x" * 200}, "req_id"),
    ],
)
async def test_a_wrong_value_is_refused_before_sending(golek: Golek, call: dict[str, object], param: str) -> None:
    """The field is named, and no worker is needed to say so."""
    with pytest.raises(BadRequestError) as raised:
        await golek.ask("tiny", "hi", **call)  # type: ignore[arg-type]
    assert raised.value.details["param"] == param


async def test_a_keyword_that_does_not_exist_is_a_type_error(golek: Golek) -> None:
    """A misspelled keyword is a mistake of the program, and there is a list of what exists."""
    with pytest.raises(TypeError, match=r"unexpected keyword max_token; there is max_tokens, .*metadata"):
        await golek.ask("tiny", "hi", max_token=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("model", ["", "a b", "a.*", ">", "a..b", ".a", "x" * 200])
async def test_a_name_that_cannot_stand_in_a_subject_is_refused(golek: Golek, model: str) -> None:
    """Wildcards and blanks never reach the bus."""
    with pytest.raises(BadRequestError, match="is no model name"):
        await golek.ask(model, "hi")


async def test_a_request_larger_than_the_bus_carries_names_both_sizes(tmp_path: Path) -> None:
    """A request may be at most the server's max_payload minus 16 KiB; the connection survives a larger one."""
    server = NatsServer(tmp_path, "max_payload: 65536").start()
    try:
        async with Golek(server.url) as golek:
            with pytest.raises(PayloadTooLargeError, match=r"\d+ bytes; .* at most 49152 bytes") as raised:
                await golek.ask("tiny", "x" * 49152)
            assert raised.value.details["limit"] == 49152
            assert raised.value.details["size"] > 49152
            assert await golek.models() == []
    finally:
        server.kill()


async def test_an_unknown_model_is_an_error_at_once(golek: Golek, mute: ScriptedWorker) -> None:
    """A typo never waits for a deadline: it is answered with what was meant and what there is."""
    await mute.register(ago(0), name="qwen3-4b")
    await mute.register(ago(9999), name="nomic-embed-v1.5")
    with pytest.raises(ModelNotFoundError, match="did you mean qwen3-4b") as raised:
        await golek.ask("Qwen3-4", "hi")
    assert raised.value.details["did_you_mean"] == "qwen3-4b"
    assert raised.value.details["available"] == ["qwen3-4b"]
    with pytest.raises(ModelNotFoundError, match=r"there is qwen3-4b$"):
        await golek.ask("zzz", "hi")
    with pytest.raises(ModelNotFoundError, match=r"did you mean nomic-embed-v1\.5"):
        await golek.ask("nomic-embed", "hi")
    await mute.register(ago(0), "failed", name="qwen3-4b")
    with pytest.raises(ModelNotFoundError, match="no other model is served at the moment") as raised:
        await golek.ask("zzz", "hi")
    assert raised.value.details["available"] == []


@pytest.mark.parametrize("jetstream", [True, False])
async def test_without_a_registry_nothing_serves(tmp_path: Path, jetstream: bool) -> None:
    """On a bus without the bucket, or without JetStream, the error says that nothing serves."""
    server = NatsServer(tmp_path, jetstream=jetstream).start()
    try:
        async with Golek(server.url) as golek:
            with pytest.raises(ModelNotFoundError, match="nothing serves models on this bus"):
                await golek.ask("tiny", "hi")
            assert await golek.models() == []
            assert await golek.dead_letters() == []
    finally:
        server.kill()


async def test_a_model_not_seen_for_long_has_no_workers(golek: Golek, mute: ScriptedWorker) -> None:
    """More than 90 s after its last heartbeat the caller is told at once, with when that was."""
    last_seen = ago(91)
    await mute.register(last_seen)
    with pytest.raises(NoWorkersError, match="last seen 1 min ago") as raised:
        await golek.ask("tiny", "hi")
    assert raised.value.details["last_seen"] == last_seen
    assert raised.value.type == "retriable"


@pytest.mark.parametrize("state", ["draining", "offline", "failed"])
async def test_a_model_whose_workers_left_has_none(golek: Golek, mute: ScriptedWorker, state: str) -> None:
    """What said that it leaves is not waited for, as soon as 5 s are over."""
    await mute.register(ago(6), state)  # type: ignore[arg-type]
    says = "failed to load it" if state == "failed" else rf"seen [67] s ago, {state}"
    with pytest.raises(NoWorkersError, match=says) as raised:
        await golek.ask("tiny", "hi")
    assert raised.value.details["state"] == state


@pytest.mark.usefixtures("quick_resend")
async def test_a_deadline_without_a_listener_says_so(golek: Golek, mute: ScriptedWorker) -> None:
    """Nobody was late: nobody was there. Once a worker listens, it is the deadline again."""
    await mute.register(ago(0), "loading")
    with pytest.raises(NoWorkersError, match=r"no worker of tiny listened within 0\.3 s; one is expected back"):
        await golek.ask("tiny", "hi", deadline=0.3)
    asking = asyncio.create_task(golek.ask("tiny", "hi", deadline=1))
    await asyncio.sleep(0.2)
    await mute.listen()
    with pytest.raises(DeadlineExceededError):
        await asking


@pytest.mark.usefixtures("quick_resend")
@pytest.mark.parametrize(("age", "state"), [(80, "online"), (2, "draining"), (800, "loading"), (800, "starting")])
async def test_a_request_waits_for_a_model_that_is_expected_back(
    golek: Golek, mute: ScriptedWorker, age: float, state: str
) -> None:
    """Seen within 90 s, or loading: the request is repeated until a worker listens."""
    await mute.register(ago(age), state)  # type: ignore[arg-type]
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    asked = await mute.client.subscribe("$JS.API.STREAM.MSG.GET.KV_GOLEK_MODELS")
    await flush(mute.client)
    await asked.next_msg()
    await asked.next_msg()
    await mute.listen()
    await (await mute.next()).final("back")
    assert (await asking).text == "back"


@pytest.mark.usefixtures("quick_resend")
@pytest.mark.parametrize(
    ("listens", "status"),
    [("inference.request.other", "online"), ("inference.request.tiny", "online"), ("", "loading")],
)
async def test_a_model_on_another_subject_is_named_at_once(
    golek: Golek, mute: ScriptedWorker, listens: str, status: str
) -> None:
    """Its health says where it listens; one that listens where it was asked, or loads, is waited for."""
    await mute.register(ago(0))
    said = codec.encode(Health("tiny", status, "", ["text-generation"], "", listens, "0", ModelInfo()))  # type: ignore[arg-type]

    async def tell(message: Msg) -> None:
        await mute.client.publish(message.reply, said)

    await mute.client.subscribe(subjects.health("tiny"), cb=tell)
    await flush(mute.client)
    error = BadRequestError if listens.endswith("other") else NoWorkersError
    with pytest.raises(error) as raised:
        await golek.ask("tiny", "hi", deadline=0.5)
    if error is BadRequestError:
        assert raised.value.details["subject"] == listens
        assert "listens on inference.request.other and not on inference.request.tiny" in raised.value.message


async def test_a_model_under_its_token_is_known(golek: Golek, mute: ScriptedWorker) -> None:
    """`qwen2_5` asks for the model `qwen2.5`."""
    await mute.register(ago(1000), name="qwen2.5")
    with pytest.raises(NoWorkersError, match=r"qwen2\.5"):
        await golek.ask("qwen2_5", "hi")


async def test_the_deadline_is_kept_on_this_side(golek: Golek, worker: ScriptedWorker) -> None:
    """Without an answer in time the caller gets DeadlineExceededError and the job is cancelled."""
    asking = asyncio.create_task(golek.ask("tiny", "hi", deadline=0.2))
    job = await worker.next()
    await job.accept()
    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s") as raised:
        await asking
    assert raised.value.details["job_id"] == job.job_id
    assert await worker.next_cancel() == job.job_id


async def test_a_caller_that_stops_waiting_cancels_its_job(golek: Golek, worker: ScriptedWorker) -> None:
    """Cancelling the task that asks publishes a cancel."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    job = await worker.next()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await worker.next_cancel() == job.job_id


async def test_an_answered_request_is_not_cancelled(golek: Golek, worker: ScriptedWorker) -> None:
    """A call that ended publishes nothing more."""
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    await (await worker.next()).final("done")
    await asking
    await golek.cancel("marker")
    assert await worker.next_cancel() == "marker"


async def test_closing_the_client_ends_its_calls(nats_server: str, worker: ScriptedWorker) -> None:
    """Those who wait get BusUnavailableError, and their jobs are cancelled."""
    golek = Golek(nats_server)
    asking = asyncio.create_task(golek.ask("tiny", "hi"))
    job = await worker.next()
    await golek.close()
    with pytest.raises(BusUnavailableError, match="the client was closed"):
        await asking
    assert await worker.next_cancel() == job.job_id


async def test_a_request_survives_a_restart_of_the_server(
    broker: NatsServer, golek: Golek, worker: ScriptedWorker
) -> None:
    """A call that was not accepted when the connection broke is sent again after it is back."""
    asking = asyncio.create_task(golek.ask("tiny", "hi", deadline=30))
    first = await worker.next()
    broker.restart()
    second = await worker.next(patience=15)
    assert second.inbox == first.inbox
    await second.final("still here")
    assert (await asking).text == "still here"


async def test_no_server_is_an_error_at_once() -> None:
    """Nobody listening at the URL is told with the URL."""
    with pytest.raises(BusUnavailableError, match=r"nats://127\.0\.0\.1:1\b"):
        await Golek("nats://127.0.0.1:1").ask("tiny", "hi")


async def test_health_asks_one_replica(golek: Golek, mute: ScriptedWorker) -> None:
    """The answer is typed; without a worker the error is that of `ask`."""
    with pytest.raises(ModelNotFoundError):
        await golek.health("tiny")
    await mute.register(ago(1))
    with pytest.raises(NoWorkersError, match="listens at the moment"):
        await golek.health("tiny")
    said = Health("tiny", "loading", ago(0), ["inference"], "", "inference.request.tiny", "0.1.0", ModelInfo())
    health = await mute.client.subscribe(subjects.health("tiny"))
    await flush(mute.client)
    asking = asyncio.create_task(golek.health("tiny"))
    await (await health.next_msg()).respond(codec.encode(said))
    assert await asking == said
    with pytest.raises(DeadlineExceededError, match=r"within 0\.1 s"):
        await golek.health("tiny", timeout=0.1)


async def test_models_lists_what_the_fleet_knows(golek: Golek, mute: ScriptedWorker) -> None:
    """Records come by name; a forgotten model is gone."""
    for name in ("b", "a.1", "c"):
        await mute.register(ago(1), name=name)
    bucket = await mute.client.jetstream().key_value(subjects.MODELS_BUCKET)
    await bucket.delete("c")
    assert [record.name for record in await golek.models()] == ["a.1", "b"]


async def test_dead_letters_are_read_once_each(
    golek: Golek, mute: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that was buried twice comes as it was last, and what cannot be read spoils nothing."""
    jetstream = mute.client.jetstream()
    await jetstream.add_stream(name=subjects.DLQ_STREAM, subjects=[subjects.DLQ_SUBJECTS])
    letters = [
        DeadLetter(name, "r", "tiny", "w", "", crashes, "00", []) for name, crashes in (("a", 3), ("b", 3), ("a", 4))
    ]
    for body in (b"{}", codec.encode(letters[0]), b'{"job_id": "\xff"}', *map(codec.encode, letters[1:]), b""):
        await jetstream.publish(subjects.dead_letter("tiny"), body)
    assert await golek.dead_letters() == await golek.dead_letters("tiny") == letters[1:]
    assert "message 1 of GOLEK_DLQ is no dead letter" in caplog.text


async def test_the_newest_dead_letters_are_read_alone(golek: Golek, mute: ScriptedWorker) -> None:
    """Also where others' lie between and many were dropped; who wants more than there are gets all."""
    jetstream = mute.client.jetstream()
    await jetstream.add_stream(name=subjects.DLQ_STREAM, subjects=[subjects.DLQ_SUBJECTS])
    for number in range(300):
        model = "rare" if number % 100 == 0 else "tiny"
        letter = DeadLetter(f"j{number}", "r", model, "w", "", 3, "00", [])
        await jetstream.publish(subjects.dead_letter(model), codec.encode(letter))
    for seq in range(150, 290):
        await jetstream.delete_msg(subjects.DLQ_STREAM, seq)

    async def names(model: str | None, newest: int) -> list[str]:
        return [letter.job_id for letter in await golek.dead_letters(model, newest=newest)]

    assert await names(None, 3) == ["j297", "j298", "j299"]
    assert await names(None, 13) == ["j147", "j148", *(f"j{number}" for number in range(289, 300))]
    assert await names("rare", 2) == ["j0", "j100"]
    assert len(await names(None, 500)) == 160
    assert await names("nobody", 5) == []
