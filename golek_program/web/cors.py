"""May pages from elsewhere ask?

By HTTP_CORS_ORIGINS (Fetch standard, section 3.2): their browsers are told so, before a request (`OPTIONS`, for which
no key is wanted) and with each answer. Cookies are never asked for: who asks is said by a key.
"""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = "GET, POST, PUT, DELETE, HEAD, OPTIONS"
EXPOSED: Final = ", ".join(
    (
        "x-request-id", "request-id", "x-golek-job", "x-golek-worker", "openai-processing-ms",
        "retry-after", "retry-after-ms",
        "x-should-retry", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
        "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
        "x-golek-route", "x-golek-route-strategy", "x-golek-route-reason", "x-golek-route-chain", "x-golek-queue-ms",
        "x-golek-cost-usd", "x-golek-cache", "x-golek-orchestration",
        "x-golek-budget-limit-usd", "x-golek-budget-remaining-usd", "x-golek-budget-reset",
    )
)  # fmt: skip
"""Headers of an answer that a page may read."""
REMEMBER_S: Final = 600
EVERYBODY: Final = "*"


def origins(setting: str) -> list[str]:
    """What HTTP_CORS_ORIGINS lists."""
    return [origin.strip().rstrip("/") for origin in setting.split(",") if origin.strip()]


class Cors:
    """Around an application whose answers pages of other origins may read."""

    def __init__(self, inner: ASGIApp, allowed: list[str]) -> None:
        self._inner = inner
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        if not origin:
            await self._inner(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._answer(headers, send)
        else:
            await self._inner(scope, receive, self._telling(origin, send))

    async def _answer(self, headers: Headers, send: Send) -> None:
        """What a browser asks before the request itself. Without our word it does not send that."""
        told = MutableHeaders({"vary": "Origin"})
        if self._is_allowed(headers["origin"]):
            self._allow(told, headers["origin"])
            told["access-control-allow-methods"] = METHODS
            told["access-control-allow-headers"] = headers.get("access-control-request-headers", "")
            told["access-control-max-age"] = str(REMEMBER_S)
        await send({"type": "http.response.start", "status": 204, "headers": told.raw})
        await send({"type": "http.response.body", "body": b""})

    def _telling(self, origin: str, send: Send) -> Send:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = list(message["headers"])
                told = MutableHeaders(raw=message["headers"])
                told.add_vary_header("Origin")
                if self._is_allowed(origin):
                    self._allow(told, origin)
                    told["access-control-expose-headers"] = EXPOSED
            await send(message)

        return tell

    def _allow(self, told: MutableHeaders, origin: str) -> None:
        told["access-control-allow-origin"] = EVERYBODY if EVERYBODY in self._allowed else origin

    def _is_allowed(self, origin: str) -> bool:
        return EVERYBODY in self._allowed or origin in self._allowed
