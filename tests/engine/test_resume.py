"""Going on from a text that was cut off: echo, which counts its words, and llama.cpp with the shipped demo model."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from golek_wire.drawing import seed_after
from golek_wire.errors import BadRequestError, ContextBudgetExceededError
from golek_wire.requests import Params, Resume
from golek_worker.engine.base import Engine, EngineConfig, Finished, Submit
from golek_worker.engine.budget import tokens_left
from golek_worker.engine.echo import EchoEngine
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.output import Output
from tests.engine.driver import gbnf, untimed
from tests.engine.tiny import engine_of
from tests.support.grammars import PERSON, is_person

PROMPT = "<|user|>What is backpressure?<|end|><|assistant|>"


@pytest.fixture(scope="module")
def llamacpp() -> Iterator[LlamaCppEngine]:
    """The demo model, in this process."""
    with engine_of(4) as engine:
        yield engine


@pytest.fixture
def echo() -> EchoEngine:
    return EchoEngine(EngineConfig("echo", "", 4, 0, 0), lambda done, total: None)


def run(engine: Engine, prompt: str, params: Params, resume: Resume | None = None) -> tuple[Finished, list[str]]:
    """The end of one streamed sequence, and its deltas."""
    ended = engine.submit(Submit("j", prompt, params, 1, stream=True, resume=resume, constraint=gbnf(params)))
    if ended is not None:
        return ended, []
    events = []
    while engine.running:
        events += list(engine.step())
    *deltas, end = events
    assert isinstance(end, Finished), end
    return end, [delta for _, delta in deltas]


def refused(engine: Engine, prompt: str, params: Params, text: str) -> BadRequestError:
    with pytest.raises(BadRequestError) as raised:
        engine.submit(Submit("j", prompt, params, 1, resume=Resume(text), constraint=gbnf(params)))
    assert engine.running == 0
    assert raised.value.details["param"] == "resume.text"
    return raised.value


# -- echo ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "whole"),
    [
        (Params(), "one two  three"),
        (Params(max_tokens=6, ignore_eos=True), "one two  three #3 #4 #5"),
        (Params(max_tokens=2), "one two  "),
        (Params(stop="ree"), "one two  th"),
    ],
)
def test_echo_goes_on_behind_every_character(echo: EchoEngine, params: Params, whole: str) -> None:
    """Wherever the text was cut, also inside a word: what is streamed is the rest, and the end is the same."""
    undisturbed, _ = run(echo, "one two  three", params)
    assert undisturbed.text == whole
    for cut in range(1, len(whole) + 1):
        end, deltas = run(echo, "one two  three", params, Resume(whole[:cut]))
        assert whole[:cut] + "".join(deltas) == whole
        assert end == undisturbed


def test_the_rest_of_a_word_comes_first(echo: EchoEngine) -> None:
    """As a token of its own; then the words, each with its number."""
    params = Params(max_tokens=5, ignore_eos=True)
    assert run(echo, "go", params, Resume("go #1 #"))[1] == ["2", " #3", " #4"]


def test_echo_does_not_take_up_another_text(echo: EchoEngine) -> None:
    """A text that it would not write is refused, and so is one that is longer."""
    assert "after 5 of its 9" in refused(echo, "one two", Params(), "one three").message
    refused(echo, "one two", Params(), "one two three")
    refused(echo, "one two", Params(max_tokens=1), "one two")


def test_echo_finishes_the_final_channel(echo: EchoEngine) -> None:
    """In the output `harmony` the text is that of the final channel; the thoughts before it do not come again."""
    prompt = "<|channel|>analysis<|message|> hm <|end|><|start|>assistant<|channel|>final<|message|> a b c <|return|> x"
    echo.submit(Submit("j", prompt, Params(), 1, True, Output("harmony"), Resume(" a b")))
    events = []
    while echo.running:
        events += list(echo.step())
    *deltas, end = events
    assert isinstance(end, Finished)
    assert (end.text, end.finish_reason) == (" a b c ", "stop")
    assert " a b" + "".join([delta for _, delta in deltas]) == end.text  # type: ignore[misc]


# -- llama.cpp -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        Params(max_tokens=60, temperature=0.0),
        Params(max_tokens=36, temperature=0.0, ignore_eos=True, repeat_penalty=1.3, frequency_penalty=0.3),
    ],
    ids=["greedy", "with penalties"],
)
def test_a_resumed_text_is_the_undisturbed_one(llamacpp: LlamaCppEngine, params: Params) -> None:
    """At temperature 0, cut behind each piece: text, counts and reason are the same; penalties saw the first part."""
    undisturbed, pieces = run(llamacpp, PROMPT, params)
    for cut in range(1, len(pieces) + 1):
        text = "".join(pieces[:cut])
        end, deltas = run(llamacpp, PROMPT, params, Resume(text))
        assert untimed(end) == untimed(undisturbed)
        assert text + "".join(deltas) == end.text


def test_penalties_look_at_the_text_before(llamacpp: LlamaCppEngine) -> None:
    """With the words of the text made unlikely none of them comes again; without penalties they would."""
    text = "worker worker worker worker worker"
    params = Params(max_tokens=30, temperature=0.0, ignore_eos=True)
    strict = Params(max_tokens=30, temperature=0.0, ignore_eos=True, presence_penalty=2.0, repeat_penalty=10.0)
    loose_end, _ = run(llamacpp, PROMPT, params, Resume(text))
    strict_end, _ = run(llamacpp, PROMPT, strict, Resume(text))
    assert "worker" in loose_end.text[len(text) :]
    assert "worker" not in strict_end.text[len(text) :]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_grammar_goes_on_where_the_text_ends(llamacpp: LlamaCppEngine, temperature: float) -> None:
    """Cut inside a key, the name, the number, a tag, and before the last bracket: the whole follows the grammar."""
    params = Params(temperature=temperature, grammar=PERSON)
    whole, _ = run(llamacpp, PROMPT, params)
    assert is_person(whole.text), whole.text
    for cut in (1, 5, 150, whole.text.index('"age": ') + 8, len(whole.text) - 30, len(whole.text) - 1):
        end, deltas = run(llamacpp, PROMPT, params, Resume(whole.text[:cut]))
        assert whole.text[:cut] + "".join(deltas) == end.text
        assert is_person(end.text), end.text


def test_a_grammar_follows_characters_of_several_tokens(llamacpp: LlamaCppEngine) -> None:
    """Tokens that are parts of a character are allowed like the character."""
    params = Params(max_tokens=40, grammar='root ::= "größer 🌍" [a-z]{3} "🌍"')
    end, _ = run(llamacpp, PROMPT, params, Resume("größer 🌍"))
    assert re.fullmatch("größer 🌍[a-z]{3}🌍", end.text)
    refused(llamacpp, PROMPT, params, "größer 🌎")


@pytest.mark.parametrize("text", ["I am", '{"name": 3', '{"name": "A", "age": 7, "tags": ["x"]} ', '{"name": "🌍'])
def test_a_text_that_the_grammar_does_not_allow_is_refused(llamacpp: LlamaCppEngine, text: str) -> None:
    """By name, and the engine lives on."""
    error = refused(llamacpp, PROMPT, Params(grammar=PERSON), text)
    assert "the grammar does not allow it" in error.message


def test_a_text_may_end_inside_a_character_of_several_tokens(llamacpp: LlamaCppEngine) -> None:
    """Whole characters only were shown; letters that are several tokens are read as such."""
    text = "größer 🌍"
    end, deltas = run(llamacpp, PROMPT, Params(max_tokens=20, ignore_eos=True), Resume(text))
    assert end.text == text + "".join(deltas)
    assert end.tokens_out == 20


def test_a_name_in_a_plain_text_is_letters(llamacpp: LlamaCppEngine) -> None:
    """A control token writes nothing, so a name that is in the text was spelled by the model."""
    tokens = llamacpp._model.tokenize_written("<|end|>", named=False)
    assert b"".join(map(llamacpp._model.piece, tokens)) == b"<|end|>"


@pytest.mark.parametrize(("given", "counted"), [(0, 8), (30, 30)])
def test_tokens_of_the_text_count(llamacpp: LlamaCppEngine, given: int, counted: int) -> None:
    """Against max_tokens and in the reply: the caller's number, or without one the engine's."""
    _, pieces = run(llamacpp, PROMPT, Params(max_tokens=8, temperature=0.0))
    text = "".join(pieces)
    end, deltas = run(llamacpp, PROMPT, Params(max_tokens=counted + 3, temperature=0.0), Resume(text, given))
    assert (end.tokens_out, len(deltas), end.finish_reason) == (counted + 3, 3, "length")
    nothing, deltas = run(llamacpp, PROMPT, Params(max_tokens=counted), Resume(text, given))
    assert (nothing.text, nothing.tokens_out, nothing.finish_reason, deltas) == (text, counted, "length", [])


def test_stop_strings_are_looked_for_behind_the_text(llamacpp: LlamaCppEngine) -> None:
    """Not in it; one that begins at its end is found, and nothing behind it is shown."""
    whole, pieces = run(llamacpp, PROMPT, Params(max_tokens=30, temperature=0.0))
    text, rest = "".join(pieces[:10]), "".join(pieces[10:])
    assert " is" in text
    spanning = text[-3:] + rest[:2]
    for stop, shown in [(text[2:6], rest), (spanning, ""), (rest[4:8], rest[:4])]:
        assert (text + rest).count(stop) == 1
        params = Params(max_tokens=30, temperature=0.0, stop=[stop])
        end, deltas = run(llamacpp, PROMPT, params, Resume(text))
        assert end.text == text + "".join(deltas) == text + shown
        assert end.finish_reason == ("length" if shown == rest else "stop")
    assert whole.text == text + rest


def test_draws_behind_the_text_are_others_than_the_first() -> None:
    """The seed moves with the place, stays a seed of llama.cpp, and is the caller's own at the beginning."""
    assert seed_after(7, 0) == 7
    seeds = {seed_after(seed, written) for seed in (0, 7, 2**32 - 2) for written in range(200)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)


@pytest.mark.parametrize(
    ("max_tokens", "written", "counted", "left"),
    [(50, 0, 0, 50), (50, 20, 20, 30), (50, 20, 25, 25), (50, 60, 50, 0), (None, 20, 20, 70), (None, 95, 20, 0)],
)
def test_how_many_tokens_are_left(max_tokens: int | None, written: int, counted: int, left: int) -> None:
    """Of a context of 100 tokens behind a prompt of 10; never fewer than none."""
    assert tokens_left(10, max_tokens, 100, written, counted) == left


def test_the_object_of_the_grammar_is_checked_strictly() -> None:
    """The check that the tests and the bench rely on refuses what is not such an object."""
    assert is_person('{"name": "Ann", "age": 41, "tags": ["a", "b"]}')
    for text in (
        '{"name": "Ann"}',
        '{"name": "Ann", "age": 0, "tags": ["a"]}',
        '{"name": "Ann", "age": 4, "tags": []',
        "x",
    ):
        assert not is_person(text)
    assert re.search("root ::=", PERSON)
    assert json.loads('{"name": "Ann", "age": 41, "tags": ["a"]}')


def test_a_text_far_beyond_the_context_is_refused_at_once(llamacpp: LlamaCppEngine) -> None:
    """Cutting 10 MB into tokens took 9 s, in which no other sequence got one."""
    start = time.process_time()
    with pytest.raises(ContextBudgetExceededError, match=r"resume\.text has at least \d+ tokens"):
        run(llamacpp, PROMPT, Params(), Resume("word " * 2_000_000))
    assert time.process_time() - start < 1.0
    assert llamacpp.running == 0
