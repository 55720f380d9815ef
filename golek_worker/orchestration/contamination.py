"""Does what a model said show errors that must not be passed on?

Errors are sticky: what is wrong in a context bends all that is written after it. Five marks of an error are a warning.
What contradicts a decision, or a flow in which there are more errors than steps, is high: the text is put aside and the
step asked once more, without what was decided and without the errors. A contradiction that it says again, unasked, is
critical: the flow ends with what it has.
"""

from collections.abc import Collection
from typing import Final, Literal

from msgspec import Struct

from golek_worker.orchestration.contradiction import contradicted
from golek_worker.orchestration.handoff import HandoffState

ERROR_MARKERS: Final = (
    "I apologize",
    "I made an error",
    "That's incorrect",
    "hallucination",
    "I don't have information about",
)
Severity = Literal["warning", "high", "critical"]
Recommendation = Literal["proceed", "quarantine", "abort"]
_QUOTES: Final = str.maketrans({0x2019: "'", 0x2018: "'"})


class ErrorIssue(Struct, frozen=True, omit_defaults=True):
    """One thing that was found."""

    type: Literal["error_marker_detected", "contradiction_detected", "error_accumulation"]
    severity: Severity
    marker: str = ""
    decision: str = ""
    count: int = 0

    @property
    def text(self) -> str:
        """For people."""
        match self.type:
            case "error_marker_detected":
                return f"says {self.marker!r}"
            case "contradiction_detected":
                return f"contradicts what was decided: {self.decision}"
            case _:
                return f"{self.count} errors are active, more than steps were taken"


class ValidationResult(Struct, frozen=True):
    """What is to be done with a text."""

    valid: bool
    issues: tuple[ErrorIssue, ...] = ()
    recommendation: Recommendation = "proceed"

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that was found, for people."""
        return tuple(issue.text for issue in self.issues)

    @property
    def is_quarantined(self) -> bool:
        """Whether the text must not be passed on."""
        return not self.valid


class ErrorContaminationDetector:
    """Looks at texts between steps."""

    def validate_handoff(
        self, state: HandoffState, output: str, *, objections: Collection[str] = (), again: bool = False
    ) -> ValidationResult:
        """What `output` shows, as `state` was before it. What a critic objected to is no mistake that crept in: it is
        what the next step shall mend, and does not count. `again`: its step was asked afresh because of such errors.
        """
        plain = output.translate(_QUOTES).lower()
        issues = [
            ErrorIssue("error_marker_detected", "warning", marker=marker)
            for marker in ERROR_MARKERS
            if marker.lower() in plain
        ]
        issues += [
            ErrorIssue("contradiction_detected", "high", decision=decision)
            for decision in contradicted(output, state.decisions_made)
        ]
        active = [one for one in state.active_errors if one not in objections]
        if len(active) > state.current_step:
            issues.append(ErrorIssue("error_accumulation", "high", count=len(active)))
        high = [issue for issue in issues if issue.severity == "high"]
        if not high:
            return ValidationResult(True, tuple(issues))
        if not again:
            return ValidationResult(False, tuple(issues), "quarantine")
        worse = tuple(
            ErrorIssue(one.type, "critical", one.marker, one.decision, one.count) if one in high else one
            for one in issues
        )
        return ValidationResult(False, worse, "abort")
