"""What does it mean that a server did not answer as it should?

From a status, headers and a body, or an error in the middle of a stream, to the error of the contract. A server's own
words are told, without anything that may be a key; of a refusal for the key none are.
"""

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    InferenceServiceError,
    ModelNotFoundError,
    PayloadTooLargeError,
    ProviderFailedError,
    ProviderRefusedError,
    RateLimitedError,
    RouteLoopError,
)

WORDS_LIMIT: Final = 500
"""Characters of a server's own words."""
PARAM_LIMIT: Final = 100
LONGEST_MS: Final = 24 * 3600 * 1000
"""No server is believed that it is away for longer."""
LOOP: Final = 508
"""What another fleet says of a request that goes in a circle: whoever asks again makes it longer."""
BY_WORD: Final = {
    "ROUTE_LOOP": LOOP,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "overloaded_error": 529,
    "timeout_error": 504,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
    "DEADLINE_EXCEEDED": 504,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
}
"""Statuses of errors that come in the middle of a stream, by type, code or status in words."""
HIDDEN: Final = "…"
_KEYS: Final = re.compile(r"(?:sk|pk|rk|gsk|xai|key)-[\w*.\-]{6,}|AIza[\w*\-]{10,}|Bearer\s+\S+", re.ASCII)
_PASSING: Final = (408, 409, 425, 429)
"""Statuses below 500 that are no fault of the request."""
_CONTEXT_CODES: Final = {"context_length_exceeded", "exceed_context_size_error", "CONTEXT_BUDGET_EXCEEDED"}
_CONTEXT_WORDS: Final = re.compile(
    r"maximum context length|prompt is too long|input is too long|exceeds? the (?:available )?context|"
    r"input token count .*exceeds|exceeds the maximum number of tokens|context (?:window|length) exceeded",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(r"input \(\d+ tokens\) is (?:too large to process|larger than the max context size)")
"""What llama.cpp's server says, as a fault of its own, of a text for an embedding model."""
_NUMBERS: Final = re.compile(r"\d[\d,]*")


def of_response(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, key: str = ""
) -> InferenceServiceError:
    """The error that a response tells of. `key` is what was sent: should the server repeat it, it is left out."""
    if 300 <= status < 400:
        return ProviderRefusedError(
            f"{provider} sends its callers to another address (status {status}), where no key is taken: see base_url",
            provider=provider,
            status=status,
        )
    told = _told(body)
    return _error(provider, status, told, retry_after_ms(headers) or _delay_ms(told), key)


def of_event(provider: str, error: Any, key: str = "") -> InferenceServiceError:
    """The error that a stream ends with: the `error` of an event."""
    told = error if isinstance(error, dict) else {"message": str(error)}
    code = told.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 0
    for name in ("type", "code", "status"):
        status = status or BY_WORD.get(str(told.get(name)), 0)
    return _error(provider, status or 500, told, _delay_ms(told), key)


def of_data(provider: str, data: bytes, key: str = "") -> InferenceServiceError:
    """The same of the whole data of such an event, in whichever wrapping."""
    return of_event(provider, _told(data), key)


class UnreachableError(ProviderFailedError):
    """No connection, or only old ones that had ended: the server heard nothing of the request."""


def broken(provider: str, how: str) -> ProviderFailedError:
    """The error of a server that did not keep to its protocol, or went away."""
    return ProviderFailedError(f"{provider} {how}", provider=provider)


def hide(key: str, error: InferenceServiceError) -> None:
    """Leave the key out, wherever a server put it into what is told of an error."""
    if key and key in repr((error.message, error.details)):
        error.message = error.message.replace(key, HIDDEN)
        error.args = (error.message,)
        for name, value in error.details.items():
            error.details[name] = value.replace(key, HIDDEN) if isinstance(value, str) else value


def retry_after_ms(headers: Mapping[str, str], now_s: float | None = None) -> int | None:
    """What `retry-after-ms` or `retry-after` say, the latter in seconds or as a date; None where they say nothing."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return _bounded(milliseconds)
    said = headers.get("retry-after")
    if said is None or (seconds := _number(said)) is not None:
        return None if said is None or seconds is None else _bounded(seconds * 1000)
    try:
        moment = email.utils.parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return _bounded((moment - (time.time() if now_s is None else now_s)) * 1000)


def _error(provider: str, status: int, told: dict[str, Any], retry_ms: int | None, key: str) -> InferenceServiceError:
    """1. The key. 2. What the caller has to change. 3. What passes: too much at once, or any other trouble."""
    about: dict[str, Any] = {"provider": provider, "status": status}
    codes = {str(told.get(name)) for name in ("code", "type")}
    if status in (401, 402, 403) or codes & {"insufficient_quota", "invalid_api_key"} or _is_key_refused(told):
        if "insufficient_quota" in codes:
            about["status"] = status = 402  # OpenAI says 429, but waiting helps nobody
        why = "has no credit left for" if status == 402 else "does not accept"
        return ProviderRefusedError(f"{provider} {why} the key that it is asked with (status {status})", **about)
    words = _words(told, key)
    if status == LOOP:
        return RouteLoopError(f"{provider}: {words}", **about)
    if 400 <= status < 500 and status not in _PASSING:
        return _wrong(provider, status, told, codes, words)
    if status == 500 and _TOO_LONG.search(words):
        return ContextBudgetExceededError(*_sizes(told, words), f"{provider}: {words}", **about)
    retry = {} if retry_ms is None else {"retry_after_ms": retry_ms}
    kind = RateLimitedError if status == 429 else ProviderFailedError
    return kind(f"{provider}: {words}", **retry, **about)


def _wrong(provider: str, status: int, told: dict[str, Any], codes: set[str], words: str) -> InferenceServiceError:
    """What is wrong with the request."""
    about: dict[str, Any] = {"provider": provider, "status": status}
    message = f"{provider}: {words}"
    if status != 404 and (codes & _CONTEXT_CODES or _CONTEXT_WORDS.search(words)):
        return ContextBudgetExceededError(*_sizes(told, words), message, **about)
    if isinstance(told.get("param"), str):
        about["param"] = told["param"][:PARAM_LIMIT]
    kind = {404: ModelNotFoundError, 413: PayloadTooLargeError}.get(status, BadRequestError)
    return kind(message, **about)


def _told(body: bytes) -> dict[str, Any]:
    """The error's object in `body`: OpenAI's, in a list (Gemini), a text, or what a proxy writes."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[: 4 * WORDS_LIMIT].decode("utf-8", "replace").strip()
        return {"message": "" if text.startswith("<") else text}
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return {"message": str(found)}
    error = found.get("error", found)
    if not isinstance(error, dict):
        return {"message": str(error)}
    if "message" not in error and "detail" in error:
        return {"message": str(error["detail"]), **error}
    return error


def _words(told: dict[str, Any], key: str) -> str:
    """What the server says, on one line and without keys."""
    said = told.get("message")
    text = " ".join(str(said).split()) if said else "gives no reason"
    if key:
        text = text.replace(key, HIDDEN)
    return _KEYS.sub(HIDDEN, text)[:WORDS_LIMIT]


def _is_key_refused(told: dict[str, Any]) -> bool:
    """Gemini says 400 for a key that is wrong."""
    details = told.get("details")
    reasons = [one.get("reason") for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    return "API_KEY_INVALID" in reasons or str(told.get("message")).startswith("API key not valid")


def _delay_ms(told: dict[str, Any]) -> int | None:
    """Gemini says in the body when to come back."""
    details = told.get("details")
    for one in details if isinstance(details, list) else ():
        delay = one.get("retryDelay") if isinstance(one, dict) else None
        if isinstance(delay, str) and (seconds := _number(delay.removesuffix("s"))) is not None:
            return _bounded(seconds * 1000)
    return None


def _sizes(told: dict[str, Any], words: str) -> tuple[int, int]:
    """Tokens that there were and that fit, as far as they are told: the larger number and the smaller one."""
    details = told.get("details")
    for place in (told, details if isinstance(details, dict) else {}):
        for asked, held in (("n_prompt_tokens", "n_ctx"), ("current_tokens", "budget")):
            if isinstance(place.get(asked), int) and isinstance(place.get(held), int):
                return place[asked], place[held]
    found = [int(text.replace(",", "")[:12]) for text in _NUMBERS.findall(words)]
    large = sorted({number for number in found if number >= 16})
    return (large[-1], large[0]) if len(large) > 1 else (0, large[0] if large else 0)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < 1e12 else None


def _bounded(milliseconds: float) -> int:
    return int(min(max(0.0, milliseconds), LONGEST_MS))
