"""How a moment is written."""

from datetime import UTC, datetime

import pytest

from golek_wire.moments import stamp


@pytest.mark.parametrize(
    ("epoch_s", "written"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_767_355_200.0, "2026-01-02T12:00:00.000Z"),
        (1_767_355_200.0499, "2026-01-02T12:00:00.049Z"),
        (1_767_355_200.9999996, "2026-01-02T12:00:01.000Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_a_moment_is_written_with_milliseconds(epoch_s: float, written: str) -> None:
    """RFC 3339 in UTC, as Python's own words say it."""
    assert stamp(epoch_s) == written
    assert datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") == written


@pytest.mark.parametrize("epoch_s", [float("nan"), float("inf"), 1e30])
def test_what_is_no_moment_is_not_written(epoch_s: float) -> None:
    """It raises as Python does."""
    with pytest.raises((ValueError, OverflowError, OSError)):
        stamp(epoch_s)
