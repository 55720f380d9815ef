"""What is vLLM told of what an answer must follow?

Its backend `guidance` is llguidance, which the other engine follows constraints with too; GBNF becomes Lark first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark
from vllm.sampling_params import StructuredOutputsParams

from golek_wire.errors import InvalidGrammarError
from golek_worker.engine.base import Constraint
from golek_worker.engine.guided import compiled, refusal

if TYPE_CHECKING:
    from golek_worker.engine.vllm.vocabulary import Vocabulary

_ANSWER = "golek_answer"
"""What a grammar's own `start` is called behind thoughts; no rule of callers is likely to be called so."""
_word = re.compile(r'//[^\n]*|"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/|[@\w][\w-]*')
"""A comment, a string, an expression, or a name of Lark's."""
_slash = re.compile(r"(?<!\\)((?:\\\\)*)/")


def structure(constraint: Constraint, mark: str, vocabulary: Vocabulary) -> StructuredOutputsParams:
    """`constraint` as vLLM takes it; with `mark` it counts behind that. Raises InvalidGrammarError."""
    if constraint.kind == "gbnf":
        constraint = Constraint("lark", _from_gbnf(constraint), constraint.param)
    if mark:
        constraint = Constraint("lark", _behind(constraint, mark, vocabulary), constraint.param)
    said = LLMatcher.validate_grammar(compiled(constraint.kind, constraint.text, constraint.param), vocabulary.follower)
    if said:
        raise refusal(said, constraint.param)
    match constraint.kind:
        case "json_schema":
            return StructuredOutputsParams(json=constraint.text)
        case "regex":
            return StructuredOutputsParams(regex=constraint.text)
        case _:
            return StructuredOutputsParams(grammar=constraint.text)


def _from_gbnf(constraint: Constraint) -> str:
    try:
        return gbnf_to_lark(constraint.text)
    except Exception as error:  # noqa: BLE001 - its parser raises what comes
        raise InvalidGrammarError(f"{constraint.param}: {error}", param=constraint.param) from None


def _behind(constraint: Constraint, mark: str, vocabulary: Vocabulary) -> str:
    """The grammar of an answer that stands behind thoughts, which `mark` ends."""
    match constraint.kind:
        case "json_schema":
            answer = f"{_ANSWER}: %json {constraint.text}"
        case "regex":
            answer = f"{_ANSWER}: /" + _slash.sub(r"\1\/", constraint.text) + "/"
        case _:
            answer = _word.sub(lambda found: _ANSWER if found[0] == "start" else found[0], constraint.text)
    return f"{_thoughts(mark, vocabulary)}\nGOLEK_BLANK: /[ \\t\\r\\n]+/\n{answer}"


def _thoughts(mark: str, vocabulary: Vocabulary) -> str:
    begin = "start: golek_thoughts GOLEK_BLANK? " + _ANSWER
    token = vocabulary.token_of(mark)
    if token is not None:
        return f"{begin}\ngolek_thoughts: GOLEK_TEXT? <[{token}]>\nGOLEK_TEXT: /(?s:.+)/"
    escaped = mark.replace("\\", "\\\\").replace('"', '\\"')
    return f'{begin}\ngolek_thoughts[suffix="{escaped}"]: /(?s:.*)/'
