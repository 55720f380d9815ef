"""May two questions that are alike share an answer, and may a question share any?

Vectors of texts are close where the topics are: "convert feet to metres" and "convert metres to feet" have a cosine of
0.99. So beside a cosine all must be equal that decides on the answer: numbers and units, negations, names, code and
what is quoted, tense, who does what to whom, what is asked for. Precision first: what is not known to say the same
counts as another question. Pure.
"""

import re
from typing import Final

from golek_worker.cache.wording import Sense

LONGEST: Final = 600
"""Characters of a question that is looked up. Of a longer one an embedding model may read a part only, and a vector
says little of its details."""
_PERSONAL: Final = re.compile(
    r"\b(?:my|mine|myself|our|ours|us)\b"
    r"|\bi(?:'m|'ve| am| was| have| had| feel| live| lived| work| got| think| believe| don't| didn't)\b(?! to know)"
    r"|(?<!tell )(?<!give )(?<!show )(?<!help )(?<!let )(?<!explain to )(?<!excuse )(?<!to )\bme\b",
    re.IGNORECASE,
)
_WONDERING: Final = re.compile(r"\bi was wondering\b", re.IGNORECASE)
_TIMELY: Final = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|now|nowadays|current|currently|latest|newest|recent|recently|lately"
    r"|upcoming|at the moment|so far|up to date|as of|breaking|ago|news|forecast|what time|which day|what day"
    r"|(?:this|last|next|past) (?:second|minute|hour|morning|afternoon|evening|night|day|week|weekend|month|quarter"
    r"|year|decade|century|season|spring|summer|autumn|fall|winter"
    r"|monday|tuesday|wednesday|thursday|friday|saturday|sunday))\b",
    re.IGNORECASE,
)


def obstacle(question: str) -> str:
    """Why no answer may be shared for `question`, for people; empty where nothing stands against it."""
    if len(question) > LONGEST:
        return f"it has more than {LONGEST} characters"
    if _PERSONAL.search(_WONDERING.sub("", question)):
        return "it speaks of who asks"
    if _TIMELY.search(question):
        return "it depends on when it is asked"
    return ""


def difference(one: Sense, other: Sense) -> str:
    """In what two questions differ, so that they get two answers; empty where they ask the same.

    Where no word is left that counts, as of "What is it?", nothing can be told.
    """
    if one.bag and one.sentences == other.sentences and one.tense == other.tense and one.asks == other.asks:
        return ""
    aspects = (
        ("numbers", one.numbers != other.numbers),
        ("negation", one.negations != other.negations),
        ("code or quotes", one.literals != other.literals),
        ("tense", one.tense != other.tense),
        ("what is asked for", one.asks != other.asks),
        ("words", one.bag != other.bag),
    )
    return next((name for name, differs in aspects if differs), "order" if one.bag else "words")
