"""Is this text a grammar in GBNF that llama.cpp can follow?

`check` says where it is not: line, column, and what was expected there. It reads as llama.cpp's own parser does
(src/llama-grammar.cpp), so that what one takes the other takes too, but for what would crash or stall llama.cpp:
brackets nested too deep, `{3,2}`, left recursion that it does not see (gbnf_bounds.py). It runs in the worker, so that
such a text never reaches an engine.
"""

import re
from functools import lru_cache
from typing import Final, NoReturn

from golek_wire.errors import InvalidGrammarError
from golek_worker.grammars.gbnf_bounds import Rules, problem

NESTING_LIMIT: Final = 100
"""Brackets within brackets. llama.cpp's recursion overflows its stack between 10,000 and 20,000."""
REPETITION_LIMIT: Final = 2000
"""llama.cpp's own: copies that nested repetitions make of one thing."""
ELEMENT_LIMIT: Final = 200_000
"""Characters, classes and references after repetitions are written out, as llama.cpp does: 8 bytes each, and some
microseconds."""
_UNLIMITED: Final = 2**64 - 1
_TOKEN_LIMIT: Final = 2**32 - 1

_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_DIGITS = re.compile(r"[0-9]+")
_ESCAPE = r"\\(?:[trn\\\"\[\]-]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_CHARACTER = re.compile(rf"{_ESCAPE}|[^\\]", re.DOTALL)
_LITERAL = re.compile(rf"(?:[^\"\\]|{_ESCAPE})*")
_CLASS = re.compile(rf"(?:(?:[^\]\\]|{_ESCAPE})(?:-(?!\])(?:[^\\]|{_ESCAPE}))?)*", re.DOTALL)
_TOKEN = re.compile(r"!?<(?:\[([0-9]+)\]|(?!\[)[^>]*)>")
_MARKS: Final = {"*": (0, _UNLIMITED), "+": (1, _UNLIMITED), "?": (0, 1)}


@lru_cache(maxsize=32)
def check(text: str, param: str = "params.grammar") -> None:
    """Raise InvalidGrammarError, with `line` and `column` in its details, unless llama.cpp can follow `text`.

    Not looked at: whether the model has the tokens that it names (`<|end|>`).
    """
    reader = _Reader(text, param)
    reader.read()
    if found := problem(reader.rules, reader.chains, reader.names):
        reader.refuse(reader.place_of(found.rule), found.text)


class _Reader:
    """Reads a grammar into rules: alternatives, each a list of items. An item is the number of a rule, or minus the
    number of characters of a terminal; terminals that match nothing are no items.

    Numbers are given as llama.cpp gives them, for its limits count them.
    """

    def __init__(self, text: str, param: str) -> None:
        self.rules: Rules = {}
        self.chains: dict[int, int] = {}
        """Of the rules that stand for a chain of optional repetitions: how many there are."""
        self._text = text
        self._param = param
        self._at = 0
        self._names: dict[str, int] = {}
        self._first: dict[int, int] = {}
        """Where in the text each rule is met first."""
        self._numbers = 0
        self._elements = 0
        self._depth = 0

    def read(self) -> None:
        if (nul := self._text.find("\0")) >= 0:
            self.refuse(nul, "a NUL character, which ends the text for llama.cpp")
        self._skip(_BLANK)
        while self._at < len(self._text):
            self._rule()
        if self._names.get("root") not in self.rules:
            self.refuse(0, "there is no rule `root ::= …`, where the answer begins")
        self._refuse_undefined()

    def refuse(self, at: int, what: str) -> NoReturn:
        """Raises InvalidGrammarError."""
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        raise InvalidGrammarError(
            f"{self._param}: line {line}, column {column}: {what}", param=self._param, line=line, column=column
        )

    def place_of(self, rule: int) -> int:
        return self._first[rule]

    @property
    def names(self) -> dict[int, str]:
        """The rules that the text names."""
        return {number: name for name, number in self._names.items()}

    def _expected(self, what: str) -> NoReturn:
        rest = self._text[self._at : self._at + 12]
        found = "the end of the grammar" if not rest else repr(rest[:1] if rest[0] in "\r\n" else rest)
        self.refuse(self._at, f"expected {what}, found {found}")

    def _refuse_undefined(self) -> None:
        used = {item for alternatives in self.rules.values() for items in alternatives for item in items}
        highest = max(self.rules)
        for name, number in self._names.items():
            if number not in self.rules and (number in used or number < highest):
                self.refuse(self._first[number], f"the rule {name!r} is not defined; write `{name} ::= …`")

    # -- one rule, top down ------------------------------------------------------------------------------------

    def _rule(self) -> None:
        number = self._named("a rule as `name ::= …`")
        self._skip(_SPACE)
        if not self._take("::="):
            self._expected("`::=` after the name of the rule")
        self._skip(_BLANK)
        self._alternatives(number, _SPACE)
        if self._at < len(self._text) and not (self._take("\r\n") or self._take("\n") or self._take("\r")):
            self._expected("the end of the line, `|`, or more of the rule")
        self._skip(_BLANK)

    def _alternatives(self, number: int, space: re.Pattern[str]) -> None:
        alternatives = [self._sequence(space)]
        while self._take("|"):
            self._skip(_BLANK)
            alternatives.append(self._sequence(space))
        self.rules[number] = alternatives

    def _sequence(self, space: re.Pattern[str]) -> list[int]:
        items: list[int] = []
        start, made = 0, 1
        while self._at < len(self._text):
            here = self._text[self._at]
            if here in "*+?{":
                at = self._at
                least, most = self._times(space)
                made = self._repeat(items, start, made, at, least, most)
                continue
            start, before = len(items), self._numbers
            if not self._one(here, items, space):
                break
            made = max(1, self._numbers - before) if here == "(" else 1
        self._grow(sum(1 if item >= 0 else -item for item in items))
        return items

    def _one(self, here: str, items: list[int], space: re.Pattern[str]) -> bool:
        """Read one literal, class, token, reference or group; False when there is none."""
        if here == '"':
            self._characters(items, _LITERAL, '"', 'a character, an escape or the closing `"`')
        elif here == "[":
            self._at += self._text.startswith("^", self._at + 1)
            self._characters(items, _CLASS, "]", "a character, an escape or the closing `]`")
        elif here in "<!":
            self._token(items)
        elif here == "(":
            self._group(items)
        elif here == ".":
            self._at += 1
            items.append(-1)
        elif _NAME.match(here):
            items.append(self._named("a name"))
        else:
            return False
        self._skip(space)
        return True

    def _characters(self, items: list[int], inside: re.Pattern[str], end: str, expected: str) -> None:
        begin = self._at + 1
        self._at = self._match_end(inside, begin)
        body = self._text[begin : self._at]
        if not self._take(end):
            if self._text.startswith("\\", self._at):
                expected = r"one of the escapes \n \r \t \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH"
            self._expected(expected)
        if body:
            items.append(-len(_CHARACTER.findall(body)))

    def _token(self, items: list[int]) -> None:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            self._expected("a token, as `<|end|>`, `<[123]>` or `!<|end|>`")
        if found[1] and _number(found[1]) > _TOKEN_LIMIT:
            self.refuse(self._at, f"the token {found[1][:24]} is larger than {_TOKEN_LIMIT}")
        self._at = found.end()
        items.append(-1)

    def _group(self, items: list[int]) -> None:
        opened, number = self._at, self._number()
        self._depth += 1
        if self._depth > NESTING_LIMIT:
            self.refuse(opened, f"brackets are nested deeper than {NESTING_LIMIT}; give the inner ones rules")
        self._at += 1
        self._skip(_BLANK)
        self._alternatives(number, _BLANK)
        if not self._take(")"):
            self._expected("`)`, `|`, or more of the group")
        self._depth -= 1
        items.append(number)

    # -- repetitions -------------------------------------------------------------------------------------------

    def _times(self, space: re.Pattern[str]) -> tuple[int, int]:
        """How often what stands before may come."""
        at, mark = self._at, self._text[self._at]
        self._at += 1
        self._skip(space)
        if mark in _MARKS:
            return _MARKS[mark]
        least = most = self._integer(space)
        if self._take(","):
            self._skip(space)
            most = _UNLIMITED if self._text.startswith("}", self._at) else self._integer(space)
        if not self._take("}"):
            self._expected("`}`, or `,` and the largest number of repetitions")
        self._skip(space)
        if least > REPETITION_LIMIT:
            self.refuse(at, f"{least} repetitions; llama.cpp allows at most {REPETITION_LIMIT}")
        if most < least:
            self.refuse(at, f"at least {least} repetitions and at most {most}: the second must not be smaller")
        return least, most if most <= REPETITION_LIMIT else _UNLIMITED

    def _integer(self, space: re.Pattern[str]) -> int:
        found = _DIGITS.match(self._text, self._at)
        if found is None:
            self._expected("a number of repetitions")
        number = _number(found[0])
        if number > _UNLIMITED:
            self.refuse(self._at, f"{found[0][:24]} repetitions; llama.cpp allows at most {REPETITION_LIMIT}")
        self._at = found.end()
        self._skip(space)
        return number

    def _repeat(self, items: list[int], start: int, made: int, at: int, least: int, most: int) -> int:
        """Write out a repetition of `items[start:]` as llama.cpp does; how many copies there are now of one thing."""
        repeated = items[start:]
        if not repeated:
            self.refuse(at, "expected something before it to repeat; nothing, or an empty literal, stands there")
        endless = most == _UNLIMITED
        copies = max(1, least if endless or not most else most)
        if made * copies > REPETITION_LIMIT:
            self.refuse(at, f"{made * copies} copies of one thing; llama.cpp allows at most {REPETITION_LIMIT}")
        size = sum(1 if item >= 0 else -item for item in repeated)
        optional = 1 if endless else most - least
        self._grow(size * (least + optional))
        if least == 0:
            del items[start:]
        items += repeated * (least - 1)
        if optional:
            items.append(self._chain(repeated, optional, at, endless=endless))
        return made * copies

    def _chain(self, repeated: list[int], count: int, at: int, *, endless: bool) -> int:
        """The rule behind which `count` further repetitions are optional, or all there may be."""
        number = self._number(at)
        if endless:
            self.rules[number] = [[*repeated, number], []]
            return number
        self.rules[number] = [repeated, []]
        if count == 1:
            return number
        self._numbers += count - 2
        last = self._number(at)
        self.rules[last] = [[*repeated, number], []]
        self.chains[last] = count
        return last

    # -- characters and numbers --------------------------------------------------------------------------------

    def _named(self, expected: str) -> int:
        found = _NAME.match(self._text, self._at)
        if found is None:
            self._expected(expected)
        name = found[0]
        if name not in self._names:
            self._names[name] = self._number()
        self._at = found.end()
        return self._names[name]

    def _number(self, at: int | None = None) -> int:
        number = self._numbers
        self._first[number] = self._at if at is None else at
        self._numbers += 1
        return number

    def _grow(self, elements: int) -> None:
        self._elements += elements
        if self._elements > ELEMENT_LIMIT:
            self.refuse(
                self._at, f"with its repetitions written out the grammar has more than {ELEMENT_LIMIT} characters"
            )

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _skip(self, what: re.Pattern[str]) -> None:
        self._at = self._match_end(what, self._at)

    def _match_end(self, what: re.Pattern[str], at: int) -> int:
        found = what.match(self._text, at)
        return at if found is None else found.end()


def _number(digits: str) -> int:
    """Their value; beyond all limits for more digits than Python would read."""
    return int(digits.lstrip("0")[:40] or "0")
