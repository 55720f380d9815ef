"""What the checker of GBNF takes, llama.cpp takes too, and the other way round."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from golek_wire.errors import InvalidGrammarError
from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp import log
from golek_worker.engine.llamacpp.model import Model
from golek_worker.grammars.gbnf import check
from tests.support.grammars import PERSON

SEEDS = (
    PERSON,
    'root ::= "a" | b\nb ::= "c"{2,3} [x-z]+ (b2 | "q")?\nb2 ::= "" | .{0,4}',
    'root ::= (a b)* "x"\na ::= "a"?\nb ::= [^\\n]{3}',
    'root ::= <[12]> !<[5]> "a" # c\n',
    'root ::= "\\x41\\u00e9\\U0001F30D" [\\]\\-a-]',
    'root::="a"|\n\n"b"\r\nx ::= root "y"',
    'root ::= ((("a")){40}){40}',
    'root ::= a a a\na ::= b? b*\nb ::= "x" | a2\na2 ::= "y"{0,30}',
)
PIECES = (
    *'"[]()|*+?{},#\\-^.<>! 0\n\rü\t', "{2}", "{0,3}", "{1,}", "::=", "root", "a", "b", "\\n", "\\x4", "<[3]>", '""',
    "[]", "2000", "a ::= ", "\nb ::= ", '(""|b)', "99999999999999999999",
)  # fmt: skip
MODEL = Path("data/models/golek-tiny/model.gguf")
OURS = ("nested deeper", "must not be smaller", "let it begin with something else", "written out", "NUL")
"""Why the checker refuses what llama.cpp would take, and die of or never come back from."""


@pytest.fixture(scope="module")
def vocab() -> Iterator[llama_cpp.llama_vocab_p]:
    log.install()
    model = Model(EngineConfig("llamacpp", str(MODEL), 1, 0, 1), lambda _done, _total: None)
    yield model.vocab
    model.close()


def mutated(draw: random.Random, text: str) -> str:
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        end = at + draw.randint(0, 8)
        text = text[:at] + draw.choice((draw.choice(PIECES), "", text[at:end] * 2)) + text[draw.choice((at, end)) :]
    return text


def complaint(text: str) -> str:
    try:
        check(text)
    except InvalidGrammarError as error:
        return error.message
    return ""


def test_the_checker_and_llama_cpp_agree(vocab: llama_cpp.llama_vocab_p) -> None:
    """4,000 mutated grammars: no difference but where llama.cpp would not survive its own answer."""
    draw = random.Random(5)
    taken = 0
    for _ in range(4000):
        text = mutated(draw, draw.choice(SEEDS))
        refused = complaint(text)
        names_tokens = not refused and re.search(r"<(?!\[)", text)  # only the model knows its tokens
        if names_tokens or any(words in refused for words in OURS):
            continue
        sampler = llama_cpp.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        assert bool(sampler) == (refused == ""), (text, refused)
        if sampler:
            taken += 1
            llama_cpp.llama_sampler_free(sampler)
    assert taken > 200
