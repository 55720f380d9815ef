"""The fleet in memory, for users' own tests."""

import asyncio
from typing import Any

import pytest

from golek_client import (
    BadRequestError,
    ConflictError,
    DeadlineExceededError,
    EmbeddingReply,
    IdempotencyMismatchError,
    InferenceReply,
    InternalError,
    JobCancelledError,
    ModelNotFoundError,
    NotFoundError,
    NoWorkersError,
    QueueFullError,
    RerankReply,
    Resume,
    UnknownGrammarError,
)
from golek_client.testing import MAX_PAYLOAD, Answer, FakeFleet, FakeMessage
from golek_wire import codec, headers, subjects
from golek_wire.orchestration import Orchestration, StepEvent, StepRecord
from golek_wire.requests import InferenceRequest, JsonSchema, ResponseFormat


async def never(_: InferenceRequest) -> str:
    """An answer that does not come."""
    await asyncio.Event().wait()
    return ""


async def later(request: InferenceRequest) -> str:
    """An answer that takes a turn of the loop."""
    await asyncio.sleep(0)
    return f"later {request.input}"


def broken(_: InferenceRequest) -> str:
    """An answer with a mistake in it."""
    raise ZeroDivisionError("in the test")


ANSWERS: dict[str, Answer] = {
    "qwen3-4b": "Hello there, you",
    "loud": lambda request: (request.input or "").upper(),
    "later": later,
    "full": QueueFullError("full", retry_after_ms=50),
    "never": never,
    "broken": broken,
    "dotted-1.5": "ok",
}


async def test_a_text_is_the_answer_and_the_request_is_recorded() -> None:
    """The example of the documentation."""
    async with FakeFleet(ANSWERS) as fleet:
        reply = await fleet.client().ask("qwen3-4b", "hi", max_tokens=3, seed=4)
        assert (reply.text, reply.model, reply.seed) == ("Hello there, you", "qwen3-4b", 4)
        assert fleet.requests[0].model == "qwen3-4b"
        assert fleet.requests[0].request.input == "hi"
        assert fleet.requests[0].request.params.max_tokens == 3


async def test_a_function_answers_what_was_asked() -> None:
    """Plain and asynchronous functions of the request; a token names its model too."""
    async with FakeFleet(ANSWERS) as fleet:
        golek = fleet.client()
        assert (await golek.ask("loud", "hi")).text == "HI"
        assert (await golek.ask("later", "hi")).text == "later hi"
        assert (await golek.ask("dotted-1_5", "hi")).text == "ok"


async def test_a_model_of_pydantics_stands_for_its_schema() -> None:
    """Whatever tells its schema as Pydantic's classes do."""

    class Person:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object"}

    async with FakeFleet(ANSWERS) as fleet:
        await fleet.client().ask("qwen3-4b", "hi", response_format=Person)
        asked = fleet.requests[0].request.response_format
    assert asked == ResponseFormat("json_schema", JsonSchema({"type": "object"}, "Person"))


async def test_a_stream_comes_in_words() -> None:
    """Pieces joined are the text, blanks included."""
    async with FakeFleet(ANSWERS) as fleet:
        async with fleet.client().stream("qwen3-4b", "hi") as stream:
            assert [delta async for delta in stream] == ["Hello ", "there, ", "you"]
        assert stream.reply.text == "Hello there, you"


async def test_several_texts_are_given_where_they_are_asked_for() -> None:
    """As choices of the reply, and by their index in a stream, which is no iterator of one text then."""
    async with FakeFleet(ANSWERS) as fleet:
        async with fleet.client().stream("qwen3-4b", "hi", n=2) as stream:
            with pytest.raises(RuntimeError, match=r"2 texts: read `pieces\(\)`"):
                await stream.text()
            texts = ["", ""]
            async for piece in stream.pieces():
                texts[piece.index] += piece.text
        assert texts == ["Hello there, you"] * 2
        assert stream.reply.choices is not None
        assert [choice.text for choice in stream.reply.choices] == texts


@pytest.mark.parametrize(
    ("model", "kind"),
    [("full", QueueFullError), ("broken", InternalError), ("qwen3-4c", ModelNotFoundError), ("a b", BadRequestError)],
)
async def test_errors_are_those_of_a_fleet(model: str, kind: type[Exception]) -> None:
    """An error as answer, a mistake in a function, and a model that is not there are raised typed."""
    async with FakeFleet(ANSWERS) as fleet:
        with pytest.raises(kind):
            await fleet.client().ask(model, "hi")
        with pytest.raises(kind):
            await fleet.client().chat(model, "hi", stream=True).text()


async def test_an_unknown_model_is_told_what_there_is() -> None:
    """The models of the fleet count as served now."""
    async with FakeFleet(ANSWERS) as fleet:
        with pytest.raises(ModelNotFoundError) as raised:
            await fleet.client().ask("qwen3-4c", "hi")
        assert raised.value.details["available"] == sorted(ANSWERS)


async def test_what_no_message_carries_arrives_all_the_same() -> None:
    """A large request goes by reference and a large answer in parts, as with a server with its default of 1 MiB."""
    text = "x" * 2 * MAX_PAYLOAD
    async with FakeFleet({"long": lambda request: request.input or ""}) as fleet:
        reply = await fleet.client().ask("long", text)
        assert reply.text == text
        assert fleet.requests[0].request.input == text


async def test_a_job_that_is_given_up_is_cancelled() -> None:
    """The deadline, and leaving a stream early, reach the fleet as cancels."""
    async with FakeFleet(ANSWERS) as fleet:
        with pytest.raises(DeadlineExceededError) as raised:
            await fleet.client(deadline=0.05).ask("never", "hi")
        assert fleet.cancelled == [raised.value.details["job_id"]]
        async with fleet.client().stream("never", "hi") as stream:
            pass
        assert fleet.cancelled[1:] == [stream.job_id]


async def test_a_cancelled_job_answers_so() -> None:
    """`cancel` ends the call that waits."""
    async with FakeFleet(ANSWERS) as fleet:
        golek = fleet.client()
        async with golek.stream("never", "hi") as stream:
            await golek.cancel(stream.job_id)
            with pytest.raises(JobCancelledError):
                await anext(stream)


async def test_models_and_health_answer() -> None:
    """What a dashboard asks works as well."""
    async with FakeFleet(ANSWERS) as fleet:
        golek = fleet.client()
        assert [record.name for record in await golek.models()] == sorted(ANSWERS)
        assert (await golek.health("dotted-1.5")).status == "online"
        assert await golek.dead_letters() == []


FINAL = {headers.FINAL: "1"}
FULL = {headers.ERROR_CODE: "429", headers.ERROR: "QUEUE_FULL: full"}
CANCELLED = {headers.ERROR_CODE: "499", headers.ERROR: "CANCELLED: The request was cancelled."}


@pytest.mark.parametrize(
    ("model", "stream", "expected"),
    [
        ("dotted-1.5", False, [None]),
        ("dotted-1.5", True, [{headers.ATTEMPT: "1"}, FINAL, None]),
        ("full", False, [FULL]),
        ("full", True, [FULL | FINAL, None]),
        ("never", False, [CANCELLED]),
        ("never", True, [CANCELLED | FINAL, None]),
    ],
)
async def test_messages_are_those_of_a_worker(model: str, stream: bool, expected: list[dict[str, str] | None]) -> None:
    """`accepted` names the job, and a stream is closed by its final message and the empty one, however it ends."""
    came: list[FakeMessage] = []

    async def take(message: FakeMessage) -> None:
        came.append(message)

    job_id = subjects.job_id("_INBOX.raw.1")
    request = codec.encode({"req_id": "r1", "input": "hi", "stream": stream})
    async with FakeFleet(ANSWERS) as fleet:
        transport = (await fleet.client()._line()).transport
        await transport.subscribe("_INBOX.raw.*", cb=take)
        await transport.publish(subjects.request(model), request, "_INBOX.raw.1")
        for _ in range(20):
            await asyncio.sleep(0)
        await transport.publish(subjects.cancel(job_id))
    assert [message.headers for message in came] == [{headers.STATUS: "accepted", headers.JOB: job_id}, *expected]
    assert (came[-1].data == b"") == stream


async def test_a_stream_waits_in_the_queue_it_is_given() -> None:
    """Places and waits come to the callback and to the stream, and are gone with the first piece."""
    told: list[tuple[int, float | None]] = []
    async with FakeFleet(ANSWERS, queues={"qwen3-4b": [(2, None), (1, 0.5)]}) as fleet:
        async with fleet.client().stream("qwen3-4b", "hi", on_queued=lambda *place: told.append(place)) as stream:
            assert (stream.position, stream.eta_s) == (None, None)
            await anext(stream)
            assert (stream.position, stream.eta_s) == (None, None)
        assert told == [(2, None), (1, 0.5)]
        assert (await fleet.client().ask("qwen3-4b", "hi")).text == "Hello there, you"


async def test_several_models_answer_together_as_told() -> None:
    """The reply says how; a stream that asks for progress hears of each step, and a partial one ends as such."""
    steps = [StepRecord("draft", "small", "draft", ms=2.0), StepRecord("refine", "large", "refine", ms=3.0)]
    how = Orchestration("pipeline", ["small", "large"], 1, None, 2, 3, partial=True, error="x", steps=steps)
    async with FakeFleet({"T1": "Hello there"}, orchestrations={"T1": how}) as fleet:
        golek = fleet.client()
        assert (await golek.ask("T1", "hi")).orchestration == how
        told: list[StepEvent] = []
        async with golek.stream("T1", "hi", on_step=told.append) as stream:
            assert await stream.text() == "Hello there"
        assert [(one.name, one.state) for one in told] == [
            ("draft", "began"), ("draft", "ended"), ("refine", "began"), ("refine", "ended"),
        ]  # fmt: skip
        assert (stream.reply.finish_reason, stream.reply.orchestration) == ("partial", how)
        quiet: list[StepEvent] = []
        await golek.chat("T1", "hi", stream=True).text()
        assert quiet == []


async def test_a_text_that_was_cut_off_is_gone_on_with() -> None:
    """As by real workers: the rest is streamed, the reply is the whole, and another text is refused by name."""
    async with FakeFleet(ANSWERS) as fleet:
        stream = fleet.client().stream("qwen3-4b", "hi", resume=Resume("Hello th"))
        assert [piece async for piece in stream] == ["ere, ", "you"]
        assert stream.reply.text == "Hello there, you"
        assert (await fleet.client().ask("qwen3-4b", "hi", resume=Resume("Hello"))).text == "Hello there, you"
        with pytest.raises(BadRequestError, match=r"^resume\.text: ") as raised:
            await fleet.client().ask("qwen3-4b", "hi", resume=Resume("Good"))
        assert raised.value.details["param"] == "resume.text"


async def test_a_job_is_left_and_its_result_fetched() -> None:
    """A receipt, then the answer by receipt or id, of either kind; errors are raised; nothing is known of others."""
    answers: dict[str, Answer] = {"slow": later, "full": QueueFullError("full", retry_after_ms=50), "never": never}
    async with FakeFleet(answers, embeds={"minilm": 8}, ranks=["judge"]) as fleet:
        golek = fleet.client()
        receipt = await golek.submit("slow", "hi", req_id="r")
        assert (receipt.req_id, receipt.position) == ("r", 1)
        reply = await golek.wait(receipt)
        assert isinstance(reply, InferenceReply)
        assert reply.text == "later hi"
        assert await fleet.client().result(receipt.job_id) == reply
        vectors = await golek.wait(await golek.submit("minilm", ["a", "b"], kind="embedding"))
        assert isinstance(vectors, EmbeddingReply)
        assert len(vectors.vectors) == 2
        ranked = await golek.wait(await golek.submit("judge", "a b", kind="rerank", documents=["c", "b"]))
        assert isinstance(ranked, RerankReply)
        assert [(item.index, item.relevance_score) for item in ranked.results] == [(1, 0.5), (0, 0.0)]
        failing = await golek.submit("full", messages="hi")
        with pytest.raises(QueueFullError):
            await golek.wait(failing)
        never_comes = await golek.submit("never", "hi")
        assert await golek.result(never_comes) is None
        with pytest.raises(DeadlineExceededError, match="may still come"):
            await golek.wait(never_comes, 0.05)
        await golek.cancel(never_comes.job_id)
        with pytest.raises(JobCancelledError):
            await golek.result(never_comes)


async def test_a_wrong_submission_is_refused_before_sending() -> None:
    """The field is named; a keyword of the other kind is a mistake of the program."""
    async with FakeFleet(ANSWERS, embeds={"minilm": 8}) as fleet:
        golek = fleet.client()
        with pytest.raises(BadRequestError, match="a list is for embeddings"):
            await golek.submit("later", ["a"])
        with pytest.raises(TypeError, match="unexpected keyword max_tokens; for embeddings there is dimensions"):
            await golek.submit("minilm", "a", kind="embedding", max_tokens=3)
        with pytest.raises(BadRequestError, match="deadline"):
            await golek.submit("later", "a", deadline=90_000)
        with pytest.raises(BadRequestError, match=r"ask it on embedding\.request\.minilm"):
            await golek.submit("minilm", "a")
        assert fleet.requests == []


async def test_a_key_is_one_job() -> None:
    """A repeat joins or gets the first answer, whatever asks; another body is refused; passing errors run again."""
    answers: dict[str, Answer] = {"slow": later, "full": QueueFullError("full", retry_after_ms=50)}
    async with FakeFleet(answers, embeds={"minilm": 8}) as fleet:
        golek, other = fleet.client(), fleet.client()
        asks = [client.ask("slow", "hi", idempotency_key="k") for client in (golek, other, golek)]
        first, *repeats = await asyncio.gather(*asks)
        assert repeats == [first, first]
        assert await other.ask("slow", "hi", idempotency_key="k") == first
        with pytest.raises(IdempotencyMismatchError):
            await golek.ask("slow", "ho", idempotency_key="k")
        assert await other.ask("slow", "hi", idempotency_key="k") == first
        streams = [golek.stream("slow", "hi", idempotency_key="s") for _ in range(2)]
        assert [await stream.text() for stream in streams] == ["later hi", "later hi"]
        assert len(fleet.requests) == 2
        vectors = [await golek.embed("minilm", "a", idempotency_key="k") for _ in range(2)]
        assert vectors[0] == vectors[1]
        assert len(fleet.embedded) == 1
        for number in (3, 4):
            with pytest.raises(QueueFullError):
                await golek.ask("full", "hi", idempotency_key="k")
            assert len(fleet.requests) == number


async def test_a_key_is_one_submitted_job() -> None:
    """Its repeats have its receipt, and place 0 once it is answered; so has a request with the same key and body."""
    async with FakeFleet({"slow": later}) as fleet:
        golek = fleet.client()
        receipts = [await golek.submit("slow", "hi", idempotency_key="k") for _ in range(2)]
        assert receipts[0] == receipts[1]
        reply = await golek.wait(receipts[0])
        again = await golek.submit("slow", "hi", idempotency_key="k")
        assert (again.job_id, again.seq, again.position) == (receipts[0].job_id, 0, 0)
        assert await golek.result(again) == reply
        assert await golek.ask("slow", "hi", idempotency_key="k", deadline=3600) == reply
        with pytest.raises(IdempotencyMismatchError):
            await golek.submit("slow", "ho", idempotency_key="k")
        assert len(fleet.requests) == 1


async def test_what_no_message_carries_is_submitted() -> None:
    """Body and answer of 2 MB."""
    text = "x" * 2_000_000
    async with FakeFleet({"echo": lambda request: request.input or ""}) as fleet:
        golek = fleet.client()
        reply = await golek.wait(await golek.submit("echo", text, idempotency_key="k"))
        assert isinstance(reply, InferenceReply)
        assert reply.text == text
        assert await golek.ask("echo", text, idempotency_key="k", deadline=3600) == reply


async def test_named_grammars_are_kept() -> None:
    """Stored, listed, read, guarded by revisions and removed, as in a fleet; the text is not looked at."""
    async with FakeFleet({"tiny": "yes"}) as fleet:
        golek = fleet.client()
        first = await golek.put_grammar("answer", "root ::= …", description="An answer")
        assert fleet.grammars.known["answer"].content == "root ::= …"
        assert [(one.name, one.content) for one in await golek.grammars()] == [("answer", "")]
        assert (await golek.grammar("answer")).revision == first.revision
        with pytest.raises(ConflictError, match="revision"):
            await golek.put_grammar("answer", "other", revision=0)
        with pytest.raises(BadRequestError, match="name"):
            await golek.put_grammar("an answer", "other")
        await golek.delete_grammar("answer", revision=first.revision)
        with pytest.raises(UnknownGrammarError, match="answer"):
            await golek.grammar("answer")


async def test_orders_find_nobody() -> None:
    """As its documentation says; a model that is not there is told apart."""
    async with FakeFleet({"tiny": "yes"}) as fleet:
        golek = fleet.client()
        for order in (golek.load, golek.unload, golek.drain, golek.adapters):
            with pytest.raises(NoWorkersError, match="takes orders"):
                await order("tiny")
        with pytest.raises(ModelNotFoundError):
            await golek.unload("large")
        with pytest.raises(ConflictError, match="make start WORKER=large"):
            await golek.load("large")
        assert await golek.startable() == []


async def test_conversations_are_kept_as_by_workers() -> None:
    """A function that answers is given the whole of one; it is read and removed by its id."""
    async with FakeFleet({"recall": lambda request: f"{len(request.messages or [])} messages"}) as fleet:
        golek = fleet.client()
        first = await golek.ask("recall", "hi", session_id="s")
        assert (first.text, first.session and first.session.turns) == ("0 messages", 0)
        second = await golek.chat("recall", [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
        assert second.session is None
        third = await golek.ask("recall", "again", session_id="s")
        assert (third.text, third.session and third.session.turns) == ("3 messages", 1)
        assert fleet.requests[-1].request.input == "again"
        kept = await golek.session("s")
        assert [turn.messages[1].content for turn in kept.turns] == ["0 messages", "3 messages"]
        await golek.delete_session("s")
        for call in (golek.session("s"), golek.delete_session("s")):
            with pytest.raises(NotFoundError):
                await call
