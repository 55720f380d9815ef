"""The resend schedule."""

import pytest

from golek_client.retry import next_send, wait_after


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
    assert next_send(sends, now, deadline) == due
