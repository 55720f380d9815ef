"""The embedding engine with all-MiniLM-L6-v2, on a CPU, beside what the original implementation made of the texts."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from golek_wire.requests import Params
from golek_worker.engine.base import (
    ASIDE,
    Cancel,
    Embed,
    Embedded,
    EngineConfig,
    LoadFailed,
    Phase,
    Ready,
    Refused,
    Stopped,
    Submit,
)
from golek_worker.engine.llamacpp import batches, pooling
from golek_worker.engine.llamacpp.embedding import LlamaCppEmbedder
from golek_worker.engine.llamacpp.lanes import Lanes, deal
from golek_worker.engine.unit import unit_vector
from scripts.minilm import gguf_file
from tests.engine.driver import Child, running, without_numbers
from tests.support import reranker
from tests.support.minilm import model_file, split_file

GOLDEN = Path(__file__).parent / "golden"
TEXTS: list[str] = json.loads((GOLDEN / "minilm-texts.json").read_text("utf-8"))
VECTORS = np.load(GOLDEN / "minilm-vectors.npy").astype(np.float64)
SLOTS = 8
SAME = 5e-4
"""Numbers of one text's vectors, computed beside different neighbours, differ by less."""


def config(path: Path, ctx_size: int = 0) -> EngineConfig:
    return EngineConfig("llamacpp", str(path), SLOTS, ctx_size, 2, kind="embedding")


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """The model in a child, shared by this file's tests."""
    with running(config(model_file())) as child:
        yield child


@pytest.fixture
def engine() -> Iterator[LlamaCppEmbedder]:
    """The model in this process, so that single steps can be looked at."""
    engine = LlamaCppEmbedder(config(model_file()), lambda done, total: None)
    yield engine
    engine.close()


def embed(child: Child, job_id: str, texts: list[str]) -> np.ndarray:
    child.send(Embed(job_id, texts))
    child.until_ended(job_id)
    return np.array(child.embedded(job_id).vectors)


def refused(child: Child, command: Embed | Submit) -> Refused:
    child.send(command)
    child.until_ended(command.job_id)
    end = child.end_of(command.job_id)
    assert isinstance(end, Refused), end
    return end


def test_a_model_in_several_files_is_as_large_as_all_of_them(tmp_path: Path) -> None:
    """Threads and batches follow from its size, and the first file may hold no weights."""
    engine = LlamaCppEmbedder(config(split_file(tmp_path)), lambda done, total: None)
    assert engine.ready.info.size_bytes > 0.9 * model_file().stat().st_size
    engine.submit(Embed("a", TEXTS[:1]))
    (end,) = engine.step()
    engine.close()
    assert isinstance(end, Embedded)
    assert np.abs(np.array(end.vectors) - VECTORS[:1]).max() < 0.01


def test_vectors_are_those_of_the_original_implementation(child: Child) -> None:
    """Fifty texts, from a word to two hundred, in many scripts: the cosine is at least 0.999."""
    cosines = (embed(child, "golden", TEXTS) * VECTORS).sum(axis=1)
    print(f"smallest cosine of {len(TEXTS)}: {cosines.min():.6f}")
    assert [text for text, cosine in zip(TEXTS, cosines, strict=True) if cosine < 0.999] == []


def test_half_the_bytes_give_the_same_vectors() -> None:
    """With 16-bit weights too."""
    with running(config(model_file("f16"))) as child:
        assert (embed(child, "golden", TEXTS) * VECTORS).sum(axis=1).min() >= 0.999


def test_a_vector_does_not_depend_on_its_neighbours(child: Child) -> None:
    """In one batch, in reverse, and one by one: the same numbers but for the order in which they were summed."""
    together = embed(child, "together", TEXTS)
    reverse = embed(child, "reverse", TEXTS[::-1])[::-1]
    alone = np.vstack([embed(child, f"alone{i}", [text]) for i, text in enumerate(TEXTS)])
    assert np.abs(together - alone).max() < SAME
    assert np.abs(reverse - alone).max() < SAME


def test_vectors_have_length_one_and_eight_decimals(child: Child) -> None:
    """As `Embedded` says."""
    vectors = embed(child, "unit", TEXTS[:5])
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1.0).max() < 1e-6
    assert (vectors == vectors.round(8)).all()


def test_tokens_are_counted_with_the_special_ones(child: Child) -> None:
    """[CLS] and [SEP] of each text are part of what is computed."""
    embed(child, "counted", ["hello world", "hello"])
    assert child.embedded("counted").tokens_in == 4 + 3


def test_the_engine_says_what_it_is(child: Child) -> None:
    """Ready tells that the model makes vectors, and of what width."""
    ready = next(event for event in child.events if isinstance(event, Ready))
    assert (ready.capabilities, ready.info.modalities) == (["embeddings"], ["embeddings"])
    assert (ready.info.embedding_size, ready.info.architecture, ready.info.parameter_count) == (384, "bert", "23M")
    assert (ready.slots, ready.ctx_size, ready.info.context_size) == (SLOTS, 512, 512)


def test_a_text_over_the_context_is_refused(child: Child) -> None:
    """The refusal names the text, its tokens and the limit; nothing is cut off."""
    refusal = refused(child, Embed("long", ["short", "word " * 511]))
    assert refusal.code == "CONTEXT_BUDGET_EXCEEDED"
    assert refusal.details == {"current_tokens": 513, "budget": 512, "param": "input[1]"}
    assert "input[1]" in refusal.message
    assert len(embed(child, "just-fits", ["word " * 510])) == 1


def test_ctx_size_is_the_limit_where_it_is_set() -> None:
    """Even where a batch would have room for more."""
    with running(config(model_file(), ctx_size=16)) as child:
        assert refused(child, Embed("long", ["word " * 15])).details["budget"] == 16
        assert len(embed(child, "fits", ["word " * 14])) == 1


def test_a_text_to_continue_is_refused(child: Child) -> None:
    """With the family of subjects on which this model answers."""
    refusal = refused(child, Submit("write", "Hello", Params(), 1))
    assert refusal.code == "BAD_REQUEST"
    assert "embedding.request" in refusal.message


def test_a_text_far_beyond_the_context_is_refused_by_its_beginning(child: Child) -> None:
    """20 MB are not cut into tokens first, for which the engine would look stalled; the error says "at least"."""
    start = time.monotonic()
    refusal = refused(child, Embed("far-too-long", ["a", "x" * 20_000_000]))
    assert time.monotonic() - start < 2
    assert (refusal.code, refusal.details["param"]) == ("CONTEXT_BUDGET_EXCEEDED", "input[1]")
    assert "at least" in refusal.message


def test_an_unanswerable_number_of_texts_is_refused(child: Child) -> None:
    """Vectors that would not fit into one frame are not computed first."""
    refusal = refused(child, Embed("many", ["x"] * 40_000))
    assert (refusal.code, refusal.details["param"]) == ("PAYLOAD_TOO_LARGE", "input")


def test_a_list_without_texts_is_refused(child: Child) -> None:
    """It has no vectors."""
    assert refused(child, Embed("none", [])).details["param"] == "input"


def test_a_short_job_does_not_wait_for_a_long_one(child: Child) -> None:
    """It ends while the long one, sent before it, still runs; both get the vectors they get alone."""
    child.send(Embed("big", ["a rather long text about nothing " * 8] * 100), Embed("small", ["hello world"]))
    child.until_ended("small", "big")
    assert [end.job_id for end in child.ends() if end.job_id in {"big", "small"}] == ["small", "big"]
    alone = embed(child, "small-alone", ["hello world"])
    assert np.abs(np.array(child.embedded("small").vectors) - alone).max() < SAME


def test_a_cancelled_job_stops_and_the_others_go_on(child: Child) -> None:
    """It ends with `Stopped`, and the engine computes no more of it."""
    child.send(Embed("gone", ["a text " * 50] * 1000), Embed("stays", TEXTS[:20]), Cancel("gone"))
    child.until_ended("gone", "stays")
    stopped = child.end_of("gone")
    assert isinstance(stopped, Stopped)
    assert (stopped.tokens_in, stopped.tokens_out) == (102 * 1000, 0)
    assert (np.array(child.embedded("stays").vectors) * VECTORS[:20]).sum(axis=1).min() >= 0.999


def test_jobs_take_turns_in_a_batch(engine: LlamaCppEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One text of each in turn; who does not fit is first in the next batch."""
    batches: list[list[int]] = []
    vectors = Lanes.vectors

    def recording(lanes: Lanes, texts: list[list[int]]) -> np.ndarray:
        batches.append([len(text) for text in texts])
        return vectors(lanes, texts)

    monkeypatch.setattr(Lanes, "vectors", recording)
    monkeypatch.setattr(engine, "_batch_tokens", 512)
    for job_id, words, count in (("a", 198, 3), ("b", 118, 2), ("c", 398, 1)):
        engine.submit(Embed(job_id, ["word " * words] * count))
    ended = []
    while engine.running:
        ended.append([end.job_id for end in engine.step()])
    assert batches == [[200, 120], [400], [200, 120], [200]]
    assert ended == [[], ["c"], ["b"], ["a"]]


@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_what_is_no_vector_is_an_error(
    engine: LlamaCppEmbedder, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    """The job is refused, naming the text; others in the batch get theirs."""
    vectors = Lanes.vectors

    def failing(lanes: Lanes, texts: list[list[int]]) -> np.ndarray:
        rows = vectors(lanes, texts)
        rows[0] = number
        return rows

    monkeypatch.setattr(Lanes, "vectors", failing)
    engine.submit(Embed("bad", ["one", "two", "three"]))
    engine.submit(Embed("good", ["four"]))
    ends = {end.job_id: end for _ in range(2) for end in engine.step()}
    bad = ends["bad"]
    assert isinstance(bad, Refused)
    assert (bad.code, "input[0]" in bad.message) == ("INTERNAL", True)
    assert engine.running == 0
    assert set(ends) == {"bad", "good"}


@pytest.mark.parametrize(
    ("lengths", "lanes", "shares"),
    [
        ([5, 5, 5, 5], 2, [[0, 2], [1, 3]]),
        ([3, 9, 4, 2], 2, [[1], [2, 0, 3]]),
        ([20, 3, 3], 2, []),
        ([5, 5, 5], 4, []),
        ([5, 5], 0, []),
    ],
)
def test_texts_are_dealt_out_evenly(lengths: list[int], lanes: int, shares: list[list[int]]) -> None:
    """The longest first, to the lane with least to do; one text that outweighs a share is for all threads together."""
    assert deal(lengths, lanes) == shares


@pytest.mark.parametrize(
    ("parameters", "threads", "tokens"), [(23_000_000, 4, 1024), (137_000_000, 4, 182), (7_000_000_000, 8, 64)]
)
def test_larger_models_get_smaller_batches(parameters: int, threads: int, tokens: int) -> None:
    """A step stays short, so that commands are read; down to a size below which batches do not pay."""
    assert batches.batch_tokens(parameters, threads) == tokens


@pytest.mark.parametrize(
    ("row", "length"), [([3.0, 4.0], 1.0), ([1e-30, 0.0], 1.0), ([0.0, 0.0], None), ([np.nan, 1.0], None)]
)
def test_unit_vectors(row: list[float], length: float | None) -> None:
    """However small a vector is it gets length 1; without a length there is none."""
    vector = unit_vector(np.array(row, np.float32))
    assert (None if vector is None else float(np.linalg.norm(vector))) == length


def test_a_model_that_writes_is_not_an_embedding_model() -> None:
    """Loading says so, and what to do."""
    child = Child(config(Path("data/models/golek-tiny/model.gguf")))
    try:
        assert "makes no vectors" in child.until_a(LoadFailed).message
        assert child.wait() == 1
    finally:
        child.close()


def test_a_model_with_a_cache_embeds_too(tmp_path: Path) -> None:
    """One whose tokens see only what precedes them, pooled by the last: no text hears of another, past or present."""
    with running(config(_pooling_by_the_last_token(tmp_path / "model.gguf"), ctx_size=1111)) as child:
        ready = next(event for event in child.events if isinstance(event, Ready))
        texts = ["What is NATS?", "a lease", "What is NATS?", "hello " * 100, "a lease ends"]
        together = embed(child, "together", texts)
        alone = np.vstack([embed(child, f"alone{i}", [text]) for i, text in enumerate(texts)])
    assert together.shape == (5, ready.info.embedding_size)
    assert np.abs(together - alone).max() < SAME
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_a_long_text_tells_that_it_is_computed(tmp_path: Path) -> None:
    """The parent hears of a step of seconds while it lasts, and does not take it for a stall."""
    with running(config(_pooling_by_the_last_token(tmp_path / "model.gguf"))) as child:
        embed(child, "long", ["hello " * 600])
        tokens = child.embedded("long").tokens_in
        embed(child, "short", ["hello"])
    assert tokens > pooling.LONG
    assert Phase("prefill", 0, tokens) in child.events


def _pooling_by_the_last_token(path: Path) -> Path:
    """The demo model, said to pool. What is put in has 64 bytes, a multiple of the alignment of what follows."""
    model = Path("data/models/golek-tiny/model.gguf").read_bytes()
    last, uint32, string = 3, 4, 8
    pooling = struct.pack("<Q18sII", 18, b"llama.pooling_type", uint32, last)
    filling = struct.pack("<Q6sIQ4s", 6, b"filler", string, 4, b"none")
    (keys,) = struct.unpack_from("<Q", model, 16)
    path.write_bytes(model[:16] + struct.pack("<Q", keys + 2) + pooling + filling + model[24:])
    return path


def test_weights_that_compute_nothing_are_not_loaded(tmp_path: Path) -> None:
    """A word is embedded before the engine says that it is ready."""
    child = Child(config(without_numbers(model_file("f16"), tmp_path / "model.gguf")))
    try:
        assert "what it gives for a word is of no use" in child.until_a(LoadFailed).message
    finally:
        child.close()


@pytest.mark.parametrize(("pooling_type", "pooled"), [(1, "mean"), (2, "first"), (3, "last")])
def test_tokens_are_pooled_as_the_file_says(pooling_type: int, pooled: str, tmp_path: Path) -> None:
    """Beside numpy's computation of the same network; a prefix for a task is a part of the text like any other."""
    path = tmp_path / "pooled.gguf"
    tensors = {name: tensor for name, tensor in reranker.weights().items() if not name.startswith("cls")}
    gguf_file.write(path, reranker.metadata() | {"bert.pooling_type": pooling_type}, tensors)
    engine = LlamaCppEmbedder(config(path), lambda done, total: None)
    engine.submit(Embed("a", ["search_query: rivers of africa"]))
    (end,) = engine.step()
    engine.close()
    words = ["[CLS]", "search", "_", "query", ":", "rivers", "of", "africa", "[SEP]"]
    rows = reranker.hidden([reranker.vocabulary().index(word) for word in words])
    wanted = {"mean": rows.mean(axis=0), "first": rows[0], "last": rows[-1]}[pooled]
    assert isinstance(end, Embedded)
    assert end.tokens_in == len(words)
    assert np.array(end.vectors[0]) @ (wanted / np.linalg.norm(wanted)) > 0.9999


def test_a_load_warns_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A batch holds more tokens than one text may have; only the engine's log file takes what llama.cpp says of it."""
    LlamaCppEmbedder(config(model_file()), lambda done, total: None).close()
    said = capfd.readouterr().err
    assert "n_ctx_seq" in said
    assert [line for line in said.splitlines() if not line.startswith(ASIDE)] == []
