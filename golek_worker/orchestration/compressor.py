"""How is the fast model asked to write a text shorter?

By a step `compress`, with the same prompts and the same route as others. A text that does not fit into its own context
is compressed in pieces. What was made of the same text before is remembered, but not of what is for one user alone.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from golek_wire.errors import CompressionFailedError
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest, Params
from golek_worker.orchestration.base import COMPRESSOR, Case, Material, Member, Step
from golek_worker.orchestration.budgets import Budget
from golek_worker.orchestration.caches import InferenceCache, Kept
from golek_worker.orchestration.composing import Prompt, Prompts, compose, is_private
from golek_worker.orchestration.compression import halves, task
from golek_worker.orchestration.counting import Counter
from golek_worker.orchestration.handoff import HandoffState

NAME: Final = "compress"
TITLE: Final = "Text"
SMALLEST: Final = 16
"""Tokens to which a piece is compressed at least: fewer say nothing."""
SLACK: Final = 64
"""Twice as many tokens as are aimed at, and these, may be written: what ends there is no whole text."""
TTL_S: Final = 3600.0

Help = Callable[[Step, InferenceRequest], Awaitable[InferenceReply]]
"""Has a step answered that is no part of the flow. Raises its error."""


class Compressor:
    """The compressing model of one request."""

    def __init__(
        self,
        case: Case,
        member: Member,
        budget: Budget | None,
        prompts: Prompts,
        counter: Counter,
        run: Help,
        cache: InferenceCache[str],
        digest_of: Callable[[str], str],
        principal: str,
    ) -> None:
        self._case = case
        self._member = member
        self._budget = budget
        self._prompts = prompts
        self._counter = counter
        self._run = run
        self._cache = cache
        self._digest_of = digest_of
        self._principal = principal
        self._private = is_private(case.request)

    @property
    def model(self) -> str:
        return self._member.model

    async def __call__(self, state: HandoffState, text: str, tokens: int) -> str:
        """`text` in about so many tokens. Raises what the step fails with; CompressionFailedError for a text that
        had to be divided into pieces of no size.
        """
        key = Kept(self.model, self._digest_of(self.model), self._hash(state.goal, text), tokens)
        if not self._private and (known := self._cache.get(key)) is not None:
            return known
        made = await self._made(state, text, tokens)
        if made and len(made) < len(text) and not self._private:
            self._cache.store(key, made, TTL_S)
        return made

    async def _made(self, state: HandoffState, text: str, tokens: int) -> str:
        request = self._request(state, text, tokens)
        if await self._fits(request, tokens):
            reply = await self._run(self._step(text), request)
            return "" if reply.finish_reason == "length" else reply.text.strip()  # it has no end
        if tokens < 2 * SMALLEST:
            raise CompressionFailedError(
                f"{self.model}: the text is too long for its context, and its pieces would have less than {SMALLEST} "
                "tokens each; name a model with a larger context as the fast one",
                model=self.model,
                budget=tokens,
            )
        parts = [await self._made(state, part, tokens // 2) for part in halves(text)]
        return "\n\n".join(parts) if all(parts) else ""

    def _request(self, state: HandoffState, text: str, tokens: int) -> InferenceRequest:
        bare = msgspec.structs.replace(self._case.request, messages=[], tools=None)
        case = msgspec.structs.replace(self._case, request=bare)
        made = compose(
            self._step(text), case, _goal_only(state), _Told(self._prompts, task(tokens)), budget=self._budget
        )
        most = 2 * tokens + SLACK if self._budget is None else min(2 * tokens + SLACK, self._budget.generation)
        params = Params(max_tokens=max(1, most), temperature=0)
        return msgspec.structs.replace(made, params=params, stream=False, reasoning_effort="none")

    def _step(self, text: str) -> Step:
        return Step(NAME, self._member, COMPRESSOR, reads=(Material(TITLE, text),))

    async def _fits(self, request: InferenceRequest, tokens: int) -> bool:
        """Whether its model can read it all at once, and write so much."""
        if self._budget is None:
            return True
        most = request.params.max_tokens or 0
        room = self._budget.total - most
        if most < tokens:
            return False
        return (
            self._counter.most(self._member, request) <= room
            or await self._counter.request(self._member, request) <= room
        )

    def _hash(self, goal: str, text: str) -> str:
        return hashlib.sha256(repr((self._principal, goal, text)).encode()).hexdigest()


def _goal_only(state: HandoffState) -> HandoffState:
    return HandoffState(state.request_id, state.goal, state.current_step, state.total_steps)


class _Told(msgspec.Struct, frozen=True):
    """The prompts, with this task behind the instruction."""

    prompts: Prompts
    task: str

    def of(self, name: str) -> Prompt:
        return self.prompts.of(name)

    def instruction(self, step: Step) -> str:
        return f"{self.prompts.instruction(step).strip()}\n{self.task}"
