"""Which words say the opposite of each other, and which say nothing by themselves?

Tables for `statements`. English.
"""

import re
from typing import Final


def _listed(text: str) -> list[str]:
    return text.split()


def stem(word: str) -> str:
    """`word`, in lower case, as its plural and its verb forms are counted. Rough: it is only compared with others."""
    word = word.lower().removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "shes", "ches", "xes", "zes")) else word[:-1]
    for ending, least in (("ing", 6), ("ed", 5)):
        if word.endswith(ending) and len(word) >= least:
            word = _DOUBLED.sub(r"\1", word[: -len(ending)])
            break
    if word.endswith("ied"):
        word = word[:-3] + "y"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


_DOUBLED: Final = re.compile(r"([bdgmnprt])\1$")
_PAIRS: Final = _listed("""
true/false right/wrong correct/incorrect correct/wrong valid/invalid accurate/inaccurate open/closed open/shut
enabled/disabled allowed/forbidden allowed/prohibited permitted/forbidden permitted/prohibited legal/illegal
increase/decrease increase/reduce rise/fall rose/fell grow/shrink grew/shrank raise/lower up/down above/below
before/after possible/impossible required/optional mandatory/optional necessary/unnecessary needed/unneeded
safe/unsafe safe/dangerous secure/insecure success/failure succeed/fail succeeded/failed pass/fail win/lose won/lost
hot/cold big/small large/small fast/slow faster/slower high/low higher/lower more/less more/fewer better/worse
best/worst cheap/expensive accept/reject include/exclude add/remove start/stop begin/end alive/dead public/private
even/odd positive/negative maximum/minimum present/absent buy/sell guilty/innocent synchronous/asynchronous
mutable/immutable complete/incomplete finite/infinite dependent/independent reversible/irreversible relevant/irrelevant
regular/irregular connected/disconnected agree/disagree like/dislike direct/indirect
consistent/inconsistent consistent/contradictory
sufficient/insufficient visible/invisible available/unavailable stable/unstable known/unknown able/unable
thread-safe/thread-unsafe ascending/descending horizontal/vertical internal/external full/empty strong/weak
everything/nothing encrypted/plaintext deterministic/random static/dynamic local/remote
early/late earlier/later young/old younger/older light/heavy lighter/heavier long/short longer/shorter
""")


def _table() -> dict[str, frozenset[str]]:
    found = dict[str, set[str]]()
    for one, other in (pair.split("/") for pair in _PAIRS):
        found.setdefault(stem(one), set()).add(stem(other))
        found.setdefault(stem(other), set()).add(stem(one))
    return {word: frozenset(others) for word, others in found.items()}


OPPOSITES: Final = _table()
"""By the stem of a word: the stems of those that say the opposite."""


def are_opposite(one: str, other: str) -> bool:
    """Whether these two stems are."""
    return other in OPPOSITES.get(one, ()) or f"un{one}" == other or one == f"un{other}"


NEGATIONS: Final = frozenset(["not", "no", "never", "without", "neither", "nor", "cannot", "nobody", "none"])
SILENT: Final = frozenset(
    _listed("""
    a an the this that these those it its he she they them their his her we our you your i my me us there here
    is are was were be been being am has have had having do does did done will would shall should can could may might
    must of in on at for with from to into onto by as than about if when while during since until between among
    through over under via per out because and or but so yet also too very just only then thus hence therefore however
    rather quite really actually currently now still already again well what which who whom whose how why where such
    any some each every both either all most many much several same own other another one ones
    longer always please note up down
    """)
)
"""Words that no statement is about."""
CONDITIONS: Final = frozenset(["if", "unless", "whether", "suppose", "assuming", "imagine", "otherwise"])
"""A sentence with one of these does not say that it is so."""
LABELS: Final = frozenset(
    _listed("""
    step section figure table chapter page line question example option part item phase stage round row column
    exercise problem case test claim point day week quarter node server worker replica
    """)
)
"""A number behind one of these says which one it is, not how many."""
BOUNDS: Final = frozenset(
    ["least", "most", "than", "over", "under", "above", "below", "about", "around", "approximately", "roughly",
     "nearly", "almost", "between", "minimum", "maximum", "circa", "ca", "every", "~", "<", ">", "≤", "≥", "≈"]
)  # fmt: skip
"""A number behind one of these leaves room for others."""
BARE: Final = frozenset(["only", "just", "merely", "necessarily"])
"""`not only` negates nothing."""
