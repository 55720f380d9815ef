"""Which requests do several models answer, and who are they?

A preset that is asked as a model; `auto`, where the settings name a preset or a mode; and any name with a mode in the
request. A model that is asked by its own name alone is asked alone. The mode is the request's, else the preset's, else
the settings'; the models are those of the request, else of the preset, else of the settings, else all of the fleet. Who
is missing, or not for the caller's key, is told before anything runs.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from golek_wire import several
from golek_wire.errors import (
    BadRequestError,
    ForbiddenError,
    InferenceServiceError,
    ModelNotFoundError,
    NoWorkersError,
    RateLimitedError,
)
from golek_wire.orchestration import MODELS_LIMIT, Mode, OrchestrationWish, Preset
from golek_wire.requests import InferenceRequest, Message
from golek_wire.routing import AUTO, CLOUDS
from golek_wire.several import SINGLE
from golek_worker.conducting.common_memory import Common
from golek_worker.conducting.step_asks import Asks
from golek_worker.job import Job
from golek_worker.orchestration import casting
from golek_worker.orchestration.base import Case, Limits, Member
from golek_worker.orchestration.casting import Wanted
from golek_worker.orchestration.context import Context
from golek_worker.orchestration.prompts import Prompts, stages
from golek_worker.router import taking_part
from golek_worker.router.table import LOCAL_PREFIX, Plan
from golek_worker.routing.deciding import Deciding
from golek_worker.settings import Settings

DECIDING: Final = (
    "inference_config", "inference_preload_models", "inference_orchestration_mode", "inference_critique_max_rounds",
    "inference_critique_threshold", "inference_debate_max_rounds", "inference_debate_reconcile_model",
    "inference_ensemble_min_agreement", "inference_ensemble_synthesis_model", "inference_pipeline_stages",
    "inference_model_roles", "golek_semantic_model",
)  # fmt: skip
BRANCHING: Final = frozenset({"debate", "ensemble"})
"""Modes that go on without a model that fails."""
_NO_WISH: Final = OrchestrationWish()


class _Manner(Struct, frozen=True):
    """How a request is answered by several."""

    mode: Mode
    preset: Preset | None = None
    is_usual: bool = False
    """By the settings alone: the request says nothing of it."""


class Engaging:
    """Finds the models of requests, for one router."""

    def __init__(
        self, chosen: Settings, deciding: Deciding, common: Common, look_up: Callable[[str], Awaitable[None]]
    ) -> None:
        """`common` is what all requests have in common; `look_up` has a model that nobody has heard of yet looked up in
        what the fleet keeps.
        """
        self._common = common
        self._chosen = chosen
        self._deciding = deciding
        self._look_up = look_up

    async def case(self, job: Job, model: str, request: InferenceRequest) -> Case | None:
        """How a request for `model` is answered by several; None where one answers.

        Raises BadRequestError for what several cannot do, ModelNotFoundError and NoWorkersError naming who is missing,
        ForbiddenError naming for whom the caller's key is not.
        """
        plan = self._deciding.plan(model)
        manner = self._manner(plan, request)
        if manner is None:
            return None
        if problem := next(several.obstacles(request), None):
            if manner.is_usual:
                return None
            raise BadRequestError(f"{problem[0]}: {problem[1]}; {model} has several", param=problem[0])
        wish = request.orchestration or _NO_WISH
        if request.params.max_tokens == 0:  # only counted: there is nothing to judge
            manner, wish = msgspec.structs.replace(manner, mode=SINGLE), OrchestrationWish(wish.models)
        self._check_stages(manner, wish)
        lead = model if plan is not None and plan.sort != AUTO and _preset(plan) is None else ""
        models = self._models(lead, manner, wish, job.allowed_models)
        if job.allowed_models is not None:
            self._check_key(plan, model, models, wish, job.allowed_models)
        self._check_stand_for_one(models)
        await self._check_there(models, manner.preset, goes_on=manner.mode in BRANCHING)
        members = [self._member(name, manner.preset) for name in models]
        cast = casting.cast(members, self._wanted(lead, manner, wish, request.task_type or ""))
        return Case(_in_turns(request), cast, self._limits(manner.mode, wish))

    def embedder(self) -> Member | None:
        """Whom vectors are asked of: GOLEK_SEMANTIC_MODEL where it is there, else another model of the fleet that makes
        them; None where none takes requests.
        """
        able = sorted(
            name
            for name, one in self._deciding.situation.standings.items()
            if one.target.is_local and "embedding" in one.target.kinds and one.state.up
        )
        named = LOCAL_PREFIX + self._chosen.golek_semantic_model
        name = named if named in able else next(iter(able), "")
        return Member(name.removeprefix(LOCAL_PREFIX)) if name else None

    # -- which mode --------------------------------------------------------------------------------------------

    def _manner(self, plan: Plan | None, request: InferenceRequest) -> _Manner | None:
        """Raises BadRequestError for a wish without a mode."""
        said, usual = request.orchestration_mode, self._chosen.inference_orchestration_mode
        says_how = request.orchestration is not None and request.orchestration.says_how
        preset = _preset(plan)
        if preset is not None:
            return _Manner(said or preset.mode or usual, preset)
        usually = self._usual_preset() if plan is not None and plan.sort == AUTO else None
        if said is not None:
            return None if said == SINGLE else _Manner(said, usually)
        if plan is not None and plan.sort == AUTO and (usually is not None or usual != SINGLE):
            return _Manner(usual if usually is None else usually.mode or usual, usually, is_usual=not says_how)
        if says_how:
            raise BadRequestError(
                "orchestration: says how several models answer, and nothing says that they do: add "
                "`orchestration_mode`, such as \"debate\"", param="orchestration_mode",
            )  # fmt: skip
        return None

    def _usual_preset(self) -> Preset | None:
        """The preset that `auto` stands for: none while INFERENCE_PRELOAD_MODELS are in its place."""
        name = self._deciding.table.config
        return _preset(self._deciding.plan(name)) if name else None

    # -- which models ------------------------------------------------------------------------------------------

    def _models(self, lead: str, manner: _Manner, wish: OrchestrationWish, allowed: frozenset[str] | None) -> list[str]:
        """Who takes part; the one that was asked by its name is among them, first where it was not named."""
        if wish.models is not None:
            found = wish.models
        elif manner.preset is not None:
            found = [*manner.preset.models]
        else:
            found = self._preloaded() or self._usual_models() or self._fleet(allowed)
        if not lead:
            return found
        named = self._deciding.plan(lead)
        same = {lead, named.name if named is not None else lead}
        if wish.models is not None:
            return found if same & {*found} else [lead, *found]
        return [lead, *(one for one in found if one not in same)][:MODELS_LIMIT]

    def _preloaded(self) -> list[str]:
        return [name for one in self._chosen.inference_preload_models.split(",") if (name := one.strip())]

    def _usual_models(self) -> list[str]:
        usual = self._usual_preset()
        return [*usual.models] if usual is not None else []

    def _fleet(self, allowed: frozenset[str] | None) -> list[str]:
        """All models of the fleet that write texts and take requests, as far as the caller's key is for them; those
        that only repeat what they are told where there are no two others.
        """
        able = [
            one.target
            for one in self._deciding.situation.standings.values()
            if one.target.is_local and "inference" in one.target.kinds and one.state.up
        ]
        narrowed = None if allowed is None else {name for name in allowed if name != AUTO}
        able = [one for one in able if not narrowed or one.model in narrowed]
        writers = [one for one in able if not one.repeats]
        return sorted(one.model for one in (writers if len(writers) > 1 else able))[:MODELS_LIMIT]

    def _member(self, name: str, preset: Preset | None) -> Member:
        plan = self._deciding.plan(name)
        share = next(iter(plan.targets), None) if plan is not None else None
        target = self._deciding.target(share.target) if share is not None else None
        said = self._chosen.inference_model_roles.get(name)  # counts more than the preset
        roles = tuple(said) if said else preset.roles.get(name) if preset is not None else None
        if target is None:
            return Member(name, roles or ())
        able = target.abilities
        return Member(name, target.roles if roles is None else roles, target.context_size, "json_schema" in able)

    def _check_stages(self, manner: _Manner, wish: OrchestrationWish) -> None:
        """Raise BadRequestError for a stage that nothing is told."""
        told, preset = self._common.prompts, manner.preset
        if wish.stages is not None:
            if wrong := told.unknown_stages(wish.stages):
                raise BadRequestError(f"orchestration.stages: {wrong}", param="orchestration.stages")
        elif preset is not None and manner.mode == "pipeline" and (wrong := told.wrong_stages(preset)):
            raise BadRequestError(f"{preset.origin}: {preset.id}.stages: {wrong}", param="model")

    # -- who may, and is there ---------------------------------------------------------------------------------

    def _check_key(
        self, plan: Plan | None, asked: str, models: Iterable[str], wish: OrchestrationWish, allowed: frozenset[str]
    ) -> None:
        """Who may ask a preset may have it answered by its models, and a key for `auto` and no model by all that `auto`
        may stand for. Other keys, and models that a request adds by itself, are for those that the key names. Raises
        ForbiddenError naming the others.
        """
        preset, is_auto = _preset(plan), plan is not None and plan.sort == AUTO
        covers_all = is_auto and not allowed - {AUTO, asked}
        if covers_all and wish.models is None:
            return
        own = preset.models if preset is not None and self._covers(allowed, asked) else ()

        def is_free(name: str) -> bool:
            return name in own or self._covers(allowed, name) or (covers_all and self._may_choose(plan, name))

        others = [name for name in dict.fromkeys(models) if not is_free(name)]
        if others:
            raise ForbiddenError(
                f"The key is not for {', '.join(others)}, which would take part; it is for "
                f"{', '.join(sorted(allowed))}", param="orchestration.models", missing=others,
            )  # fmt: skip

    def _covers(self, allowed: frozenset[str], name: str) -> bool:
        """`auto` beside models is narrowed to these where it is asked alone; here it would stand for all."""
        plan = self._deciding.plan(name)
        if plan is not None and plan.sort == AUTO:
            return not allowed - {AUTO, name}
        return name in allowed or (plan is not None and plan.name in allowed)

    def _may_choose(self, auto: Plan | None, name: str) -> bool:
        """Whether `auto` could have a model asked: one of a cloud where its policy allows that."""
        is_clouds = self._deciding.plan(name) is not None and not self.counts(name)
        return not is_clouds or (auto is not None and auto.policy in CLOUDS)

    def _check_stand_for_one(self, models: Iterable[str]) -> None:
        """Raise BadRequestError for a preset or `auto` among the models: it would be one of others, nobody knows which,
        and perhaps one that takes part itself.
        """
        for name in models:
            plan = self._deciding.plan(name)
            if _preset(plan) is not None:
                what = "is a preset, and takes no part in others; name its models"
            elif plan is not None and plan.sort == AUTO:
                what = "stands for others, perhaps for one that takes part as well; name models"
            else:
                continue
            raise BadRequestError(f"orchestration.models: {name} {what}", param="orchestration.models")

    async def _check_there(self, models: Sequence[str], preset: Preset | None, *, goes_on: bool) -> None:
        """Raise ModelNotFoundError or NoWorkersError naming all who are missing. Who asked for a pause is there; so is
        who is left alone for a while behind faults, where the flow `goes_on` with others.
        """
        missing, paused = dict[str, InferenceServiceError](), list[NoWorkersError]()
        names = [*dict.fromkeys(models)]
        for name in names:
            if self._deciding.plan(name) is None:
                await self._look_up(name)
            error = self._deciding.absence(name)
            if isinstance(error, NoWorkersError) and goes_on and self._pauses(name):
                paused.append(error)
            elif isinstance(error, ModelNotFoundError | NoWorkersError):
                missing[name] = error
            elif error is not None and not isinstance(error, RateLimitedError):
                raise error
        if missing:
            own = preset.id if preset is not None and missing.keys() <= {*preset.models} else ""
            raise taking_part.lacking("Not all that take part are there", missing, own)
        if paused and len(paused) == len(names):
            raise paused[0]

    def _pauses(self, name: str) -> bool:
        """Whether somebody who answers for it is there, and only left alone for a while behind faults."""
        plan = self._deciding.plan(name)
        shares = plan.targets if plan is not None else ()
        return any(self._deciding.state(share.target).retry_s > 0 for share in shares)

    # -- how they are asked ------------------------------------------------------------------------------------

    def _wanted(self, lead: str, manner: _Manner, wish: OrchestrationWish, task_type: str) -> Wanted:
        chosen, preset = self._chosen, manner.preset
        roles = self._deciding.table.roles
        return Wanted(
            mode=manner.mode,
            role=roles.of(task_type),
            chain=roles.chain,
            lead=lead,
            duties=wish.duties or {},
            stages=tuple(wish.stages) if wish.stages is not None else None,
            max_rounds=wish.max_rounds,
            threshold=wish.threshold,
            preset=preset.id if preset is not None else "",
            own_duties=preset.duties if preset is not None else {},
            own_stages=preset.stages if preset is not None else (),
            reconciles=chosen.inference_debate_reconcile_model,
            synthesizes=chosen.inference_ensemble_synthesis_model,
            usual_stages=tuple(stages(chosen.inference_pipeline_stages)),
        )

    def _limits(self, mode: Mode, wish: OrchestrationWish) -> Limits:
        chosen = self._chosen
        critique = mode == "critique"
        rounds = chosen.inference_critique_max_rounds if critique else chosen.inference_debate_max_rounds
        threshold = chosen.inference_critique_threshold if critique else chosen.inference_ensemble_min_agreement
        return Limits(
            rounds if wish.max_rounds is None else wish.max_rounds,
            threshold if wish.threshold is None else wish.threshold,
        )

    def context(self, case: Case, job: Job, asks: Asks) -> Context:
        """What the models of a case read."""
        memory = self._common.memory
        memory.invalidator.on_config_change(self._deciding.table.presets)
        return Context(case, memory, asks.count, asks.help, request_id=job.job_id, principal=job.principal)

    def counts(self, model: str) -> bool:
        """Whether a model's tokens can be counted without writing any: all of the fleet's own can."""
        plan = self._deciding.plan(model)
        return plan is not None and all(share.target.startswith(LOCAL_PREFIX) for share in plan.targets)


def fingerprint(chosen: Settings, told: Prompts) -> bytes:
    """What of settings and prompts decides on who answers together, and how."""
    return msgspec.json.encode([*(getattr(chosen, name) for name in DECIDING), told])


def _preset(plan: Plan | None) -> Preset | None:
    return plan.preset if plan is not None else None


def _in_turns(request: InferenceRequest) -> InferenceRequest:
    """With `input` as one turn of the user."""
    if request.input is None:
        return request
    return msgspec.structs.replace(request, input=None, messages=[Message("user", request.input)])
