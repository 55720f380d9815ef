"""Where in the flow does a model stand?

A block in every step's prompt, so that a model that reads what others said knows what is asked of it now:

    ## Current Position
    - Goal: …
    - Step: 2/3 - refine
    - Previous: …
    - Next: …
    - Forbidden: …

It stays within its budget by what `counting.guessed` says: the longest value is shortened, never a field left out. The
goal stands in full above.
"""

from collections.abc import Mapping
from typing import Final

from golek_worker.orchestration.base import Step
from golek_worker.orchestration.counting import guessed
from golek_worker.orchestration.handoff import HandoffState

HEADING: Final = "## Current Position"
NOTHING: Final = "nothing yet"
ROOM: Final = 500
"""Tokens where no budget is known."""
LONGEST: Final = 8
"""Characters of the goal for each token of room that are looked at."""
SHORTEST: Final = 16
"""Characters that are left of a value at least."""
_SHORTENED: Final = ("Goal", "Previous", "Next", "Forbidden")
"""Always the longest of them, until the block fits."""


def block(step: Step, state: HandoffState, goal: str, forbidden: str, room: int = ROOM) -> str:
    """The block, of at most so many tokens where that is possible. `goal` is what this model must decide now."""
    values = {
        "Goal": _line(state.goal[: room * LONGEST]),
        "Step": f"{state.current_step}/{state.total_steps} - {step.name}",
        "Previous": _line(_previous(step, state)),
        "Next": _line(goal) or step.name,
        "Forbidden": _line(forbidden) or "to do another step's work",
    }
    while (text := _text(values)) and guessed(text) > room:
        name = max(_SHORTENED, key=lambda one: (len(values[one]) > SHORTEST, len(values[one]), one == "Goal"))
        if len(values[name]) <= SHORTEST:
            break
        values[name] = _cut(values[name], max(SHORTEST, len(values[name]) * 2 // 3))
    return text


def known(state: HandoffState, most: int = 8) -> str:
    """What was found out before, as a block; empty where nothing was."""
    lines = [
        *(f"- Constraint: {one}" for one in state.constraints[-most:] if not one.startswith("Open: ")),
        *(f"- {one}" for one in state.constraints[-most:] if one.startswith("Open: ")),
        *(f"- Decided: {one}" for one in state.decisions_made[-most:]),
        *(f"- Evidence: {one}" for one in state.evidence_refs[-most:]),
        *(f"- Error to avoid: {one}" for one in state.active_errors[-most:]),
    ]
    return "\n".join(["## Known so far", *lines]) if lines else ""


def _previous(step: Step, state: HandoffState) -> str:
    if state.decisions_made:
        return "; ".join(reversed(state.decisions_made))
    titles = dict.fromkeys(one.title for one in step.reads)
    return f"{', '.join(titles)} (above)" if titles else NOTHING


def _text(values: Mapping[str, str]) -> str:
    return "\n".join([HEADING, *(f"- {name}: {value}" for name, value in values.items())])


def _line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, length: int) -> str:
    """Its beginning, to the end of a word."""
    head = text[: length - 1]
    return (head[: head.rfind(" ")] if " " in head[length // 2 :] else head).rstrip(" …") + "…"
