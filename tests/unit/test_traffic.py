"""What came to a process and how it ended."""

from golek_wire.signals import Refusals, Traffic
from golek_worker.traffic import KEPT, TOLD, Tally


def test_each_end_is_counted_once() -> None:
    """Answers with their time, errors, refusals; those from 500 on are the errors, and no refusals."""
    tally = Tally()
    tally.answer(120.0)
    tally.answer(80.04)
    tally.tokens(7, 30)
    for status in (408, 499, 500):
        tally.fail(status)
    tally.refuse(429, "key-a")
    tally.refuse(503)
    assert tally.told() == Traffic(
        requests=7, errors=2, refused=1, answered_ms=200.0, answered=2, tokens_in=7, tokens_out=30,
        refusals=[Refusals("key-a", 429, 1)],
    )  # fmt: skip
    assert tally.unanswered == 5


def test_money_is_counted() -> None:
    """What clouds took, to a millionth of a dollar; most requests cost nothing."""
    tally = Tally()
    for usd in (None, 0.1, 0.2, 0.0, None):
        tally.cost(usd)
    assert tally.told() == Traffic(cost_usd=0.3)


def test_refusals_are_told_by_who_asked() -> None:
    """Of each principal and status, the most refused first; who said nothing is anonymous."""
    tally = Tally()
    for status, who in ((401, ""), (429, "b"), (429, "b"), (403, "b"), (404, "b")):
        tally.refuse(status, who)
    assert tally.told().refusals == [Refusals("b", 429, 2), Refusals("anonymous", 401, 1), Refusals("b", 403, 1)]
    assert tally.refused == 5


def test_no_number_of_principals_fills_reports_or_memory() -> None:
    """The most refused are told, and the least refused forgotten."""
    tally = Tally()
    for _ in range(3):
        tally.refuse(429, "often")
    for number in range(3 * KEPT):
        tally.refuse(429, f"k{number}")
    told = tally.told().refusals
    assert len(told) == TOLD
    assert told[0] == Refusals("often", 429, 3)
    assert len(tally._refusals) <= KEPT
    assert tally.refused == 3 * KEPT + 3


def test_a_long_answer_counts_as_it_is_written() -> None:
    """Tokens of what still runs are told, none twice, and they never fall: where it runs anew, it is waited for."""
    tally = Tally()
    told = [tally.told(writing).tokens_out for writing in (0, 10, 25)]
    tally.tokens(7, 30)
    told += [tally.told(writing).tokens_out for writing in (0, 20, 5, 25)]
    assert told == [0, 10, 25, 30, 50, 50, 55]
