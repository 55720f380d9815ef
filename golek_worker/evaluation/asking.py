"""How is a set of questions asked? One configuration after the other, over the bus, so many questions at a time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, structs

from golek_client.client import Golek
from golek_client.options import Options
from golek_wire.errors import (
    ForbiddenError,
    InferenceServiceError,
    ModelNotFoundError,
    NoWorkersError,
    UnauthorizedError,
)
from golek_wire.orchestration import StepEvent
from golek_wire.replies import InferenceReply
from golek_worker.evaluation.questions import Normal, Question, is_right
from golek_worker.evaluation.results import Answer, Row
from golek_worker.orchestration.base import PARTICIPANT

PRESET: Final = "preset"
"""The mode of a configuration whose mode a preset says."""

_NOBODY: Final = (ModelNotFoundError, NoWorkersError, ForbiddenError, UnauthorizedError)
OnAnswer = Callable[[Answer], object]


class Configuration(Struct, frozen=True):
    """One row: whom to ask, and how they answer together."""

    name: str
    mode: str
    asked: str
    """The name that the requests go to."""
    models: tuple[str, ...] = ()
    """Who takes part, the leader first; empty where a preset says it."""


class Sampling(Struct, frozen=True):
    """How every answer is drawn."""

    temperature: float = 0.0
    seed: int = 0
    """Of the first question; each next one has the next."""
    max_tokens: int = 256
    deadline_s: float = 120.0


async def check(golek: Golek, configurations: Sequence[Configuration], sampling: Sampling) -> None:
    """Have each configuration's names looked up, by a request whose prompt is only counted. Raises ModelNotFoundError,
    NoWorkersError, ForbiddenError or UnauthorizedError where nobody would answer; what else goes wrong its questions
    show.
    """
    counted = structs.replace(sampling, max_tokens=0)
    for configuration in configurations:
        found = options(configuration, counted, sampling.seed)
        wish = (
            {"models": list(configuration.models)} if configuration.mode != "single" and configuration.models else None
        )
        found["orchestration"] = wish
        try:
            await golek.chat(configuration.asked, "?", deadline=sampling.deadline_s, **found)
        except _NOBODY:
            raise
        except InferenceServiceError:
            continue


async def ask(
    golek: Golek,
    configuration: Configuration,
    questions: Sequence[Question],
    sampling: Sampling,
    concurrency: int,
    normal: Normal,
    on_answer: OnAnswer,
) -> Row:
    """All questions, in their order. An error is the answer of its question, and counts as a wrong one."""
    free = asyncio.Semaphore(concurrency)

    async def one(number: int, question: Question) -> Answer:
        async with free:
            answer = await _answer(golek, configuration, question, sampling, sampling.seed + number, normal)
        on_answer(answer)
        return answer

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, question)) for number, question in enumerate(questions)]
    answers = [task.result() for task in tasks]
    models = list(configuration.models or (configuration.asked,))
    return Row(configuration.name, _mode(configuration, answers), models, answers)


def _mode(configuration: Configuration, answers: Sequence[Answer]) -> str:
    """That of the configuration, or the one in which a preset's models answered."""
    told = {answer.mode for answer in answers if answer.mode}
    if configuration.mode != PRESET or len(told) != 1 or told == {"single"}:
        return configuration.mode
    return told.pop()


async def _answer(
    golek: Golek, configuration: Configuration, question: Question, sampling: Sampling, seed: int, normal: Normal
) -> Answer:
    steps: list[StepEvent] = []
    began = time.perf_counter()
    try:
        stream = golek.chat(
            configuration.asked,
            question.question,
            stream=True,
            deadline=sampling.deadline_s,
            on_step=None if configuration.mode == "single" else steps.append,
            **options(configuration, sampling, seed),
        )
        async with stream:
            async for _ in stream:
                pass
        reply = stream.reply
    except InferenceServiceError as error:
        failed = _Told(steps, configuration)
        return Answer(
            question=question.id, right=False, error=error.code, message=error.message, ms=_since(began),
            branches=failed.branches, synthesizer=failed.synthesizer,
        )  # fmt: skip
    return _as_answer(reply, question, _since(began), _Told(steps, configuration), normal)


def options(configuration: Configuration, sampling: Sampling, seed: int) -> Options:
    """What each request says beside its question. Of an orchestrated one the leader has every duty that one alone has,
    but for the critic's, so that it is known who did what.
    """
    found: Options = {"temperature": sampling.temperature, "seed": seed, "max_tokens": sampling.max_tokens}
    if configuration.mode == "single":
        return found
    wish: dict[str, object] = {"progress": "texts"}
    if configuration.models:
        wish["models"] = list(configuration.models)
        wish["duties"] = duties(configuration)
    found["orchestration"] = wish
    if configuration.mode != PRESET:
        found["orchestration_mode"] = configuration.mode
    return found


def duties(configuration: Configuration) -> dict[str, str]:
    """Who does what: the first model leads, the second one, where there is one, is the critic."""
    leader, *others = configuration.models
    match configuration.mode:
        case "critique":
            return {"generator": leader, "critic": (others or [leader])[0]}
        case "debate":
            return {"reconciler": leader}
        case "ensemble":
            return {"synthesizer": leader}
    return {}


class _Told:
    """What the events of the steps say of those who answered side by side."""

    def __init__(self, steps: Sequence[StepEvent], configuration: Configuration) -> None:
        self.branches: dict[str, str] = {}
        is_first = (step for step in steps if step.duty == PARTICIPANT and step.round == 1 and step.state == "ended")
        for step in sorted(is_first, key=lambda step: step.number):
            if step.outcome == "answered" and step.text.strip():
                self.branches[self._name(step.model)] = step.text
        self.synthesizer = configuration.models[0] if configuration.mode == "ensemble" and configuration.models else ""

    def _name(self, model: str) -> str:
        again = sum(name.partition("#")[0] == model for name in self.branches)
        return f"{model}#{again + 1}" if again else model


def _as_answer(reply: InferenceReply, question: Question, ms: float, told: _Told, normal: Normal) -> Answer:
    found = Answer(
        question=question.id, right=is_right(question, reply.text, normal), text=reply.text, ms=ms,
        tokens_in=reply.tokens_in, tokens_out=reply.tokens_out, cost_usd=reply.cost_usd,
        partial=reply.finish_reason == "partial", branches=told.branches, synthesizer=told.synthesizer,
    )  # fmt: skip
    about = reply.orchestration
    if about is None:
        return found
    return structs.replace(
        found, mode=about.mode, models=about.models_used, steps=about.completed_steps, rounds=about.rounds,
        agreement=about.agreement, method=about.method or "", confidence=about.confidence, failed=about.failed,
    )  # fmt: skip


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
