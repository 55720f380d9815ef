"""Which questions may share an answer, and which may not?"""

import json
from pathlib import Path

import pytest

from golek_worker.cache.guards import LONGEST, difference, obstacle
from golek_worker.cache.wording import read

TUNING = Path(__file__).parents[1] / "data" / "semantic_tuning.jsonl"

SAME = [
    ("How do I read a file in Ruby?", "In Ruby, how can I read a file?"),
    ("Why do birds sing in spring?", "Why, in spring, do birds sing?"),
    ("What's a noun?", "Hello! Could you please tell me what a noun is? Thanks in advance!"),
    ("What is the colour of the theatre?", "what is the color of the theater"),
    ("How do I organise my e-mail server?", "How do I organize my email server?"),
    ("How do I build a treehouse?", "How do I build a tree house?"),
    ("Explain to me what bees do.", "What do bees do?"),
    ("Compare salt and pepper.", "Compare pepper and salt."),
    ("What costs 1,000 dollars?", "What costs $1000?"),
    ("Give me three facts about bees.", "Give me 3 facts about bees, please."),
    ("Why can't pigs fly?", "Why cant pigs fly?"),
    ("Which lake is the deepest?", "What is the deepest lake?"),
    ("What does `git log` print?", "What does `git log` print"),
    ("What does entropy mean?", "What is meant by entropy?"),
]
OTHER = [
    ("numbers", "What is 5% of 80?", "What is 5% of 90?"),
    ("numbers", "Explain the second law.", "Explain the third law."),
    ("numbers", "What is 1.5 plus 2?", "What is 15 plus 2?"),
    ("words", "How strong is 5 mW?", "How strong is 5 MW?"),
    ("negation", "Which fish have bones?", "Which fish do not have bones?"),
    ("negation", "Cook it with salt.", "Cook it without salt."),
    ("negation", "Why should I go?", "Why shouldn't I go?"),
    ("code or quotes", 'Translate "yes".', 'Translate "no".'),
    ("code or quotes", "What does list.pop do?", "What does List.pop do?"),
    ("code or quotes", "What does x++ do?", "What does ++x do?"),
    ("code or quotes", "What is 2+2?", "What is 2*2?"),
    ("tense", "Who is king?", "Who was king?"),
    ("tense", "Will it rain there?", "Does it rain there?"),
    ("what is asked for", "When do bees sleep?", "Where do bees sleep?"),
    ("what is asked for", "How do dogs eat?", "Do dogs eat?"),
    ("order", "Convert feet to metres.", "Convert metres to feet."),
    ("order", "Do lions hunt hyenas?", "Do hyenas hunt lions?"),
    ("order", "Is it warmer in Rome than in Oslo?", "Is it warmer in Oslo than in Rome?"),
    ("order", "What is the mass of A to the mass of B?", "What is the mass of B to the mass of A?"),
    ("order", "Why do cats eat fish and dogs eat meat?", "Why do cats eat dogs and fish eat meat?"),
    ("order", "What was steel and what is iron?", "What is steel and what was iron?"),
    ("order", "First boil it. Then peel it.", "First peel it. Then boil it."),
    ("words", "Who was Martin Luther?", "Who was Martin Luther King?"),
    ("words", "Do dogs bark?", "Do only dogs bark?"),
    ("words", "What is C?", "What is D?"),
    ("words", "Say it in Danish.", "Say it in Dutch."),
    ("words", "What do bees do?", "What are bees?"),
    ("words", "What do you eat?", "What do I eat?"),
    ("words", "What is hepatitis A?", "What is hepatitis?"),
    ("words", "What are glasses?", "What is a glass?"),
    ("words", "What is it?", "What is that?"),
    ("words", "How do I re-sign a contract?", "How do I resign a contract?"),
    ("numbers", "What is new in Python 3.10?", "What is new in Python 3.1?"),
    ("numbers", "How much is 1,5 kg?", "How much is 15 kg?"),
    ("order", "What is the ratio of height and width?", "What is the ratio of width and height?"),
    ("words", "Quelle est la capitale du Mali ?", "Quelle est la capitale du Niger ?"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_question_in_other_words_has_the_same_sense(one: str, other: str) -> None:
    """Order, courtesy, spelling and shortening do not make another question."""
    assert difference(read(one), read(other)) == ""


@pytest.mark.parametrize(("aspect", "one", "other"), OTHER)
def test_what_decides_on_the_answer_makes_another_question(aspect: str, one: str, other: str) -> None:
    """However alike they are; and it is told in what they differ, the same from both sides."""
    assert difference(read(one), read(other)) == aspect
    assert difference(read(other), read(one)) == aspect


@pytest.mark.parametrize(
    "question",
    ["What is my name?", "I am 35, what should I eat?", "Who likes me?", "What do our laws say?", "I have a cold."],
)
def test_a_question_of_one_person_is_not_kept(question: str) -> None:
    """Words that speak of who asks are seen in the text, too."""
    assert obstacle(question) == "it speaks of who asks"


@pytest.mark.parametrize(
    "question",
    ["Who is the current king?", "What is on TV tonight?", "Who won last week?", "The latest news?", "What time is it"],
)
def test_a_question_of_one_moment_is_not_kept(question: str) -> None:
    """Words that speak of the time of asking are seen in the text, too."""
    assert obstacle(question) == "it depends on when it is asked"


def test_a_long_question_is_not_compared() -> None:
    """An embedding model may read its beginning only."""
    assert obstacle("a" * LONGEST) == ""
    assert obstacle("a" * (LONGEST + 1)) == f"it has more than {LONGEST} characters"


@pytest.mark.parametrize(
    "question",
    ["How do I boil an egg?", "Tell me why lava is hot.", "I was wondering how bees fly.", "Give me a hint."],
)
def test_how_anybody_asks_is_not_personal(question: str) -> None:
    """`I` and `me` are often no more than the way to ask."""
    assert obstacle(question) == ""


def test_no_near_miss_of_the_tuning_pairs_has_the_same_sense() -> None:
    """Those which the guards were made with; most paraphrases among them have it."""
    pairs = [json.loads(line) for line in TUNING.read_text("utf-8").splitlines()]
    shared = [pair["same"] for pair in pairs if not difference(read(pair["a"]), read(pair["b"]))]
    assert all(shared)
    assert len(shared) > 0.6 * sum(pair["same"] for pair in pairs)
