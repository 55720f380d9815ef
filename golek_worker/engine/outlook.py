"""What can be told of an engine's devices before it loads a model?"""

from msgspec import Struct


class Outlook(Struct, frozen=True):
    """What llama.cpp finds here for a configuration."""

    gpus: list[str] = []
    """As `CUDA0 (NVIDIA H100)`."""
    free: list[int] = []
    """Bytes that are free on each of them."""
    problem: str = ""
    """Why the engine will not load the model."""
    remark: str = ""
    """Why it will load it on the CPU."""

    @property
    def problems(self) -> list[str]:
        """`problem` as lines of a check."""
        return [self.problem] if self.problem else []

    @property
    def remarks(self) -> list[str]:
        """`remark` as notes of a check."""
        return [f"{self.remark}; the model will be on the CPU"] if self.remark else []
