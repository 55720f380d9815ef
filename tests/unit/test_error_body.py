"""An error is told whatever it carries."""

import msgspec

from golek_wire import headers as h
from golek_wire.errors import ErrorReply, StreamInterruptedError
from golek_worker.bus.replies import error_body

LIMIT = 64 * 1024


def test_details_that_no_message_carries_are_left_out() -> None:
    """The largest go first and are named; the error itself is always told."""
    error = StreamInterruptedError("lost", text_so_far="é" * LIMIT, route={"target": "a"}, attempt=2)
    body = error_body("r1", error, LIMIT)
    assert len(body) <= LIMIT - h.REQUEST_RESERVE
    told = msgspec.json.decode(body, type=ErrorReply)
    assert (told.req_id, told.error.code, told.error.message) == ("r1", "STREAM_INTERRUPTED", "lost")
    kept = {"route": {"target": "a"}, "attempt": 2, "retry_after_ms": 1000}
    assert told.error.details == kept | {"left_out": ["text_so_far"]}


def test_an_error_that_fits_is_told_whole() -> None:
    """Nothing is left out of others."""
    told = msgspec.json.decode(error_body("", StreamInterruptedError("x", text_so_far="y"), LIMIT), type=ErrorReply)
    assert told.error.details == {"text_so_far": "y", "retry_after_ms": 1000}
