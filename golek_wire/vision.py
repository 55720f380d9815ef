"""What comes back of `vision.request.<model>`?"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from golek_wire.routing import Route


class LabelScore(Struct, frozen=True):
    """How sure the model is of one label."""

    label: str
    score: float
    """From 0 to 1. Of a classifier as it gives it; of a language model the share that the label has of the probability
    which the model gives to all labels of the request, or, without `labels`, the probability of its words."""


class Classification(Struct, frozen=True):
    """What one image shows."""

    index: int
    """Its place among the images of the request, from 0."""
    label: str
    """The one with the highest score."""
    score: float
    scores: list[LabelScore]
    """The best one first, as many as `top_k` says."""


class VisionUsage(Struct, frozen=True):
    """What a request cost in tokens; a classifier counts none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class VisionReply(Struct, frozen=True):
    """The answer on `vision.request.<model>`."""

    results: list[Classification]
    """In the order of the images."""
    model: str
    """Who answered."""
    usage: VisionUsage
    req_id: str = ""
    duration_ms: int = 0
    ms: int = 0
    object: Literal["classifications"] = "classifications"
    route: Route | UnsetType = UNSET
    """As in `InferenceReply`, as is the next."""
    cost_usd: float | UnsetType = UNSET
