"""What does a person at a terminal see of several models that answer together?

All on standard error, in lines of their own: a step when it begins and when it ends, until the answer begins; behind
the answer that it is a partial one, and with `--stats` how it came about.
"""

import sys
from collections.abc import Iterator

from golek_wire.keys import dollars, micros
from golek_wire.orchestration import Orchestration, StepEvent, StepRecord

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
"""How a terminal is told to write faintly, and as before (ECMA-48)."""


class Steps:
    """Tells of the steps of one answer."""

    def __init__(self) -> None:
        self._answer_begun = False

    def told(self, step: StepEvent) -> None:
        """The `on_step` of a stream. Once the answer is being written nothing may stand within it."""
        if not self._answer_begun:
            for line in lines_of(step):
                print(_faint(line), file=sys.stderr, flush=True)

    def end(self) -> None:
        """The answer begins."""
        self._answer_begun = True


def lines_of(step: StepEvent) -> Iterator[str]:
    """`[1/3 answer: phi-4, 84 ms]`, and what it said where that is told."""
    about = f"{step.number}/{max(step.total, step.number)} {_name(step.name, step.round)}: {step.model}"
    if step.state == "began":
        yield f"[{about} …]"
        return
    took = f"{step.ms:.0f} ms"
    yield f"[{about}, {took if step.outcome in ('', 'answered') else f'{step.outcome} after {took}'}]"
    yield from (f"  {line}" for line in step.text.splitlines())


def partial_line(how: Orchestration) -> str:
    """That the answer is not the one that was meant to come, and why."""
    why = f"; {how.error}" if how.error else ""
    return f"[partial: the last usable text, after {how.completed_steps} of {how.total_steps} steps{why}]"


def figures(how: Orchestration) -> Iterator[str]:
    """How an answer came about, in lines: all together, then each step, then what the models made of each other."""
    said = [
        f"{how.mode} of {', '.join(how.models_used)}",
        f"{how.rounds} round{'s' if how.rounds != 1 else ''}",
        f"{how.completed_steps} of {how.total_steps} steps",
    ]
    if how.agreement is not None:
        said.append(f"agreement {how.agreement:.2f}" + (f" ({how.method})" if how.method else ""))
    if how.confidence is not None:
        said.append(f"confidence {how.confidence:.2f}")
    yield ", ".join(said)
    yield from _table([_row(step) for step in how.steps])
    for title, points in (("agreed", how.agreed), ("conflict", how.conflicts), ("flagged", how.flagged)):
        yield from (f"  {title}: {' '.join(point.split())}" for point in points)
    yield from (f"  failed: {model}: {code}" for model, code in how.failed.items())


def written(how: Orchestration) -> int | None:
    """The tokens of the step that wrote the answer; None where that may be another one than the last that wrote."""
    texts = [one for one in how.steps if one.outcome == "answered" and not _judges(one)]
    if not texts or (texts[-1].duty == "participant" and len(texts) > 1):
        return None
    return texts[-1].tokens_out


def _judges(step: StepRecord) -> bool:
    return step.duty in ("critic", "compressor", "embedder") or step.name == "compare"


def _row(step: StepRecord) -> tuple[str, ...]:
    ended = "" if step.outcome == "answered" else step.outcome
    tries = "" if step.tries == 1 else f"{step.tries} tries"
    cost = "" if step.cost_usd is None else dollars(micros(step.cost_usd))
    rest = ", ".join(one for one in (cost, tries, "compressed" if step.compressed else "", ended) if one)
    return (
        _name(step.name, step.round), step.model, step.duty, f"{step.tokens_in} in", f"{step.tokens_out} out",
        f"{step.ms:.0f} ms", rest,
    )  # fmt: skip


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Texts to the left and figures to the right, in columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [
            cell.rjust(width) if 3 <= place <= 5 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _name(name: str, number: int) -> str:
    return name if number == 1 else f"{name}, round {number}"


def _faint(line: str) -> str:
    return f"{DIM}{line}{PLAIN}" if sys.stderr.isatty() else line
