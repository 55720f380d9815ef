"""Which questions are asked, and when is an answer right? A set of questions is a file with a JSON object in each line.

    {"id": "capital-1", "question": "What is the capital of Peru?", "answer": "Lima", "check": "exact"}

`answers` is a list where several are right. What `check` says:

    exact    the text is the answer, but for case, blanks, quotes and the mark at its end
    number   the last number in the text is the answer
    choice   of the words in `choices` the text has one, which is the answer
    regex    the answer is a regular expression that matches within the text, in any case
    json     the text, or the block of code in it, is JSON that says the same
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

Check = Literal["exact", "number", "choice", "regex", "json"]
Normal = Callable[[str], str]
"""Makes texts equal that say the same."""

_NUMBER: Final = re.compile(r"-?\d+(?:[.,]\d+)*")
_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CODE: Final = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_CHANCE: Final = 1e-9


class BadQuestionsError(ValueError):
    """A file of questions that cannot be used: says where, and what would do."""


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file."""

    id: Annotated[str, Meta(min_length=1)]
    question: Annotated[str, Meta(min_length=1)]
    check: Check = "exact"
    answer: Any = None
    answers: list[Any] = field(default_factory=list[Any])
    """All that are right; `answer` where it is one."""
    choices: list[str] = field(default_factory=list[str])
    topic: str = ""
    seen: bool = False
    """For sets of a model that was trained here: it was trained on this very wording."""

    @property
    def wanted(self) -> list[Any]:
        """Every right answer."""
        return self.answers or [self.answer]


def load(path: Path) -> list[Question]:
    """The questions of a file, in its order. Raises BadQuestionsError, OSError."""
    found: dict[str, Question] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            question = msgspec.json.decode(line, type=Question)
        except msgspec.MsgspecError as error:
            raise BadQuestionsError(f"{where}: {error}") from None
        wrong = next(_mistakes(question), None)
        if wrong is not None:
            raise BadQuestionsError(f"{where}: {question.id}: {wrong}")
        if question.id in found:
            raise BadQuestionsError(f"{where}: the id {question.id} is there twice")
        found[question.id] = question
    if not found:
        raise BadQuestionsError(f"{path}: holds no question; a line of it is {_EXAMPLE}")
    return list(found.values())


_EXAMPLE: Final = '{"id": "1", "question": "What is 2 plus 2?", "answer": 4, "check": "number"}'


def _mistakes(question: Question) -> Iterator[str]:
    if question.answer is not None and question.answers:
        yield "has `answer` and `answers`: give one of them"
    for wanted in question.wanted:
        if wanted is None:
            yield "has neither `answer` nor `answers`"
        elif question.check == "number" and number_in(str(wanted)) is None:
            yield f"check number: the answer {wanted!r} is no number"
        elif question.check == "choice" and wanted not in question.choices:
            yield f"check choice: the answer {wanted!r} is not among `choices`"
        elif question.check == "regex":
            yield from _bad_pattern(wanted)
        elif question.check == "exact" and not isinstance(wanted, str):
            yield f"check exact: the answer {wanted!r} is no text"


def _bad_pattern(pattern: Any) -> Iterator[str]:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        yield f"check regex: {pattern!r}: {error}"


def is_right(question: Question, text: str, normal: Normal) -> bool:
    """Whether the text is a right answer."""
    match question.check:
        case "exact":
            return normal(text) in {normal(str(wanted)) for wanted in question.wanted}
        case "number":
            said = number_in(text)
            return said is not None and any(
                abs(said - (number_in(str(one)) or 0.0)) <= _CHANCE for one in question.wanted
            )
        case "choice":
            said_words = {word for word in question.choices if _has_word(text, word)}
            return len(said_words) == 1 and said_words <= set(question.wanted)
        case "regex":
            return any(re.search(pattern, text, re.IGNORECASE) for pattern in question.wanted)
        case "json":
            return any(_same_json(text, wanted) for wanted in question.wanted)


def number_in(text: str) -> float | None:
    """The last number in a text, 1,000 read as a thousand; None without one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    last = found[-1]
    try:
        return float(last.replace(",", "") if _THOUSANDS.fullmatch(last) else last.replace(",", "."))
    except ValueError:
        return None


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _same_json(text: str, wanted: Any) -> bool:
    block = _CODE.search(text)
    try:
        return bool(json.loads(block[1] if block else text) == wanted)
    except ValueError:
        return False
