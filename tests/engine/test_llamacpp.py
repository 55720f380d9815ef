"""The llama.cpp engine with the shipped demo model, on a CPU. No test depends on what the model has learnt."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from golek_wire.requests import Params
from golek_worker.engine.base import (
    Cancel,
    EngineConfig,
    Finished,
    LoadFailed,
    Ready,
    Refused,
    Stopped,
    Submit,
    Tokens,
)
from golek_worker.engine.count import count_text
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.sampling import Sampler
from tests.engine.driver import Child, gbnf, running, without_numbers

MODEL = Path("data/models/golek-tiny/model.gguf")
SLOTS = 8
NEAR = 0.05
"""Two logits that differ by less are a tie."""


def config(path: Path = MODEL, ctx_size: int = 0, slots: int = SLOTS) -> EngineConfig:
    return EngineConfig("llamacpp", str(path), slots, ctx_size, 1)


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """The demo model in eight slots, shared by this file's tests."""
    with running(config()) as child:
        yield child


@pytest.fixture
def ready(child: Child) -> Ready:
    """What the engine said of itself."""
    return next(event for event in child.events if isinstance(event, Ready))


class Jobs:
    """Job ids that no other test of the shared child has used."""

    count = 0

    @classmethod
    def new(cls, prompt: str, params: Params, seed: int = 1, stream: bool = False) -> Submit:
        cls.count += 1
        return Submit(f"job{cls.count}", prompt, params, seed, stream, constraint=gbnf(params))


def greedy(i: int, max_tokens: int = 48, stream: bool = False) -> Submit:
    params = Params(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    return Jobs.new(f"<|user|>{'What is a lease? ' * i}{i}<|end|><|assistant|>", params, stream=stream)


def ask(child: Child, *jobs: Submit) -> list[Finished]:
    """Run the jobs together."""
    child.send(*jobs)
    child.until_ended(*[job.job_id for job in jobs])
    return [child.finished(job.job_id) for job in jobs]


def refused(child: Child, prompt: str, params: Params) -> Refused:
    job = Jobs.new(prompt, params)
    child.send(job)
    child.until_ended(job.job_id)
    (end,) = [end for end in child.ends() if end.job_id == job.job_id]
    assert isinstance(end, Refused), end
    return end


def test_the_file_tells_what_it_is(ready: Ready) -> None:
    """Ready carries what health shows, and what prompts are built with."""
    assert (ready.device, ready.slots, ready.ctx_size) == ("cpu", SLOTS, ready.info.context_size)
    assert ready.info.size_bytes == MODEL.stat().st_size
    assert re.fullmatch(r"\d+(\.\d)?[KMB]", ready.info.parameter_count)
    assert all([ready.info.architecture, ready.info.quantization, ready.info.model_family, ready.info.vocab_size])
    assert ready.chat_template
    assert ready.eos_token


def test_texts_do_not_depend_on_what_runs_beside_them(child: Child) -> None:
    """At temperature 0 eight sequences together write what each writes alone."""
    alone = [ask(child, greedy(i))[0].text for i in range(8)]
    together = [answer.text for answer in ask(child, *[greedy(i) for i in range(8)])]
    assert together == alone


@pytest.mark.parametrize("victim", [0, 3, 7])
def test_a_cancel_changes_nothing_for_the_others(child: Child, victim: int) -> None:
    """Seven of eight texts are the same, with and without cancelling the eighth in mid-stream."""
    undisturbed = [answer.text for answer in ask(child, *[greedy(i, 96) for i in range(8)])]
    jobs = [greedy(i, 96, stream=True) for i in range(8)]
    gone = jobs.pop(victim)
    del undisturbed[victim]
    child.send(*jobs[:victim], gone, *jobs[victim:])
    child.until(lambda event: isinstance(event, Tokens) and gone.job_id in dict(event.deltas))
    child.send(Cancel(gone.job_id))
    child.until_ended(gone.job_id, *[job.job_id for job in jobs])
    assert any(isinstance(end, Stopped) and end.job_id == gone.job_id for end in child.ends())
    assert [child.finished(job.job_id).text for job in jobs] == undisturbed


@pytest.mark.parametrize("weights", ["as shipped", "quantized"])
def test_logits_depend_on_neighbours_in_the_last_bits_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    """Past 256 tokens as well, and with 8-bit weights: llama.cpp takes other code for a lone sequence."""
    path = MODEL if weights == "as shipped" else _quantized(tmp_path / "model.gguf")
    engine = LlamaCppEngine(config(path, slots=4), lambda done, total: None)
    n_vocab = engine.ready.info.vocab_size
    assert n_vocab is not None
    seen: dict[Sampler, list[NDArray[np.float32]]] = {}
    sample = Sampler.sample

    def recording(sampler: Sampler, context: Context, row: int) -> int:
        seen.setdefault(sampler, []).append(np.ctypeslib.as_array(context.logits(row), (n_vocab,)).copy())
        return sample(sampler, context, row)

    monkeypatch.setattr(Sampler, "sample", recording)

    def logits_of(*prompts: str) -> list[NDArray[np.float32]]:
        seen.clear()
        for prompt in prompts:
            engine.submit(Jobs.new(prompt, Params(max_tokens=24, temperature=0.0, ignore_eos=True)))
        while engine.running:
            list(engine.step())
        return sorted([np.stack(steps) for steps in seen.values()], key=lambda steps: float(steps[0, 0]))

    prompts = ["zq" * 150, "Hello", "zq" * 20]
    alone = sorted([logits_of(prompt)[0] for prompt in prompts], key=lambda steps: float(steps[0, 0]))
    for one, beside in zip(alone, logits_of(*prompts), strict=True):
        assert np.abs(one - beside).max() < NEAR
    engine.close()


def _quantized(path: Path) -> Path:
    """The demo model with 8-bit weights."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    assert llama_cpp.llama_model_quantize(str(MODEL).encode(), str(path).encode(), ctypes.byref(params)) == 0
    return path


def test_a_rerun_in_a_new_process_writes_the_same(child: Child) -> None:
    """After a crash the next attempt begins with the text that was already shown."""
    with running(config()) as other:
        assert [a.text for a in ask(other, greedy(5), greedy(2))] == [a.text for a in ask(child, greedy(5), greedy(2))]


def test_the_same_seed_draws_the_same_and_others_differ(child: Child) -> None:
    """Draws depend on the seed alone, not on neighbours or on what ran before."""
    params = Params(max_tokens=24, temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, ignore_eos=True)
    (first,) = ask(child, Jobs.new("Hello", params, seed=11))
    again, other = ask(child, Jobs.new("Hello", params, seed=11), Jobs.new("Hello", params, seed=12))
    assert again.text == first.text
    assert other.text != first.text


def test_streamed_deltas_are_the_text(child: Child) -> None:
    """Joined they are the final text; a unary sequence sends none."""
    stream, unary = greedy(1, stream=True), greedy(1)
    streamed, whole = ask(child, stream, unary)
    assert "".join(text for _, text in child.streamed(stream.job_id)) == streamed.text == whole.text
    assert child.streamed(unary.job_id) == []


def test_a_stop_string_ends_the_text_before_it(child: Child) -> None:
    """No part of it is shown, wherever tokens cut it."""
    (plain,) = ask(child, greedy(3))
    stop = plain.text[len(plain.text) // 2 :][:4]
    params = Params(max_tokens=48, temperature=0.0, ignore_eos=True, stop=[stop])
    job = Jobs.new(greedy(3).prompt, params, stream=True)
    (answer,) = ask(child, job)
    assert answer.text == plain.text[: plain.text.index(stop)]
    assert answer.finish_reason == "stop"
    assert answer.tokens_out < plain.tokens_out
    assert "".join(text for _, text in child.streamed(job.job_id)) == answer.text


def test_ignore_eos_writes_until_max_tokens(child: Child) -> None:
    """Exactly as many tokens as asked for."""
    (answer,) = ask(child, greedy(0, max_tokens=200))
    assert (answer.tokens_out, answer.finish_reason) == (200, "length")


def test_a_grammar_is_followed(child: Child) -> None:
    """The text is one that the grammar describes, and ends where the grammar ends, even with ignore_eos."""
    grammar = 'root ::= answer "." [0-9] [0-9]\nanswer ::= "yes" | "no"'
    params = Params(max_tokens=32, grammar=grammar, ignore_eos=True)
    for answer in ask(child, *[Jobs.new("Is it?", params, seed=seed) for seed in range(4)]):
        assert re.fullmatch(r"(yes|no)\.\d\d", answer.text)
        assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("grammar", "code", "words"),
    [
        ("my-grammar", "UNKNOWN_GRAMMAR", "my-grammar"),
        ('answer ::= "yes"', "INVALID_GRAMMAR", "root"),
        ('root ::= "yes', "INVALID_GRAMMAR", "GBNF"),
        ("root ::= missing", "INVALID_GRAMMAR", "GBNF"),
        ('root ::= root "a" | "b"', "INVALID_GRAMMAR", "GBNF"),
    ],
)
def test_a_bad_grammar_is_refused(child: Child, grammar: str, code: str, words: str) -> None:
    """The refusal says what is wrong with it; the engine lives on."""
    refusal = refused(child, "Is it?", Params(grammar=grammar))
    assert refusal.code == code
    assert words in refusal.message


def test_an_answer_without_max_tokens_may_fill_the_context() -> None:
    """It ends with `length` when prompt and answer fill it, alone as beside others."""
    params = Params(temperature=0.0, ignore_eos=True)
    with running(config(ctx_size=256)) as child:
        for answer in ask(child, *[Jobs.new(f"Go on {i}", params) for i in range(2)]):
            assert answer.tokens_in + answer.tokens_out == 256
            assert answer.finish_reason == "length"


def test_a_prompt_over_the_context_is_refused(child: Child, ready: Ready) -> None:
    """With the numbers of prompt and context."""
    refusal = refused(child, "word " * ready.ctx_size, Params())
    assert refusal.code == "CONTEXT_BUDGET_EXCEEDED"
    assert refusal.details["current_tokens"] >= refusal.details["budget"] == ready.ctx_size


def test_a_prompt_that_leaves_too_little_for_max_tokens_is_refused(child: Child, ready: Ready) -> None:
    """Nothing is cut silently; the message says how many tokens would fit."""
    refusal = refused(child, "Hello", Params(max_tokens=ready.ctx_size))
    assert refusal.code == "CONTEXT_BUDGET_EXCEEDED"
    assert str(refusal.details["max_tokens_possible"]) in refusal.message


def test_penalties_and_truncation_do_not_disturb_each_other(child: Child) -> None:
    """A sequence with every sampling parameter set runs beside a greedy one that it does not change."""
    (plain,) = ask(child, greedy(4))
    params = Params(
        max_tokens=32, temperature=1.2, top_k=20, top_p=0.9, min_p=0.1, repeat_penalty=1.3, frequency_penalty=0.5
    )
    _, beside = ask(child, Jobs.new("Hello", params), greedy(4))
    assert beside.text == plain.text


def test_a_cancel_while_the_prompt_is_read_frees_the_slot(child: Child, ready: Ready) -> None:
    """Submitted and cancelled at once, for more sequences than there are slots; then all slots serve."""
    prompt = "a " * (ready.ctx_size // 4)
    for _ in range(2):
        jobs = [Jobs.new(prompt, Params(max_tokens=16, temperature=0.0)) for _ in range(SLOTS)]
        child.send(*jobs, *[Cancel(job.job_id) for job in jobs])
        child.until_ended(*[job.job_id for job in jobs])
    assert len(ask(child, *[greedy(i, 4) for i in range(SLOTS)])) == SLOTS


def test_capabilities_are_tried_before_they_are_told(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and a grammar; without llama.cpp's grammars only the token, and no guess from the template."""
    assert ready.capabilities == ["text-generation", "grammar-constrained"]
    monkeypatch.setattr(llama_cpp, "llama_sampler_init_grammar", lambda *_: None)
    engine = LlamaCppEngine(config(), lambda done, total: None)
    assert engine.ready.capabilities == ["text-generation"]
    engine.close()


def test_weights_that_compute_nothing_are_not_loaded(tmp_path: Path) -> None:
    """An error says so before anybody asks the model something."""
    path = without_numbers(MODEL, tmp_path / "model.gguf")
    child = Child(config(path))
    try:
        message = child.until_a(LoadFailed).message
        assert str(path) in message
        assert "no number (NaN)" in message
    finally:
        child.close()


@pytest.mark.parametrize(
    ("count", "text"), [(950, "950"), (1_900_000, "1.9M"), (268_098_176, "268M"), (4_022_468_096, "4.0B")]
)
def test_parameters_are_counted_for_people(count: int, text: str) -> None:
    """As models are called: 1.9M, 268M, 4.0B."""
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("content", "ctx_size", "words"),
    [
        (None, 0, "no such file"),
        (b"version https://git-lfs", 0, "not a GGUF file"),
        (b"GGUF\x03\x00\x00\x00", 0, "damaged"),
        (MODEL, 10**6, "CTX_SIZE=1000000"),
        ("first half", 0, "cut off"),
        ("all but the last bytes", 0, "cannot load"),
    ],
)
def test_what_cannot_be_loaded_is_explained(
    tmp_path: Path, content: bytes | str | Path | None, ctx_size: int, words: str
) -> None:
    """LoadFailed says which file, why, and what to do; the status is 1."""
    path = tmp_path / "model.gguf"
    if isinstance(content, Path):
        path = content
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        whole = MODEL.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "first half" else whole[:-100])
    child = Child(config(path, ctx_size))
    try:
        failed = child.until_a(LoadFailed)
        assert words in failed.message
        assert str(path) in failed.message
        assert child.wait() == 1
    finally:
        child.close()
