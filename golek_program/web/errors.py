"""How is an error told over HTTP?

`{"error": {code, message, type, provider, details, param}}` with the status of its code, on every route; with
GOLEK_STRICT_OPENAI OpenAI's own words instead (golek_wire/openai/errors.py), and Anthropic's for who speaks its API
(golek_wire/anthropic/errors.py). `HttpError` is for what only HTTP knows: a
method that a route does not have, a body that came too slowly.
"""

import math
from typing import Any, Final

from starlette.responses import Response

from golek_wire import codec
from golek_wire.anthropic import errors as anthropic
from golek_wire.errors import (
    STATUS,
    InferenceServiceError,
    NonRetriableError,
    RetriableError,
    TemporaryResourceError,
)
from golek_wire.openai import errors as shape

JSON: Final = "application/json"
PATIENT_S: Final = 60.0
"""Who would have to wait longer is told not to try again by itself."""


class HttpError(NonRetriableError):
    """The request is not one that HTTP allows here."""

    code = "BAD_REQUEST"

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.http = status
        self.name = code


def stopping() -> InferenceServiceError:
    """What who is not answered yet is told by a server that ends."""
    return TemporaryResourceError("This server stops and could not wait for the answer; ask again")


def status_of(error: InferenceServiceError) -> int:
    """The status line of `error`."""
    return error.http if isinstance(error, HttpError) else STATUS[error.code].http


def code_of(error: InferenceServiceError) -> str:
    """Its code, UPPER_SNAKE."""
    return error.name if isinstance(error, HttpError) else error.code


def respond(error: InferenceServiceError, *, strict: bool = False) -> Response:
    """The response that tells `error`."""
    return Response(event(error, strict=strict), status_of(error), headers(error), JSON)


def respond_as_anthropic(error: InferenceServiceError, request_id: str) -> Response:
    """The response that tells `error` to who speaks Anthropic's API."""
    return Response(anthropic_body(error, request_id), status_of(error), headers(error), JSON)


def anthropic_body(error: InferenceServiceError, request_id: str) -> bytes:
    """The body: `{"type": "error", …}`, of a response and of the event that ends a stream."""
    return codec.encode(anthropic.body(error, request_id, status_of(error), code_of(error)))


def event(error: InferenceServiceError, *, strict: bool = False) -> bytes:
    """The body: `{"error": …}`, of a response and of the event that ends a stream."""
    told = shape.body(error, strict=strict)
    if isinstance(error, HttpError):
        told["error"]["code"] = error.name.lower() if strict else error.name
    return codec.encode(told)


def _is_tried_again(status: int) -> bool:
    """Whether OpenAI's and Anthropic's clients ask once more by themselves, for all that they know."""
    return status in (408, 409, 429) or status >= 500


def headers(error: InferenceServiceError) -> dict[str, str]:
    """When to try again, and whether."""
    found: dict[str, str] = {}
    if isinstance(error, RetriableError) and status_of(error) in (429, 503):
        found["retry-after"] = str(math.ceil(error.retry_after_ms / 1000))
        found["retry-after-ms"] = str(error.retry_after_ms)
        if error.retry_after_ms > PATIENT_S * 1000:
            found["x-should-retry"] = "false"
    if isinstance(error, NonRetriableError) and _is_tried_again(status_of(error)):
        found["x-should-retry"] = "false"
    if status_of(error) == 405:
        found["allow"] = str(error.details.get("allow", ""))
    if status_of(error) == 401:
        found["www-authenticate"] = "Bearer"
    return found
