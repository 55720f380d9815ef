"""How may a person ask for one topic? Thousands of wordings, composed from data/train/golek-tiny.

The patterns are in forms.toml and what fills them is in topics.toml and talk.toml. This file only combines them
and adds what happens on a keyboard: case, missing marks, a politeness before or after, a slip of the finger.
"""

from __future__ import annotations

import json
import random
import re
import string
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRAIN_DIR = ROOT / "data/train/golek-tiny"
HELD_OUT_FILE = ROOT / "data/eval/tiny.jsonl"

# Which kind of pattern is drawn how often.
KIND_WEIGHTS = {"name": 36, "tell": 20, "seen": 8, "does": 9, "aim": 7, "mood": 6, "questions": 14}
TYPO_RATE = 0.12
BEFORE_RATE = 0.22
AFTER_RATE = 0.25


@dataclass(frozen=True)
class Subject:
    """Something one can ask about, and the one right answer."""

    key: str
    answer: str
    names: list[list[str]]
    fills: dict[str, list[str]]  # "does", "aim", "mood"
    questions: list[str]


@dataclass(frozen=True)
class Lessons:
    """All that the training data files say."""

    subjects: list[Subject]
    off_topic: Subject
    forms: dict[str, list[str]]
    talk: list[dict[str, Any]]
    systems: list[str]
    tools: dict[str, Any]


def load_lessons(folder: Path = TRAIN_DIR) -> Lessons:
    """Read the four data files."""
    topics, forms, talk, tools = (
        tomllib.loads((folder / f"{name}.toml").read_text()) for name in ("topics", "forms", "talk", "tools")
    )
    subjects = [
        Subject(key, t["answer"], t["names"], {k: t[k] for k in ("does", "aim", "mood")}, t["questions"])
        for key, t in topics.items()
    ]
    return Lessons(subjects, _off_topic(talk), forms, talk["talk"], talk["systems"], tools)


def _off_topic(talk: dict[str, Any]) -> Subject:
    """The rest of the world as one more subject, answered by "I do not know that"."""
    off = talk["off_topic"]
    names = [[f"an {n}" if n[0] in "aeiou" else f"a {n}", n, f"{n}s", "are"] for n in off["nouns"]]
    names += [[n, n, n, "is"] for n in off["masses"]]
    fills = {"does": off["does"], "aim": off["aims"], "mood": off["moods"]}
    return Subject("off_topic", talk["unknown"], names, fills, off["questions"])


def normalised(wording: str) -> str:
    """Letters and digits only, lower case: two wordings equal in this form count as the same."""
    return " ".join(re.findall(r"[a-z0-9]+", wording.lower()))


def held_out_questions(path: Path = HELD_OUT_FILE) -> list[tuple[str, str]]:
    """The (topic, question) pairs that must never be trained on."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["topic"], row["question"]) for row in rows]


def refuse_overlap(wordings: list[str]) -> None:
    """Raise ValueError when a training wording is also a held-out one."""
    forbidden = {normalised(question) for _, question in held_out_questions()}
    both = sorted({w for w in wordings if normalised(w) in forbidden})
    if both:
        raise ValueError(f"{len(both)} training wordings are in {HELD_OUT_FILE.name}: {both[:5]}")


def compose_wordings(lessons: Lessons, subject: Subject, count: int, rng: random.Random) -> list[str]:
    """`count` different wordings for one subject.

    Every wording that a person wrote is in. A *composed* one that happens to equal a held-out question is left
    out here; a *written* one that does makes refuse_overlap() fail, so that a person looks at it.
    """
    forbidden = {normalised(question) for _, question in held_out_questions()}
    found = dict.fromkeys(subject.questions)
    while len(found) < count:
        wording = _one_wording(lessons.forms, subject, rng)
        if normalised(wording) not in forbidden:
            found[wording] = None
    return list(found)


def talk_wordings(talk: dict[str, Any], rng: random.Random) -> list[str]:
    """All wordings of one kind of small talk, in several manners of typing."""
    return list(dict.fromkeys(typed(says, rng, mark) for says in talk["says"] for mark in ("", "?", "!", ".", "", "")))


def _one_wording(forms: dict[str, list[str]], subject: Subject, rng: random.Random) -> str:
    kind = rng.choices(list(KIND_WEIGHTS), weights=list(KIND_WEIGHTS.values()))[0]
    if kind == "questions":
        return _surrounded(forms, rng.choice(subject.questions), rng, after=False)
    pattern = rng.choice(forms[kind])
    if kind in subject.fills:
        fill = rng.choice(subject.fills[kind])
        return _surrounded(forms, pattern.replace("{" + kind + "}", fill), rng, after=False)
    text = _named(pattern, rng.choice(subject.names))
    return typed(text, rng, "") if kind == "seen" else _surrounded(forms, text, rng, after=True)


def _named(pattern: str, name: list[str]) -> str:
    with_article, bare, plural, verb = name
    does = "do" if verb == "are" else "does"
    return pattern.format_map({"a": with_article, "x": bare, "p": plural, "is": verb, "do": does})


def _surrounded(forms: dict[str, list[str]], text: str, rng: random.Random, *, after: bool) -> str:
    """Perhaps a word before, perhaps one after, and an end mark that fits."""
    mark = text[-1] if text[-1] in "?.!" else rng.choice("??.")
    text = text.rstrip("?.!")
    if after and rng.random() < AFTER_RATE:
        text += rng.choice(forms["after"])
    if rng.random() < BEFORE_RATE:
        text = rng.choice(forms["before"]) + text
    return typed(text, rng, "" if rng.random() < 0.3 else mark)


def typed(text: str, rng: random.Random, mark: str) -> str:
    """The text as it comes from a keyboard."""
    text = _with_case(text, rng) + mark
    if rng.random() < TYPO_RATE:
        text = _with_slip(text, rng)
    if rng.random() < 0.05:
        text = text.replace("'", "").replace(",", "")
    return text


def _with_case(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.50:
        return text[0].upper() + text[1:]
    if draw < 0.70:
        return text
    if draw < 0.97:
        return text.lower()
    return text.upper()


def _with_slip(text: str, rng: random.Random) -> str:
    """One slip: a letter lost, doubled, swapped or wrong, or a whole short word lost."""
    words = text.split(" ")
    at = rng.randrange(len(words))
    word = words[at]
    if len(word) < 3:
        return " ".join(words[:at] + words[at + 1 :]) if len(words) > 3 else text
    i = rng.randrange(len(word) - 1)
    slips = (
        word[:i] + word[i + 1 :],
        word[:i] + word[i] + word[i:],
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + rng.choice(string.ascii_lowercase) + word[i + 1 :],
    )
    return " ".join([*words[:at], rng.choice(slips), *words[at + 1 :]])
