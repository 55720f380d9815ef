"""Vectors of texts, beside numpy's computation of the same model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from golek_wire.errors import BadRequestError, ContextBudgetExceededError
from golek_worker.engine.base import Embed, Embedded, EngineConfig, EngineLoadError
from golek_worker.engine.litert.embedding import LiteRTEmbedder
from scripts import litert_models

TEXTS = ["a lease", "Schnee", "雪", "the queue of a worker [PAD]", "x" * 128]
SAME = 1e-5


def engine(model: Path, ctx_size: int = 0) -> LiteRTEmbedder:
    return LiteRTEmbedder(
        EngineConfig("litert", str(model), 4, ctx_size, 1, kind="embedding"), lambda done, total: None
    )


def vectors(engine: LiteRTEmbedder, texts: list[str]) -> np.ndarray:
    """What the engine makes of them, in as many steps as it takes."""
    engine.submit(Embed("a", texts))
    ends = []
    while engine.running:
        ends += list(engine.step())
    (end,) = ends
    assert isinstance(end, Embedded), end
    return np.array(end.vectors)


def wanted(texts: list[str]) -> np.ndarray:
    """The same by the formula: the rows of a text's bytes, added and turned, with length 1."""
    table, turn = litert_models.weights()
    rows = np.array([table[[byte + 1 for byte in text.encode()]].sum(axis=0) @ turn.T for text in texts])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize("rows", [-1, 1, 3], ids=["open", "one", "three"])
def test_vectors_are_those_of_the_model(tmp_path: Path, rows: int) -> None:
    """Where the file says that one text, three or any number are computed together; a control token's name is text."""
    found = vectors(engine(litert_models.letters(tmp_path / "model.tflite", rows=rows)), TEXTS)
    assert np.abs(found - wanted(TEXTS)).max() < SAME


def test_of_a_vector_for_each_token_the_mean_is_taken(tmp_path: Path) -> None:
    """Over the tokens of the text, not over what fills it up."""
    table, _ = litert_models.weights()
    found = vectors(engine(litert_models.letters(tmp_path / "model.tflite", pooled=False)), TEXTS)
    rows = np.array([table[[byte + 1 for byte in text.encode()]].mean(axis=0) for text in TEXTS])
    assert np.abs(found - rows / np.linalg.norm(rows, axis=1, keepdims=True)).max() < SAME


def test_texts_may_be_of_any_length_where_the_model_leaves_it_open(tmp_path: Path) -> None:
    """As long as CTX_SIZE says then."""
    model = litert_models.letters(tmp_path / "model.tflite", tokens=-1)
    long = engine(model, 300)
    assert long.ready.ctx_size == 300
    assert np.abs(vectors(long, ["y" * 300, *TEXTS]) - wanted(["y" * 300, *TEXTS])).max() < SAME
    with pytest.raises(ContextBudgetExceededError, match=r"input\[0\] has 301 tokens; .* at most 300"):
        long.submit(Embed("a", ["y" * 301]))
    assert engine(model).ready.ctx_size == 512


def test_texts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """By their place and with numbers, before anything is computed; a very long one without being read whole."""
    engine_ = engine(litert_models.letters(tmp_path / "model.tflite"))
    with pytest.raises(ContextBudgetExceededError, match=r"input\[1\] has 129 tokens"):
        engine_.submit(Embed("a", ["x", "x" * 129]))
    with pytest.raises(ContextBudgetExceededError, match=r"input\[0\] has at least 2048 tokens"):
        engine_.submit(Embed("a", ["x" * 10_000_000]))
    with pytest.raises(BadRequestError, match=r"input\[1\] is empty"):
        engine_.submit(Embed("a", ["x", ""]))
    assert engine_.running == 0


def test_short_jobs_do_not_wait_behind_long_ones(tmp_path: Path) -> None:
    """Each step takes a text of each job in turn; a cancelled one is not computed any more."""
    engine_ = engine(litert_models.letters(tmp_path / "model.tflite"))
    engine_.submit(Embed("long", ["x"] * 1000))
    engine_.submit(Embed("short", ["y"]))
    assert [end.job_id for end in engine_.step() if isinstance(end, Embedded)] == ["short"]
    stopped = engine_.cancel("long")
    assert stopped is not None
    assert (list(engine_.step()), engine_.running, engine_.cancel("long")) == ([], 0, None)


def _without_tokenizer(folder: Path) -> Path:
    model = litert_models.letters(folder / "model.tflite")
    (folder / "tokenizer.json").unlink()
    return model


def _with_another_tokenizer(folder: Path) -> Path:
    model = litert_models.letters(folder / "model.tflite")
    (folder / "tokenizer.json").write_text("[]")
    return model


def _colours(folder: Path) -> Path:
    return litert_models.colours(folder / "model.tflite")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_without_tokenizer, r"tokenizer\.json: no such file.* put it beside"),
        (_with_another_tokenizer, r"tokenizer\.json: it is no tokenizer"),
        (_colours, r"takes one input with the numbers of tokens.* It has in: image float32\[-1, 8, 8, 3\]; out: "),
    ],
)
def test_what_it_cannot_use_is_said(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    """What was found, and what is wanted."""
    with pytest.raises(EngineLoadError, match=said):
        engine(make(tmp_path))


def test_a_context_beyond_the_model_is_refused(tmp_path: Path) -> None:
    """As with other engines."""
    with pytest.raises(EngineLoadError, match=r"CTX_SIZE=200: .* at most 128 tokens"):
        engine(litert_models.letters(tmp_path / "model.tflite"), 200)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_said(tmp_path: Path, keep: float) -> None:
    """Before the runtime reads it, which would crash."""
    model = litert_models.letters(tmp_path / "model.tflite")
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(EngineLoadError, match=r"model\.tflite: it is damaged or incomplete"):
        engine(model)


def test_weights_that_go_beyond_the_file_are_said(tmp_path: Path) -> None:
    """Their length stands before them; the runtime believes it."""
    model = litert_models.letters(tmp_path / "model.tflite")
    content = bytearray(model.read_bytes())
    begin = content.index(litert_models.weights()[0].tobytes())
    content[begin - 4 : begin] = len(content).to_bytes(4, "little")
    model.write_bytes(content)
    with pytest.raises(EngineLoadError, match=r"damaged or incomplete: a buffer of \d+ bytes at \d+, the file has \d+"):
        engine(model)
