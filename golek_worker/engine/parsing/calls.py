"""What stands behind a mark that opens calls of tools?

Each body is fed character by character and says when it is over, or that it is no call: then what was read is text. A
model that is cut off, or writes broken JSON, has written arguments as far as they go.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from golek_worker.engine.parsing.answer import Answer
from golek_worker.engine.parsing.json_text import CallObject, Value
from golek_worker.engine.parsing.marks import Matcher

Verdict = Literal["more", "over", "no call"]
_BETWEEN = frozenset(" \t\r\n,;[]}`")
"""What may stand between two objects and behind the last one; a brace too much is a common mistake."""

NAME_LIMIT = 256
"""Characters of a tool's name. OpenAI allows 64."""
_BAR = "\uff5c"
BEGIN_ALL, END_ALL = f"<{_BAR}tool▁calls▁begin{_BAR}>", f"<{_BAR}tool▁calls▁end{_BAR}>"
BEGIN_ONE, END_ONE = f"<{_BAR}tool▁call▁begin{_BAR}>", f"<{_BAR}tool▁call▁end{_BAR}>"
SEP = f"<{_BAR}tool▁sep{_BAR}>"
"""DeepSeek's marks, with its full-width bars."""
DEEPSEEK_BEGIN, DEEPSEEK_END = (BEGIN_ALL, BEGIN_ONE), (END_ONE, END_ALL)


class Body(Protocol):
    """A block of calls."""

    @property
    def rest(self) -> str:
        """What was read since the last call, where that is neither a call nor punctuation."""
        ...

    def char(self, character: str) -> Verdict:
        """Take the next character."""
        ...

    def end(self) -> None:
        """Nothing follows."""
        ...


class Objects:
    """Calls as objects, one or several, alone or in a list, until one of the marks that close the block."""

    def __init__(self, answer: Answer, closes: tuple[str, ...] = (), *, strict: bool = False) -> None:
        self._answer = answer
        self._strict = strict
        self._matcher = Matcher(closes)
        self._object: CallObject | None = None
        self._read: list[str] = []
        """Since the last call."""

    @property
    def rest(self) -> str:
        if self._object is not None and self._object.announced:
            return ""
        rest = "".join(self._read)
        return "" if _BETWEEN.issuperset(rest) else rest

    def char(self, character: str) -> Verdict:
        self._read.append(character)
        if self._object is not None:
            if self._object.char(character):
                announced, self._object = self._object.announced, None
                if not announced:
                    return "no call"
                self._read.clear()
                self._answer.end_call()
            elif self._object.failed:
                return "no call"
            return "more"
        plain, mark = self._matcher.char(character)
        if mark:
            return "over"
        if plain == "{":
            self._object = CallObject(self._answer, strict=self._strict)
        elif not _BETWEEN.issuperset(plain):
            return "no call"
        return "more"

    def end(self) -> None:
        """An object that is cut off has been passed on as far as it goes."""


class Named:
    """Mistral's later form: the name, `[ARGS]`, the arguments. `[CALL_ID]` may bring an id between them."""

    def __init__(self, answer: Answer, first: str) -> None:
        self._answer = answer
        self._matcher = Matcher(("[ARGS]", "[CALL_ID]"))
        self._name = ""
        self._names = True
        self._value: Value | None = None
        self.rest = ""
        self.char(first)

    def char(self, character: str) -> Verdict:
        if self._value is not None:
            return self._argument(character)
        plain, mark = self._matcher.char(character)
        self._name += plain if self._names else ""
        if mark == "[CALL_ID]":
            self._names = False
        elif mark or (plain == "{" and self._names):
            self._answer.call(self._name.removesuffix("{").strip())
            self._value = Value()
            return "more" if mark else self._argument(plain)
        return "more" if len(self._name) <= NAME_LIMIT and "\n" not in self._name.strip() else "no call"

    def end(self) -> None:
        """What is read of the arguments has been passed on."""

    def _argument(self, character: str) -> Verdict:
        assert self._value is not None
        where = self._value.char(character)
        if where == "behind":
            self.rest = character
            self._answer.end_call()
            return "no call"
        self._answer.arguments(character)
        if where == "last":
            self._answer.end_call()
            return "over"
        return "more"


class Tagged:
    """Qwen3-Coder's form: `<function=name>`, then for each argument `<parameter=key>`, its value and `</parameter>`.

    `kinds` are the types of each function's parameters: a value is a string where it shall be one, else JSON. An
    argument is passed on when it is whole. Other models write all arguments as one object in their place.
    """

    rest = ""

    def __init__(self, answer: Answer, kinds: Mapping[str, Mapping[str, str]], close: str) -> None:
        self._answer = answer
        self._all_kinds = kinds
        self._kinds: Mapping[str, str] = {}
        self._close = close
        self._place: Literal["function", "between", "key", "value", "object", "behind"] = "function"
        self._object = Value()
        self._between = Matcher(("<parameter=", "</function>", *([close] if close else [])))
        self._within = Matcher(("</parameter>",))
        self._text = ""
        self._key = ""
        self._count = 0

    def char(self, character: str) -> Verdict:
        match self._place:
            case "function" | "key" if character == ">":
                self._named(self._text.strip())
            case "function" | "key":
                self._text += character
                if len(self._text) > NAME_LIMIT:
                    return "no call"
            case "value":
                plain, mark = self._within.char(character)
                self._text += plain
                if mark:
                    self._argument(self._text)
                    self._place = "between"
            case "object":
                self._answer.arguments(character)
                if self._object.char(character) == "last":
                    self._answer.end_call()
                    self._place = "behind"
            case _:
                return self._outside(character)
        return "more"

    def end(self) -> None:
        """What is cut off is passed on as far as it goes."""
        if self._place == "value":
            text = (self._text + self._within.rest()).removeprefix("\n")
            self._answer.arguments(f"{self._before()}{json.dumps(text, ensure_ascii=False)[:-1]}")

    def _outside(self, character: str) -> Verdict:
        """Between arguments, and behind the last one."""
        plain, mark = self._between.char(character)
        if plain == "{" and self._place == "between" and self._count == 0:
            self._place = "object"
            return self.char(plain)
        if mark == "<parameter=":
            self._place, self._text = "key", ""
        elif mark:
            if self._place == "between":
                self._answer.arguments("{}" if self._count == 0 else "}")
                self._answer.end_call()
                self._place = "behind"
            if mark == self._close or not self._close:
                return "over"
        return "more"

    def _named(self, name: str) -> None:
        if self._place == "key":
            self._key, self._place, self._text = name, "value", ""
            return
        self._kinds = self._all_kinds.get(name, {})
        self._answer.call(name)
        self._place = "between"

    def _argument(self, written: str) -> None:
        text = written.removeprefix("\n").removesuffix("\n")
        value = json.dumps(text, ensure_ascii=False)
        if self._kinds.get(self._key) != "string":
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                value = msgspec.json.format(text, indent=0)
        self._answer.arguments(f"{self._before()}{value}")

    def _before(self) -> str:
        self._count += 1
        return ("{" if self._count == 1 else ", ") + json.dumps(self._key, ensure_ascii=False) + ": "


class DeepSeek:
    """For each call a mark, the name, the mark SEP, and the arguments.

    Earlier models write `function` in the name's place, the name and a line's end behind the mark, and the arguments as
    a block of code.
    """

    def __init__(self, answer: Answer) -> None:
        self.rest = ""
        self._answer = answer
        self._matcher = Matcher((*DEEPSEEK_BEGIN, SEP, *DEEPSEEK_END))
        self._place: Literal["outside", "name", "second name", "fence", "value", "behind"] = "outside"
        self._text = ""
        self._value = Value()

    def char(self, character: str) -> Verdict:
        if self._place == "value":
            self._argument(character)
            return "more"
        plain, mark = self._matcher.char(character)
        if plain:
            self._plain(plain)
        if mark == BEGIN_ONE:
            self._place, self._text = "name", ""
        elif mark == SEP and self._place == "name":
            self._separated(self._text.strip())
        elif mark == END_ONE:
            self._place = "outside"
        elif mark == END_ALL:
            return "over"
        elif self._place == "outside" and plain.strip():
            self.rest = plain
            return "no call"
        return "more"

    def end(self) -> None:
        """What is read of the arguments has been passed on."""

    def _separated(self, name: str) -> None:
        if name == "function":
            self._place, self._text = "second name", ""
        else:
            self._announce(name)

    def _plain(self, text: str) -> None:
        self._text += text
        if self._place == "second name" and text.endswith("\n"):
            self._announce(self._text.strip())
        elif self._place == "fence" and text[-1] in "{[":
            self._place, self._value = "value", Value()
            self._argument(text[-1])

    def _argument(self, character: str) -> None:
        self._answer.arguments(character)
        if self._value.char(character) == "last":
            self._answer.end_call()
            self._place = "behind"

    def _announce(self, name: str) -> None:
        self._answer.call(name)
        self._place = "fence"
