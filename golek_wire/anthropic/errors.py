"""How does an error look in Anthropic's API?

`{"type": "error", "error": {type, message}, "request_id"}` with Anthropic's words for types. Our own code stands beside
them, who it is from, what it is about, and the field that is wrong, as the caller named it.
"""

from typing import Any, Final, Literal

from msgspec import Struct, field

from golek_wire.errors import STATUS, Details, InferenceServiceError, to_reply

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    499: "invalid_request_error",
    501: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By the status over HTTP; every other one is `api_error`."""


class Problem(Struct, frozen=True):
    """The `error` object."""

    type: str
    message: str
    code: str
    """Ours, UPPER_SNAKE."""
    param: str | None = None
    """The field of the request that is wrong, where one is."""
    provider: str = "golek"
    details: Details = field(default_factory=dict[str, Any])
    """What the code is about, as `retry_after_ms`."""


class Refusal(Struct, frozen=True):
    """What every error looks like."""

    error: Problem
    request_id: str
    type: Literal["error"] = "error"


def body(error: InferenceServiceError, request_id: str, status: int | None = None, code: str = "") -> Refusal:
    """What is told of `error`; `status` and `code` where HTTP has others than the error itself."""
    sent = to_reply(error, "").error
    kind = TYPES.get(status or STATUS[error.code].http, "api_error")
    named = sent.param.removeprefix("params.") if isinstance(sent.param, str) else None
    message = error.message.removeprefix("params.")
    return Refusal(Problem(kind, message, code or error.code, named, sent.provider, sent.details), request_id)
