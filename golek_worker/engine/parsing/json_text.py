"""Where does a JSON value end, in a text that comes character by character, and what is in a call written as JSON?

What a model writes may be broken JSON. It is passed on as written, so nothing is parsed but strings and brackets.
"""

import json
from typing import Literal

from golek_worker.engine.parsing.answer import Answer

_KEYS = frozenset(("type", "id", "name", "function", "arguments", "parameters"))
_SCALAR_ENDS = frozenset(", \n\r\t:;]}")


class Value:
    """One JSON value. `char` says whether a character belongs to it, is its last one, or comes behind it."""

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def char(self, character: str) -> Literal["inside", "last", "behind"]:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_string = False
                return "inside" if self._depth else "last"
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif self._depth and character in "}]":
            self._depth -= 1
            return "inside" if self._depth else "last"
        elif not self._depth and character in _SCALAR_ENDS:
            return "behind"
        return "inside"


class CallObject:
    """A call as an object: `{"name": …, "arguments": {…}}`, or with `parameters`. The first character is its brace.

    It is announced when its arguments begin and its name is known, or when it ends. An object without a name is no
    call; with `strict` one without arguments is none either, for an answer in JSON may have a name.
    """

    __slots__ = ("_answer", "_arguments", "_key", "_place", "_strict", "_text", "_value", "announced", "failed", "name")

    def __init__(self, answer: Answer, *, strict: bool) -> None:
        self._answer = answer
        self._strict = strict
        self._place: Literal["before", "key", "colon", "value", "within", "arguments"] = "before"
        self._key = ""
        self._text: list[str] = []
        """What is read of a key or a value."""
        self._value = Value()
        self._arguments: str | None = None
        """Arguments that came before the name."""
        self.name = ""
        self.announced = False
        self.failed = False
        """True once a `strict` one has a key that calls do not have."""

    def char(self, character: str) -> bool:
        """Take the next character; True when it ends the object."""
        match self._place:
            case "before" | "colon" if character == "}":
                self._end()
                return True
            case "before":
                if character == '"':
                    self._begin("key", character)
            case "key":
                self._in_key(character)
            case "colon":
                if character == ":":
                    self._place = "value"
            case "value":
                return not character.isspace() and self._begin_value(character)
            case "within" | "arguments":
                return self._within(character)
        return False

    def _in_key(self, character: str) -> None:
        self._text.append(character)
        if self._value.char(character) == "last":
            self._key, self._place = _decoded("".join(self._text)), "colon"
            self.failed = self._strict and self._key not in _KEYS

    def _begin(self, place: Literal["key", "within", "arguments"], character: str) -> None:
        self._place, self._text, self._value = place, [character], Value()
        self._value.char(character)

    def _begin_value(self, character: str) -> bool:
        """The first character of the value of `_key`; True when it ends the object."""
        if character in ",}":  # there is none
            self._place = "before"
            return self.char(character)
        if self.name and character == "{" and self._key in ("arguments", "parameters"):
            self._announce()
            self._begin("arguments", character)
            self._answer.arguments(character)
        else:
            self._begin("within", character)
        return False

    def _within(self, character: str) -> bool:
        """A further character of a value."""
        where = self._value.char(character)
        if where != "behind":
            if self._place == "arguments":
                self._answer.arguments(character)
            else:
                self._text.append(character)
        if where == "inside":
            return False
        if self._place == "within":
            self._keep("".join(self._text))
        self._place = "before"
        return where == "behind" and self.char(character)

    def _keep(self, written: str) -> None:
        """A whole value that was not passed on as it came."""
        if self._key == "name" and written.startswith('"'):
            self.name = _decoded(written)
        elif self._key in ("arguments", "parameters"):
            # Some models write the arguments as a string of JSON.
            self._arguments = _decoded(written) if written.startswith('"') else written
        if self.name and self._arguments is not None and not self.announced:
            self._announce()
            self._answer.arguments(self._arguments)

    def _announce(self) -> None:
        self.announced = True
        self._answer.call(self.name)

    def _end(self) -> None:
        if self.name and not self.announced and not self._strict:
            self._announce()
            self._answer.arguments("{}")


def _decoded(written: str) -> str:
    """The string that is written so; as it is, where it is broken. Half of a character, `\\ud83d`, becomes U+FFFD."""
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return written
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else written
