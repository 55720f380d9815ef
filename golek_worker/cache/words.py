"""Which words of a question say the same, and which say nothing?

Tables and rules for `wording`. A word that stands nowhere here counts as it is written: what is not known to be the
same is another question. English; a question in another language is compared word by word.
"""

import re
from typing import Final


def _listed(text: str) -> list[str]:
    return text.split()


SILENT: Final = frozenset(_listed("a an the is are it there that please exactly actually really basically kindly"))
"""Counted as nothing, in lower case; an `A` inside of a sentence is a name, as in vitamin A."""
HELPING: Final = frozenset({"do", "does"})
"""Counted as nothing at the beginning and behind who, what or how; bees *do* things."""
ASKING: Final = {"who": "who", "whom": "who", "whose": "whose", "where": "where", "when": "when", "why": "why",
                 "how": "how", "what": "", "which": ""}  # fmt: skip
"""What is asked for; `what` is what a noun alone asks."""
TENSES: Final = {"was": "past", "were": "past", "did": "past", "will": "future", "shall": "future"}
PRESENT: Final = frozenset({"is", "are", "am", "do", "does"})
"""Where a sentence has one of these and another tense, the place of each counts."""
OPENING: Final = frozenset(
    _listed("is are am do does was were did will shall can could should would must may might has have had")
)
"""A question that begins with one of these asks whether."""
JOINTS: Final = frozenset(
    _listed(
        "of in on at for with without from to into onto by as than about if when while during before after since until "
        "between among through over under above below near against towards via per up down off out because unless "
        "versus vs like so but then"
    )
)
"""What begins with one of these may stand before the question, with a comma, or after it."""
PAIRED: Final = frozenset({"and", "or"})
"""The words at both sides may change places."""
ORDERED: Final = frozenset(
    _listed("ratio quotient difference divide divided subtract minus respectively order then first last before after")
)
"""But not where one of these is said."""
NEGATIONS: Final = frozenset(
    _listed("not no never none without nobody nothing nowhere neither nor non lack except unless hardly")
)

_CARDINALS: Final = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_ORDINALS: Final = _listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_NUMBERS: Final = (
    {name: str(value) for value, name in enumerate(_CARDINALS)}
    | dict(zip(_ORDINALS, _listed("1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th 11th 12th"), strict=True))
    | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000", "percent": "%"}
)
_SAME: Final = (
    "explain describe", "write compose", "fix repair mend", "calculate compute", "buy purchase",
    "begin start", "picture photo photograph", "movie film", "car automobile", "suggest propose", "show demonstrate",
    "km kilometer", "kg kilogram", "cm centimeter", "mm millimeter", "g gram", "tv television", "bike bicycle",
    "with using",
)  # fmt: skip
_PLAIN: Final = _NUMBERS | {word: group.split()[0] for group in _SAME for word in group.split()}
_SPELLINGS: Final = {"grey": "gray", "aluminium": "aluminum", "defence": "defense", "licence": "license",
                     "practise": "practice", "sceptic": "skeptic", "sulphur": "sulfur", "jewellery": "jewelry",
                     "maths": "math", "artefact": "artifact"}  # fmt: skip
_PLURALS: Final = frozenset(
    _listed(
        "airs arms ashes brains contents customs damages effects ethics forces glasses goods grounds guts irons "
        "letters lights looks manners mathematics means minutes news odds pains papers physics politics "
        "premises quarters savings scales series shorts species spectacles spirits statistics stocks thanks tropics "
        "waters woods"
    )
)
"""Words that their s makes another word."""
_RULES: Final = (
    (re.compile(r"^(\w{3,})our(|ed|ing|ite|ful|able|hood)$"), r"\1or\2"),
    (re.compile(r"^(\w{3,})([iy])z(e|ed|er|ing|ation)$"), r"\1\2s\3"),
    (re.compile(r"^(\w+)(t|b)re$"), r"\1\2er"),
    (re.compile(r"^(\w{3,})ogue$"), r"\1og"),
    (re.compile(r"^(\w{3,})mme$"), r"\1m"),
    (re.compile(r"^(h|an|leuk)aem"), r"\1em"),
    (re.compile(r"^paed"), "ped"),
    (re.compile(r"^oest"), "est"),
    (re.compile(r"^foet"), "fet"),
    (re.compile(r"^archaeo"), "archeo"),
)
CONTRACTIONS: Final = (
    (re.compile(r"\b(what|who|where|when|why|how|that|there|it|he|she)'s\b"), r"\1 is"),
    (re.compile(r"\b(what|where)s\b"), r"\1 is"),
    (re.compile(r"\b(?:can't|cant|cannot)\b"), "can not"),
    (re.compile(r"\b(?:won't|wont)\b"), "will not"),
    (re.compile(r"\b(do|does|did|is|are|was|were|has|have|had|should|would|could|must)n'?t\b"), r"\1 not"),
    (re.compile(r"\b(\w+)'d\b"), r"\1 would"),
    (re.compile(r"\b(\w+)'ll\b"), r"\1 will"),
    (re.compile(r"\b(\w+)'re\b"), r"\1 are"),
    (re.compile(r"\b(\w+)'ve\b"), r"\1 have"),
    (re.compile(r"\bi'm\b"), "i am"),
)
COURTESIES: Final = re.compile(
    r"(?:hi|hello|hey|good (?:morning|afternoon|evening)|thanks|thank you|please)"
    r"(?: there| in advance| so much| very much| a lot)?"
)
"""A sentence, or what stands before its first comma, that is only this is no part of the question."""
_I = r"(?:i|you|we|one|someone|people)"
_WHAT = r"(?=(?:how|what|why|who|where|when|which)\b)"
FRAMES: Final = (
    (re.compile(r"^(?:excuse me|sorry to bother you|quick question)\b ?,? ?"), ""),
    (re.compile(r"^(?:please|kindly)\b ?,? ?"), ""),
    (re.compile(r" ?,? (?:please|thanks|thank you)(?: in advance| so much| very much)?$"), ""),
    (re.compile(r"^(?:could|can|would|will) you (?:(?:please|kindly) )?"), ""),
    (re.compile(r"^i (?:would like|want|need) to (?:know|understand) "), ""),
    (re.compile(r"^(?:i was wondering|i wonder|may i ask|do you know|let me know) "), ""),
    (re.compile(r"^help me (?:with|(?:to )?understand) "), ""),
    (re.compile(rf"^(?:explain|describe|tell me|show me|show|tell)(?: to me)?(?: please)? {_WHAT}"), ""),
    (re.compile(r"^tell me (?:please )?"), ""),
    (re.compile(r"^(?:give|show)(?: me| us)? (?=an? |the |some )"), ""),
    (re.compile(r"^what (?:is|are) (?:the|a) (?:right )?way to\b"), "how to"),
    (re.compile(rf"\bhow (?:can|do|should|could|would|might) {_I}\b"), "how to"),
    (re.compile(r"^what is the reason (?:that |why )?"), "why "),
    (re.compile(r"^what (?:is|are) meant by (.+)$"), r"what is the meaning of \1"),
    (re.compile(r"^what (?:does|do) (.+) mean$"), r"what is the meaning of \1"),
    (re.compile(r"^name (?=\w)"), "list "),
    (re.compile(r"^define (.+)$"), r"what is the definition of \1"),
    (re.compile(r"^what are some "), "what are "),
    (re.compile(r"^(?:which|what) (\w+) is (?:the )?(\w+est)(?=$| in | of | on )"), r"what is the \2 \1"),
)
"""Ways to begin or end a question that leave it the same question; in lower case, words and commas apart by a space."""


def plain(word: str) -> str:
    """`word`, in lower case, as all its spellings and plurals are counted."""
    word = singular(_PLAIN.get(word, word))
    for pattern, by in _RULES:
        word = pattern.sub(by, word)
    word = _SPELLINGS.get(word, word)
    return _PLAIN.get(word, word)


def singular(word: str) -> str:
    """Without the s of plurals and verbs; glasses are not more than one glass."""
    if word in _PLURALS or len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]
