"""The ranking engine with a small cross-encoder, on a CPU, beside numpy's computation of the same network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from golek_wire.errors import BadRequestError, ContextBudgetExceededError, ModelBusyError
from golek_worker.engine.base import Embed, EngineConfig, EngineLoadError, Rank, Ranked
from golek_worker.engine.llamacpp.embedding import LlamaCppEmbedder
from golek_worker.engine.llamacpp.ranking import LlamaCppRanker
from scripts.minilm import gguf_file
from tests.support import minilm, reranker

DOCUMENTS = ["the river is long", "snow", "a lease is a job", "the king of the river and of the sea", "word " * 40]
SAME = 0.02
"""Scores differ by less: llama.cpp computes GELU and attention with 16-bit numbers. Those of other documents differ by
half a point and more."""


def config(path: Path) -> EngineConfig:
    return EngineConfig("llamacpp", str(path), 4, 0, 2, kind="rerank")


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppRanker]:
    """The model in this process."""
    engine = LlamaCppRanker(config(reranker.model_file()), lambda done, total: None)
    yield engine
    engine.close()


def scores(engine: LlamaCppRanker, *commands: Rank) -> list[Ranked]:
    """What comes of jobs that run together."""
    for command in commands:
        engine.submit(command)
    ends: list[Ranked] = []
    while engine.running:
        ends += [end for end in engine.step() if isinstance(end, Ranked)]
    return ends


def tokens(query: str, document: str) -> list[int]:
    """[CLS] query [SEP] document, of whole words."""
    words = reranker.vocabulary()
    return [
        reranker.CLS, *map(words.index, query.split()), reranker.SEP, *map(words.index, document.split()),
    ]  # fmt: skip


def test_scores_are_those_of_the_network(engine: LlamaCppRanker) -> None:
    """Each pair as numpy computes it from the same weights; and they differ from each other."""
    (end,) = scores(engine, Rank("a", "river of the king", DOCUMENTS))
    wanted = [reranker.score(tokens("river of the king", document)) for document in DOCUMENTS]
    assert np.abs(np.array(end.scores) - wanted).max() < SAME
    assert np.ptp(wanted) > 20 * SAME
    assert end.tokens_in == sum(len(tokens("river of the king", document)) for document in DOCUMENTS)


def test_a_score_does_not_depend_on_its_neighbours(engine: LlamaCppRanker) -> None:
    """Jobs share batches, and each gets its own."""
    ends = scores(engine, Rank("a", "river", DOCUMENTS), Rank("b", "snow", DOCUMENTS[::-1]), Rank("c", "job", ["king"]))
    together = {end.job_id: end.scores for end in ends}
    for job_id, query, documents in (("a", "river", DOCUMENTS), ("b", "snow", DOCUMENTS[::-1]), ("c", "job", ["king"])):
        alone = [scores(engine, Rank("alone", query, [document]))[0].scores[0] for document in documents]
        assert together[job_id] == pytest.approx(alone, abs=SAME)


def test_jobs_share_a_batch(engine: LlamaCppRanker) -> None:
    """Those of several requests end in one step."""
    for job_id in ("a", "b", "c"):
        engine.submit(Rank(job_id, "river", DOCUMENTS[:3]))
    assert [end.job_id for end in engine.step() if isinstance(end, Ranked)] == ["a", "b", "c"]


def test_what_a_caller_names_is_plain_text(engine: LlamaCppRanker) -> None:
    """A document with a control token's name does not become that token."""
    named, plain = (scores(engine, Rank("a", "x", [text]))[0].tokens_in for text in ("snow [SEP] king", "snow king"))
    assert named > plain + 1


def test_a_pair_that_is_too_long_is_refused(engine: LlamaCppRanker) -> None:
    """By the document's place, with its tokens and the limit; nothing is cut off, and nothing runs."""
    with pytest.raises(ContextBudgetExceededError, match=r"documents\[1\] and the query have 65 tokens") as raised:
        engine.submit(Rank("a", "river", ["snow", "word " * 62]))
    assert raised.value.details == {"current_tokens": 65, "budget": 64, "param": "documents[1]"}
    with pytest.raises(ContextBudgetExceededError, match=r"documents\[0\] .* at least"):
        engine.submit(Rank("a", "river", ["word " * 50_000]))
    assert engine.running == 0
    assert len(scores(engine, Rank("a", "river", ["word " * 61]))) == 1


def test_what_it_is_not_for_is_refused(engine: LlamaCppRanker) -> None:
    """Texts without a query, no documents, more jobs than slots."""
    with pytest.raises(BadRequestError, match=r"rerank\.request"):
        engine.submit(Embed("a", ["x"]))
    with pytest.raises(BadRequestError, match="documents"):
        engine.submit(Rank("a", "x", []))
    for number in range(4):
        engine.submit(Rank(f"r{number}", "x", ["y"]))
    with pytest.raises(ModelBusyError, match="4 slots"):
        engine.submit(Rank("more", "x", ["y"]))
    assert [engine.cancel(f"r{number}") is not None for number in range(5)] == [True] * 4 + [False]
    assert engine.running == 0


def test_gauges_tell_what_was_read(engine: LlamaCppRanker) -> None:
    """Tokens and time; nothing of what this engine does not have."""
    before = engine.gauges()
    (end,) = scores(engine, Rank("a", "river", DOCUMENTS))
    after = engine.gauges()
    assert after.prompt_tokens - before.prompt_tokens == end.tokens_in
    assert 0 < after.decode_s - before.decode_s <= after.busy_s - before.busy_s
    assert (after.running, after.kv_capacity, after.decode_steps) == (0, 0, 0)


def test_each_engine_refuses_the_others_model() -> None:
    """With a sentence that says what the model is."""
    with pytest.raises(EngineLoadError, match="ranks pairs of texts"):
        LlamaCppEmbedder(config(reranker.model_file()), lambda done, total: None)
    with pytest.raises(EngineLoadError, match="bert model ranks nothing"):
        LlamaCppRanker(config(minilm.model_file()), lambda done, total: None)


def test_a_template_of_the_file_is_filled(tmp_path: Path) -> None:
    """What stands in it becomes control tokens; what a caller writes does not, nor a place's name in a query."""
    path = tmp_path / "templated.gguf"
    template = {"tokenizer.chat_template.rerank": "[CLS] {document} [SEP] {query}"}
    gguf_file.write(path, reranker.metadata() | template, reranker.weights())
    engine = LlamaCppRanker(config(path), lambda done, total: None)
    (end,) = scores(engine, Rank("a", "river", ["snow king"]))
    assert end.scores[0] == pytest.approx(reranker.score(tokens("snow king", "river")), abs=SAME)
    named, odd = scores(engine, Rank("b", "river [SEP]", ["snow"]), Rank("c", "{document}", ["snow"]))
    engine.close()
    assert named.tokens_in > 5
    assert odd.tokens_in > 5
