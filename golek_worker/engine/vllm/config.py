"""What is to be said to vLLM beyond what every engine is told?"""

from typing import Any

from msgspec import Struct, field

STALL_S = 300.0


class VLLMConfig(Struct, frozen=True):
    """Settings of vLLM's own, by the names of its engine arguments."""

    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of `AsyncEngineArgs`, as they are."""
    python: str = ""
    """Interpreter of the environment that vLLM is in; empty looks for one."""
    stall_s: float = STALL_S
    """Running sequences without a step for this long: vLLM's process is taken for wedged."""
    max_loras: int = 0
    """LoRA adapters that may be loaded; 0 is none."""
    max_lora_rank: int = 16
    """The largest rank among them."""
    by_priority: bool = False
    """Urgent sequences before others, also before those that run; else as they come."""
    max_images: int = 16
    """Of one prompt."""
    max_pixels: int = 50_000_000
    """Of one image."""
