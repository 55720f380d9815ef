"""The resend schedule."""

import pytest

from golek_client.retry import COPIES_S, next_send, wait_after


def test_the_waits_are_one_one_and_then_two_seconds() -> None:
    """A request nobody acknowledges is sent again after 1, 1, 2, 2, 2 … s."""
    assert [wait_after(sends) for sends in range(1, 7)] == [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("sends", "now", "deadline", "due"),
    [
        (1, 0.0, 120.0, 1.0),
        (3, 10.0, 120.0, 12.0),
        (1, 119.5, 120.0, None),
        (1, 119.0, 120.0, None),
        (3, 10.0, 11.9, None),
    ],
)
def test_no_copy_is_sent_at_or_after_the_deadline(sends: int, now: float, deadline: float, due: float | None) -> None:
    """The next copy is due after its wait, or never when the deadline comes first."""
    assert next_send(sends, now, 0.0, deadline) == due


@pytest.mark.parametrize(
    ("now", "taken_at", "due"), [(108.0, 0.0, 110.0), (108.1, 0.0, None), (500.0, 400.0, 502.0), (500.0, 300.0, None)]
)
def test_no_copy_is_sent_that_the_stream_may_not_know(now: float, taken_at: float, due: float | None) -> None:
    """The job stream drops a second message with an id for 120 s; a copy must be there well before."""
    assert COPIES_S < 120
    assert next_send(9, now, taken_at, 9999.0) == due
