"""Ranking over the bus: real nats-server, real worker, llama.cpp with a small cross-encoder in its engine child."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from golek_client import BadRequestError, ContextBudgetExceededError, Golek, RerankReply
from tests.support import raw, reranker
from tests.support.workers import WorkerProcess

MODEL = "judge"
REQUEST = f"rerank.request.{MODEL}"
DOCUMENTS = ["the river is long", "snow", "the king of the river", "a lease is a job", "the white sea"]
QUERY = "river of the king"
SAME = 0.02


def worker(url: str, data: Path) -> WorkerProcess:
    settings = {"MODEL_NAME": MODEL, "MODEL_PATH": reranker.model_file(), "MODEL_THREADS": 1}
    return WorkerProcess(url, data, "golek-tiny", **settings)


def wanted() -> list[float]:
    """The scores as numpy computes them."""
    words = reranker.vocabulary()
    query = [reranker.CLS, *map(words.index, QUERY.split()), reranker.SEP]
    return [reranker.score(query + list(map(words.index, document.split()))) for document in DOCUMENTS]


async def test_documents_are_ranked(nats_server: str, tmp_path: Path) -> None:
    """The best first, with its place and score; alone and beside others; submitted; wrong requests are told why."""
    scores = wanted()
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    with worker(nats_server, tmp_path):
        async with raw.connected(nats_server) as client, Golek(nats_server, deadline=20.0) as golek:
            body = {
                "req_id": "k1",
                "query": QUERY,
                "documents": [*DOCUMENTS[:-1], {"text": "the white sea"}],
                "model": "x",
            }
            other = await client.subscribe("my.scores")
            reply, message = await raw.ask(client, REQUEST, body | {"reply_to": "my.scores"})
            assert list(message.headers or ()) == ["Golek-Worker"]
            assert json.loads((await other.next_msg(5)).data) == reply
            assert [item["index"] for item in reply["results"]] == order
            for item in reply["results"]:
                assert item["relevance_score"] == pytest.approx(scores[item["index"]], abs=SAME)
                assert "document" not in item
            assert (reply["object"], reply["model"], reply["req_id"]) == ("list", MODEL, "k1")
            tokens = sum(6 + len(document.split()) for document in DOCUMENTS)
            assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
            assert reply["ms"] == reply["duration_ms"] >= 0

            asked = [DOCUMENTS[i:] for i in range(4) for _ in "ab"]
            together = await asyncio.gather(
                *(golek.rerank(MODEL, QUERY, some, top_n=2, return_documents=True) for some in asked)
            )
            for i, ranked in enumerate(together):
                places = [place - i // 2 for place in order if place >= i // 2][:2]
                assert [item.index for item in ranked.results] == places
                for item in ranked.results:
                    assert item.document is not None
                    assert item.document.text == DOCUMENTS[i // 2 + item.index]

            left = await golek.submit(MODEL, QUERY, kind="rerank", documents=DOCUMENTS)
            kept = await golek.wait(left)
            assert isinstance(kept, RerankReply)
            assert [item.index for item in kept.results] == order

            with pytest.raises(ContextBudgetExceededError, match=r"documents\[1\] and the query have"):
                await golek.rerank(MODEL, QUERY, ["snow", "word " * 90])
            with pytest.raises(BadRequestError, match=r"ranks documents by a query: ask it on rerank\.request\.judge"):
                await golek.ask(MODEL, "hi")
            with pytest.raises(BadRequestError, match=r"rerank\.request\.judge"):
                await golek.embed(MODEL, "hi")
            refused, _ = await raw.ask(client, REQUEST, {"query": QUERY, "documents": ["a"], "resume": {"text": "x"}})
            assert refused["error"]["message"].startswith("resume: ")

            health = await golek.health(MODEL)
            assert (health.capabilities, health.nats_topic) == (["rerank"], REQUEST)
            (record,) = await golek.models()
            assert record.kinds == ["rerank"]
    with sqlite3.connect(tmp_path / "logs" / f"{MODEL}.sqlite") as log:
        row = log.execute("SELECT kind, raw_input, tokens_in FROM requests WHERE req_id = 'k1'").fetchone()
    assert (row[0], json.loads(row[1]), row[2]) == ("rerank", {"query": QUERY, "documents": DOCUMENTS}, tokens)


async def test_a_model_of_another_kind_says_where_to_ask(nats_server: str, tmp_path: Path) -> None:
    """One that writes, asked to rank."""
    with WorkerProcess(nats_server, tmp_path):
        async with Golek(nats_server, deadline=5.0) as golek:
            with pytest.raises(BadRequestError, match=r"echo writes text: ask it on inference\.request\.echo"):
                await golek.rerank("echo", "a", ["b"])
