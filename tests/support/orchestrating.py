"""What tests of a request's context have in common: members, cases, and models that are played.

Counting and compressing are callables, which is the seam; tests/engine has real tokenizers behind it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golek_wire.errors import InferenceServiceError
from golek_wire.orchestration import Mode
from golek_wire.replies import FinishReason, InferenceReply
from golek_wire.requests import InferenceRequest, Message
from golek_worker.orchestration.base import COMPRESSOR, GENERATOR, Case, Cast, Material, Member, Said, Step
from golek_worker.orchestration.budgets import Budgets
from golek_worker.orchestration.context import Context, Memory
from golek_worker.orchestration.handoffs import HandoffCache
from golek_worker.orchestration.prompts import Prompts, read

PROMPTS: Prompts = read()
SMALL = Member("small", context_size=2048)
LARGE = Member("large", context_size=8192)
FAST = Member("fast", context_size=4096)


def asked(text: str = "What is NATS?", **more: Any) -> InferenceRequest:
    """A request with one turn."""
    return InferenceRequest(messages=[Message("user", text)], **more)


def case_of(request: InferenceRequest, mode: Mode = "pipeline", duties: Mapping[str, Member] | None = None) -> Case:
    return Case(request, Cast(mode, (SMALL, LARGE), {COMPRESSOR: FAST} if duties is None else duties))


def step_of(name: str = "refine", member: Member = LARGE, *reads: Material, **more: Any) -> Step:
    """A pipeline's stage, unless another duty is named."""
    return Step(name, member, more.pop("duty", name), reads=reads, **more)


def generated(name: str = "generate", member: Member = LARGE, **more: Any) -> Step:
    return Step(name, member, GENERATOR, **more)


def said(step: Step, text: str, tokens_in: int = 10, tokens_out: int = 5, end: FinishReason = "stop") -> Said:
    return Said(step, InferenceReply("", text, tokens_in, tokens_out, end, 1, 1))


def words_of(request: InferenceRequest) -> int:
    """How many tokens the played tokenizer makes: a token for each four characters of each text."""
    texts: Sequence[str | None] = [request.input, *(turn.content for turn in request.messages or [])]
    return sum(math.ceil(len(text) / 4) for text in texts if text)


@dataclass
class Models:
    """Models that count by `words_of`, and compress to so many characters of what they are asked to shorten."""

    part: float = 0.3
    """Of the text that is left each time."""
    error: InferenceServiceError | None = None
    counted: list[tuple[str, InferenceRequest]] = field(default_factory=list)
    helped: list[tuple[Step, InferenceRequest]] = field(default_factory=list)

    async def count(self, model: str, request: InferenceRequest) -> int | None:
        self.counted.append((model, request))
        return words_of(request)

    async def help(self, step: Step, request: InferenceRequest) -> InferenceReply:
        self.helped.append((step, request))
        if self.error is not None:
            raise self.error
        text = step.reads[0].text
        return InferenceReply("", text[: int(len(text) * self.part)], 1, 1, "stop", 1, 1)


def context_of(
    case: Case, models: Models, handoffs: HandoffCache | None = None, memory: Memory | None = None, **more: Any
) -> Context:
    memory = memory or Memory(PROMPTS, Budgets({}), handoffs)
    return Context(case, memory, models.count, models.help, request_id=more.pop("request_id", "job1"), **more)
