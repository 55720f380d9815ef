"""How does an error look over HTTP?

Extended: `{"error": {code, message, type, provider, details, param}}`, with the codes of golek_wire/errors.py and the
types `retriable` and `non_retriable`. Strict: OpenAI's four fields with its own codes and types. A field is named as
HTTP has it: `temperature`, where the bus says `params.temperature`.
"""

from typing import Any, Final

from msgspec import Struct, structs

from golek_wire.errors import Details, InferenceServiceError, to_reply

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
STRICT: Final[dict[str, tuple[str, str | None]]] = {
    "BAD_REQUEST": (_INVALID, None),
    "UNKNOWN_GRAMMAR": (_INVALID, "unknown_grammar"),
    "INVALID_GRAMMAR": (_INVALID, "invalid_grammar"),
    "CONTEXT_BUDGET_EXCEEDED": (_INVALID, "context_length_exceeded"),
    "UNAUTHORIZED": (_INVALID, "invalid_api_key"),
    "FORBIDDEN": (_INVALID, "permission_denied"),
    "NOT_FOUND": (_INVALID, "not_found"),
    "MODEL_NOT_FOUND": (_INVALID, "model_not_found"),
    "ADAPTER_NOT_FOUND": (_INVALID, "adapter_not_found"),
    "DEADLINE_EXCEEDED": (_SERVER, "deadline_exceeded"),
    "IDEMPOTENCY_MISMATCH": (_INVALID, "idempotency_error"),
    "CONFLICT": (_INVALID, "conflict"),
    "PAYLOAD_TOO_LARGE": (_INVALID, "request_too_large"),
    "QUEUE_FULL": ("rate_limit_error", "queue_full"),
    "RATE_LIMITED": ("rate_limit_error", "rate_limit_exceeded"),
    "OVER_LIMIT": ("rate_limit_error", "rate_limit_exceeded"),
    "CANCELLED": (_INVALID, "cancelled"),
    "MODEL_LOADING": (_SERVER, "model_loading"),
}
"""Type and code by our code; every other one is `server_error` and its code in lower case."""


class Problem(Struct, frozen=True):
    """The `error` object of the extended form."""

    code: str
    """UPPER_SNAKE."""
    message: str
    type: str
    """`retriable` or `non_retriable`."""
    provider: str
    details: Details
    """What the code is about, as `retry_after_ms`."""
    param: str | None
    """The field of the request that is wrong, where one is."""


def body(error: InferenceServiceError, *, strict: bool) -> dict[str, Any]:
    """The JSON of `error`."""
    sent = to_reply(error, "").error
    param = sent.param.removeprefix("params.") if sent.param else None
    message = sent.message.removeprefix("params.")
    if strict:
        kind, code = STRICT.get(sent.code, (_SERVER, sent.code.lower()))
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}
    told = Problem(sent.code, message, sent.type, sent.provider, sent.details, param)
    return {"error": structs.asdict(told)}
