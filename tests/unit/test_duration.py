"""Durations on the command line."""

import pytest

from golek_client.duration import parse, show


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("0", 0.0), ("0s", 0.0),
        ("250us", 0.00025), ("250µs", 0.00025), (".5s", 0.5),
    ],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    """What the nats CLI accepts means the same here."""
    assert parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 s", "1d", "5s5", "abc", "1.2.3s"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    """A mistake is answered with what would have been right."""
    with pytest.raises(ValueError, match="write 30s, 500ms, 2m or 1m30s"):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00085, "850µs"), (0.0015234, "1.523ms"), (2.5, "2.5s"), (90.0, "1m30s"), (0.0, "0µs"),
        (119.7, "2m0s"), (59.99999, "1m0s"), (0.99999, "1s"),
        (59.94, "59.94s"), (0.9994, "999.4ms"), (0.0009997, "1ms"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_with_the_unit_that_suits(seconds: float, text: str) -> None:
    """Figures are short enough to read."""
    assert show(seconds) == text
