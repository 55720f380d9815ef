"""What is a person told while a command waits?

Nothing for two seconds; then one line on standard error, with what the fleet knows of the model. A stream that waits
behind others tells its place instead: at a terminal, in a line that is written over and leaves no trace. When an answer
that has begun falls silent for three seconds, its workers are asked how they are, and a line says when none answers.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from golek_client import discovery
from golek_client.client import Golek
from golek_client.stream import Stream
from golek_wire import subjects
from golek_wire.errors import InferenceServiceError, ModelNotFoundError, NoWorkersError
from golek_wire.signals import Residence

QUIET_S: Final = 2.0
SILENT_S: Final = 3.0
"""In mid-answer. A worker whose neighbour died goes on after at most 6 s, but it answers before."""
HEALTH_S: Final = 1.0
_CLEAR: Final = "\r\x1b[K"
"""To the beginning of the terminal's line, which is emptied (ECMA-48, EL)."""


class Notice:
    """What is said of one wait."""

    def __init__(self, golek: Golek, model: str) -> None:
        self.deserted = False
        """Whether nobody served the model when its answer fell silent."""
        self.stream: Stream | None = None
        """What is waited for, where it tells how far a load is."""
        self._golek = golek
        self._model = model
        self._telling = asyncio.create_task(_tell(golek, model))
        self._watching: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._shown = False

    def queued(self, position: int, eta_s: float | None) -> None:
        """Say that the wait is for so many others, or for the model to be loaded."""
        if sys.stderr.isatty():
            self._telling.cancel()
            self._shown = True
            about = "" if eta_s is None else f", about {eta_s:.0f} s"
            share = self.stream.loading if self.stream is not None else None
            loading = "" if share is None else f"loading {share:.0%}, "
            print(f"{_CLEAR}{loading}position {position}{about}", end="", file=sys.stderr, flush=True)

    def heard(self) -> None:
        """A piece of the answer came: the wait for the first is over, and the next one is waited for."""
        if self._watching is None:
            self.end()
            self._watching = asyncio.create_task(self._watch())
        self._heard_at = time.monotonic()
        self.deserted = False

    def end(self) -> None:
        """The wait is over."""
        self._telling.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._shown:
            self._shown = False
            print(_CLEAR, end="", file=sys.stderr, flush=True)

    async def _watch(self) -> None:
        """Say once in each silence that nobody would end it."""
        while True:
            await asyncio.sleep(SILENT_S / 4)
            silent_since = self._heard_at
            if self.deserted or time.monotonic() - silent_since < SILENT_S:
                continue
            try:
                await self._golek.health(self._model, HEALTH_S)
            except (ModelNotFoundError, NoWorkersError) as error:
                if silent_since == self._heard_at and not await self._is_offered():
                    self.deserted = True
                    begin = "\n" if sys.stdout.isatty() else ""
                    print(f"{begin}waiting: {error.message} (Ctrl-C stops)", file=sys.stderr, flush=True)
            except InferenceServiceError:
                continue

    async def _is_offered(self) -> bool:
        """Whether it is a name that a router serves: of such a one nobody listens for questions."""
        with contextlib.suppress(InferenceServiceError):
            known = await self._golek.models()
            return self._model in {one.name for one in discovery.offers(known, datetime.now(UTC))}
        return False


class Residences:
    """How far each replica is with what was ordered, in one line."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def show(self, now: Residence) -> None:
        """What one of them says."""
        if sys.stderr.isatty():
            share = "" if now.progress is None else f" {now.progress:.0%}"
            jobs = f", {now.active} jobs run" if now.active else ""
            self._said[now.worker_id] = f"{now.worker_id} {now.status}{share}{jobs}"
            print(f"{_CLEAR}{'; '.join(self._said.values())}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing is waited for any more."""
        if self._said:
            print(_CLEAR, end="", file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def notice(golek: Golek, model: str) -> AsyncIterator[Notice]:
    """Say what is waited for, unless the block or the wait ends within two seconds."""
    waiting = Notice(golek, model)
    try:
        yield waiting
    finally:
        waiting.end()


@contextlib.asynccontextmanager
async def notice_of_answer(job_id: str, principal: str) -> AsyncIterator[None]:
    """The same for the answer of a job that was left, whose model is not known here."""
    telling = asyncio.create_task(_tell_of_answer(job_id, principal))
    try:
        yield
    finally:
        telling.cancel()


async def _tell_of_answer(job_id: str, principal: str) -> None:
    await asyncio.sleep(QUIET_S)
    print(f"waiting for job {job_id} of {principal}: no answer yet (Ctrl-C stops)", file=sys.stderr, flush=True)


async def _tell(golek: Golek, model: str) -> None:
    await asyncio.sleep(QUIET_S)
    known = "what the fleet knows of it could not be read"
    with contextlib.suppress(InferenceServiceError):
        known = await _known(golek, model)
    print(f"waiting for {model}: {known} (Ctrl-C stops)", file=sys.stderr, flush=True)


async def _known(golek: Golek, model: str) -> str:
    """The state of `model` and its last sign of life."""
    for record in await golek.models():
        if subjects.model_token(record.name) == subjects.model_token(model):
            now = datetime.now(UTC)
            when = discovery.sign(record, now)
            return f"{discovery.state(record, now)}, {when if when.startswith('no sign') else f'last seen {when}'}"
    return "the fleet knows no model of this name"
