"""Schemas, expressions, choices and Lark grammars, followed by a real model token by token."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from golek_wire.errors import BadRequestError, InvalidGrammarError
from golek_wire.requests import Params, Resume
from golek_worker.engine.base import Constraint, EngineConfig, Finished, Refused, Submit
from golek_worker.engine.llamacpp.candidates import Candidates
from golek_worker.engine.llamacpp.constraints import guide
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.grammars import lark, schemas
from golek_worker.output import Output

PERSON = schemas.compiled(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["ä", "b\n", "🌍"]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    "it",
    strict=True,
)
ANSWER = '{"name": "Anna", "age": 7, "tags": ["🌍", "b\\n"]}'


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaCppEngine]:
    config = EngineConfig("llamacpp", "data/models/golek-tiny/model.gguf", 4, 1024, 1)
    engine = LlamaCppEngine(config, lambda _done, _total: None)
    yield engine
    engine.close()


def submit(
    engine: LlamaCppEngine, constraint: Constraint, seed: int = 0, resume: str | None = None, **params: float
) -> Finished | Refused:
    """The end of one sequence."""
    told = Resume(resume) if resume is not None else None
    wish = Params(**({"max_tokens": 300, "temperature": 1.0} | params))  # type: ignore[arg-type]
    command = Submit("job", "Who are you?", wish, seed, resume=told, constraint=constraint)
    ended = engine.submit(command)
    while ended is None:
        ended = next((one for one in engine.step() if isinstance(one, Finished | Refused)), None)
    return ended


def text(engine: LlamaCppEngine, constraint: Constraint, seed: int = 0, **params: float) -> str:
    """What it writes; it ends by itself."""
    ended = submit(engine, constraint, seed, **params)
    assert isinstance(ended, Finished)
    assert ended.finish_reason == "stop"
    return ended.text


def test_each_kind_is_followed_to_its_end(engine: LlamaCppEngine) -> None:
    """With several seeds: JSON by its schema, an expression as a whole, one of the choices; also with ignore_eos."""
    for seed in range(6):
        person = json.loads(text(engine, Constraint("json_schema", PERSON), seed))
        assert list(person) == ["name", "age", "tags"]
        assert len(person["name"]) <= 12
        assert 0 <= person["age"] <= 120
        assert set(person["tags"]) <= {"ä", "b\n", "🌍"}
        word = text(engine, Constraint("regex", "[a-f]{2,4}(ü|!)[0-9]{2}"), seed, ignore_eos=True)
        assert word.isascii() is False or "!" in word
        assert word[-2:].isdecimal()
        choice = lark.grammar(start=lark.one_of(["yes", 'no "\\"\n', "größer"], "it"))
        assert text(engine, Constraint("lark", choice), seed) in ("yes", 'no "\\"\n', "größer")


def test_same_seed_same_text(engine: LlamaCppEngine) -> None:
    """What a constraint keeps of one sequence does not reach the next; greedy is the same each time."""
    constraint = Constraint("json_schema", PERSON)
    assert text(engine, constraint, 3) == text(engine, constraint, 3)
    assert len({text(engine, constraint, seed) for seed in range(5)}) > 1
    assert text(engine, constraint, 1, temperature=0) == text(engine, constraint, 2, temperature=0)


@pytest.mark.parametrize("cut", range(0, len(ANSWER), 7))
def test_a_text_is_gone_on_from(engine: LlamaCppEngine, cut: int) -> None:
    """Cut in a key, a name, a number, a character of several bytes: the whole follows the schema."""
    ended = submit(engine, Constraint("json_schema", PERSON), resume=ANSWER[:cut])
    assert isinstance(ended, Finished)
    assert ended.finish_reason == "stop"
    assert ended.text.startswith(ANSWER[:cut])
    assert list(json.loads(ended.text)) == ["name", "age", "tags"]


@pytest.mark.parametrize("wrong", ['{"age"', '{"name": 7', ANSWER + " x", '{"name": "Anna", "age": 121'])
def test_a_text_that_is_not_allowed_is_refused(engine: LlamaCppEngine, wrong: str) -> None:
    """The error names the text to resume, and nothing of the sequence stays."""
    with pytest.raises(BadRequestError, match="does not allow it"):
        submit(engine, Constraint("json_schema", PERSON), resume=wrong)
    assert engine.running == 0


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Constraint("regex", "(a", "params.regex"), r"params.regex: unclosed group, at character 1 of"),
        (Constraint("regex", "a(?=b)", "params.regex"), r"look-around.*not supported, at character 2 of"),
        (Constraint("json_schema", '{"type":"string","pattern":"[z-a]"}', "it"), "it: invalid character class range"),
        (Constraint("json_schema", '{"type":"integer","multipleOf":5,"minimum":1,"maximum":4}', "it"), "it: .*nsatisf"),
        (Constraint("lark", "start: nobody", "it"), 'it: line 1, column 8: unknown name: "nobody"'),
    ],
)
def test_what_cannot_be_compiled_is_refused(engine: LlamaCppEngine, constraint: Constraint, words: str) -> None:
    """llguidance's sentence, in one line, under the request's field."""
    with pytest.raises(InvalidGrammarError, match=words) as caught:
        submit(engine, constraint)
    assert "\n" not in caught.value.message
    assert engine.running == 0


def test_what_no_text_can_follow_ends_with_a_refusal(engine: LlamaCppEngine) -> None:
    """A schema without an end that can be reached is found out at the first token."""
    ended = submit(engine, Constraint("json_schema", '{"$ref":"#"}', "it"))
    assert isinstance(ended, Refused)
    assert (ended.code, ended.message) == ("INVALID_GRAMMAR", "it: no text can follow it to its end")


def test_a_grammar_with_too_many_readings_ends_with_a_refusal(engine: LlamaCppEngine) -> None:
    """Its readings double with each character; llama.cpp follows them all, and took hours."""
    grammar = 'root ::= "a" root "b" | "a" root "c" | "x"'
    likely = {str(token): 100.0 for token in range(engine._model.n_vocab) if engine._model.piece(token) == b"a"}
    wish = Params(max_tokens=60, temperature=0.0, logit_bias=likely)
    engine.submit(Submit("job", "Who are you?", wish, 0, constraint=Constraint("gbnf", grammar)))
    ended = None
    while ended is None:
        ended = next((one for one in engine.step() if isinstance(one, Finished | Refused)), None)
    assert isinstance(ended, Refused)
    assert ended.code == "INVALID_GRAMMAR"
    assert "too many ways" in ended.message
    assert engine.running == 0


@pytest.mark.parametrize(
    "constraint",
    [Constraint("json_schema", PERSON, "it"), Constraint("gbnf", 'root ::= "{" [a-z]{1,9} "}"')],
    ids=["s", "g"],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_constraint_counts_behind_the_thoughts(engine: LlamaCppEngine, constraint: Constraint, seed: int) -> None:
    """What is thought is free."""
    output = Output("marked", ("[", "is a"), begun="[")
    wish = Params(max_tokens=400, temperature=0.8)
    engine.submit(
        Submit("job", "<|user|>What is NATS?<|end|><|assistant|>", wish, seed, output=output, constraint=constraint)
    )
    ended = None
    while ended is None:
        ended = next((one for one in engine.step() if isinstance(one, Finished | Refused)), None)
    assert isinstance(ended, Finished)
    assert ended.finish_reason == "stop"
    assert ended.reasoning_content
    assert re.fullmatch(r"\{[a-z]+\}", ended.text) or list(json.loads(ended.text)) == ["name", "age", "tags"]


def test_no_token_writes_over_the_end_of_the_thoughts(engine: LlamaCppEngine) -> None:
    """The beginning of the answer would not be looked at; blanks belong to nobody."""
    model = engine._model
    (over,) = {t for t in range(model.n_vocab) if model.piece(t) == b" the"}
    follows = guide(model, Constraint("gbnf", 'root ::= "x"'), mark=" t")
    assert not follows.allows(over)
    assert not any(map(follows.allows, model.ends))
    candidates = Candidates(model.n_vocab)
    candidates.fill(np.zeros(model.n_vocab, np.float32))
    follows.apply(candidates)
    allowed = [token for token in range(model.n_vocab) if candidates.logits[token] == 0.0]
    assert allowed == [token for token in range(model.n_vocab) if follows.allows(token)]
    follows.close()


@pytest.mark.parametrize(
    ("schema", "allowed", "refused"),
    [
        ({"exclusiveMinimum": 4, "maximum": 4.25}, "4.1", "4"),
        ({"minimum": -6.5, "exclusiveMaximum": -6.0}, "-6.5", "-6"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.25}, "0.5", "0"),
        ({"minimum": -8.5, "exclusiveMaximum": -8.25, "multipleOf": 0.25}, "-8.5", "-8.25"),
        ({"minimum": 1, "maximum": 2, "multipleOf": 0.1}, "1.3", "1.35"),
    ],
)
def test_numbers_are_within_their_bounds(
    engine: LlamaCppEngine, schema: dict[str, float], allowed: str, refused: str
) -> None:
    """llguidance 1.9.1 by itself writes a whole exclusive bound of a narrow range, and finds few multiples none."""
    item = {"anyOf": [{"type": "number", **schema}]}
    text = schemas.compiled({"type": "array", "items": item, "minItems": 1, "maxItems": 1}, "it")
    constraint = Constraint("json_schema", text, "it")
    assert isinstance(submit(engine, constraint, resume=f"[{allowed}]"), Finished)
    with pytest.raises(BadRequestError):
        submit(engine, constraint, resume=f"[{refused}]")
