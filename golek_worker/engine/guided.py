"""What does llguidance make of a constraint, and what does it say against one?"""

import re

from llguidance import LLMatcher

from golek_wire.errors import InvalidGrammarError

_REGEX = re.compile(r"regex parse error:\n    (?P<text>[^\n]*)\n    (?P<caret> *\^)\^*\nerror: (?P<why>[^\n]*)")
_DRAWING = re.compile(r"\n +(?:\d+ \||\^).*", re.DOTALL)
_WHERE = re.compile(r"^at (\d+)\((\d+)\): ")


def compiled(kind: str, text: str, param: str) -> str:
    """llguidance's own form of a constraint of one of its kinds. Raises InvalidGrammarError for JSON that is none."""
    try:
        match kind:
            case "lark":
                return LLMatcher.grammar_from_lark(text)
            case "regex":
                return LLMatcher.grammar_from_regex(text)
            case _:
                return LLMatcher.grammar_from_json_schema(text)
    except ValueError as error:
        raise InvalidGrammarError(f"{param}: {error}", param=param) from None


def refusal(said: str, param: str) -> InvalidGrammarError:
    """What llguidance says, in one line; of its drawings only the place."""
    said = said.split("\n<non-verbose/>", maxsplit=1)[0]
    if said.startswith("NoExtension"):
        said = "no text can follow it to its end"
    elif "TooComplex" in said or "too complex" in said:
        said = f"it leaves too much open to be followed token by token ({said})"
    elif mark := _REGEX.search(said):
        said = f"{mark['why']}, at character {len(mark['caret'])} of the expression {mark['text']!r}"
    else:
        said = _WHERE.sub(r"line \1, column \2: ", _DRAWING.sub("", said))
    return InvalidGrammarError(f"{param}: {' '.join(said.split())}", param=param)
