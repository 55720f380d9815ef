"""What is known of a request between two steps, and how does it grow by what they say?

All of it is taken from texts by rules that anybody can follow:

- A line `Decision: …`, `Constraint: …` or `Open: …` says so itself; `Constraint:` counts in the caller's words, too.
  What participants decide, each for itself, is an opinion and no decision; a revision's decisions replace its draft's.
- The first sentence of a pipeline's text is a decision once the next stage has kept it as it was.
- What a critic objects to (`issues` of its JSON, or lines `Issue: …`) is an active error until a critique does not
  name it any more; what a text shows of errors is one until a text that was made of it shows none.
- Addresses (http, https) are evidence.

Lists have at most `KEPT` entries of `LONGEST` characters; older ones give way.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from golek_wire.errors import HandoffStateInvalidError
from golek_worker.orchestration.base import (
    COMPRESSOR,
    CRITIC,
    GENERATOR,
    PARTICIPANT,
    RECONCILER,
    SYNTHESIZER,
    Said,
    Step,
)
from golek_worker.orchestration.sentences import sentences

KEPT: Final = 16
LONGEST: Final = 240
_OPEN: Final = "Open: "
_line = re.compile(
    r"^[ \t>*#-]*+(Decision|Constraint|Open|Issue)s?+\*{0,2}+[ \t]*+:\*{0,2}+[ \t]*+(\S.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_address = re.compile(r"https?://[^\s<>\"'`)\]}]+")
DUTIES: Final = frozenset({COMPRESSOR, CRITIC, GENERATOR, PARTICIPANT, RECONCILER, SYNTHESIZER})
"""Any other one is a pipeline's stage."""
REVISE: Final = "revise"


class HandoffState(Struct, frozen=True):
    """What one step hands to the next one beside its text."""

    request_id: str
    goal: str
    """What the caller wants, in the caller's words."""
    current_step: int
    """From 1; steps that run side by side share it."""
    total_steps: int
    constraints: list[str] = field(default_factory=list[str])
    decisions_made: list[str] = field(default_factory=list[str])
    evidence_refs: list[str] = field(default_factory=list[str])
    active_errors: list[str] = field(default_factory=list[str])
    resolved_errors: list[str] = field(default_factory=list[str])
    compressed_context: str | None = None
    """What the last compression made of a text."""

    def check(self) -> None:
        """Raise HandoffStateInvalidError for a field without which the next step cannot be asked."""
        for name, is_there in (
            ("request_id", bool(self.request_id)),
            ("goal", bool(self.goal.strip())),
            ("current_step", self.current_step >= 1),
            ("total_steps", self.total_steps >= self.current_step),
        ):
            if not is_there:
                said = getattr(self, name)
                raise HandoffStateInvalidError(
                    f"{name}: the handoff state of request {self.request_id or '?'} lacks it (it is {said!r}); "
                    "each step needs request_id, goal, current_step from 1 and total_steps not below it",
                    field=name,
                )


def begun(request_id: str, goal: str) -> HandoffState:
    """The state before the first step."""
    return HandoffState(request_id, goal, 1, 1, constraints=_kept([], _lines(goal)["constraint"]))


def at(state: HandoffState, current: int, total: int) -> HandoffState:
    """The state as a step at this place has it. Raises HandoffStateInvalidError."""
    placed = msgspec.structs.replace(state, current_step=current, total_steps=max(current, total))
    placed.check()
    return placed


def grown(state: HandoffState, said: Said, problems: Iterable[str] = ()) -> HandoffState:
    """The state once `said` was heard; `problems` are what its text shows of errors."""
    text, lines = said.text, _lines(said.text)
    still_open = [_OPEN + one for one in lines["open"]]
    constraints = [one for one in state.constraints if not one.startswith(_OPEN)] if text.strip() else state.constraints
    active, resolved = _errors(state, said, [_short(one) for one in problems])
    return msgspec.structs.replace(
        state,
        constraints=_kept(constraints, [*lines["constraint"], *still_open]),
        decisions_made=_decisions(state, said, lines["decision"]),
        evidence_refs=_kept(state.evidence_refs, (one.rstrip(".,;:!?") for one in _address.findall(text))),
        active_errors=active,
        resolved_errors=resolved,
    )


def is_stage(step: Step) -> bool:
    """Whether it is one of a pipeline's."""
    return step.duty not in DUTIES


def objections(said: Said) -> list[str]:
    """What a critic objects to; nothing of who is none."""
    if said.step.duty != CRITIC:
        return []
    named = _issues(said.text)
    return [_short(one) for one in (_lines(said.text)["issue"] if named is None else named)]


def first_sentence(text: str) -> str:
    """The first sentence of a text; empty where it is too short to say anything."""
    found = next(iter(sentences(text[:4096])), "")
    return found if len(found.split()) > 2 and len(found) <= LONGEST else ""


def _decisions(state: HandoffState, said: Said, decided: list[str]) -> list[str]:
    step = said.step
    if step.duty in (CRITIC, PARTICIPANT, COMPRESSOR):
        return state.decisions_made
    if step.name == REVISE:
        return _kept([], decided)
    opening = first_sentence(step.reads[-1].text) if is_stage(step) and step.reads else ""
    if opening and opening == first_sentence(said.text):
        decided.append(opening)
    return _kept(state.decisions_made, decided)


def _errors(state: HandoffState, said: Said, problems: list[str]) -> tuple[list[str], list[str]]:
    """Active and resolved ones. A critique says anew what is wrong; another text ends what those that it was made of
    showed, where it shows nothing itself.
    """
    if said.step.duty == CRITIC:
        found = objections(said)
        gone = [one for one in state.active_errors if one not in found]
        return _kept([], [*found, *problems]), _kept(state.resolved_errors, gone)
    gone = state.active_errors if said.step.reads and not problems else []
    left = [one for one in state.active_errors if one not in gone]
    return _kept(left, problems), _kept(state.resolved_errors, gone)


def _issues(text: str) -> list[str] | None:
    """`issues` of a critic's JSON; None where there is no such JSON."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        found: Any = msgspec.json.decode(text[begin : end + 1].encode("utf-8", "replace")) if begin >= 0 else None
    except msgspec.DecodeError:
        return None
    issues = found.get("issues") if isinstance(found, dict) else None
    return [str(one) for one in issues if str(one).strip()] if isinstance(issues, list) else None


def _lines(text: str) -> dict[str, list[str]]:
    """What stands behind each mark at the beginning of lines."""
    found: dict[str, list[str]] = {"decision": [], "constraint": [], "open": [], "issue": []}
    for match in _line.finditer(text):
        found[match[1].lower()].append(_short(match[2]))
    return found


def _kept(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Each once, the newest last."""
    every = list(dict.fromkeys([*old, *filter(None, map(_short, new))]))
    return every[-KEPT:]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"
