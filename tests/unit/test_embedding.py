"""Texts to requests and back: how `golek.embed` cuts, asks and joins, and what a fake fleet answers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_client import (
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    InternalError,
    ModelNotFoundError,
    PayloadTooLargeError,
)
from golek_client.embedding import EmbedOptions, Question, joined
from golek_client.testing import FakeFleet
from golek_wire import codec
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.requests import INPUTS_LIMIT, EmbeddingRequest
from golek_wire.vectors import packed, unpacked


class Model:
    """Answers requests with one-number vectors that count the texts, and takes `fits` texts at a time."""

    def __init__(self, fits: int | None = None) -> None:
        self.fits = fits
        self.asked: list[EmbeddingRequest] = []
        self.sizes: list[int] = []
        self._answered = 0

    async def __call__(self, payload: bytes, part: str) -> EmbeddingReply:
        request = codec.decode_embedding(payload)
        self.asked.append(request)
        self.sizes.append(len(payload))
        texts = len(request.inputs)
        if self.fits is not None and texts > self.fits:
            raise PayloadTooLargeError("too large", size=2, limit=1, fits=self.fits)
        data = [Embedding(packed([float(self._answered + index)]), index) for index in range(texts)]
        self._answered += texts
        return EmbeddingReply(data[::-1], "m", EmbeddingUsage(texts, texts), request.req_id, 3, 3)

    @property
    def lengths(self) -> list[int]:
        return [len(request.inputs) for request in self.asked]


async def embed(model: Model, texts: str | list[str], room: int = 10**6, **options: object) -> EmbeddingReply:
    return await Question(texts, EmbedOptions(**options)).answer(model, room, lambda: 5.0)  # type: ignore[typeddict-item]


async def test_a_text_travels_as_a_text() -> None:
    """What the log shows of a single text is the text, and the vectors travel as base64."""
    model = Model()
    reply = await embed(model, "hi", req_id="r")
    assert model.asked[0].input == "hi"
    assert (model.asked[0].encoding_format, model.asked[0].deadline_ms) == ("base64", 5000)
    assert (reply.vectors, reply.req_id) == ([[0.0]], "r")
    assert reply.data[0].embedding == [0.0]


@pytest.mark.parametrize(
    ("texts", "lengths"),
    [
        (1, [1]),
        (INPUTS_LIMIT, [INPUTS_LIMIT]),
        (INPUTS_LIMIT + 1, [INPUTS_LIMIT, 1]),
        (3 * INPUTS_LIMIT, [INPUTS_LIMIT] * 3),
    ],
)
async def test_a_long_list_goes_in_parts_and_comes_back_as_one(texts: int, lengths: list[int]) -> None:
    """Order is kept, indices count on, usage and times are added."""
    model = Model()
    reply = await embed(model, ["a"] * texts)
    assert model.lengths == lengths
    assert [item.index for item in reply.data] == list(range(texts))
    assert reply.vectors == [[float(number)] for number in range(texts)]
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens, reply.ms) == (texts, texts, 3 * len(lengths))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), min_size=1, max_size=30))
async def test_no_request_is_larger_than_the_bus_carries(texts: list[str]) -> None:
    """Whatever the texts: every request fits, and its next text would not have."""
    room = 400
    model = Model()
    reply = await embed(model, texts, room)
    assert max(model.sizes) <= room
    assert [text for request in model.asked for text in request.inputs] == texts
    assert len(reply.data) == len(texts)
    for size, later in zip(model.sizes, model.asked[1:], strict=False):
        assert size + len(codec.encode(later.inputs[0])) > room - 10  # 86400000 ms are five digits more than 5000


async def test_a_part_that_the_worker_finds_too_long_is_cut_anew() -> None:
    """It says how many fit; the rest goes in parts of that size at once."""
    model = Model(fits=4)
    reply = await embed(model, ["a"] * 10)
    assert model.lengths == [10, 4, 4, 2]
    assert reply.vectors == [[float(number)] for number in range(10)]


@pytest.mark.parametrize("fits", [0, 10, -1])
async def test_a_refusal_that_does_not_help_is_passed_on(fits: int) -> None:
    """Nothing fits, or what was asked does: asking again would be for ever."""

    async def refuse(payload: bytes, part: str) -> EmbeddingReply:
        raise PayloadTooLargeError("too large", fits=fits)

    with pytest.raises(PayloadTooLargeError):
        await Question(["a"] * 10, {}).answer(refuse, 10**6, lambda: 5.0)


async def test_a_refused_text_is_named_by_its_place_in_the_whole_list() -> None:
    """A worker counts from the beginning of its part."""

    async def refuse(payload: bytes, part: str) -> EmbeddingReply:
        if len(model.asked) == 2:
            raise ContextBudgetExceededError(600, 512, "input[3] has 600 tokens", param="input[3]")
        return await model(payload, part)

    model = Model(fits=4)
    with pytest.raises(ContextBudgetExceededError, match=r"input\[7\] has 600 tokens") as raised:
        await Question(["a"] * 10, {}).answer(refuse, 10**6, lambda: 5.0)
    assert (raised.value.details["param"], raised.value.budget) == ("input[7]", 512)


async def test_a_text_that_no_message_carries_is_a_request_of_its_own() -> None:
    """It goes by reference; its neighbours in messages."""
    model = Model()
    reply = await embed(model, ["a", "x" * 500, "b"], room=400)
    assert model.lengths == [1, 1, 1]
    assert len(reply.data) == 3


async def test_with_reply_to_the_answer_is_one_message_of_the_asked_form() -> None:
    """Who listens there gets what was asked for: floats, undivided."""
    model = Model()
    await embed(model, ["a", "b"], reply_to="my.answers")
    assert (model.asked[0].encoding_format, model.asked[0].reply_to) == ("float", "my.answers")
    with pytest.raises(BadRequestError, match="reply_to"):
        await embed(model, ["a"] * (INPUTS_LIMIT + 1), reply_to="my.answers")
    with pytest.raises(PayloadTooLargeError):
        await embed(Model(fits=1), ["a", "b"], reply_to="my.answers")


@pytest.mark.parametrize(
    ("texts", "options", "param"),
    [
        ("", {}, "input"),
        ([], {}, "input"),
        (["a", ""], {}, "input[1]"),
        (["a", 7], {}, "input[1]"),
        (["a", "\ud800"], {}, "input"),
        ("a", {"dimensions": 0}, "dimensions"),
        ("a", {"encoding_format": "int8"}, "encoding_format"),
        ("a", {"req_id": "a\nb"}, "req_id"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_sent(texts: list[str], options: EmbedOptions, param: str) -> None:
    """The same field that a worker would name."""
    with pytest.raises(BadRequestError) as raised:
        Question(texts, options)
    assert raised.value.details["param"] == param


@pytest.mark.parametrize("texts", [5, None, b"text", {"a": "b"}])
def test_what_is_no_text_is_named(texts: object) -> None:
    """The error names the argument and what stood there."""
    with pytest.raises(BadRequestError, match=rf"^input: .*got `{type(texts).__name__}`") as raised:
        Question(texts, {})  # type: ignore[arg-type]
    assert raised.value.details["param"] == "input"


def test_a_keyword_that_does_not_exist_is_a_type_error() -> None:
    """And the keywords are the fields of a request, save those that `embed` fills in itself or a worker refuses."""
    with pytest.raises(TypeError, match="dimension"):
        Question("a", {"dimension": 3})  # type: ignore[typeddict-unknown-key]
    filled_in = {"input", "model", "deadline_ms"} | {"resume"}
    assert set(EmbedOptions.__annotations__) == set(EmbeddingRequest.__struct_fields__) - filled_in


def test_base64_is_kept_for_who_asked_for_it() -> None:
    """A gateway passes it on as it came."""
    reply = EmbeddingReply([Embedding(packed([0.5]), 0)], "m", EmbeddingUsage(1, 1))
    assert joined([reply], floats=False).data[0].embedding == packed([0.5])
    assert joined([reply], floats=True).data[0].embedding == [0.5]


@pytest.mark.parametrize("text", ["AAA", "not base64!", "AAAAAAA="])
def test_what_is_no_vector_is_an_error_of_its_own(text: str) -> None:
    """Something else than Golek answered."""
    with pytest.raises(InternalError, match="base64"):
        joined([EmbeddingReply([Embedding(text, 0)], "m", EmbeddingUsage(1, 1))], floats=True)


async def test_vectors_that_are_missing_are_an_error_of_its_own() -> None:
    """Else each later text would get the vector of another."""

    async def forget_one(payload: bytes, part: str) -> EmbeddingReply:
        reply = await Model()(payload, part)
        return EmbeddingReply(reply.data[1:], reply.model, reply.usage)

    with pytest.raises(InternalError, match="9 vectors came for 10 texts"):
        await Question(["a"] * 10, {}).answer(forget_one, 10**6, lambda: 5.0)


@given(st.lists(st.floats(-1, 1, width=32)))
def test_a_vector_survives_its_text(vector: list[float]) -> None:
    """Packed and unpacked it is the same."""
    assert unpacked(packed(vector)) == vector


async def test_a_fake_fleet_embeds() -> None:
    """Unit vectors, equal for equal texts; requests are recorded."""
    async with FakeFleet(embeds={"minilm": 384}) as fleet:
        golek = fleet.client()
        one, two, again = (await golek.embed("minilm", ["one", "two", "one"], dimensions=128)).vectors
        assert one == again != two
        assert len(one) == 128
        assert math.hypot(*one) == pytest.approx(1.0, abs=1e-6)
        assert abs(sum(a * b for a, b in zip(one, two, strict=True))) < 0.5
        assert fleet.embedded[0].request.input == ["one", "two", "one"]
        assert (await golek.health("minilm")).model_info.embedding_size == 384
        assert [record.kinds for record in await golek.models()] == [["embedding"]]
        with pytest.raises(BadRequestError, match="dimensions"):
            await golek.embed("minilm", "one", dimensions=385)
        with pytest.raises(ModelNotFoundError):
            await golek.embed("minilmm", "one")


async def test_a_model_asked_for_what_it_does_not_do_says_so() -> None:
    """At once, and where to ask."""
    async with FakeFleet({"talks": "hi"}, embeds={"minilm": 3}) as fleet:
        with pytest.raises(BadRequestError, match=r"embedding\.request\.minilm"):
            await fleet.client().ask("minilm", "hi")
        with pytest.raises(BadRequestError, match=r"inference\.request\.talks"):
            await fleet.client().embed("talks", "hi")
        with pytest.raises(DeadlineExceededError):
            await fleet.client().embed("minilm", "hi", deadline=1e-9)
