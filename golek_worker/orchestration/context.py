"""What does each model of one request read, and what is made of what it says?

One `Context` for a request: it prepares a step's prompt so that it fits its model's context, hears what was said, keeps
the handoff state, and knows what is told of all that in the reply. Models are asked by callables that are passed in.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from golek_wire.requests import InferenceRequest, Message
from golek_wire.routing import LOCAL
from golek_worker.orchestration.base import COMPRESSOR, CRITIC, Case, Material, Said, Step
from golek_worker.orchestration.budgets import NO_BUDGETS, Budget, Budgets
from golek_worker.orchestration.caches import CacheInvalidator, Lru
from golek_worker.orchestration.composing import Prompts, compose, is_plain, judges
from golek_worker.orchestration.compressor import Compressor, Help
from golek_worker.orchestration.contamination import ErrorContaminationDetector, ValidationResult
from golek_worker.orchestration.counting import Count, Counter
from golek_worker.orchestration.fitting import Fitted, Fitter
from golek_worker.orchestration.handoff import HandoffState, at, begun, grown, is_stage, objections
from golek_worker.orchestration.handoffs import HandoffCache

NO_GOAL: Final = "to answer"
LONG: Final = 8192
"""Characters: a longer text is held against decisions beside the loop, which 40,000 of them stop for 30 ms."""
Place = tuple[str, int, int]
"""A step's name, round and depth: those that have the same run side by side."""


class Facts(Struct, frozen=True):
    """What the steps' texts took of the models' contexts."""

    handoffs: int = 0
    """Times that one model's text was passed on to another."""
    compressed: bool = False
    """Whether anything was compressed."""
    utilization: float = 0.0
    """Of the step that filled its model's context most."""


class Memory:
    """What all requests of a router have in common."""

    def __init__(
        self,
        prompts: Prompts,
        budgets: Budgets = NO_BUDGETS,
        handoffs: HandoffCache | None = None,
        digest_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`digest_of` tells which file a model has loaded; empty where that is not known."""
        self.prompts = prompts
        self.budgets = budgets
        self.handoffs = handoffs
        self.counts: Lru[int] = Lru()
        self.compressions: Lru[str] = Lru()
        self.invalidator = CacheInvalidator((self.counts, self.compressions))
        self._digest_of = digest_of

    def digest_of(self, model: str) -> str:
        """The file that a model has loaded; what is kept of another one is forgotten."""
        digest = self._digest_of(model)
        self.invalidator.on_model_loaded(model, digest)
        return digest


class Context:
    """The context of one request."""

    def __init__(
        self, case: Case, memory: Memory, count: Count, run: Help, *, request_id: str, principal: str = ""
    ) -> None:
        """`count` has a model count a request, `run` has a step answered that only helps the flow."""
        self._case = case
        self._memory = memory
        self._principal = principal
        self._digest_of = functools.cache(memory.digest_of)
        """Looked up once a request: a model that has another file in the middle of it is noticed by the next one."""
        self._counter = Counter(count, memory.counts, self._digest_of)
        self._run = run
        self._state = begun(request_id, _goal(case.request))
        self._detector = ErrorContaminationDetector()
        self._objections: frozenset[str] = frozenset()
        self._places: dict[Place, int] = {}
        self._given: dict[int, tuple[HandoffState, InferenceRequest]] = {}
        """By the step's id: as what it said is looked at, and what it was asked."""
        self._fresh: set[int] = set()
        self._facts = Facts()

    @property
    def facts(self) -> Facts:
        """What can be told by now."""
        return self._facts

    @property
    def state(self) -> HandoffState:
        """What is known by now."""
        return self._state

    async def prepare(self, step: Step, *, fresh: bool = False) -> tuple[InferenceRequest, bool]:
        """What the step's model is asked, and whether something in it was compressed. `fresh`: without what was known,
        because what it said showed errors.

        Raises HandoffStateInvalidError, CompressionFailedError, ContextBudgetExceededError, and what a compressing step
        fails with.
        """
        if is_plain(step, self._case):
            return compose(step, self._case, self._state, self._memory.prompts), False
        state = self._placed(step, fresh=fresh)
        told = msgspec.structs.replace(state, decisions_made=[]) if fresh else state
        (self._fresh.add if fresh else self._fresh.discard)(id(step))
        fitted = await self._fitted(step, told, fresh=fresh)
        self._given[id(step)] = state, fitted.request
        if fitted.made:
            self._facts = msgspec.structs.replace(self._facts, compressed=True)
            self._state = msgspec.structs.replace(self._state, compressed_context="\n\n".join(fitted.made))
        return fitted.request, bool(fitted.made)

    async def hear(self, said: Said) -> ValidationResult:
        """What the step said: what it shows of errors, and what is to be done with it."""
        step = said.step
        self._measure(said)
        state, request = self._given.pop(id(step), (self._state, None))
        if request is not None and _answered_itself(said):
            self._counter.learn(step.member, request, said.reply.tokens_in)
        found = await self._looked_at(said, state)
        if found.is_quarantined:
            return found
        named = [f"{step.member.model}: {issue.text}" for issue in found.issues]
        self._state = grown(self._state, said, named)
        if step.duty == CRITIC:
            self._objections = frozenset(objections(said))
        if self._memory.handoffs is not None and not step.is_final and not is_plain(step, self._case):
            await self._memory.handoffs.store(self._principal, self._state)
        return found

    async def close(self) -> None:
        """The request is over: what was kept of it is forgotten."""
        if self._memory.handoffs is not None and self._places:
            await self._memory.handoffs.delete(self._principal, self._state.request_id)

    async def _looked_at(self, said: Said, state: HandoffState) -> ValidationResult:
        """Only a pipeline's stages have decisions that are not their own: a revision may change its draft's, and who
        answers beside others, or brings answers together, decides anew.
        """
        if not is_stage(said.step):
            state = msgspec.structs.replace(state, decisions_made=[])
        look = partial(
            self._detector.validate_handoff, state, said.text, objections=self._objections,
            again=id(said.step) in self._fresh,
        )  # fmt: skip
        return await asyncio.to_thread(look) if state.decisions_made and len(said.text) > LONG else look()

    def _placed(self, step: Step, *, fresh: bool) -> HandoffState:
        place = (step.name, step.round, step.depth)
        current = self._places.setdefault(place, len(self._places) + 1)
        state = at(self._state, current, current + step.depth - 1)
        self._state = msgspec.structs.replace(
            self._state,
            current_step=max(self._state.current_step, state.current_step),
            total_steps=max(self._state.current_step, state.total_steps),
        )
        return msgspec.structs.replace(state, active_errors=[], compressed_context=None) if fresh else state

    async def _fitted(self, step: Step, state: HandoffState, *, fresh: bool) -> Fitted:
        budget = self._memory.budgets.of(step.member.model, step.member.context_size)
        turns = list(self._case.request.messages or [])

        def made(reads: Sequence[Material], messages: Sequence[Message]) -> InferenceRequest:
            return compose(
                step, self._case, state, self._memory.prompts,
                reads=reads, messages=messages, budget=budget, fresh=fresh,
            )  # fmt: skip

        if budget is None:
            return Fitted(made(step.reads, turns))

        async def shorten(text: str, tokens: int) -> str:
            return await self._compressor(step)(state, text, tokens)

        may_borrow = judges(step) or self._case.request.params.max_tokens is None
        fitter = Fitter(step.member, budget, self._counter, shorten, may_borrow=may_borrow)
        return await fitter.fitted(made, step.reads, turns)

    def _compressor(self, step: Step) -> Compressor:
        """Of the cast; where it names none, the step's own model."""
        member = self._case.cast.duties.get(COMPRESSOR, step.member)
        budget = self._memory.budgets.of(member.model, member.context_size)
        memory = self._memory
        return Compressor(
            self._case, member, budget, memory.prompts, self._counter, self._run,
            memory.compressions, self._digest_of, self._principal,
        )  # fmt: skip

    def _measure(self, said: Said) -> None:
        step, reply = said.step, said.reply
        passed_on = sum(bool(one.model) and one.model != step.member.model for one in step.reads)
        budget: Budget | None = self._memory.budgets.of(step.member.model, step.member.context_size)
        used = 0.0 if budget is None else (reply.tokens_in + reply.tokens_out) / budget.total
        self._facts = msgspec.structs.replace(
            self._facts,
            handoffs=self._facts.handoffs + passed_on,
            utilization=min(1.0, max(self._facts.utilization, round(used, 4))),
        )


def _answered_itself(said: Said) -> bool:
    """Whether it was the member that answered, and not another model in its place."""
    route = said.reply.route
    return route is None or route.target in (said.step.member.model, f"{LOCAL}:{said.step.member.model}")


def _goal(request: InferenceRequest) -> str:
    """What the caller said last."""
    turns = request.messages or []
    said = next((turn.content for turn in reversed(turns) if turn.role == "user" and turn.content), request.input)
    return (said or "").strip() or NO_GOAL
