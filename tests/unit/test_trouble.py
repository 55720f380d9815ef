"""How many jobs of a queue others should answer."""

import math

import msgspec
import pytest

from golek_worker.router.trouble import ALL, PACE_S, Line, Pace, excess

WELL = Line(pending=10, unacked=4, capacity=100, in_rotation=True, rate=2.0, head_left_s=29.0, head_budget_s=30.0)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, 0),
        ({"in_rotation": False}, ALL),
        ({"in_rotation": False, "pending": 0}, ALL),  # those of a worker that is gone come back
        ({"in_rotation": False, "pending": 0, "unacked": 0}, 0),
        ({"in_rotation": False, "is_coming": True}, 0),
        ({"in_rotation": False, "is_coming": True, "head_left_s": 2.0}, 10),
        ({"pending": 80, "rate": 0.0}, 0),
        ({"pending": 83, "rate": 0.0}, 3),
        ({"pending": 24, "capacity": 0}, 0),  # it is not known yet
        ({"pending": 40}, 11),  # half of what should be started in 29 s
        ({"pending": 40, "rate": 0.0}, 0),
        ({"pending": 40, "head_left_s": math.inf}, 0),
        ({"head_left_s": 9.0}, 10),
        ({"head_left_s": 9.0, "rate": 0.0}, 10),
        ({"head_left_s": -1.0}, 10),
        ({"slots": 36}, 8),  # a job runs for 18 s, with a margin for 27
        ({"slots": 40}, 10),
        ({"head_left_s": 4.0, "head_budget_s": 6.0}, 10),
        ({"head_left_s": 6.0, "head_budget_s": 15.0}, 4),  # half of the twelve that should be started by then
        ({"head_left_s": 9.0, "pending": 0}, 0),
    ],
)
def test_how_many_are_taken(changes: dict[str, object], jobs: int) -> None:
    """All of a model without workers, what is above the spill, and what would be late."""
    assert excess(msgspec.structs.replace(WELL, **changes), spill=0.8) == jobs


def test_the_pace_is_seen_while_others_wait() -> None:
    """Nothing is said before it was seen for a while; an empty queue tells nothing of it."""
    pace = Pace()
    rates = [pace.observe(float(second), 3 * second, pending=5) for second in range(int(PACE_S))]
    assert rates[: int(PACE_S / 2)] == [0.0] * int(PACE_S / 2)
    assert rates[-1] == pytest.approx(3.0)
    assert pace.observe(PACE_S, 100, pending=0) == 0.0
    assert pace.observe(PACE_S + 1, 100, pending=5) == 0.0
