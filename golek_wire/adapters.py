"""What is said of LoRA adapters on the bus?

On `models.<model>.adapters.load`, `.unload` and `.list` every replica of the model hears an order and answers for
itself.
What was loaded so lies in the bucket `GOLEK_ADAPTERS`, key `<token>.<name>`, for replicas that start later.
"""

from typing import Annotated

from msgspec import Meta, Struct, field


class AdapterFile(Struct, frozen=True, omit_defaults=True):
    """An adapter, as it is loaded and as the bucket keeps it."""

    name: str
    path: str
    """GGUF file on the worker's machine."""
    scale: float = 1.0
    """How strongly it counts; 1 is as it was trained."""


class AdapterOrder(Struct, frozen=True, omit_defaults=True):
    """What an operator asks. An empty message asks `.list` of all."""

    name: Annotated[str, Meta(max_length=128)] = ""
    path: Annotated[str, Meta(max_length=4096)] = ""
    """For `.load`: GGUF file on each worker's machine; a path below `data/` lies in its GOLEK_DATA."""
    scale: Annotated[float, Meta(ge=-100, le=100)] = 1.0


class AdapterReport(Struct, frozen=True, omit_defaults=True):
    """What is so at one replica once it has done what was asked."""

    model_name: str
    worker_id: str
    adapters: list[AdapterFile] = field(default_factory=list[AdapterFile])
    """What requests may name there."""
    problem: str | None = None
    """Why it is not as it was asked for; None when it is."""
    waits: bool = False
    """The model is not in memory there: they are loaded with it, and only then it is seen whether they fit."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """By name, why those that it should have could not be loaded."""
