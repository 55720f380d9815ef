"""What exactly is a step's model asked?

The caller's conversation; in its last user turn, behind the caller's words, what the step reads of others, what is
known so far, the trajectory, and what to do. Since the beginning is the same for every step, a model's KV cache keeps
it. Texts that may become the answer are sampled as the caller wishes; judging, comparing and compressing have
parameters of their own. Nothing that belongs to the caller's request alone is passed on: session, resumption, reply
subject, metadata.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from golek_wire.requests import InferenceRequest, JsonSchema, Message, Params, ResponseFormat
from golek_wire.routing import CacheWish
from golek_worker.orchestration import trajectory, verdicts
from golek_worker.orchestration.base import COMPRESSOR, CRITIC, Case, Material, Step
from golek_worker.orchestration.budgets import Budget
from golek_worker.orchestration.conversation import added, folded
from golek_worker.orchestration.handoff import HandoffState

JUDGING: Final = frozenset({"critique", "compare", "compress"})
"""Steps whose text is never the answer."""
JUDGED_TOKENS: Final = 1024
"""A judgement has at most so many, and at most half of what its model's budget has for writing."""
SEEDS: Final = 2**32 - 1


class Prompt(Protocol):
    """What is said to a model for one kind of step."""

    @property
    def goal(self) -> str:
        """What it must decide: `Next` of the trajectory."""
        ...

    @property
    def forbidden(self) -> str:
        """What it must not do."""
        ...


class Prompts(Protocol):
    """What is said for each kind of step."""

    def of(self, name: str) -> Prompt:
        """Of a step or a stage."""
        ...

    def instruction(self, step: Step) -> str:
        """What to do, behind all that it reads; may be empty."""
        ...


def compose(
    step: Step,
    case: Case,
    state: HandoffState,
    prompts: Prompts,
    *,
    reads: Sequence[Material] | None = None,
    messages: Sequence[Message] | None = None,
    budget: Budget | None = None,
    fresh: bool = False,
) -> InferenceRequest:
    """The request for a step's model. `reads` and `messages` stand for those of step and case where they were made
    shorter; `fresh` has it drawn anew.
    """
    parent = case.request
    if is_plain(step, case):
        return msgspec.structs.replace(_stripped(parent), stream=step.is_final and parent.stream)
    said = prompts.of(step.name)
    offers = step.acts and case.may_act
    turns = list(parent.messages or [] if messages is None else messages)
    room = trajectory.ROOM if budget is None else budget.trajectory
    parts = [
        *(f"## {one.title}\n{one.text}" for one in (step.reads if reads is None else reads)),
        trajectory.known(state),
        trajectory.block(step, state, said.goal, said.forbidden, room),
        prompts.instruction(step).strip(),
    ]
    turns = added(turns if offers else folded(turns), "\n\n".join(filter(None, parts)))
    request = msgspec.structs.replace(
        _stripped(parent),
        input=None,
        messages=turns,
        stream=step.is_final and parent.stream,
        seed=_own_seed(parent, step, fresh=fresh),
        tools=parent.tools if offers else None,
        tool_choice=parent.tool_choice if offers else None,
        parallel_tool_calls=parent.parallel_tool_calls if offers else None,
    )
    return _judging(request, step, budget) if judges(step) else _answering(request)


def is_plain(step: Step, case: Case) -> bool:
    """Whether a model is asked just as it would be without any orchestration."""
    return case.cast.mode == "single" and not step.reads


def judges(step: Step) -> bool:
    """Whether its text is never the answer."""
    return step.schema is not None or step.duty in (CRITIC, COMPRESSOR) or step.name in JUDGING


def step_seed(seed: int, step: Step, *, fresh: bool = False) -> int:
    """The seed of a step of a request with this one: the same for the same step, another one for each draw."""
    parts = f"{seed} {step.name} {step.member.model} {step.duty} {step.round} {step.draw} {fresh}"
    return int.from_bytes(hashlib.sha256(parts.encode("utf-8", "replace")).digest()[:8]) % SEEDS


def is_private(request: InferenceRequest) -> bool:
    """Whether what is made of it is for one user alone, and kept for nobody else."""
    wish = request.cache or CacheWish()
    return request.session_id is not None or request.user is not None or wish.user_specific or wish.time_sensitive


def _stripped(parent: InferenceRequest) -> InferenceRequest:
    """The request without what is said of it as a whole."""
    cache = parent.cache
    if parent.session_id is not None:
        cache = msgspec.structs.replace(cache or CacheWish(), user_specific=True)
    return msgspec.structs.replace(
        parent,
        orchestration_mode=None,
        orchestration=None,
        session_id=None,
        resumable=False,
        reply_to=None,
        metadata=None,
        deadline_ms=None,
        cache=cache,
    )


def _answering(request: InferenceRequest) -> InferenceRequest:
    """As the caller wishes, but for numbers of tokens: those of one vocabulary mean nothing in another one."""
    params = msgspec.structs.replace(request.params, seed=None, logit_bias={}, stop_token_ids=[])
    return msgspec.structs.replace(request, params=params)


def _judging(request: InferenceRequest, step: Step, budget: Budget | None) -> InferenceRequest:
    most = JUDGED_TOKENS if budget is None else max(1, min(JUDGED_TOKENS, budget.generation // 2))
    return msgspec.structs.replace(
        request,
        params=Params(max_tokens=most, temperature=0),
        response_format=_form(step.schema, step.name, most) if step.member.follows_schemas else None,
        reasoning_effort=None,
        adapter=None,
        extra=None,
        seed=request.seed,
    )


def _form(schema: dict[str, Any] | None, name: str, tokens: int) -> ResponseFormat | None:
    """Small enough for a model to come to its end."""
    if schema is None:
        return None
    return ResponseFormat("json_schema", JsonSchema(verdicts.within(schema, tokens), name))


def _own_seed(parent: InferenceRequest, step: Step, *, fresh: bool) -> int | None:
    """None where the caller has none: then each answer is another one, and not kept in caches."""
    seed = parent.seed if parent.seed is not None else parent.params.seed
    return None if seed is None else step_seed(seed, step, fresh=fresh)
