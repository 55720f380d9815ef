"""What would a plain majority have answered? Computed from answers that were given already; nobody is asked."""

from collections.abc import Mapping, Sequence
from typing import Final

from golek_worker.evaluation.questions import Normal, Question, is_right
from golek_worker.evaluation.results import Answer, Row

OFFLINE: Final = "offline"
BOUND: Final = "bound"
"""The mode of a row that says how far any mode could come."""


def majority(texts: Sequence[str], normal: Normal, preferred: int | None = None) -> int:
    """The place of what most texts say: of several groups of one size the one with the `preferred` text, else the one
    that comes first. Of a group, the preferred text, else the first one. Raises ValueError without texts.
    """
    groups: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        groups.setdefault(normal(text), []).append(place)
    if not groups:
        raise ValueError("there is no text to choose from")
    largest = max(len(group) for group in groups.values())
    tied = [group for group in groups.values() if len(group) == largest]
    chosen = next((group for group in tied if preferred in group), tied[0])
    return preferred if preferred is not None and preferred in chosen else chosen[0]


def of_singles(singles: Sequence[Row], questions: Sequence[Question], normal: Normal, leader: str) -> Row:
    """The majority of what the models answered alone; the leader's word counts where it is as large as another."""
    answers = []
    for question, said in _by_question(singles, questions):
        given = {model: answer for model, answer in said.items() if not answer.error}
        answers.append(_chosen(question, {model: answer.text for model, answer in given.items()}, normal, leader, said))
    return Row("majority of the singles", OFFLINE, [row.models[0] for row in singles], answers)


def of_branches(row: Row, questions: Sequence[Question], normal: Normal) -> Row:
    """The majority of what the members of an ensemble said, as they said it there."""
    known = {answer.question: answer for answer in row.answers}
    answers = []
    for question in questions:
        answer = known[question.id]
        decides = answer.synthesizer or _same_as(answer, normal)
        answers.append(_chosen(question, answer.branches, normal, decides, {"": answer}))
    return Row(name_of(row), OFFLINE, row.models, answers)


def _same_as(answer: Answer, normal: Normal) -> str:
    """Who said what the ensemble answered: of a preset nobody here knows whose word breaks a tie."""
    return next((name for name, text in answer.branches.items() if normal(text) == normal(answer.text)), "")


def name_of(row: Row) -> str:
    """The row that `of_branches` makes of an ensemble's."""
    return f"majority of the answers in {row.name}"


def at_best(singles: Sequence[Row], questions: Sequence[Question]) -> Row:
    """Right where any single model was: no way of choosing among their answers comes further."""
    answers = []
    for question, said in _by_question(singles, questions):
        right = next((answer for answer in said.values() if answer.right), None)
        answers.append(_summed(question, said, right.text if right else "", right=right is not None))
    return Row("any of the singles", BOUND, [row.models[0] for row in singles], answers)


def differing(row: Row, offline: Row, normal: Normal) -> list[str]:
    """Questions whose answer in `row` is not the one that was computed."""
    computed = {answer.question: answer for answer in offline.answers}
    return [
        answer.question
        for answer in row.answers
        if answer.error or normal(answer.text) != normal(computed[answer.question].text)
    ]


def _by_question(singles: Sequence[Row], questions: Sequence[Question]) -> list[tuple[Question, dict[str, Answer]]]:
    of_model = {row.models[0]: {answer.question: answer for answer in row.answers} for row in singles}
    return [(question, {model: said[question.id] for model, said in of_model.items()}) for question in questions]


def _chosen(
    question: Question, texts: Mapping[str, str], normal: Normal, leader: str, said: Mapping[str, Answer]
) -> Answer:
    """What most texts say, as an answer that costs what those that were `said` cost."""
    if not texts:
        return _summed(question, said, "", right=False, error="NO_ANSWERS")
    names = list(texts)
    preferred = names.index(leader) if leader in names else None
    text = texts[names[majority(list(texts.values()), normal, preferred)]]
    return _summed(question, said, text, right=is_right(question, text, normal))


def _summed(question: Question, said: Mapping[str, Answer], text: str, *, right: bool, error: str = "") -> Answer:
    """As if all had been asked at once: their tokens and prices together, and the time of the slowest."""
    prices = [answer.cost_usd for answer in said.values() if answer.cost_usd is not None]
    return Answer(
        question=question.id, right=right, text=text, error=error,
        ms=max((answer.ms for answer in said.values()), default=0.0),
        tokens_in=sum(answer.tokens_in for answer in said.values()),
        tokens_out=sum(answer.tokens_out for answer in said.values()), cost_usd=sum(prices) if prices else None,
    )  # fmt: skip
