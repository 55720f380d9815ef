"""May the models of a preset be asked, all of them?

Each is decided on as if it were asked by its own name; what a key for the preset is for, covers them. What a request
needs beside a chat, such as tools, is asked of one of them alone, which is not known here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from golek_wire.errors import BadRequestError, InferenceServiceError, ModelNotFoundError, NoWorkersError
from golek_wire.routing import Candidate, Decision, Rejected
from golek_worker.router import refusals
from golek_worker.router.table import Plan
from golek_worker.router.targets import Ask


def asks(ask: Ask, plan: Plan) -> Iterator[tuple[str, Ask]]:
    """What is asked about each model of the preset, by its name."""
    for model in dict.fromkeys(plan.preset.models if plan.preset is not None else ()):
        yield (
            model,
            Ask(
                model, ask.kind, policy=ask.policy, strategy=ask.strategy, deadline_s=ask.deadline_s, draw=ask.draw,
                turn=ask.turn,
            ),
        )  # fmt: skip


def decided(ask: Ask, plan: Plan, found: Mapping[str, Decision]) -> Decision:
    """The first target of each model; or who is missing, by `found`, what was decided on each."""
    error = refusals.forbidden(plan, ask) or _another_kind(ask, plan) or missing(plan.name, found)
    candidates = {one.target: one for decision in found.values() for one in decision.candidates[:1]}
    rejected: dict[str, Rejected] = {}
    for decision in found.values():
        rejected |= {one.target: one for one in decision.rejected if not decision.candidates}
    chain: list[Candidate] = [] if error is not None else [*candidates.values()]
    strategy = ask.strategy or plan.strategy
    told = None if error is None else refusals.told(error)
    return Decision(ask.model, ask.kind, strategy, plan.policy, chain, [*rejected.values()], ask.task_type, "", told)


def missing(name: str, found: Mapping[str, Decision]) -> InferenceServiceError | None:
    """Why not all models of `name` can be asked; None where they can.

    1. What is wrong with the request is said of the first that says so. 2. Models that nobody knows; 3. and those that
    nobody serves now. Each is named in `details.missing`.
    """
    errors = {model: error for model, decision in found.items() if (error := refusals.of(decision)) is not None}
    if other := [error for error in errors.values() if not isinstance(error, ModelNotFoundError | NoWorkersError)]:
        return other[0]  # 1
    if not errors:
        return None
    needs = f"{name} needs {', '.join(found)}, and {', '.join(errors)} {'is' if len(errors) == 1 else 'are'} missing"
    return lacking(needs, errors, preset=name)  # 2, 3


def lacking(what: str, errors: Mapping[str, InferenceServiceError], preset: str = "") -> InferenceServiceError:
    """What to tell who needs several models, of which some are missing: `errors` says why, by their names. A preset's
    models are started together.
    """
    said = "; ".join(dict.fromkeys(_reason(model, error) for model, error in errors.items()))
    about: dict[str, Any] = {"missing": [*errors]}
    if preset:
        command = f"golek presets start {preset}"
        about |= {"model": preset, "command": command}
        said = f"{said}. Where their files are, or can be had, `{command}` starts them"
    unknown = [error for error in errors.values() if isinstance(error, ModelNotFoundError)]
    if not unknown:
        return NoWorkersError(f"{what}: {said}", refusals.RETRY_MS, **about)
    if near := [one for error in unknown if (one := error.details.get("did_you_mean"))]:
        about["did_you_mean"] = near[0]
    return ModelNotFoundError(f"{what}: {said}", available=unknown[0].details.get("available", []), **about)


def _reason(model: str, error: InferenceServiceError) -> str:
    """Why it is missing, without what is said of all of them."""
    if isinstance(error, ModelNotFoundError) and not error.details.get("did_you_mean"):
        return f"No model {model!r} is known"
    said = error.message.removeprefix(f"Nobody can answer for {error.details.get('model', model)}: ")
    target = f"local:{model}: "
    return said.removeprefix(target) if said.count(target) == 1 and "No worker" in said else said


def _another_kind(ask: Ask, plan: Plan) -> BadRequestError | None:
    if ask.kind == "inference":
        return None
    return BadRequestError(
        f"{plan.name} is a preset of models that answer chats together, and no model for {ask.kind}", param="model"
    )
