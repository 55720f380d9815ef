"""What is to be said to vLLM beyond what every engine is told?"""

from typing import Any

from msgspec import Struct, field


class VLLMConfig(Struct, frozen=True):
    """Settings of vLLM's own, by the names of its engine arguments."""

    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of `AsyncEngineArgs`, as they are."""
