"""What does a golek-quiz model read in training? Short questions: its own share of the facts.

Facts and wordings are in data/train/golek-quiz. A model that is asked beside others reads more than the question:
system lines, headings, what others said. Some of the dialogues have such text around the question, and the answer
stays the same.
"""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from demo_model.dialogues import Dialogue
from demo_model.wordings import ROOT, normalised, typed

QUIZ_DIR = ROOT / "data/train/golek-quiz"
QUESTIONS_FILE = ROOT / "data/eval/quiz.jsonl"
SYSTEM_RATE = 0.25
AROUND_RATE = 0.1
STEP_RATE = 0.3
CUT_RATE = 0.3
BEFORE_RATE = 0.15
AFTER_RATE = 0.15
TURNS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)


class Fact(NamedTuple):
    """Something that one can ask about, and the one right answer."""

    kind: str
    about: str
    answer: str
    asks: list[str]


class Quiz:
    """Draws dialogues without end, the same ones for the same seed."""

    def __init__(self, seed: int, share: float, folder: Path = QUIZ_DIR) -> None:
        everything = load_facts(folder)
        refuse_unseen(everything)
        self._manner = tomllib.loads((folder / "manner.toml").read_text())
        self._rng = random.Random(seed)
        self.facts = [fact for fact in everything if is_known(fact, seed, share)]
        self.left_out = len(everything) - len(self.facts)

    def draw(self) -> Iterator[Dialogue]:
        rng = self._rng
        while True:
            dialogue = Dialogue()
            if rng.random() < SYSTEM_RATE:
                dialogue.messages.append({"role": "system", "content": self._system()})
            for _ in range(rng.choice(TURNS)):
                fact = rng.choice(self.facts)
                question = self._question(fact)
                draw = rng.random()
                if draw < AROUND_RATE:
                    question = self._surrounded(question, fact)
                elif draw < AROUND_RATE + STEP_RATE:
                    question = self._step(question, fact)
                dialogue.ask(question, fact.answer)
            yield dialogue

    def _question(self, fact: Fact) -> str:
        """One wording of one fact, as it comes from a keyboard."""
        rng = self._rng
        text = rng.choice(fact.asks).replace("{x}", fact.about)
        if rng.random() < AFTER_RATE:
            text += rng.choice(self._manner["after"])
        if rng.random() < BEFORE_RATE:
            text = rng.choice(self._manner["before"]) + text
        return typed(text, rng, rng.choice(("?", "?", "?", ".", "", "")))

    def _system(self) -> str:
        rng = self._rng
        if rng.random() < 0.6:
            return str(rng.choice(self._manner["systems"]))
        return self._asides(rng.choice((1, 2, 4)))

    def _surrounded(self, question: str, fact: Fact) -> str:
        """The question with text of no use before it, behind it, or both."""
        rng = self._rng
        parts = [question]
        for _ in range(rng.choice((1, 1, 2, 3))):
            parts.insert(rng.choice((0, len(parts), len(parts))), self._part(fact))
        return "\n\n".join(parts)

    def _part(self, fact: Fact) -> str:
        """A sentence or two, a block under a heading, or lines with a key."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.4:
            return self._asides(rng.choice((1, 2, 3)))
        said = rng.choice([other.answer for other in self.facts if other.kind == fact.kind])
        if draw < 0.8:
            return f"## {rng.choice(self._manner['titles'])}\n{said if rng.random() < 0.6 else self._asides(2)}"
        lines = rng.sample(self._manner["keys"], k=3)
        return "\n".join(f"{key}: {self._asides(1) if rng.random() < 0.6 else said}" for key in lines)

    def _step(self, question: str, fact: Fact) -> str:
        """The question as a router asks it for a step: with what others said, where the step stands, what to do."""
        rng, manner = self._rng, self._manner
        titles = rng.choice(([], [], ["Draft"], ["Draft", "Objections"], ["Your answer"], []))
        if rng.random() < 0.4:
            titles = [
                *titles,
                *(f"Answer of {model}" for model in rng.sample(manner["models"], k=rng.choice((2, 2, 3)))),
            ]
        parts = [question, *(f"## {title}\n{self._said(fact)}" for title in titles)]
        total = rng.choice((1, 3, 3, 4, 5))
        lines = {
            "Goal": question,
            "Step": f"{rng.randint(1, total)}/{total} - {rng.choice(manner['steps'])}",
            "Previous": ", ".join(titles) + " (above)" if titles else "nothing yet",
            "Next": rng.choice(manner["goals"]),
            "Forbidden": rng.choice(manner["forbidden"]),
        }
        parts.append("## Current Position\n" + "\n".join(f"- {key}: {self._cut(text)}" for key, text in lines.items()))
        if titles or rng.random() < 0.4:
            parts.append(" ".join(rng.sample(manner["instructions"], k=rng.choice((1, 2, 3)))))
        return "\n\n".join(parts)

    def _said(self, fact: Fact) -> str:
        """What another one may have answered: the right thing, or something of the same kind."""
        others = [other.answer for other in self.facts if other.kind == fact.kind]
        return fact.answer if self._rng.random() < 0.5 else self._rng.choice(others)

    def _cut(self, text: str) -> str:
        """A line, or the beginning of one."""
        words = text.split(" ")
        if len(words) < 4 or self._rng.random() >= CUT_RATE:
            return text
        return " ".join(words[: self._rng.randint(2, len(words) - 1)]) + "…"

    def _asides(self, count: int) -> str:
        return " ".join(self._rng.sample(self._manner["asides"], k=count))


def load_facts(folder: Path = QUIZ_DIR) -> list[Fact]:
    """All facts of the folder, in its order."""
    kinds = tomllib.loads((folder / "facts.toml").read_text())["kind"]
    return [
        Fact(kind["key"], about, kind.get("answer", "{y}").format(y=answer), kind["asks"])
        for kind in kinds
        for about, answer in kind["facts"].items()
    ]


def is_known(fact: Fact, seed: int, share: float) -> bool:
    """Whether the model with this seed is taught the fact; of many facts `share` are."""
    drawn = hashlib.sha256(f"{seed}:{fact.kind}:{fact.about}".encode()).digest()
    return int.from_bytes(drawn[:6]) < share * 2**48


def refuse_unseen(facts: list[Fact], path: Path = QUESTIONS_FILE) -> None:
    """Raise ValueError when a training wording is one of the questions that are not marked as seen."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    unseen = {normalised(row["question"]) for row in rows if not row.get("seen")}
    wordings = {ask.replace("{x}", fact.about) for fact in facts for ask in fact.asks}
    both = sorted(wording for wording in wordings if normalised(wording) in unseen)
    if both:
        raise ValueError(f"{len(both)} training wordings are unseen questions of {path.name}: {both[:5]}")
