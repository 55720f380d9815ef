"""What the checker of GBNF says of a text: whether it is a grammar, else where not and what was expected there."""

from time import process_time

import pytest

from golek_wire.errors import InvalidGrammarError
from golek_worker.grammars.gbnf import check
from tests.support.grammars import PERSON

GOOD = (
    'root ::= "yes" | "no"',
    PERSON,
    '# a comment\nroot::=(\n  [a-z]+ # inner\n | b\n)\r\nb ::= .{2} [^\\]\\n-]{3,} "\\x41\\u00e9\\U0001F30D\\""?',
    "root ::= <|end|> !<[7]> <[12]>",
    'root ::= ("a"?)* ws ws\nws ::= [ \\t]*',
    'root ::= "a" root "b" | ""',
    'root ::= "a"{0,5000}',
    'root ::= "x"\nroot ::= "y"',
)

BAD = (
    ("", 1, 1, "there is no rule `root"),
    ('start ::= "a"', 1, 1, "there is no rule `root"),
    ('root ::= "a"\n  b ::= cc', 2, 9, "the rule 'cc' is not defined"),
    ('root ::= "a"\nb ::= "\\q"', 2, 8, "one of the escapes"),
    ('root ::= "ab', 1, 13, 'the closing `"`, found the end of the grammar'),
    ("root ::= [a-", 1, 13, "the closing `]`"),
    ('root = "a"', 1, 6, "expected `::=`"),
    ("root ::= (a", 1, 12, "expected `)`"),
    ('root ::= "a" }', 1, 14, "expected the end of the line"),
    ("root ::= *", 1, 10, "something before it to repeat"),
    ('root ::= ""+', 1, 12, "something before it to repeat"),
    ('root ::= "a"{x}', 1, 14, "expected a number of repetitions"),
    ('root ::= "a"{2;}', 1, 15, "expected `}`"),
    ('root ::= "a"{2001}', 1, 13, "at most 2000"),
    ('root ::= "a"{50}{50}', 1, 17, "2500 copies"),
    ('root ::= "a"{3,2}', 1, 13, "must not be smaller"),
    ("root ::= <[4294967296]>", 1, 10, "is larger than 4294967295"),
    ("root ::= <end", 1, 10, "expected a token"),
    ('root ::= "a\0"', 1, 12, "NUL"),
    ("root ::= root", 1, 1, "left recursion, root -> root:"),
    ("root ::= root2\nroot2 ::= root", 1, 1, "left recursion, root -> root2 -> root:"),
    ('root ::= a\na ::= b "x"\nb ::= a | "y"', 1, 10, "left recursion, a -> b -> a:"),
    ('root ::= ("a" | "")*', 1, 20, "take the empty alternative out"),
    ('root ::= b root "x" | "y"\nb ::= c\nc ::= "" | "a"', 1, 1, "left recursion"),
)


def stairs(steps: int, step: str) -> str:
    """A grammar in which each rule begins with the next one."""
    rules = [f"r{i} ::= {step.format(i + 1)}" for i in range(steps)]
    return "\n".join(["root ::= r0", *rules, f'r{steps} ::= "a"'])


@pytest.mark.parametrize("text", GOOD)
def test_a_grammar_is_taken(text: str) -> None:
    """All of the language: comments, groups over lines, classes, escapes, repetitions, tokens, right recursion."""
    check(text)


@pytest.mark.parametrize(("text", "line", "column", "words"), BAD)
def test_a_mistake_has_a_place(text: str, line: int, column: int, words: str) -> None:
    """Line and column are those of the mistake, in the sentence and in the details, beside what was expected."""
    with pytest.raises(InvalidGrammarError) as caught:
        check(text)
    assert (caught.value.details["line"], caught.value.details["column"]) == (line, column), caught.value.message
    assert f"line {line}, column {column}" in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("root ::= " + "(" * 101 + '"a"' + ")" * 101, "deeper than 100"),
        ("root ::= " + "(" * 100_000, "deeper than 100"),
        (stairs(6000, "r{}"), "more than 5000 rules"),
        (stairs(40, "r{0} | r{0}"), "1000000 ways"),
        (stairs(17, 'r{0} "a" | r{0} "b"'), "4096 places"),
        ('root ::= "' + "a" * 20_000 + '"{0,1000}', "more than 200000 characters"),
    ],
)
def test_what_would_kill_or_stall_the_engine_is_refused(text: str, words: str) -> None:
    """Depth, repetition and ways have limits, and finding out takes no time."""
    began = process_time()
    with pytest.raises(InvalidGrammarError, match=words):
        check(text)
    assert process_time() - began < 5
