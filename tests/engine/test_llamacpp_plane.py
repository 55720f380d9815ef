"""Images where positions lie in a plane (M-RoPE): a token's place in the prompt is not its position there."""

from collections.abc import Iterator

import msgspec
import pytest

from golek_worker.engine.base import EngineConfig, Finished, Submit
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.image_marks import IMAGE_MARK
from tests.engine.test_llamacpp_images import job
from tests.engine.tiny import engine_of
from tests.support.eyes import png
from tests.support.plane_eyes import files

WIDE = png("red", 112, 84)
"""8 by 6 patches are 4 by 3 tokens."""
TALL = png("blue", 84, 140)


@pytest.fixture
def engine() -> Iterator[LlamaCppEngine]:
    """Four slots; what it counts agrees with llama.cpp at the end."""
    model, projector = files()
    config = EngineConfig("llamacpp", str(model), 4, 0, 1, projector_path=str(projector))
    engine = LlamaCppEngine(config, lambda done, total: None)
    yield engine
    assert engine.problems() == []
    engine.close()


def run(engine: LlamaCppEngine, *jobs: Submit) -> dict[str, Finished]:
    """The ends of sequences that run together."""
    for one in jobs:
        engine.submit(one)
    outputs = [output for _ in iter(lambda: engine.running, 0) for output in engine.step()]
    return {output.job_id: output for output in outputs if isinstance(output, Finished)}


def answer(engine: LlamaCppEngine, one: Submit) -> Finished:
    return run(engine, one)[one.job_id]


def showing(job_id: str, text: str, *images: bytes, **params: object) -> Submit:
    return msgspec.structs.replace(job(job_id, text, logprobs=True, **params), images=list(images))


def test_texts_are_continued_as_ever(engine: LlamaCppEngine) -> None:
    """The model is golek-tiny, its positions counted otherwise."""
    with engine_of(1) as plain:
        assert answer(engine, job("a", "What is a lease?")).text == answer(plain, job("a", "What is a lease?")).text


def test_sequences_run_together_as_alone(engine: LlamaCppEngine) -> None:
    """Wide and tall images, one behind the other, beside texts: what each writes does not depend on its neighbours."""
    jobs = [
        showing("wide", f"Hello {IMAGE_MARK} What is NATS?", WIDE),
        showing("tall", f"Hello {IMAGE_MARK} What is NATS?", TALL),
        showing("both", f"{IMAGE_MARK}{IMAGE_MARK}", WIDE, TALL),
        job("text", "What is a lease?", temperature=0.8),
        showing("waiting", f"Who are you? {IMAGE_MARK}", TALL),
    ]
    together = run(engine, *jobs)
    for one in jobs:
        alone = answer(engine, one)
        assert alone.text == together[one.job_id].text
        assert alone.logprob_sum == pytest.approx(together[one.job_id].logprob_sum, abs=0.05)
    assert together["wide"].logprob_sum != pytest.approx(together["tall"].logprob_sum, abs=0.05)


def test_what_was_read_is_found_again(engine: LlamaCppEngine) -> None:
    """To the last token but one, behind two images; and as far as the first one where the second is another."""
    both = showing("a", f"{IMAGE_MARK} and {IMAGE_MARK} So?", WIDE, TALL)
    first = answer(engine, both)
    again = answer(engine, both)
    assert again.tokens_cached == first.tokens_in - 1
    assert again.logprob_sum == pytest.approx(first.logprob_sum, abs=0.05)
    changed = showing("b", f"{IMAGE_MARK} and {IMAGE_MARK} So?", WIDE, WIDE)
    found = answer(engine, changed)
    assert 12 < found.tokens_cached < first.tokens_in - 12


def test_what_goes_on_behind_images_is_what_an_engine_without_memory_writes() -> None:
    """A longer prompt in the same slot, cut behind an image and written over."""
    model, projector = files()
    config = EngineConfig("llamacpp", str(model), 1, 0, 1, projector_path=str(projector))
    engine = LlamaCppEngine(config, lambda done, total: None)
    try:
        answer(engine, showing("a", f"Hello {IMAGE_MARK} Thanks.", WIDE))
        warm = answer(engine, showing("b", f"Hello {IMAGE_MARK} What is NATS? {IMAGE_MARK}", WIDE, TALL))
        assert warm.tokens_cached > 12
        answer(engine, job("c", "What is a lease?"))
        cold = answer(engine, showing("d", f"Hello {IMAGE_MARK} What is NATS? {IMAGE_MARK}", WIDE, TALL))
        assert cold.tokens_cached < 3
        assert cold.text == warm.text
        assert cold.logprob_sum == pytest.approx(warm.logprob_sum, abs=0.05)
    finally:
        engine.close()
