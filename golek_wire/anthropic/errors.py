"""How does an error look in Anthropic's API?

`{"type": "error", "error": {type, message}, "request_id"}` with Anthropic's words for types. Our own code stands beside
them, and the field that is wrong, as the caller named it.
"""

from typing import Any, Final

from golek_wire.errors import STATUS, InferenceServiceError

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


def body(error: InferenceServiceError, request_id: str, status: int | None = None, code: str = "") -> dict[str, Any]:
    """The JSON of `error`; `status` and `code` where HTTP has others than the error itself."""
    told: dict[str, Any] = {
        "type": TYPES.get(status or STATUS[error.code].http, "api_error"),
        "message": error.message.removeprefix("params."),
        "code": code or error.code,
    }
    if isinstance(param := error.details.get("param"), str):
        told["param"] = param.removeprefix("params.")
    return {"type": "error", "error": told, "request_id": request_id}
