"""By which rule does one sentence contradict another, and which sentences does a text have?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golek_worker.orchestration.contradiction import contradicts
from golek_worker.orchestration.sentences import sentences

CONTRARY = [
    ("The port is 8080.", "The port is 9090."),
    ("It was founded in 1990.", "It was founded in 1995."),
    ("The flight takes 5 hours.", "The flight takes 7 hours."),
    ("Python 3.11 is required.", "Python 3.12 is required."),
    ("It needs version 3.11.2.", "It needs version 3.11.4."),
    ("It costs $5.", "It costs $6."),
    ("Use two workers.", "Use three workers."),
    ("The total is 5 million dollars.", "The total is 6 million dollars."),
    ("The server has 16GB of memory.", "The server has 32GB of memory."),
    ("The meeting is on Monday.", "The meeting is on Tuesday."),
    ("The release is in March.", "The release is in April."),
    ("The release is on 1 May 2024.", "The release is on 2 May 2024."),
    ("The release is on 2024-05-01.", "The release is on 2024-05-02."),
    ("The train leaves at 10:30.", "The train leaves at 11:30."),
    ("42", "43"),
    ("Yes.", "No."),
    ("The service uses TLS.", "The service does not use TLS."),
    ("The cache isn't needed.", "The cache is needed."),
    ("The service runs without TLS.", "The service runs with TLS."),
    ("The API must not be public.", "The API must be public."),
    ("The job always runs at night.", "The job never runs at night."),
    ("The door is open.", "The door is closed."),
    ("Lists are mutable.", "Lists are immutable."),
    ("The operation is safe.", "The operation is unsafe."),
    ("Sorting increases the cost.", "Sorting decreases the cost."),
]
NOT_CONTRARY = [
    ("The capital is Paris.", "The capital is Paris."),
    ("The door is not open.", "The door is closed."),
    ("It is not only fast.", "It is fast."),
    ("Paris, not Lyon, is the capital.", "Paris is the capital."),
    ("The service uses TLS.", "The service uses TLS and HTTP/2."),
    ("Is the port 8080?", "The port is 9090."),
    ("If the port is 8080, stop.", "The port is 9090."),
    ("The port is at least 5.", "The port is 6."),
    ("5 to 10 people came.", "7 people came."),
    ("Pi is 3.14.", "Pi is 3.14159."),
    ("The value is 5.0.", "The value is 5."),
    ("1,000 files are kept.", "1000 files are kept."),
    ("50% of users pay.", "50 percent of users pay."),
    ("In 1990 Berlin had 3 zoos.", "In 1995 Berlin had 4 zoos."),
    ("Alice bought 5 red apples.", "Bob bought 6 red apples."),
    ("The train to Berlin takes 4 hours.", "The train to Munich takes 5 hours."),
    ("Server A has 5 disks.", "Server B has 6 disks."),
    ("Step 1 takes 5 minutes.", "Step 2 takes 6 minutes."),
    ("1 + 1 = 2", "3 + 4 = 7"),
    ("Dogs are not cats.", "Birds are animals."),
    ("", "The port is 9090."),
]
UNSEEN = [
    ("The capital is Paris.", "The capital is Lyon."),
    ("It takes 5 minutes.", "It takes 600 seconds."),
    ("Der Port ist offen.", "Der Port ist nicht offen."),
]


@pytest.mark.parametrize(("one", "other"), CONTRARY)
def test_what_cannot_both_be_so_is_found_from_both_sides(one: str, other: str) -> None:
    """Another figure, a negation or an opposite, said of the same, contradicts; whoever is read first."""
    assert contradicts(one, other)
    assert contradicts(other, one)


@pytest.mark.parametrize(("one", "other"), NOT_CONTRARY)
def test_what_may_both_be_so_is_left_alone(one: str, other: str) -> None:
    """Other names, other times, bounds, ranges, questions and conditions contradict nothing."""
    assert not contradicts(one, other)
    assert not contradicts(other, one)


@pytest.mark.parametrize(("one", "other"), UNSEEN)
def test_the_limits_that_are_written_down_are_the_limits(one: str, other: str) -> None:
    """Contraries in other words, other units and other languages are not seen."""
    assert not contradicts(one, other)


def test_one_sentence_of_many_is_enough() -> None:
    """A long text contradicts a decision by any of its sentences."""
    text = "First, the parts.\n\n- The queue is in memory.\n- The port is **9090**, as agreed.\n"
    assert contradicts(text, "We said: it is small. The port is 8080.")
    assert not contradicts("```\nThe port is 9090.\n```", "The port is 8080.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith knows Pi. It is 3.14! See e.g. this.", ["Dr. Smith knows Pi.", "It is 3.14!", "See e.g. this."]),
        ("# Head\n\n1. One\n2) Two is **bold**.\n- a `mark`", ["Head", "One", "Two is bold.", "a mark"]),
        ("1. One. 2. Two.", ["One.", "2. Two."]),
        ('He said "no." Then he left…', ['He said "no."', "Then he left…"]),
        ("Before.\n```py\nx = 1. \n```\nAfter.", ["Before.", "After."]),
        ("---\n| a | b |\n|---|---|", ["| a | b |"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    """A stop ends a sentence unless it is a decimal's, an abbreviation's or a list's; marks and code are left out."""
    assert sentences(text) == expected


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), st.text(max_size=200))
def test_any_text_can_be_read(one: str, other: str) -> None:
    """Whatever a model writes is compared without an error, and contradicts itself only if its parts do."""
    assert contradicts(one, other) == contradicts(other, one)


@given(st.lists(st.sampled_from([*"0123456789", "-5", "$3", "3%", "10:30", "not", "no", "May", "to", "and", "yes", ",",
                                 "two", "million", "step", "in", "1990", "a", "B", "cache"]), max_size=12))  # fmt: skip
def test_no_sentence_contradicts_itself(pieces: list[str]) -> None:
    """Said twice, a sentence is no contradiction."""
    said = " ".join(pieces)
    assert not contradicts(said, said)
