"""What the pairs of questions are that the semantic cache is measured with.

They were written and committed before anything was tuned; what is tuned uses pairs of its own. Their digest is held
here, so that nobody makes the cache better by changing its test.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "data" / "semantic_pairs.jsonl"
DIGEST = "8a162808bf78eefdba5809d94c7364439d186ffffc8fd52a28d9b01feb3b4fb8"


def pairs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def test_half_of_500_pairs_may_share_an_answer_and_half_must_not() -> None:
    """There are 250 paraphrases and 250 near-misses, no pair twice and none of a question with itself."""
    assert Counter(pair["same"] for pair in pairs()) == {True: 250, False: 250}
    assert len({(pair["a"], pair["b"]) for pair in pairs()}) == 500
    assert all(pair["a"] != pair["b"] for pair in pairs())


def test_pairs_differ_in_many_ways() -> None:
    """Each kind of paraphrase and each kind of near-miss has pairs enough to say something of it."""
    same = Counter(pair["category"] for pair in pairs() if pair["same"])
    near = Counter(pair["category"] for pair in pairs() if not pair["same"])
    assert same == {"wording": 80, "length": 50, "order": 40, "politeness": 40, "spelling": 40}
    assert set(near) == {
        "number", "unit", "date", "negation", "antonym", "person", "place", "product", "direction", "comparative",
        "tense", "language", "code", "quantifier",
    }  # fmt: skip
    assert min(near.values()) >= 17


def test_pairs_stay_as_they_were_before_tuning() -> None:
    """The file is byte for byte the one that was fixed first."""
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == DIGEST
