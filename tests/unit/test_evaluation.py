"""Questions whose answers are checked: when an answer is right, what the figures say, what a majority would say."""

import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from golek_worker.commands import evaluation as eval_commands
from golek_worker.commands.evaluation import configurations, normal, with_computed
from golek_worker.evaluation import asking, offline, table
from golek_worker.evaluation.asking import Configuration, Sampling
from golek_worker.evaluation.questions import BadQuestionsError, Question, is_right, load, number_in
from golek_worker.evaluation.results import Answer, Row, as_summary, figures, interval, mcnemar, percentile, verdict

LIMA = Question("1", "What is the capital of Peru?", answer="Lima")
SAMPLING = Sampling()


def row(name: str, right: str, mode: str = "single", texts: Sequence[str] = ()) -> Row:
    """A row whose questions 0, 1, … were answered right where `right` has an x, with the error OVER_LIMIT for an e."""
    answers = [
        Answer(
            str(place),
            mark == "x",
            text=texts[place] if texts else "",
            error="OVER_LIMIT" if mark == "e" else "",
            message="Too much." if mark == "e" else "",
            ms=5.0,
        )
        for place, mark in enumerate(right)
    ]
    return Row(name, mode, [name], answers)


@pytest.mark.parametrize(
    ("question", "text", "right"),
    [
        (LIMA, "Lima", True),
        (LIMA, ' "lima." ', True),
        (LIMA, "It is Lima.", False),
        (LIMA, "", False),
        (Question("1", "q", answers=["rouble", "ruble"]), "Ruble", True),
        (Question("1", "q", "number", 8), "8", True),
        (Question("1", "q", "number", 8), "3 + 5 makes 8.", True),
        (Question("1", "q", "number", 8), "eight", False),
        (Question("1", "q", "number", 8), "8 or 9", False),
        (Question("1", "q", "number", 1000), "about 1,000", True),
        (Question("1", "q", "number", "1,000"), "about 1000", True),
        (Question("1", "q", "number", 0.5), "0.50", True),
        (Question("1", "q", "number", -3), "-3", True),
        (Question("1", "q", "choice", "true", choices=["true", "false"]), "That is true.", True),
        (Question("1", "q", "choice", "true", choices=["true", "false"]), "true or false", False),
        (Question("1", "q", "choice", "true", choices=["true", "false"]), "untrue", False),
        (Question("1", "q", "regex", "gr[ae]y"), "Gray, mostly", True),
        (Question("1", "q", "regex", "^gr[ae]y$"), "dark grey", False),
        (Question("1", "q", "json", {"a": [1, 2]}), '{ "a":[1,2] }', True),
        (Question("1", "q", "json", {"a": 1}), '```json\n{"a": 1}\n```', True),
        (Question("1", "q", "json", {"a": 1}), '{"a": 2}', False),
        (Question("1", "q", "json", {"a": 1}), "a: 1", False),
    ],
)
def test_a_text_is_a_right_answer_or_not(question: Question, text: str, right: bool) -> None:
    """By the rule that the question names, and by no other."""
    assert is_right(question, text, normal) is right


@pytest.mark.parametrize(
    ("text", "number"),
    [("none", None), ("1, 2, 4", 4.0), ("3,5", 3.5), ("1,000,000.5", 1000000.5), ("1.2.3", None), ("-2 and -7", -7.0)],
)
def test_the_last_number_of_a_text_is_read(text: str, number: float | None) -> None:
    """With thousands, with a comma or a point; what is no number is none."""
    assert number_in(text) == number


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ('{"id": "1", "question": "q", "anser": "a"}', "anser"),
        ('{"id": "1", "question": "q", "answer": "a", "check": "fuzzy"}', "fuzzy"),
        ('{"id": "1", "question": "q"}', "neither `answer` nor `answers`"),
        ('{"id": "1", "question": "q", "answer": "a", "answers": ["b"]}', "give one of them"),
        ('{"id": "1", "question": "q", "answer": "a", "check": "number"}', "'a' is no number"),
        ('{"id": "1", "question": "q", "answer": "a", "check": "choice"}', "not among `choices`"),
        ('{"id": "1", "question": "q", "answer": "(", "check": "regex"}', "check regex"),
        ('{"id": "1", "question": "q", "answer": 1}', "1 is no text"),
        ('{"id": "0", "question": "q", "answer": "a"}', "the id 0 is there twice"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, said: str) -> None:
    """With the file, the line's number, and what is wrong."""
    file = tmp_path / "mine.jsonl"
    file.write_text(f'{{"id": "0", "question": "q", "answer": "a"}}\n\n{line}\n')
    with pytest.raises(BadQuestionsError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert said in str(caught.value)


def test_an_empty_file_is_told_with_an_example(tmp_path: Path) -> None:
    """The line that is shown as an example is one that can be read."""
    file = tmp_path / "mine.jsonl"
    file.write_text("\n")
    with pytest.raises(BadQuestionsError, match="holds no question") as caught:
        load(file)
    file.write_text(str(caught.value).partition("a line of it is ")[2])
    assert [question.answer for question in load(file)] == [4]


def test_the_set_that_ships_can_be_answered() -> None:
    """A hundred questions, half of them in words that no model of ours was trained on, each right by its own answer."""
    questions = load(eval_commands.QUIZ)
    assert (len(questions), sum(question.seen for question in questions)) == (100, 50)
    for question in questions:
        wanted = question.wanted[0]
        assert is_right(question, wanted if isinstance(wanted, str) else json.dumps(wanted), normal), question


def test_an_interval_holds_the_share_and_is_narrower_with_more_questions() -> None:
    """As published for Wilson's formula; never below 0 or above 1."""
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert all(0 <= bound <= 1 for n in range(1, 50) for right in (0, n) for bound in interval(right, n))
    widths = [interval(n // 2, n) for n in (10, 100, 1000)]
    assert [high - low for low, high in widths] == sorted((high - low for low, high in widths), reverse=True)


@pytest.mark.parametrize(("better", "worse"), list(itertools.product(range(5), repeat=2)))
def test_mcnemar_counts_the_falls_of_a_fair_coin(better: int, worse: int) -> None:
    """Its value is the share of all sequences of tosses that are at least as uneven."""
    tosses = list(itertools.product((0, 1), repeat=better + worse))
    uneven = sum(abs(2 * sum(toss) - len(toss)) >= abs(better - worse) for toss in tosses)
    assert mcnemar(better, worse) == pytest.approx(uneven / len(tosses))


def test_thousands_of_questions_can_be_compared() -> None:
    """Numbers that are too large for a float on the way do not matter."""
    assert mcnemar(2000, 2000) == 1.0
    assert mcnemar(3000, 1000) < 1e-9


@pytest.mark.parametrize(
    ("better", "worse", "said"),
    [(10, 1, "helps"), (3, 1, "not shown"), (2, 2, "no help"), (1, 3, "no help"), (1, 10, "harms")],
)
def test_a_mode_helps_only_beyond_chance(better: int, worse: int, said: str) -> None:
    """A few more right answers are not called help, a few less not harm."""
    assert verdict(better, worse, mcnemar(better, worse)) == said


def test_percentiles_are_values_that_were_measured() -> None:
    """By the nearest rank."""
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([7.0], 0.95)) == (50.0, 95.0, 7.0)
    assert percentile([], 0.5) is None


def test_errors_are_wrong_answers_and_are_counted() -> None:
    """They stay in the number of questions, not in the latencies, and the best single model is compared question by
    question."""
    best, other = row("a", "xxx..."), row("ensemble", "xxxx.e", "ensemble")
    found = figures(other, best)
    assert (found.asked, found.right, found.errors, found.p50_ms) == (6, 4, {"OVER_LIMIT": 1}, 5.0)
    assert (found.difference, found.verdict) == (pytest.approx(1 / 6), "not shown")
    cells = table.rows([figures(best), found])
    assert {len(cell) for cell in cells} == {len(table.HEAD)}
    assert cells[1][:3] == ["ensemble", "4 of 6", "66.7%"]
    said = list(table.sentences([figures(best), found], "a"))
    assert said[1:] == [
        "A few more right answers than by it, which chance may explain: ensemble.",
        "Errors, which count as wrong answers:",
        "  ensemble: 1 of 6 OVER_LIMIT, such as: Too much.",
    ]


def test_of_a_mode_that_never_answered_nothing_is_said_but_that() -> None:
    """It may need a router that is not there: that is no harm done by the mode."""
    best, other = row("a", "x" * 12), row("debate", "e" * 12, "debate")
    found = figures(other, best)
    assert (found.accuracy, found.verdict, found.p50_ms) == (0.0, None, None)
    assert table.rows([found])[0][-2:] == ["12", ""]
    assert list(table.sentences([figures(best), found], "a"))[1:] == [
        "Errors, which count as wrong answers:",
        "  debate: 12 of 12 OVER_LIMIT, such as: Too much.",
    ]


def test_a_mode_that_does_not_help_is_named() -> None:
    """In a sentence of its own, whatever the other modes did."""
    best = row("a", "x" * 12)
    modes = [row("critique", "." * 12, "critique"), row("debate", "x" * 12, "debate")]
    said = list(table.sentences([figures(best), *(figures(mode, best) for mode in modes)], "a"))
    assert "No help here, at a higher price: debate." in said
    assert "Fewer right answers than by it, and chance does not explain it: critique." in said
    assert list(table.sentences([figures(modes[0])], None)) == [
        "No model answered alone (--single NAME asks one), so nothing says whether a mode helps."
    ]


def test_where_nobody_answered_the_reasons_are_told_all_the_same() -> None:
    """Each kind of error once, with its words, whether a single model was asked or not; no model is then the best one,
    and the command fails.
    """
    answers = [Answer("0", False, error="X", message="One."), Answer("1", False, error="Y", message="Two.")]
    debate = Row("debate", "debate", ["a"], [*answers, Answer("2", False, error="X", message="Three.")])
    rows = [row("a", "eee"), debate]
    summary = as_summary(rows)
    assert summary["best_single"] is None
    assert list(table.sentences(summary["rows"], None))[1:] == [
        "Errors, which count as wrong answers:", "  a: 3 of 3 OVER_LIMIT, such as: Too much.",
        "  debate: 2 of 3 X, such as: One.", "  debate: 1 of 3 Y, such as: Two.",
    ]  # fmt: skip
    assert eval_commands.never_answered(rows)
    assert not eval_commands.never_answered([row("a", "e.e")])


@pytest.mark.parametrize(
    ("texts", "preferred", "place"),
    [
        (["a", "b", "B."], None, 1),
        (["a", "b", "B."], 0, 1),
        (["a", "b", "B."], 2, 2),
        (["a", "b", "c"], None, 0),
        (["a", "b", "c"], 2, 2),
        (["a", "b", "b", "a", "c"], 4, 0),
        (["7", "7.0", "8"], None, 0),
    ],
)
def test_the_majority_of_texts(texts: list[str], preferred: int | None, place: int) -> None:
    """What most say, however it is written; of equally many the preferred one, else the one that came first."""
    assert offline.majority(texts, normal, preferred) == place


def test_a_majority_is_at_least_as_large_as_any_group() -> None:
    """For texts drawn at random."""
    rng = random.Random(3)
    for _ in range(300):
        texts = rng.choices("abcd", k=rng.randint(1, 7))
        chosen = texts[offline.majority(texts, str, rng.choice([None, *range(len(texts))]))]
        assert texts.count(chosen) == max(map(texts.count, texts))


def test_what_is_computed_stands_behind_what_was_asked() -> None:
    """The majority of the answers in an ensemble, that of the singles, and where any of them was right; an answer of
    the ensemble that is another one is found.
    """
    questions = [Question("0", "q", answer="x"), Question("1", "q", answer="x")]
    singles = [row("a", "x.", texts=["x", "y"]), row("b", "..", texts=["y", "z"]), row("c", "x.", texts=["x", "w"])]
    together = Row(
        "ensemble", "ensemble", ["a", "b", "c"],
        [
            Answer("0", True, "X.", branches={"a": "x", "b": "y", "c": "x"}, synthesizer="a"),
            Answer("1", False, "y", branches={"a": "y", "b": "z", "c": "w"}, synthesizer="c"),
        ],
    )  # fmt: skip
    rows = with_computed([*singles, together], questions)
    assert [one.name for one in rows[4:]] == [
        "majority of the answers in ensemble", "majority of the singles", "any of the singles"
    ]  # fmt: skip
    assert [[answer.text for answer in one.answers] for one in rows[4:6]] == [["x", "w"], ["x", "y"]]
    assert [answer.right for answer in rows[6].answers] == [True, False]
    assert rows[6].answers[0].ms == 5.0
    assert offline.differing(together, rows[4], normal) == ["1"]


def test_of_a_preset_a_tie_is_the_ensembles_to_break() -> None:
    """Nobody outside knows whose word counts there; where most say one thing its word does not."""
    questions = [Question("0", "q", answer="x"), Question("1", "q", answer="x")]
    council = Row(
        "council", "ensemble", ["council"],
        [
            Answer("0", False, "z", branches={"a": "x", "b": "y", "c": "z"}),
            Answer("1", False, "z", branches={"a": "x", "b": "z", "c": "x"}),
        ],
    )  # fmt: skip
    computed = offline.of_branches(council, questions, normal)
    assert [answer.text for answer in computed.answers] == ["z", "x"]
    assert offline.differing(council, computed, normal) == ["1"]


def test_without_an_answer_there_is_no_majority() -> None:
    """Where every single model failed, the row computed of them has an error, too."""
    rows = with_computed([row("a", "e"), row("b", "e")], [Question("0", "q", answer="x")])
    assert [one.answers[0].error for one in rows] == ["OVER_LIMIT", "OVER_LIMIT", "NO_ANSWERS", ""]
    assert math.isclose(figures(rows[2]).accuracy, 0.0)


def test_single_models_are_asked_first() -> None:
    """Each of --models, or those that --single names; then the modes, under `auto` or the preset's name."""
    found = configurations(("single", "debate", "ensemble"), ["a", "b"], None, None)
    assert [(one.name, one.mode, one.asked) for one in found] == [
        ("a", "single", "a"), ("b", "single", "b"), ("debate", "debate", "auto"), ("ensemble", "ensemble", "auto")
    ]  # fmt: skip
    preset = configurations(("single",), [], "D3", ["a"])
    assert [(one.name, one.mode, one.asked, one.models) for one in preset] == [
        ("a", "single", "a", ("a",)), ("D3", "preset", "D3", ())
    ]  # fmt: skip
    beside = configurations(("single",), ["a", "b"], "D3", None)
    assert [one.name for one in beside] == ["a", "b", "D3"]
    assert [one.name for one in configurations(("debate",), ["a", "b"], None, None)] == ["debate"]


def test_a_request_says_who_does_what() -> None:
    """So that the row can be asked again, and the tie of an ensemble be broken the same way offline."""
    found = asking.options(Configuration("critique", "critique", "auto", ("a", "b", "c")), SAMPLING, 7)
    assert found == {
        "temperature": 0.0, "seed": 7, "max_tokens": 256, "orchestration_mode": "critique",
        "orchestration": {
            "progress": "texts", "models": ["a", "b", "c"], "duties": {"generator": "a", "critic": "b"},
        },
    }  # fmt: skip
    preset = asking.options(Configuration("D3", asking.PRESET, "D3"), SAMPLING, 7)
    assert {name: preset[name] for name in preset if name.startswith("orch")} == {  # type: ignore[literal-required]
        "orchestration": {"progress": "texts"}
    }
    alone = asking.options(Configuration("a", "single", "a", ("a",)), SAMPLING, 7)
    assert alone == {"temperature": 0.0, "seed": 7, "max_tokens": 256}
