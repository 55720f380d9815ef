"""What a model with eyes sees; in this process, with golek-tiny and a projector for which a colour is a question."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from golek_wire.errors import BadRequestError
from golek_wire.requests import Params, Resume
from golek_worker.engine.base import Constraint, EngineConfig, EngineLoadError, Finished, Refused, Stopped, Submit
from golek_worker.engine.llamacpp import eyes as module
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.eyes import Eyes
from golek_worker.image_marks import IMAGE_MARK
from tests.engine.driver import untimed
from tests.engine.tiny import MODEL, engine_of
from tests.support.eyes import ASKS, TOKENS, png, projector

SLOTS = 4
COLOURS = list(ASKS)


def seeing(side: int = 2, slots: int = SLOTS, ctx_size: int = 0) -> LlamaCppEngine:
    config = EngineConfig("llamacpp", str(MODEL), slots, ctx_size, 1, projector_path=str(projector(side)))
    return LlamaCppEngine(config, lambda done, total: None)


@pytest.fixture
def engine() -> Iterator[LlamaCppEngine]:
    """Four slots; what it counts agrees with llama.cpp at the end."""
    engine = seeing()
    yield engine
    assert engine.problems() == []
    engine.close()


def turn(text: str) -> str:
    return f"<|user|>{text}<|end|><|assistant|>"


def job(job_id: str, text: str, *colours: str, **params: object) -> Submit:
    wanted = {"max_tokens": 24, "temperature": 0.0, **params}
    return Submit(job_id, turn(text), Params(**wanted), 7, images=[png(colour) for colour in colours])  # type: ignore[arg-type]


def run(engine: LlamaCppEngine, *jobs: Submit) -> dict[str, Finished]:
    """The ends of sequences that run together."""
    for one in jobs:
        engine.submit(one)
    ends = {}
    while engine.running:
        for output in engine.step():
            assert not isinstance(output, Refused), output
            if isinstance(output, Finished):
                ends[output.job_id] = output
        assert engine.problems() == []
    return ends


def answer(engine: LlamaCppEngine, one: Submit) -> Finished:
    return run(engine, one)[one.job_id]


def refused(engine: LlamaCppEngine, command: Submit) -> Refused:
    """The end of a sequence that cannot run."""
    engine.submit(command)
    ends = [end for _ in iter(lambda: engine.running, 0) for end in engine.step()]
    assert len(ends) == 1
    assert isinstance(ends[0], Refused)
    return ends[0]


def test_it_says_that_it_sees(engine: LlamaCppEngine) -> None:
    """Capability and modalities come from the projector."""
    assert "vision" in engine.ready.capabilities
    assert engine.ready.info.modalities == ["text", "image"]
    with engine_of(1) as blind:
        assert "vision" not in blind.ready.capabilities
        assert blind.ready.info.modalities == ["text"]


@pytest.mark.parametrize("colour", COLOURS)
def test_an_image_is_seen(engine: LlamaCppEngine, colour: str) -> None:
    """An image that asks a question gets the answer that its words get, token by token, and counts as much."""
    seen, read = answer(engine, job("a", IMAGE_MARK, colour)), answer(engine, job("b", ASKS[colour]))
    assert seen.text == read.text
    assert seen.tokens_in == read.tokens_in == TOKENS + 3
    others = [answer(engine, job("c", ASKS[other])).text for other in COLOURS if other != colour]
    assert seen.text not in others


def test_two_images_stand_where_their_marks_stand(engine: LlamaCppEngine) -> None:
    """With text before, between and behind them it is what the words in their places are."""
    seen = answer(engine, job("a", f"Hello.{IMAGE_MARK} Thanks.{IMAGE_MARK} Bye.", "red", "blue", logprobs=True))
    read = answer(engine, job("b", f"Hello.{ASKS['red']} Thanks.{ASKS['blue']} Bye.", logprobs=True))
    swapped = answer(engine, job("c", f"Hello.{IMAGE_MARK} Thanks.{IMAGE_MARK} Bye.", "blue", "red", logprobs=True))
    assert seen.text == read.text
    assert seen.tokens_in == read.tokens_in
    assert seen.logprobs is not None
    assert read.logprobs is not None
    assert np.allclose([one.logprob for one in seen.logprobs], [one.logprob for one in read.logprobs], atol=0.02)
    assert swapped.logprob_sum != seen.logprob_sum


def test_sequences_with_and_without_images_run_together(engine: LlamaCppEngine) -> None:
    """Each writes what it writes alone, drawn with its seed, whatever its neighbours see."""
    jobs = [
        job("red", IMAGE_MARK, "red", temperature=0.8),
        job("text", "What is a lease?", temperature=0.8),
        job("both", f"{IMAGE_MARK} And {IMAGE_MARK}", "green", "blue", temperature=0.8),
        job("other", "What is a worker?"),
        job("waiting", f"Hello {IMAGE_MARK}", "blue", temperature=0.8),
    ]
    together = {name: untimed(end) for name, end in run(engine, *jobs).items()}
    for one in jobs:
        assert untimed(answer(engine, one)) == together[one.job_id]


def test_images_of_many_tokens_are_read_in_parts() -> None:
    """An image of 144 tokens is read in several calls beside one that writes, and both as they are alone."""
    engine = seeing(side=12)
    try:
        jobs = [job("text", "What is a lease?"), job("big", f"{IMAGE_MARK} {IMAGE_MARK}", "red", "green")]
        together = run(engine, *jobs)
        assert together["big"].tokens_in == 2 * 144 + 4
        for one in jobs:
            assert answer(engine, one).text == together[one.job_id].text
    finally:
        engine.close()


def test_an_image_that_was_read_is_found_in_the_cache() -> None:
    """Equal bytes are not computed again; another image in the same place is."""
    engine = seeing(side=12)
    try:
        first = answer(engine, job("a", f"{IMAGE_MARK} Hello", "red"))
        again = answer(engine, job("b", f"{IMAGE_MARK} Hello", "red"))
        assert again.tokens_cached == first.tokens_in - 1
        assert again.text == first.text
        longer = answer(engine, job("c", f"{IMAGE_MARK} Thanks", "red"))
        assert longer.tokens_cached >= 144
        other = answer(engine, job("d", f"{IMAGE_MARK} Hello", "blue"))
        assert other.tokens_cached <= 1
    finally:
        engine.close()


def test_equal_prompts_at_once_compute_their_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait for the first one, as with text."""
    computed: list[int] = []
    compute = Eyes.compute

    def counting(eyes: Eyes, chunk: object, tokens: int) -> object:
        computed.append(tokens)
        return compute(eyes, chunk, tokens)

    monkeypatch.setattr(Eyes, "compute", counting)
    engine = seeing(side=12)
    try:
        ends = run(engine, *[job(str(n), f"Hello {IMAGE_MARK}", "red") for n in range(3)])
        assert computed == [144]
        assert len({end.text for end in ends.values()}) == 1
    finally:
        engine.close()


def test_a_constraint_and_a_resumed_text_hold_behind_images(engine: LlamaCppEngine) -> None:
    """As behind text."""
    grammar = Constraint("gbnf", 'root ::= "red" | "blue"')
    bound = job("a", IMAGE_MARK, "red")
    assert answer(engine, Submit(**{**fields(bound), "constraint": grammar})).text in ("red", "blue")
    whole = answer(engine, bound)
    begun = Resume(whole.text[:20])
    resumed = answer(engine, Submit(**{**fields(bound), "resume": begun}))
    assert resumed.text.startswith(whole.text[:20])
    assert resumed.tokens_in == whole.tokens_in


def fields(command: Submit) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "b: its 0 bytes"),
        (b"no image", "begin with 6e 6f 20 69 6d 61 67 65, are no whole PNG, JPEG, GIF or BMP"),
        (png("red")[:60], "b: its 60 bytes"),
        (b"RIFF....WEBPVP8 ", "b: WebP is not read by this model; PNG, JPEG, GIF and BMP are: convert it"),
        (b"\xff\xd8\xff" + b"x" * 500, "JPEG"),
    ],
)
def test_a_broken_image_is_refused(engine: LlamaCppEngine, data: bytes, said: str) -> None:
    """With its field, and what would have been right; nothing of it stays."""
    command = Submit("a", turn(IMAGE_MARK * 2), Params(), 1, images=[png("red"), data], image_fields=["a", "b"])
    end = refused(engine, command)
    assert (end.code, end.details["param"]) == ("BAD_REQUEST", "b")
    assert said in end.message
    assert engine.running == 0


def test_no_program_is_started_for_what_cannot_be_read(
    engine: LlamaCppEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libmtmd would hand it to ffmpeg, which opens what a file names."""
    trace = tmp_path / "started"
    for name in ("ffmpeg", "ffprobe"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {trace}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for begin in module.READABLE:
        refused(engine, Submit("a", turn(IMAGE_MARK), Params(), 1, images=[begin + b"x" * 2000]))
    assert not trace.exists()


def test_as_many_images_as_marks(engine: LlamaCppEngine) -> None:
    """A mark that a caller spelled has a cut in it and is text."""
    end = refused(engine, job("a", IMAGE_MARK, "red", "blue"))
    assert end.message == "2 images came with a prompt that has a place for 1"
    text = turn(f"{IMAGE_MARK}{IMAGE_MARK}")
    cut = text.index(IMAGE_MARK) + 1
    command = Submit("a", text, Params(max_tokens=4), 1, images=[png("red")], cuts=[cut])
    assert answer(engine, command).tokens_in > TOKENS + 3
    assert answer(engine, job("b", IMAGE_MARK)).tokens_in > TOKENS + 3


def test_a_model_without_eyes_refuses_images() -> None:
    """And says what to set."""
    with engine_of(1) as blind, pytest.raises(BadRequestError, match="MMPROJ_PATH"):
        blind.submit(job("a", IMAGE_MARK, "red"))


def test_images_count_against_the_context() -> None:
    """The error says how many tokens are theirs."""
    engine = seeing(side=12, ctx_size=256)
    try:
        end = refused(engine, job("a", f"{IMAGE_MARK} {IMAGE_MARK}", "red", "green"))
        assert end.code == "CONTEXT_BUDGET_EXCEEDED"
        assert "292 tokens (288 of images)" in end.message
        assert "smaller images" in end.message
    finally:
        engine.close()


def test_a_sequence_is_cancelled_while_its_image_is_computed(engine: LlamaCppEngine) -> None:
    """At once, before and after its prompt was cut; its slot is free, and another image is read as ever."""
    for name in ("a", "b", "c"):
        engine.submit(job(name, f"Hello {IMAGE_MARK}", "red"))
    assert engine.cancel("a") == Stopped("a", 0, 0)
    while engine.gauges().running == 0:
        list(engine.step())
    assert isinstance(engine.cancel("b"), Stopped)
    assert isinstance(engine.cancel("c"), Stopped)
    assert engine.running == 0
    assert answer(engine, job("c", IMAGE_MARK, "green")).text == answer(engine, job("d", ASKS["green"])).text


def test_who_writes_goes_on_while_an_image_is_computed(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step never waits for eyes where somebody else has something to do."""
    go_on = Event()
    encode = Eyes._encode

    def slow(eyes: Eyes, chunk: object, tokens: int) -> object:
        go_on.wait(10.0)
        return encode(eyes, chunk, tokens)

    monkeypatch.setattr(Eyes, "_encode", slow)
    engine.submit(job("seeing", IMAGE_MARK, "red"))
    engine.submit(job("text", "What is a lease?"))
    ends: list[Finished] = []
    while not ends:
        ends += [one for one in engine.step() if isinstance(one, Finished)]
    assert ends[0].job_id == "text"
    go_on.set()
    assert run(engine)["seeing"].text == answer(engine, job("b", ASKS["red"])).text


def test_an_image_that_cannot_be_computed_ends_its_sequence_alone(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a refusal, not as the engine's death."""

    def broken(_eyes: Eyes, _chunk: object, _tokens: int) -> object:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Eyes, "_encode", broken)
    engine.submit(job("a", f"Hello {IMAGE_MARK}", "red"))
    engine.submit(job("b", "What is a lease?"))
    steps = (engine.step() for _ in iter(lambda: engine.running, 0))
    ends = [one for step in steps for one in step if isinstance(one, Finished | Refused)]
    (end,) = [one for one in ends if isinstance(one, Refused)]
    assert (end.job_id, end.code) == ("a", "BAD_REQUEST")
    assert "no memory" in end.message
    assert [one.job_id for one in ends if isinstance(one, Finished)] == ["b"]


@pytest.mark.parametrize("path", ["no/such/mmproj.gguf", str(MODEL)])
def test_a_wrong_projector_is_told_at_the_start(path: str) -> None:
    """With the setting that names it."""
    config = EngineConfig("llamacpp", str(MODEL), 1, 0, 1, projector_path=path)
    with pytest.raises(EngineLoadError, match="MMPROJ_PATH"):
        LlamaCppEngine(config, lambda done, total: None)
