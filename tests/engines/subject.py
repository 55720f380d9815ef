"""What is to be known of an engine that shall keep the contract, and how do behaviours have it run?"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import psutil
import pytest
import pytest_asyncio

from golek_wire.replies import Delta
from golek_wire.requests import InferenceRequest, Params, Resume
from golek_worker.engine.base import (
    Classify,
    Computed,
    Constraint,
    Embed,
    EngineConfig,
    Finished,
    Rank,
    Ready,
    Refused,
    SequenceStart,
    Stopped,
    Submit,
)
from golek_worker.engine.host import EngineDied, EngineHost, Run
from golek_worker.grammars import schemas
from tests.engine.driver import children

Ability = Literal[
    "text", "vectors", "scores", "classes",  # what it makes
    "seeds", "invariant", "fifo", "logprobs", "constraints", "resume",  # of texts
    "file", "grandchildren", "gauges",
]  # fmt: skip
"""
- `seeds`: texts are drawn, and another seed draws another one.
- `invariant`: a text is the same alone and among others.
- `fifo`: those that wait for a slot are taken first come, first served.
- `constraints`: it follows those of `Subject.constraints`.
- `resume`: it goes on where a text broke off.
- `file`: it loads a model from a file or folder.
- `grandchildren`: its runtime is a process of its own, started by the engine's.
- `gauges`: it measures itself.
"""

WAIT_S = 20.0
"""For what takes no second on an idle machine."""
BOOLEAN = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
MANY = 4000
"""Texts of a job that takes a while."""
CONSTRAINTS = (
    (Constraint("gbnf", 'root ::= "yes" | "no"'), "yes|no"),
    (Constraint("regex", "[a-c]{3}", "params.regex"), "[a-c]{3}"),
    (Constraint("lark", 'start: "one" | "two"', "params.choice"), "one|two"),
    (
        Constraint("json_schema", schemas.compiled(BOOLEAN, "response_format"), "response_format"),
        r'\{\s*"a"\s*:\s*(true|false)\s*\}',
    ),
)
"""One of each language, as a worker makes them."""
ENDS = (Computed, Stopped, Refused, EngineDied)
E = TypeVar("E")


@dataclass(frozen=True)
class Subject:
    """One engine with a model."""

    name: str
    can: frozenset[Ability]
    opened: Callable[[], AbstractContextManager[EngineConfig]]
    """Its configuration, while what that needs is there: a file, a server that is attached."""
    prompt: str = "What is a lease? A lease is a job that one worker has."
    constraints: tuple[tuple[Constraint, str], ...] = ()
    """What texts can be made to follow, each with a regular expression for what then comes."""
    wrong_constraint: Constraint | None = None
    """One that cannot be followed."""
    image: bytes = b""
    """Of a classifier: a file that it takes."""
    load_s: float = WAIT_S
    """Seconds that a load may take."""

    def __str__(self) -> str:
        return self.name


def needs(*abilities: Ability) -> pytest.MarkDecorator:
    """Marks a behaviour of engines that can all this; others are not asked."""
    return pytest.mark.needs(*abilities)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each behaviour for each of the module's SUBJECTS that can what it needs."""
    if "subject" not in metafunc.fixturenames or not hasattr(metafunc.module, "SUBJECTS"):
        return
    wanted = {ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args}
    able = [subject for subject in metafunc.module.SUBJECTS if wanted <= subject.can]
    metafunc.parametrize("subject", able, ids=str, scope="module")


class Served:
    """An engine that a host runs, and what behaviours ask of it."""

    def __init__(self, subject: Subject, config: EngineConfig) -> None:
        self.subject = subject
        self.config = config
        self._before = {child.pid for child in children()}
        self._changed = asyncio.Event()
        self.host = EngineHost(config, 10.0, self._changed.set)
        self._running = asyncio.create_task(self.host.run())
        self._jobs = 0

    async def until(self, is_so: Callable[[EngineHost], bool], wait_s: float = WAIT_S) -> None:
        """Wait for a change after which `is_so` holds."""
        async with asyncio.timeout(wait_s):
            while not is_so(self.host):
                self._changed.clear()
                waiting = asyncio.create_task(self._changed.wait())
                await asyncio.wait({waiting, self._running}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._running.done():
                    self._running.result()

    async def until_serving(self) -> None:
        await self.until(lambda host: host.serving, self.subject.load_s)

    async def leave(self) -> None:
        await self.host.close()
        await self._running

    @property
    def ready(self) -> Ready:
        assert self.host.ready is not None
        return self.host.ready

    @property
    def child(self) -> psutil.Process:
        """The engine's process."""
        (child,) = [child for child in children() if child.pid not in self._before]
        return child

    @property
    def processes(self) -> list[psutil.Process]:
        """It and all that it started."""
        return [self.child, *self.child.children(recursive=True)]

    def name(self) -> str:
        """Of a job that was not there before."""
        self._jobs += 1
        return f"job-{self._jobs}"

    def text(
        self,
        prompt: str | None = None,
        *,
        tokens: int | None = 8,
        seed: int = 1,
        stream: bool = False,
        resume: Resume | None = None,
        constraint: Constraint | None = None,
        adapter: str = "",
        **params: object,
    ) -> Submit:
        """A sequence; without more said it has exactly so many tokens."""
        free = constraint is None and "ignore_eos" not in params
        values = Params(max_tokens=tokens, **({"ignore_eos": True} if free else {}) | params)  # type: ignore[arg-type]
        prompt = self.subject.prompt if prompt is None else prompt
        asked = None
        if self.ready.own_prompts:
            asked = InferenceRequest(
                input=prompt, raw=True, params=values, stream=stream, resume=resume, adapter=adapter or None, seed=seed
            )
        return Submit(
            self.name(), "" if asked else prompt, values, seed, stream,
            resume=resume, constraint=constraint, adapter=adapter, asked=asked,
        )  # fmt: skip

    def little(self) -> SequenceStart:
        """A job of this engine's kind that is done soon."""
        match self.config.kind:
            case "embedding":
                return Embed(self.name(), [self.subject.prompt])
            case "rerank":
                return Rank(self.name(), "a lease", [self.subject.prompt])
            case "vision":
                return Classify(self.name(), [self.subject.image])
            case _:
                return self.text()

    def much(self) -> SequenceStart:
        """A job of this engine's kind that is not done for some time."""
        match self.config.kind:
            case "embedding":
                return Embed(self.name(), [self.subject.prompt] * MANY)
            case "rerank":
                return Rank(self.name(), "a lease", [self.subject.prompt] * MANY)
            case "vision":
                return Classify(self.name(), [self.subject.image] * MANY)
            case _:
                return self.text(tokens=None, stream=True)

    def strange(self) -> SequenceStart:
        """A job of another kind."""
        return Embed(self.name(), ["a text"]) if "text" in self.subject.can else Submit(self.name(), "x", Params(), 1)

    async def works(self) -> None:
        """A job of this engine's kind is done."""
        _, end = await rest(self.host.submit(self.little()), object)
        assert isinstance(end, Computed), end

    async def written(self, command: SequenceStart) -> Finished:
        """The text of `command`."""
        return await self.done(command, Finished)

    async def done(self, command: SequenceStart, kind: type[E]) -> E:
        """Run `command`; its end, which is of this kind."""
        return (await self.streamed(command, kind))[1]

    async def streamed(self, command: SequenceStart, kind: type[E]) -> tuple[list[str], E]:
        """Run `command`; the texts that it streamed, and its end."""
        return await rest(self.host.submit(command), kind)


async def rest(run: Run, kind: type[E]) -> tuple[list[str], E]:
    """What of `run` is still to come: texts, and the end, which is of this kind."""
    texts: list[str] = []
    until = time.monotonic() + WAIT_S
    while not isinstance(event := await run.next(until), ENDS):
        assert event is not None, f"no end within {WAIT_S:.0f} s, only {texts}"
        assert isinstance(event, str | Delta), event
        texts.append(event if isinstance(event, str) else event.text)
    assert isinstance(event, kind), event
    return texts, event


async def first(run: Run) -> str:
    """The first text of a streamed sequence."""
    event = await run.next(time.monotonic() + WAIT_S)
    assert isinstance(event, str | Delta), event
    return event if isinstance(event, str) else event.text


@asynccontextmanager
async def serving(subject: Subject) -> AsyncIterator[Served]:
    """The engine, loaded; ended afterwards."""
    with subject.opened() as config:
        served = Served(subject, config)
        try:
            await served.until_serving()
            yield served
        finally:
            await served.leave()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(subject: Subject) -> AsyncIterator[Served]:
    """The module's engine, shared by its behaviours; each leaves it serving, with nothing in it."""
    async with serving(subject) as served:
        yield served
