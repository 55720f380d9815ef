"""How many jobs of a queue others should answer."""

import math

import msgspec
import pytest

from golek_worker.router.trouble import ALL, Line, excess

WELL = Line(pending=10, unacked=4, capacity=100, in_rotation=True, rate=2.0, head_left_s=29.0, head_budget_s=30.0)


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, 0),
        ({"in_rotation": False}, ALL),
        ({"in_rotation": False, "pending": 0}, ALL),  # those of a worker that is gone come back
        ({"in_rotation": False, "pending": 0, "unacked": 0}, 0),
        ({"in_rotation": False, "is_coming": True}, 0),
        ({"in_rotation": False, "is_coming": True, "head_left_s": 2.0}, 8),
        ({"pending": 80, "rate": 0.0}, 0),
        ({"pending": 83, "rate": 0.0}, 3),
        ({"pending": 24, "capacity": 0}, 0),  # it is not known yet
        ({"pending": 40}, 11),  # half of what should be started in 29 s
        ({"pending": 40, "rate": 0.0}, 0),
        ({"pending": 40, "head_left_s": math.inf}, 0),
        ({"head_left_s": 9.0}, 1),  # nine of ten will have been started by then
        ({"head_left_s": 9.0, "rate": 0.0}, 10),
        ({"head_left_s": -1.0}, 10),
        ({"head_left_s": 4.0, "head_budget_s": 6.0}, 6),
        ({"head_left_s": 9.0, "pending": 0}, 0),
    ],
)
def test_how_many_are_taken(changes: dict[str, object], jobs: int) -> None:
    """All of a model without workers, what is above the spill, and what would be late."""
    assert excess(msgspec.structs.replace(WELL, **changes), spill=0.8) == jobs
