"""A scripted `Ask`: the seam that flows are tested with, without a fleet.

It answers by table, keeps each step as it was asked, and can fail or hang at any of them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from golek_wire.errors import InferenceServiceError
from golek_wire.orchestration import Mode
from golek_wire.replies import FunctionCall as Call
from golek_wire.replies import InferenceReply, ToolCall
from golek_wire.requests import InferenceRequest, Message, Params, ResponseFormat
from golek_worker.orchestration.base import (
    CRITIC,
    GENERATOR,
    RECONCILER,
    SYNTHESIZER,
    Case,
    Cast,
    Limits,
    Member,
    Said,
    Step,
)

HANG = object()
"""Instead of an answer: the step never ends."""
CALLS = object()
"""Instead of an answer: the step calls a tool."""
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
BAD_CRITIQUE = '{"score": 0.4, "issues": ["The port is wrong.", "No reason is given."]}'
Line = str | InferenceServiceError | object
Key = str | tuple[str, str] | tuple[str, str, int]
"""A step's name; with its model; with its model and round."""


class Scripted:
    """Answers steps by `lines`: the most exact key counts, and a list is taken one by one."""

    def __init__(
        self,
        lines: Mapping[Any, Line | list[Line]] | Callable[[Step], Line],
        vectors: Callable[[str], list[float]] | None = None,
    ) -> None:
        self._lines = lines
        self._vectors = vectors
        self.steps: list[Step] = []
        """As they were asked."""
        self.open: list[Step] = []
        """Those that have not ended."""
        self.cancelled: list[Step] = []
        self.hangs = asyncio.Event()
        """Set once a step hangs."""

    async def __call__(self, step: Step) -> Said:
        self.steps.append(step)
        self.open.append(step)
        try:
            await asyncio.sleep(0)
            line = self._line(step)
            if line is HANG:
                self.hangs.set()
                await asyncio.Event().wait()
            if isinstance(line, InferenceServiceError):
                raise line
            return said(step, line)
        except asyncio.CancelledError:
            self.cancelled.append(step)
            raise
        finally:
            self.open.remove(step)

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        await asyncio.sleep(0)
        return [self._vectors(text) for text in texts] if self._vectors is not None else None

    def _line(self, step: Step) -> Line:
        if callable(self._lines):
            return self._lines(step)
        model = step.member.model
        for key in ((step.name, model, step.round), (step.name, model), step.name):
            if key in self._lines:
                line = self._lines[key]
                return line.pop(0) if isinstance(line, list) else line
        raise AssertionError(f"nobody said what {step.name} of {model} comes to")

    @property
    def names(self) -> list[str]:
        """What was asked of whom, as `generate a`."""
        return [f"{step.name} {step.member.model}" for step in self.steps]


def said(step: Step, line: Line) -> Said:
    calls = [ToolCall("call_1", Call("clock", "{}"))] if line is CALLS else None
    text = line if isinstance(line, str) else ""
    reply = InferenceReply("", text, 1, 1, "tool_calls" if calls else "stop", 1, 1, step.member.model, tool_calls=calls)
    return Said(step, reply)


def case(
    mode: Mode,
    models: str = "a b c",
    *,
    lead: str = "a",
    critic: str = "b",
    limits: Limits | None = None,
    stages: str = "draft refine validate",
    schemas: bool = True,
    tools: bool = False,
    choice: list[str] | None = None,
    form: ResponseFormat | None = None,
    max_tokens: int | None = None,
) -> Case:
    """`models` by their names; `lead` does what one alone does."""
    members = tuple(Member(name, follows_schemas=schemas) for name in models.split())
    by_name = {member.model: member for member in members} | {
        name: Member(name, follows_schemas=schemas) for name in (lead, critic)
    }
    duties = dict.fromkeys((GENERATOR, RECONCILER, SYNTHESIZER), by_name[lead]) | {CRITIC: by_name[critic]}
    named = stages.split()
    staged = tuple((name, members[place % len(members)]) for place, name in enumerate(named))
    request = InferenceRequest(
        messages=[Message("user", "Which port?")],
        params=Params(choice=choice, max_tokens=max_tokens),
        tools=[TOOL] if tools else None,
        response_format=form,
    )
    return Case(request, Cast(mode, members, duties, staged if mode == "pipeline" else ()), limits or Limits())
