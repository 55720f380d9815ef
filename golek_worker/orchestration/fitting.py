"""How does what a step reads get into its model's context?

Each part may have what the budget gives it. What others do not use is lent to what other models said; a conversation
that is longer than its part borrows of what the model could write, down to a quarter of that. Only what does not fit
even then is compressed, before the model is asked: first what other models said, then the longest turns of the
conversation. Nothing is ever cut off.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from golek_wire.errors import CompressionFailedError, ContextBudgetExceededError
from golek_wire.requests import InferenceRequest, Message
from golek_worker.orchestration.base import Material, Member
from golek_worker.orchestration.budgets import Budget
from golek_worker.orchestration.compression import fit_to_budget
from golek_worker.orchestration.counting import Counter

LEAST: Final = 32
"""Tokens to which a text is compressed at least: fewer say nothing."""
ROUNDS: Final = 3
"""So often it is counted whether the whole fits: joined texts may have some tokens more than each by itself."""

Shorten = Callable[[str, int], Awaitable[str]]
"""Writes a text in about so many tokens."""


class Compose(Protocol):
    """The request that a step's model is asked."""

    def __call__(self, reads: Sequence[Material], messages: Sequence[Message]) -> InferenceRequest: ...


class Fitted(Struct, frozen=True):
    """A request that fits."""

    request: InferenceRequest
    made: tuple[str, ...] = ()
    """What texts were compressed to."""


class Fitter:
    """Fits the prompt of one step."""

    def __init__(
        self, member: Member, budget: Budget, counter: Counter, shorten: Shorten, *, may_borrow: bool = True
    ) -> None:
        """`may_borrow`: the caller did not say how many tokens the model shall write."""
        self._member = member
        self._budget = budget
        self._counter = counter
        self._shorten = shorten
        self._may_borrow = may_borrow

    async def fitted(self, compose: Compose, reads: Sequence[Material], messages: Sequence[Message]) -> Fitted:
        """The request, made shorter where it had to be. Raises CompressionFailedError, ContextBudgetExceededError."""
        request = compose(reads, messages)
        room = self._budget.total - self._written(request)
        if self._counter.most(self._member, request) <= room:
            return Fitted(request)
        whole = await self._counter.request(self._member, request)
        if whole <= room:
            return Fitted(request)
        return await self._compressed(compose, list(reads), list(messages), whole, room)

    async def _compressed(
        self, compose: Compose, reads: list[Material], messages: list[Message], whole: int, room: int
    ) -> Fitted:
        """As `fitted`, of what has `whole` tokens, more than `room`."""
        made: list[str] = []
        sizes = await self._sizes(reads)
        fixed = max(0, whole - sum(sizes))
        floor = min(sum(sizes), self._budget.handoff)
        if fixed + floor > room and self._may_borrow:
            least = max(1, self._budget.generation // 4)
            room = max(room, min(self._budget.total - least, fixed + floor))
        if fixed + floor > room:
            excess = fixed + floor - room
            messages = await self._shorter_turns(messages, excess, whole, made)
            whole = await self._counter.request(self._member, compose(reads, messages))
            fixed = max(0, whole - sum(sizes))
        left = room - fixed
        for _ in range(ROUNDS):
            if whole > room and reads:
                reads = await self._shorter_reads(reads, sizes, left, whole, made)
            request = self._limited(compose(reads, messages), room)
            if (whole := await self._counter.request(self._member, request)) <= room:
                return Fitted(request, tuple(made))
            sizes = await self._sizes(reads)
            left = min(left, sum(sizes)) - (whole - room)
        raise self._exceeded(whole)

    async def _sizes(self, reads: Sequence[Material]) -> list[int]:
        return [await self._counter.text(self._member, one.text) for one in reads]

    async def _shorter_reads(
        self, reads: list[Material], sizes: list[int], room: int, whole: int, made: list[str]
    ) -> list[Material]:
        """The texts of others in so many tokens together."""
        found = []
        for one, has, may in zip(reads, sizes, shares(sizes, room), strict=True):
            if has <= may:
                found.append(one)
                continue
            if may < LEAST:
                raise self._exceeded(whole)
            text = await self._shorter(one.text, may)
            made.append(text)
            found.append(msgspec.structs.replace(one, text=text))
        return found

    async def _shorter_turns(self, messages: list[Message], excess: int, whole: int, made: list[str]) -> list[Message]:
        """The conversation with so many tokens less: its longest turns of text are compressed, never the system's."""
        turns = list(messages)
        sizes = {
            at: await self._counter.text(self._member, turn.content)
            for at, turn in enumerate(turns)
            if turn.content and turn.role not in ("system", "developer") and turn.parts is None and not turn.tool_calls
        }
        for at in sorted(sizes, key=lambda place: -sizes[place]):
            if excess <= 0 or sizes[at] < 2 * LEAST:
                break
            text = await self._shorter(turns[at].content or "", max(LEAST, sizes[at] - excess))
            made.append(text)
            turns[at] = msgspec.structs.replace(turns[at], content=text)
            excess -= sizes[at] - await self._counter.text(self._member, text)
        if excess > 0:
            raise self._exceeded(whole)
        return turns

    async def _shorter(self, text: str, most: int) -> str:
        async def count(one: str) -> int:
            return await self._counter.text(self._member, one)

        try:
            return await fit_to_budget(text, most, count, self._shorten)
        except CompressionFailedError as error:
            error.details.setdefault("model", self._member.model)
            raise

    def _written(self, request: InferenceRequest) -> int:
        """Tokens that are kept for what the model writes."""
        return self._budget.generation if request.params.max_tokens is None else request.params.max_tokens

    def _limited(self, request: InferenceRequest, room: int) -> InferenceRequest:
        """A step of ours writes no more than is left for it."""
        most = request.params.max_tokens
        left = max(1, self._budget.total - room)
        if not self._may_borrow or most is None or most <= left:
            return request
        return msgspec.structs.replace(request, params=msgspec.structs.replace(request.params, max_tokens=left))

    def _exceeded(self, tokens: int) -> ContextBudgetExceededError:
        model, total = self._member.model, self._budget.total
        return ContextBudgetExceededError(
            tokens,
            total,
            f"Content cannot fit in {model} context window ({tokens}/{total} tokens)",
            model=model,
            compression_attempted=True,
        )


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """How many tokens each text may have of `room`: short ones all they need, others equal parts of what is left."""
    found = [0] * len(sizes)
    left = max(0, room)
    for number, at in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        found[at] = min(sizes[at], left // (len(sizes) - number))
        left -= found[at]
    return found
