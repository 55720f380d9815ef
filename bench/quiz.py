"""Does it help that several models answer? golek-quiz-a, -b and -c, each alone and in each mode.

What `golek eval orchestration` does, with real workers and a real router: the questions of data/eval/quiz.jsonl at
temperature 0. The peer of a mode's accuracy is the best single model's; `equal_to_majority` says how many answers of
the ensemble are the majority of what its own members said.
"""

import asyncio
from contextlib import ExitStack

from support import broker, figure, note, worker

from golek_client import Golek
from golek_worker.commands.evaluation import MODES, QUIZ, configurations, normal, with_computed
from golek_worker.evaluation import offline
from golek_worker.evaluation.asking import Sampling, ask
from golek_worker.evaluation.questions import load
from golek_worker.evaluation.results import Figures, Row, as_summary

BENCH = "quiz"
MODELS = ("golek-quiz-a", "golek-quiz-b", "golek-quiz-c")
AT_A_TIME = 4


async def all_rows(url: str) -> list[Row]:
    """Every configuration, and what is computed from them."""
    questions, rows = load(QUIZ), list[Row]()
    async with Golek(url) as golek:
        for one in configurations(("single", *MODES), MODELS, None, None):
            note(one.name)
            rows.append(await ask(golek, one, questions, Sampling(), AT_A_TIME, normal, lambda _: None))
    return with_computed(rows, questions)


def tell(found: Figures, best: Figures) -> None:
    """One row of the table."""
    how = {
        "right": f"{found.right}/{found.asked}", "interval": f"{found.low:.3f}-{found.high:.3f}",
        "tokens": f"{found.tokens_in:.0f} in, {found.tokens_out:.0f} out", "errors": str(sum(found.errors.values())),
        "partial": str(found.partial), "verdict": found.verdict or "",
    }  # fmt: skip
    if found.p50_ms is not None and found.p95_ms is not None:
        how["ms"] = f"p50 {found.p50_ms:.0f}, p95 {found.p95_ms:.0f}"
    name = found.name.replace(" ", "_")
    figure(BENCH, f"accuracy_{name}", found.accuracy, best.accuracy, "share of right answers", 1, how)


def main() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(broker())
        for name in (*MODELS, "router"):
            stack.enter_context(worker(url, name))
        rows = asyncio.run(all_rows(url))
    summary = as_summary(rows)
    best = next(one for one in summary["rows"] if one.name == summary["best_single"])
    for one in summary["rows"]:
        tell(one, best)
    (ensemble,) = [row for row in rows if row.mode == "ensemble"]
    (computed,) = [row for row in rows if row.name == offline.name_of(ensemble)]
    equal = len(ensemble.answers) - len(offline.differing(ensemble, computed, normal))
    figure(BENCH, "equal_to_majority", equal, len(ensemble.answers), "answers", 1)


if __name__ == "__main__":
    main()
