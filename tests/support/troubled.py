"""A fleet of one model, a router and a stand-in cloud, and what goes wrong with the model's worker."""

import asyncio
import os
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Literal, Self

from msgspec import Struct, field

from golek_client import Golek
from golek_wire.errors import InferenceServiceError
from tests.support.clouds import KEY, Cloud
from tests.support.workers import WorkerProcess

Fault = Literal["none", "killed", "full", "stalled", "frozen", "slow"]
"""`stalled`: the engine's process stands still; `frozen`: the worker's does."""
FAULTS: Final[tuple[Fault, ...]] = ("killed", "full", "stalled", "frozen", "slow")
WORDS: Final = "one two three four five six seven eight"
SETTINGS: Final[dict[Fault, dict[str, object]]] = {
    "full": {"QUEUE_CAPACITY": 16, "ENGINE_STEP_MIN_MS": 100},
    "slow": {"ENGINE_STEP_MIN_MS": 5000},
}
"""Of the model's worker, besides the usual ones."""
USUAL: Final[dict[str, object]] = {"ENGINE_STEP_MIN_MS": 5, "WORKER_CONCURRENCY": 8}


class Told(Struct):
    """What callers were told."""

    seconds: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """Of each answer, with the target that gave it; that of the model's own stream has none."""
    errors: Counter[str] = field(default_factory=Counter[str])
    last_error: InferenceServiceError | None = None
    broken: list[str] = field(default_factory=list[str])
    """Answers that are none of the two texts."""

    @property
    def answered(self) -> int:
        return len(self.seconds)

    def by(self, target: str) -> list[float]:
        return sorted(seconds for seconds, told in self.seconds if told == target)


class Troubled:
    """The fleet; the cloud answers for `echo` where `cloud` says so, and is asked before it under the name `cloudy`."""

    def __init__(
        self,
        url: str,
        folder: Path,
        fault: Fault = "none",
        *,
        cloud: bool = True,
        routers: int = 1,
    ) -> None:
        self.url = url
        self.cloud = Cloud()
        self._fault = fault
        self._folder = folder
        self._allowed = cloud
        self._routers = routers
        self._stack = AsyncExitStack()
        self.worker = WorkerProcess(url, folder / "echo", **USUAL | SETTINGS.get(fault, {}))

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.cloud)
        self._folder.mkdir(parents=True, exist_ok=True)
        providers = self._folder / "providers.yaml"
        providers.write_text(
            "providers:\n  standin:\n    dialect: openai\n"
            f"    base_url: {self.cloud.base_url}\n    key_env: STANDIN_KEY\n    prefills: true\n"
            "    models:\n      - {id: large, context_size: 131072}\n"
        )
        routes = self._folder / "routes.yaml"
        policy = "policy: local_first, fallback: ['standin:large']" if self._allowed else "policy: local_only"
        routes.write_text(
            "defaults: {policy: never_cloud}\n"
            "routes:\n  cloudy: {policy: cloud_first, strategy: in_order, targets: ['standin:large', 'local:echo']}\n"
            f"models:\n  echo: {{{policy}}}\n"
        )
        settings = {"ROUTES_FILE": routes, "PROVIDERS_FILE": providers, "STANDIN_KEY": KEY}
        for number in range(1, self._routers + 1):
            data = self._folder / f"router-{number}"
            router = WorkerProcess(self.url, data, "router", number, **settings)
            self._stack.callback(router.end)
            await asyncio.to_thread(router.start)
        self._stack.callback(self.worker.end)
        await asyncio.to_thread(self.worker.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.heal()
        await self._stack.aclose()

    def strike(self) -> None:
        """Let the fault begin, where it is none of the worker's settings."""
        match self._fault:
            case "killed":
                os.kill(self.worker.pid, signal.SIGKILL)
            case "stalled":
                self.worker.child.suspend()
            case "frozen":
                os.kill(self.worker.pid, signal.SIGSTOP)
            case _:
                pass

    def heal(self) -> None:
        """Let who was stopped go on, so that it can end."""
        if self._fault in ("stalled", "frozen"):
            os.kill(self.worker.pid, signal.SIGCONT)
            for child in self.worker.children:
                child.resume()

    async def load(
        self,
        requests: int,
        *,
        model: str = "echo",
        callers: int = 64,
        deadline_s: float = 30.0,
        strike_after: float = 0.2,
    ) -> Told:
        """So many requests, every second one streamed; the fault begins when a part of them was answered."""
        told, numbers = Told(), iter(range(requests))
        async with Golek(self.url, deadline=deadline_s) as golek:

            async def caller() -> None:
                for number in numbers:
                    if number == int(requests * strike_after):
                        self.strike()
                    await self._ask(golek, told, model, streamed=number % 2 == 1)

            await asyncio.gather(*(caller() for _ in range(callers)))
        return told

    async def _ask(self, golek: Golek, told: Told, model: str, *, streamed: bool) -> None:
        words = "one" if self._fault == "slow" else WORDS
        began, pieces = time.monotonic(), list[str]()
        try:
            if streamed:
                async with golek.stream(model, words) as stream:
                    pieces = [piece async for piece in stream]
                reply = stream.reply
            else:
                reply = await golek.ask(model, words)
        except InferenceServiceError as error:
            told.errors[error.code] += 1
            told.last_error = error
            return
        target = reply.route.target if reply.route is not None else ""
        told.seconds.append((time.monotonic() - began, target))
        if not self._is_right(reply.text, words) or (streamed and "".join(pieces) != reply.text):
            told.broken.append(f"{reply.text!r} in {len(pieces)} pieces of {''.join(pieces)!r} by {target}")

    def _is_right(self, text: str, words: str) -> bool:
        """The model's answer, the cloud's, or the cloud's behind the beginning of the model's."""
        return text == words or (
            text.endswith(self.cloud.text) and words.startswith(text.removesuffix(self.cloud.text))
        )
