"""A query and documents to a request and back: what `golek.rerank` sends, and what a fake fleet answers."""

import pytest

from golek_client import BadRequestError
from golek_client.ranking import RerankOptions, as_json, build
from golek_client.testing import FakeFleet
from golek_wire import codec
from golek_wire.requests import Document, RerankRequest


def test_the_request_has_what_was_asked() -> None:
    """None is left out; documents may be texts or objects with a text, as clients of other APIs send them."""
    payload = build("q", ["a", {"text": "b"}], {"top_n": None, "return_documents": True}, 1.5)
    request = codec.decode_rerank(payload)
    assert request == RerankRequest("q", ["a", Document("b")], return_documents=True, deadline_ms=1500)
    assert request.texts == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "documents", "options", "named"),
    [
        ("", ["a"], {}, "query: is empty"),
        (7, ["a"], {}, "query: Expected `str`"),
        ("q", [], {}, "documents: Expected `array` of length >= 1"),
        ("q", ["a", ""], {}, r"documents\[1\]: is empty"),
        ("q", ["a", {"text": ""}], {}, r"documents\[1\]: is empty"),
        ("q", ["a", {}], {}, "documents.* missing required field `text`"),
        ("q", "a", {}, "documents: a list of texts was expected, got `str`"),
        ("q", None, {}, "documents: a list of texts was expected"),
        ("q", ["a"] * 2049, {}, "documents: Expected `array` of length <= 2048"),
        ("q", ["a"], {"top_n": 0}, "top_n: Expected `int` >= 1"),
        ("q", ["a"], {"req_id": "x\n"}, "req_id"),
        ("q", ["\ud800"], {}, "cannot be written as JSON"),
    ],
)
def test_a_wrong_question_is_refused_by_name(
    query: object, documents: object, options: RerankOptions, named: str
) -> None:
    """Before it is sent, in the words in which a worker refuses it."""
    with pytest.raises(BadRequestError, match=named):
        build(query, documents, options, 1.0)


def test_keywords_are_fields_of_the_request() -> None:
    """Save those that `rerank` fills in itself or a worker refuses."""
    own = {"query", "documents", "model", "deadline_ms", "resume"}
    assert set(RerankOptions.__annotations__) == set(RerankRequest.__struct_fields__) - own
    with pytest.raises(TypeError, match="unexpected keyword temperature; there is top_n"):
        build("q", ["a"], {"temperature": 1}, 1.0)  # type: ignore[typeddict-unknown-key]


async def test_a_fake_fleet_ranks() -> None:
    """By shared words; equal documents keep their order; another kind of request is told where to ask."""
    async with FakeFleet({"tiny": "hi"}, embeds={"minilm": 4}, ranks=["judge"]) as fleet:
        golek = fleet.client()
        documents = ["snow is white", "the long river", "Rivers are long", "a river"]
        reply = await golek.rerank("judge", "long river", documents, top_n=3, return_documents=True, req_id="r")
        assert [item.index for item in reply.results] == [1, 2, 3]
        assert [item.relevance_score for item in reply.results] == [1.0, 0.5, 0.5]
        assert reply.results[0].document == Document("the long river")
        assert (reply.req_id, reply.model) == ("r", "judge")
        assert '"relevance_score":1.0' in as_json(reply)
        assert fleet.ranked[0].request.texts == documents
        for model in ("tiny", "minilm"):
            with pytest.raises(BadRequestError, match=f"ask it on .*{model}"):
                await golek.rerank(model, "q", ["a"])
        with pytest.raises(BadRequestError, match=r"rerank\.request\.judge"):
            await golek.embed("judge", "a")
        assert (await golek.health("judge")).capabilities == ["rerank"]
