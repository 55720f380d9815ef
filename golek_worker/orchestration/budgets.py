"""How is a model's context divided among what a step reads and writes?

data/catalog/budgets.yaml says it for the models of the catalogue; for others, and for one that runs with another
context than is listed, `by_rule` does. Where a context is not known nothing is limited: who runs the model has the last
word.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from golek_wire import problems

FILE: Final = Path("data/catalog/budgets.yaml")
SMALL: Final = 8192
LARGE: Final = 131072
SYSTEM: Final = (500, 1000)
"""Tokens with a context of SMALL and of LARGE; between them they grow by equal steps each time the context doubles."""
TRAJECTORY: Final = (300, 500)
HANDOFF: Final = (1500, 4000)
USER_QUERY: Final = (2000, 32000)
"""This one grows with the context, also beyond LARGE."""
Tokens = Annotated[int, Meta(ge=0)]


class BudgetsError(Exception):
    """The file cannot be used; the message names it, the key, and what would be right."""


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of one model's context. The parts together are `total`."""

    total: Annotated[int, Meta(ge=1)]
    """The context."""
    system: Tokens
    """The system's words."""
    trajectory: Tokens
    """The block that says where in the flow the model stands."""
    handoff: Tokens
    """What other steps said."""
    user_query: Tokens
    """The caller's conversation."""
    generation: Tokens
    """What the model writes."""

    def __post_init__(self) -> None:
        if (said := self.system + self.trajectory + self.handoff + self.user_query + self.generation) != self.total:
            raise ValueError(
                f"system, trajectory, handoff, user_query and generation are {said}; total is {self.total}"
            )


class BudgetsFile(Struct, frozen=True, forbid_unknown_fields=True):
    """`data/catalog/budgets.yaml`."""

    models: dict[str, Budget]


class Budgets(Struct, frozen=True):
    """The budgets of all models."""

    listed: Mapping[str, Budget]

    def of(self, model: str, context_size: int = 0) -> Budget | None:
        """Of a model that runs with such a context, 0 where that is not known; None where nothing is limited."""
        found = self.listed.get(model)
        if found is not None and context_size in (0, found.total):
            return found
        return by_rule(context_size) if context_size > 0 else None


NO_BUDGETS: Final = Budgets({})


@functools.lru_cache(256)
def by_rule(total: int) -> Budget:
    """The budget of a context of so many tokens, by what is given for contexts of SMALL and LARGE."""
    if total < SMALL:
        system, trajectory, handoff, user_query = (
            part[0] * total // SMALL for part in (SYSTEM, TRAJECTORY, HANDOFF, USER_QUERY)
        )
    else:
        doublings = math.log2(min(total, LARGE) / SMALL) / math.log2(LARGE / SMALL)
        system, trajectory, handoff = (
            low + math.floor((high - low) * doublings) for low, high in (SYSTEM, TRAJECTORY, HANDOFF)
        )
        user_query = USER_QUERY[1] * total // LARGE
    return Budget(
        total, system, trajectory, handoff, user_query, total - system - trajectory - handoff - user_query
    )  # fmt: skip


def load(file: Path = FILE) -> Budgets:
    """The budgets of the file; none where it is not there. Raises BudgetsError."""
    import yaml

    if not file.is_file():
        return NO_BUDGETS
    try:
        loaded = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise BudgetsError(f"{file}: {error}") from None
    try:
        return Budgets(msgspec.convert(loaded or {}, BudgetsFile).models)
    except msgspec.ValidationError as error:
        wrong = problems.in_file(error, loaded or {}, BudgetsFile, {"models": Budget})
        raise BudgetsError(f"{file}: {wrong}") from None
