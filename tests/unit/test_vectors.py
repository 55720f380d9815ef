"""How a worker answers a job for vectors: what is cut, encoded and refused, without an engine."""

import json
import math
from pathlib import Path
from typing import cast

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError, InternalError, PayloadTooLargeError
from golek_wire.requests import EmbeddingRequest
from golek_wire.signals import ModelInfo
from golek_wire.vectors import unpacked
from golek_worker.engine.base import Embed, Embedded, Finished, Ready
from golek_worker.engine.host import EngineHost, Run
from golek_worker.job import Job
from golek_worker.vectors import VectorExecutor, VectorWork, shortened

WIDTH = 384
JOB = Job("j", "r", "_INBOX.a.b", False, "anonymous", 0, 1000, "_INBOX.a.b", {})
VECTOR = [round((-1) ** n / math.sqrt(WIDTH + n % 7), 8) for n in range(WIDTH)]


class Host:
    """An engine that is loaded and notes what it is given."""

    ready = Ready(ModelInfo(embedding_size=WIDTH), ["embeddings"], "cpu", 4, 512)

    def __init__(self) -> None:
        self.given: list[Embed] = []

    def submit(self, command: Embed) -> Run:
        self.given.append(command)
        return Run()


def work(body: dict[str, object], largest_reply: int = 1024 * 1024, host: Host | None = None) -> VectorWork:
    executor = VectorExecutor(cast("EngineHost", host or Host()), "m", largest_reply)
    return executor.read(JOB, json.dumps(body).encode())


def test_the_answer_is_openais_list() -> None:
    """One vector per input, in their order, with usage, label and times."""
    host = Host()
    asked = work({"req_id": "r", "input": ["a", "b"]}, host=host)
    asked.start()
    assert host.given == [Embed("j", ["a", "b"])]
    answer = asked.answer(Embedded("j", [[0.6, 0.8], [1.0, 0.0]], 5), 12)
    assert json.loads(answer.body) == {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": [0.6, 0.8], "index": 0},
            {"object": "embedding", "embedding": [1.0, 0.0], "index": 1},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
        "req_id": "r",
        "duration_ms": 12,
        "ms": 12,
    }
    assert (answer.tokens_in, answer.tokens_out, answer.text, answer.finish_reason) == (5, 0, None, None)


@pytest.mark.parametrize(("given", "logged"), [("a", "a"), (["a", "ü"], '["a","ü"]')])
def test_the_log_keeps_what_was_asked(given: str | list[str], logged: str) -> None:
    """A text as it is, a list as JSON; the model reads just that."""
    asked = work({"input": given})
    assert (asked.raw_input, asked.prompt) == (logged, None)


def test_base64_is_little_endian_float32() -> None:
    """What OpenAI's SDK decodes."""
    asked = work({"input": "a", "encoding_format": "base64"})
    asked.start()
    (item,) = json.loads(asked.answer(Embedded("j", [[1.0, -2.0]], 1), 1).body)["data"]
    assert item["embedding"] == "AACAPwAAAMA="
    assert unpacked(item["embedding"]) == [1.0, -2.0]


def test_a_vector_is_cut_and_made_a_unit_vector_again() -> None:
    """As for models that were trained so (Matryoshka); a vector of zeros has no direction to keep."""
    assert shortened([3.0, 4.0, 12.0], 2) == [0.6, 0.8]
    assert shortened([0.0, 0.0, 1.0], 2) == [0.0, 0.0]
    asked = work({"input": "a", "dimensions": 2})
    asked.start()
    (item,) = json.loads(asked.answer(Embedded("j", [[0.3, 0.4, 0.5]], 1), 1).body)["data"]
    assert item["embedding"] == [0.6, 0.8]


def test_more_dimensions_than_there_are_is_refused_with_both_numbers() -> None:
    """Before anything is computed; as many as there are is allowed."""
    host = Host()
    with pytest.raises(BadRequestError, match=r"385 were asked for; the vectors of m have 384"):
        work({"input": "a", "dimensions": 385}, host=host).start()
    with pytest.raises(BadRequestError, match=r"385 .* 384"):
        VectorExecutor(cast("EngineHost", host), "m", 1024).check(EmbeddingRequest("a", dimensions=385))
    assert host.given == []
    work({"input": "a", "dimensions": 384}, host=host).start()
    assert host.given == [Embed("j", ["a"])]


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("limit", [2_500, 64 * 1024, 1024 * 1024])
def test_as_many_texts_as_are_said_to_fit_do_fit(encoding: str, limit: int) -> None:
    """The detail `fits` of a refusal holds for the longest numbers, and wastes little in base64."""
    body: dict[str, object] = {"encoding_format": encoding}
    with pytest.raises(PayloadTooLargeError) as raised:
        work({**body, "input": ["a"] * 2048}, limit).start()
    fits = raised.value.details["fits"]
    assert f"Send {fits} texts at a time" in raised.value.message
    assert raised.value.details["size"] > limit == raised.value.details["limit"]
    longest = [-0.12345678] * WIDTH

    def size(texts: int) -> int:
        asked = work({**body, "input": ["a"] * texts}, limit)
        return len(asked.answer(Embedded("j", [longest] * texts, 10**6), 10**6).body)

    if fits:
        assert size(fits) <= limit
    if encoding == "base64":
        assert size(fits + 1) > limit - fits * 10 - 100


@pytest.mark.parametrize(("encoding", "fits"), [("float", 224), ("base64", 498)])
def test_the_numbers_that_are_documented(encoding: str, fits: int) -> None:
    """docs/subjects.md says how many vectors of 384 numbers surely fit into a MiB."""
    with pytest.raises(PayloadTooLargeError) as raised:
        work({"input": ["a"] * 700, "encoding_format": encoding}).start()
    assert raised.value.details["fits"] == fits
    assert f"{fits} " in Path("docs/subjects.md").read_text("utf-8").partition("Of vectors of 384 numbers")[2][:100]


def test_what_fits_is_never_refused_before_it_is_computed() -> None:
    """Short numbers make a short reply: only the reply itself tells."""
    limit = len(json.dumps({"data": []})) + 9 * (WIDTH * 4 + 100)
    asked = work({"input": ["a"] * 9}, limit)
    asked.start()
    assert len(asked.answer(Embedded("j", [[0.0] * WIDTH] * 9, 9), 1).body) <= limit


def test_an_engine_of_the_other_kind_is_a_bug_and_said_so() -> None:
    """Never an empty list."""
    with pytest.raises(InternalError):
        work({"input": "a"}).answer(Finished("j", "text", "stop", 1, 1), 1)


def test_a_wrong_payload_is_refused() -> None:
    """A job that some other ingress stored is checked again."""
    with pytest.raises(BadRequestError, match="input"):
        work({})
    assert codec.label_of(b'{"req_id": "r"}') == ("r", False)
