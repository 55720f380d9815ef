"""Which sentences does a text have?

English and its neighbours, by punctuation. Code between fences states nothing and is left out, marks of lists and
headings are taken off; a table's row counts as a sentence. Pure.
"""

import re
from typing import Final

_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_MARK: Final = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\(?\d{1,3}[.)]\s+|[a-z][.)]\s+)+")
_RULE: Final = re.compile(r"[-=*_|: ]*")
_END: Final = re.compile(r"(?<=[.!?…])[\"')\]]*(\s+)(?=[\"'(\[]*[^\s\"'(\[a-z])|(?<=[\u3002\uff01\uff1f])")
_PLAIN: Final = str.maketrans(
    {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: ",", 0x2022: "-", 0xA0: " "}
)
"""Quotes, dashes and blanks as typesetters have them."""
_EMPHASIS: Final = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)|`")
_SHORT: Final = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|prof|st|vs|no|nr|fig|figs|sec|ch|eq|ca|cf|al|inc|ltd|co|corp|approx|jr|sr|gen|jan|feb|mar"
    r"|apr|jun|jul|aug|sep|sept|oct|nov|dec|e\.g|i\.e|etc|u\.s|u\.k|a\.m|p\.m)|\b[A-Z])\.$|^\d{1,3}[.)]$",
    re.IGNORECASE,
)
"""What ends with a stop that ends no sentence."""


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, without the marks of lists without emphasis and with plain quotes."""
    found = list[str]()
    for line in _lines(text):
        found += _split(_EMPHASIS.sub("", line))
    return found


def _lines(text: str) -> list[str]:
    """The lines that may state something."""
    kept, fence = list[str](), ""
    for raw in text.translate(_PLAIN).splitlines():
        if (mark := _FENCE.match(raw)) is not None and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
            continue
        line = _MARK.sub("", raw).strip()
        if not fence and not _RULE.fullmatch(line):
            kept.append(line)
    return kept


def _split(line: str) -> list[str]:
    found, start = list[str](), 0
    for end in _END.finditer(line):
        piece = line[start : end.start() + len(end[0].rstrip())].strip()
        if piece and not _SHORT.search(piece):
            found.append(piece)
            start = end.end()
    return [*found, rest] if (rest := line[start:].strip()) else found
