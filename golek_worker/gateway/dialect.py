"""Which API does a client speak, where a path or an error has more than one form?"""

from collections.abc import Mapping
from typing import Final

ANTHROPIC: Final = "anthropic-version"
"""The header that all of Anthropic's clients send."""
MESSAGES: Final = "/v1/messages"


def is_anthropic(headers: Mapping[str, str], path: str) -> bool:
    """Whether the client speaks Anthropic's: it says so, or asks for what only that API has."""
    return ANTHROPIC in headers or path == MESSAGES or path.startswith(f"{MESSAGES}/")
