"""How does a person find out whether several models answer better than one? `golek eval orchestration`.

What the command needs is imported when it runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from golek_client.client import Golek
    from golek_worker.evaluation.asking import Configuration, Sampling
    from golek_worker.evaluation.questions import Question
    from golek_worker.evaluation.results import Answer, Figures, Row

MODES = ("critique", "debate", "ensemble", "pipeline")
QUIZ = Path("data/eval/quiz.jsonl")

evaluation = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Questions with answers that are checked.")


@evaluation.callback()
def _several() -> None:
    """One command, called by its name."""


@evaluation.command("orchestration")
def orchestration(
    *,
    questions: Annotated[Path, typer.Option("--set", metavar="FILE", help="Questions, one JSON object a line.")] = QUIZ,
    modes: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Which modes; else all, of a preset its own.", show_default=False),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Who takes part, the leader first; else all that the fleet serves."),
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Ask this preset, in its own mode.")] = None,
    single: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Ask this one alone; else each model, unless --modes leaves single out."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Questions at a time.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first so many questions.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, metavar="T", help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the first question; the next has the next.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Most tokens of an answer.")] = 256,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="For one answer.")] = "2m",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every answer there, as JSON.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: the figures.")] = False,
    server: Server = DEFAULT_URL,
) -> None:
    """Does it help? A set of questions through single models and through each mode, side by side.

    \b
      golek eval orchestration --models golek-quiz-a,golek-quiz-b,golek-quiz-c
      golek eval orchestration --preset D3 --single phi-4 --set mine.jsonl --limit 50

    Modes need a router (`make start WORKER=router`). Errors count as wrong answers. Rows in brackets are computed from
    the answers of others. A name that nobody answers for is refused before any question is asked; exit status 1 when
    one configuration never answered. docs/orchestration.md says how a file of questions is written.
    """
    from golek_worker.evaluation.asking import Sampling
    from golek_worker.evaluation.questions import BadQuestionsError, load

    wanted = _modes(modes) if modes is not None else ("single",) if preset is not None else ("single", *MODES)
    try:
        asked = load(questions)[:limit]
    except (BadQuestionsError, OSError) as error:
        terminal.fail(str(error))
    sampling = Sampling(temperature, seed, max_tokens, terminal.seconds(deadline, "--deadline"))
    rows = terminal.run(_all_rows(server, wanted, _names(models), preset, single, asked, sampling, concurrency))
    _show(rows, as_json=as_json)
    if out is not None:
        _write(out, rows, questions, sampling)
    if never_answered(rows):
        raise typer.Exit(1)


def _names(listed: str | None) -> list[str]:
    return [name for part in (listed or "").split(",") if (name := part.strip())]


def _modes(listed: str) -> tuple[str, ...]:
    found = tuple(_names(listed))
    unknown = [mode for mode in found if mode not in ("single", *MODES)]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are single, {', '.join(MODES)}", param_hint="--modes")
    return found


async def _all_rows(
    server: str,
    modes: Sequence[str],
    models: list[str],
    preset: str | None,
    single: list[str] | None,
    questions: "Sequence[Question]",
    sampling: "Sampling",
    concurrency: int,
) -> "list[Row]":
    """What was asked, and what is computed from it."""
    from golek_client.client import Golek
    from golek_worker.evaluation.asking import ask, check

    async with Golek(server) as golek:
        if not models and preset is None:
            models = await _served(golek)
        plan = configurations(modes, models, preset, single)
        await check(golek, plan, sampling)
        rows: list[Row] = []
        for configuration in plan:
            progress = _Progress(configuration, len(questions))
            rows.append(await ask(golek, configuration, questions, sampling, concurrency, normal, progress.add))
            progress.end()
    return with_computed(rows, questions)


async def _served(golek: "Golek") -> list[str]:
    """The models of the fleet that answer now, in the order of their names."""
    found = [
        record.name
        for record in await golek.models()
        if "inference" in record.kinds and record.state == "online" and not record.offers
    ]
    if not found:
        terminal.fail("no model is served: start some, or name them with --models")
    return found


def configurations(
    modes: Sequence[str], models: Sequence[str], preset: str | None, single: Sequence[str] | None
) -> "list[Configuration]":
    """One for each row that is asked: single models first, so that there is something to compare with."""
    from golek_worker.evaluation.asking import PRESET, Configuration

    alone = list(single or (models if "single" in modes else ()))
    found = [Configuration(name, "single", name, (name,)) for name in dict.fromkeys(alone)]
    several = [mode for mode in modes if mode != "single"]
    if preset is not None and not several:
        found.append(Configuration(preset, PRESET, preset, tuple(models)))
    for mode in several:
        name = mode if preset is None else f"{preset} {mode}"
        found.append(Configuration(name, mode, preset or "auto", tuple(models)))
    return found


def never_answered(rows: "Sequence[Row]") -> bool:
    """Whether a configuration that was asked gave errors alone."""
    from golek_worker.evaluation import table

    asked = (row for row in rows if row.mode not in table.COMPUTED)
    return any(all(answer.error for answer in row.answers) for row in asked)


def normal(text: str) -> str:
    """As an ensemble makes short answers equal that say the same."""
    from golek_worker.orchestration import votes

    return votes.normal(text)


def with_computed(rows: "list[Row]", questions: "Sequence[Question]") -> "list[Row]":
    """The rows, and behind them what is computed: from the single models, and from each ensemble's own answers."""
    from golek_worker.evaluation import offline

    singles = [row for row in rows if row.mode == "single"]
    computed = [offline.of_branches(row, questions, normal) for row in rows if row.mode == "ensemble"]
    if len(singles) > 1:
        computed.append(offline.of_singles(singles, questions, normal, singles[0].models[0]))
        computed.append(offline.at_best(singles, questions))
    return [*rows, *computed]


class _Progress:
    """Says on standard error how far a configuration is: on a terminal as it goes, else in one line."""

    def __init__(self, configuration: "Configuration", total: int) -> None:
        self._name = configuration.name
        self._total = total
        self._done = self._right = self._errors = 0
        self._moves = sys.stderr.isatty()

    def add(self, answer: "Answer") -> None:
        self._done += 1
        self._right += answer.right
        self._errors += bool(answer.error)
        if self._moves:
            print(f"\r{self._line()}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        print(f"\r{self._line()}" if self._moves else self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        errors = f", {self._errors} errors" if self._errors else ""
        return f"{self._name}: {self._done} of {self._total}, {self._right} right{errors}"


def _show(rows: "list[Row]", *, as_json: bool) -> None:
    import msgspec

    from golek_worker.evaluation import table
    from golek_worker.evaluation.results import as_summary

    summary = as_summary(rows) | {"offline": list(_offline(rows))}
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
        return
    found: list[Figures] = summary["rows"]
    terminal.table(table.HEAD, table.rows(found))
    print()
    for sentence in table.sentences(found, summary["best_single"]):
        print(sentence)
    for one in (one for one in summary["offline"] if one["answered"]):
        print(
            f"{one['ensemble']}: {one['equal']} of {one['asked']} answers are the majority of its own members' answers."
        )


def _offline(rows: "Sequence[Row]") -> "Any":
    """For each ensemble: how many of its answers are the one that was computed from what its members said."""
    from golek_worker.evaluation import offline

    computed = {row.name: row for row in rows if row.mode == offline.OFFLINE}
    for row in rows:
        if row.mode == "ensemble":
            other = offline.differing(row, computed[offline.name_of(row)], normal)
            yield {
                "ensemble": row.name, "asked": len(row.answers), "equal": len(row.answers) - len(other),
                "differing": other, "answered": sum(not answer.error for answer in row.answers),
            }  # fmt: skip


def _write(out: Path, rows: "list[Row]", questions: Path, sampling: "Sampling") -> None:
    """Every answer, for a look at what went wrong."""
    import msgspec

    said = {"set": str(questions), "sampling": sampling, "rows": rows}
    out.write_bytes(msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")
    print(f"every answer is in {out}", file=sys.stderr)
