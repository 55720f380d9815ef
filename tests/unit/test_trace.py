"""`traceparent` and `tracestate`: what is passed on, and what is dropped."""

import pytest

from golek_wire import headers
from golek_wire.trace import passed_on, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_trace_is_passed_on_as_it_came() -> None:
    """Both headers, byte for byte, and the id is found again."""
    carried = passed_on(PARENT, "vendor=1,other=a b")
    assert carried == {"traceparent": PARENT, "tracestate": "vendor=1,other=a b"}
    assert trace_id(carried) == TRACE


def test_a_later_version_is_passed_on() -> None:
    """The specification lets later versions add fields."""
    assert trace_id(passed_on(f"01-{TRACE}-{SPAN}-01-more")) == TRACE


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00-1",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"{PARENT}\n",
        f"{PARENT}-more",
    ],
)
def test_what_is_no_trace_is_dropped(malformed: str) -> None:
    """Nothing is carried of it, its `tracestate` neither, and it has no id."""
    assert passed_on(malformed, "vendor=1") == {}
    assert trace_id({"traceparent": malformed}) == ""


def test_what_is_too_long_is_dropped() -> None:
    """Headers of a job have 4 KiB in all."""
    assert passed_on(f"01-{TRACE}-{SPAN}-01-{'x' * headers.TRACE_LIMIT}") == {}


@pytest.mark.parametrize("state", ["x" * headers.TRACE_LIMIT, "vendor=1\r\nGolek-Principal: root", "vendor=é"])
def test_a_state_that_may_not_travel_is_left_out(state: str) -> None:
    """The trace goes on without it."""
    assert passed_on(PARENT, state) == {"traceparent": PARENT}
