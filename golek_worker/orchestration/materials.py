"""How is what somebody said put before another one?

The titles of materials: prompts name them (`data/prompts/orchestration.yaml`).
"""

from collections.abc import Sequence
from typing import Final

from golek_worker.orchestration.base import Material, Said

DRAFT: Final = "Draft"
OBJECTIONS: Final = "Objections"
OWN: Final = "Your answer"
DISAGREEMENTS: Final = "Where they disagree"
ANSWER: Final = "Answer of"
"""Before the model's name."""


def draft(said: Said) -> Material:
    """The text so far."""
    return Material(DRAFT, said.text, said.step.member.model)


def answers(saids: Sequence[Said], reader: int | None = None) -> tuple[Material, ...]:
    """All answers, in order; for who gave the one at the place `reader` its own first, and named so."""
    titled = [
        Material(title, said.text, said.step.member.model) for title, said in zip(_titles(saids), saids, strict=True)
    ]
    if reader is None:
        return tuple(titled)
    own = titled.pop(reader)
    return (Material(OWN, own.text, own.model), *titled)


def listed(title: str, points: Sequence[str], model: str = "") -> tuple[Material, ...]:
    """`points` as a list; nothing where there is none."""
    return (Material(title, "\n".join(f"- {point}" for point in points), model),) if points else ()


def _titles(saids: Sequence[Said]) -> list[str]:
    """A model that answered several times is told apart by numbers."""
    models = [said.step.member.model for said in saids]
    return [
        f"{ANSWER} {model}" + (f" ({models[: place + 1].count(model)})" if models.count(model) > 1 else "")
        for place, model in enumerate(models)
    ]
