"""Does a sequence write what it would write alone, whatever else runs and whatever it asks for?

FUZZ_REQUESTS random requests that mix all options of the engine (submissions.py), to one child with FUZZ_SLOTS slots
and two LoRA adapters, while a third one comes and goes; some are cancelled. Then each alone, streamed where it was not.

`crashes`, `broken` invariants (each is told) and `kv_cells_idle` are to be 0. `differences` are the requests that ended
otherwise than alone. Of these `near_ties` are explained: where the two first differ, logits changed by at most 0.05
give the other text too; `others` are not. `share` is `differences` among all that were compared.
"""

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
from submissions import submission
from support import ROOT, figure, note

from golek_wire.replies import Choice, Delta
from golek_worker.engine.base import (
    AdapterChanged,
    Cancel,
    EngineCommand,
    EngineConfig,
    EngineEvent,
    Finished,
    Gauges,
    LoadAdapter,
    Refused,
    SequenceEnd,
    Step,
    Stopped,
    Submit,
    Tokens,
    UnloadAdapter,
)
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from golek_worker.engine.llamacpp.sampling import Sampler
from tests.engine.driver import Child, running
from tests.support import adapters

BENCH = "engine_fuzz"
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "2000"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
SLOTS = int(os.environ.get("FUZZ_SLOTS", "6"))
WAITING = 2 * SLOTS
THREADS = 1
"""Several would wait for each other in a model of 4 MB, most of all on a busy machine."""
MODEL = Path(os.environ.get("FUZZ_MODEL", "") or ROOT / "data/models/golek-tiny/model.gguf")
CANCELLED, PASSING = 0.0125, 0.01
"""How often after an event."""
NUDGES = (0.002, 0.01, 0.05)
TRIES = 12
EVERYWHERE = -1
"""Stands for all draws: XTC and Mirostat remember, so that a near tie may show many tokens later."""
BEFORE, BEHIND = 3, 4
"""Tokens around the first difference: a text is held back while it may be a mark, and marks are not part of it."""


class Load:
    """Requests beside each other, and what may not happen meanwhile."""

    def __init__(self, child: Child, passing: LoadAdapter) -> None:
        """`passing` is an adapter that is loaded and freed again and again."""
        self._child = child
        self._passing: list[EngineCommand] = [passing, UnloadAdapter(passing.name)]
        self._draw = random.Random(FIRST)
        self._running: dict[str, Submit] = {}
        self._seen = 0
        self.ends: dict[str, SequenceEnd] = {}
        self.streamed: dict[str, tuple[str, str]] = {}
        """Text and thoughts."""
        self.broken: list[str] = []

    def run(self, jobs: list[Submit], cancel: bool) -> None:
        """All jobs, some waiting behind the slots."""
        left = list(reversed(jobs))
        together = 1 if len(jobs) == 1 else SLOTS + WAITING
        while left or self._running:
            while left and len(self._running) < together:
                job = left.pop()
                self._running[job.job_id] = job
                self._child.send(job)
            if cancel and self._draw.random() < CANCELLED:
                self._child.send(Cancel(self._draw.choice(list(self._running))))
            if cancel and self._draw.random() < PASSING:
                self._child.send(self._passing[0])
                self._passing.reverse()
            self._child.receive()
            self.check()

    def running(self) -> list[Submit]:
        return list(self._running.values())

    def check(self) -> None:
        """Look at the events that came since."""
        events = self._child.events
        for event in itertools.islice(events, self._seen, None):
            self._check(event)
        self._seen = len(events)

    def _check(self, event: EngineEvent) -> None:
        if isinstance(event, Tokens):
            for job_id, piece in event.deltas:
                self._expect(job_id in self._running, f"{job_id}: text of one that does not run")
                delta = Delta(piece) if isinstance(piece, str) else piece
                text, thoughts = self.streamed.get(job_id, ("", ""))
                self.streamed[job_id] = (text + delta.text, thoughts + delta.reasoning_content)
        elif isinstance(event, Finished | Stopped | Refused):
            job = self._running.pop(event.job_id, None)
            self._expect(job is not None, f"{event.job_id}: ended twice")
            self.ends[event.job_id] = event
            if job is not None and job.stream and isinstance(event, Finished):
                text, thoughts = self.streamed.get(job.job_id, ("", ""))
                joined = ((job.resume.text if job.resume is not None else "") + text, thoughts)
                final = (event.text, event.reasoning_content or "")
                self._expect(joined == final, f"{job.job_id}: joined {joined!r}, final {final!r}")
        elif isinstance(event, AdapterChanged):
            self._expect(event.problem is None, f"adapter {event.name}: {event.problem}")
        elif isinstance(event, Step) and event.gauges is not None:
            gauges = event.gauges
            self._expect(gauges.running <= SLOTS, f"{gauges.running} run in {SLOTS} slots")
            self._expect(gauges.kv_cells + gauges.kv_kept <= gauges.kv_capacity, f"more cells than there are: {gauges}")

    def _expect(self, holds: bool, message: str) -> None:
        if not holds:
            self.broken.append(message)
            note(f"BROKEN {message}")


def idle(child: Child) -> Gauges | None:
    """The gauges once nothing runs."""
    step = child.until(lambda event: isinstance(event, Step) and event.running == 0)
    assert isinstance(step, Step)
    return step.gauges


def same(one: SequenceEnd, other: SequenceEnd) -> bool:
    """Whether two ends are alike in all that a caller sees, log-probabilities within 0.05."""
    if isinstance(one, Finished) and isinstance(other, Finished):
        return seen(one) == seen(other) and scores_agree(one, other)
    if isinstance(one, Refused) and isinstance(other, Refused):
        return (one.code, one.message) == (other.code, other.message)
    return type(one) is type(other)


def seen(end: Finished) -> tuple[Any, ...]:
    return (end.text, end.finish_reason, end.tokens_in, end.tokens_out, end.reasoning_content, end.tool_calls)


def scores_agree(one: Finished | Choice, other: Finished | Choice) -> bool:
    pairs = list(itertools.zip_longest(one.logprobs or [], other.logprobs or []))
    return all(a and b and a.token == b.token and abs(a.logprob - b.logprob) < 0.05 for a, b in pairs)


# -- why two texts differ --------------------------------------------------------------------------------------


class Judge:
    """An engine of our own process, whose logits can be changed a little."""

    def __init__(self, config: EngineConfig, loras: list[LoadAdapter]) -> None:
        self._engine = LlamaCppEngine(config, lambda *_: None)
        self._names = itertools.count()
        for lora in loras:
            self._engine.change_adapter(lora)
        self.ready = self._engine.ready

    def gap(self, job: Submit, *texts: str) -> float:
        """How much logits must change for the others of `texts` to begin: at the largest needed, or infinity."""
        plain, tokens = self._write(job, None, 0.0)
        return max(self._nudge(job, plain, tokens, text) for text in texts)

    def unseen(self, job: Submit, *ends: Finished) -> float:
        """As `gap` for ends of one text: tokens that write nothing may differ, and log-probabilities show it."""
        return max(self._unseen(job, end) for end in ends)

    def _unseen(self, job: Submit, wanted: Finished) -> float:
        for size in (0.0, *NUDGES):
            for attempt in range(4 * TRIES):
                with nudged((EVERYWHERE, attempt), size):
                    end = self._end(job)
                if isinstance(end, Finished) and same(wanted, end):
                    return size
        return float("inf")

    def _nudge(self, job: Submit, plain: str, tokens: list[bytes], wanted: str) -> float:
        """The change at one token that leads from `plain` to `wanted`."""
        if plain == wanted:
            return 0.0
        parted = common(plain, wanted)
        begun = len(job.resume.text) if job.resume is not None else 0
        ends = itertools.accumulate(len(token) for token in tokens)
        before = len(plain[begun:parted].encode())
        at = next((i for i, end in enumerate(ends) if end > before), len(tokens))
        reach = range(max(0, at - BEFORE), min(len(tokens), at + BEHIND) + 1)
        for size in NUDGES:
            nudges = [(place, attempt) for attempt in range(TRIES) for place in reach]
            for nudge in [*nudges, *[(EVERYWHERE, attempt) for attempt in range(4 * TRIES)]]:
                text, _ = self._write(job, nudge, size)
                if text == wanted or common(text, wanted) > parted:
                    return size
        return float("inf")

    def _write(self, job: Submit, nudge: tuple[int, int] | None, size: float) -> tuple[str, list[bytes]]:
        """The text of `job`, and what each token wrote."""
        with nudged(nudge, size) as drawn:
            end = self._end(job)
        model = self._engine._model
        pieces = [model.piece(token) if job.output.form == "text" else model.named_piece(token) for token in drawn]
        return written(end) if isinstance(end, Finished) else "", pieces

    def _end(self, job: Submit) -> Any:
        name = f"judged{next(self._names)}"
        end: Any = self._engine.submit(msgspec.structs.replace(job, job_id=name, stream=False))
        while self._engine.running:
            for output in self._engine.step():
                end = output
        return end


@contextmanager
def nudged(nudge: tuple[int, int] | None, size: float) -> Iterator[list[int]]:
    """Meanwhile the logits of one draw, or of all, are changed by at most `size` each; yields the tokens drawn."""
    drawn: list[int] = []
    original = Sampler.sample

    def sample(self: Sampler, context: Any, row: int) -> int:
        if nudge is not None and nudge[0] in (len(drawn), EVERYWHERE):
            logits = np.ctypeslib.as_array(context.logits(row), (self._n_vocab,))
            logits += np.random.default_rng((nudge[1], len(drawn))).uniform(-size, size, logits.size).astype(np.float32)
        token = original(self, context, row)
        drawn.append(token)
        return token

    with patch.object(Sampler, "sample", sample):
        yield drawn


def written(end: Finished | Choice) -> str:
    """All that the model wrote of an answer."""
    calls = [call.function.name + call.function.arguments for call in end.tool_calls or ()]
    return "".join([end.reasoning_content or "", end.text, *calls])


def common(one: str, other: str) -> int:
    """Characters in common at the beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


# -- all of it -------------------------------------------------------------------------------------------------


def load_adapters(child: Child, loras: list[LoadAdapter]) -> list[str]:
    """The names of those that this engine took."""
    names = []
    for lora in loras:
        child.send(lora)
        changed = child.until_a(AdapterChanged)
        if changed.problem is None:
            names.append(lora.name)
        else:
            note(f"adapter {lora.name}: {changed.problem}")
    child.events.clear()
    return names


def alone(load: Load, jobs: list[Submit]) -> None:
    """Each job by itself, streamed where it was not."""
    for job in jobs:
        load.run([msgspec.structs.replace(job, job_id=f"{job.job_id}-alone", stream=not job.stream)], cancel=False)


def explain(judge: Judge, jobs: list[Submit], ends: dict[str, SequenceEnd]) -> tuple[int, int, int]:
    """How many were compared, are near ties, and are others."""
    compared = near = others = 0
    for job in jobs:
        beside, by_itself = ends[job.job_id], ends[f"{job.job_id}-alone"]
        if isinstance(beside, Stopped):
            continue
        compared += 1
        if same(beside, by_itself):
            continue
        gap = float("inf")
        if isinstance(beside, Finished) and isinstance(by_itself, Finished):
            texts = written(beside), written(by_itself)
            gap = judge.gap(job, *texts) if texts[0] != texts[1] else judge.unseen(job, beside, by_itself)
        near, others = near + (gap <= NUDGES[-1]), others + (gap > NUDGES[-1])
        tell(job, beside, by_itself, gap)
    return compared, near, others


def tell(job: Submit, beside: SequenceEnd, by_itself: SequenceEnd, gap: float) -> None:
    """A difference, for people; `submission(number)` is the whole request."""
    texts = [written(end) if isinstance(end, Finished) else repr(end) for end in (beside, by_itself)]
    parted = max(0, common(*texts) - 12)
    name = "near tie" if gap <= NUDGES[-1] else "DIFFERENT"
    note(f"{name} of {gap}: submission({job.job_id}): {texts[0][parted:][:40]!r}, alone {texts[1][parted:][:40]!r}")


def main() -> None:
    config = EngineConfig("llamacpp", str(MODEL), SLOTS, 512, THREADS)
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder, running(config) as child:
        paths = [adapters.write(Path(folder) / f"{name}.gguf", MODEL, seed) for seed, name in enumerate("abc")]
        *loras, passing = [LoadAdapter(path.stem, str(path)) for path in paths]
        names = load_adapters(child, loras)
        note(f"adapters: {names}")
        jobs = [submission(number, names) for number in range(FIRST, FIRST + REQUESTS)]
        load = Load(child, passing)
        crashes = 0
        try:
            load.run(jobs, cancel=True)
            beside = idle(child)
            alone(load, jobs)
            by_itself = idle(child)
        except (EOFError, ConnectionResetError, TimeoutError):
            crashes = 1
            note(f"CRASH while these ran: {load.running()}\n{child.stderr()[-6000:]}")
        figure(BENCH, "crashes", crashes, None, "crashes", REQUESTS)
        figure(BENCH, "broken", len(load.broken), None, "invariants", REQUESTS)
        if crashes:
            return
        cells = [gauges.kv_cells for gauges in (beside, by_itself) if gauges is not None]
        compared, near, others = explain(Judge(config, loras), jobs, load.ends)
    figure(BENCH, "kv_cells_idle", max(cells, default=-1), None, "cells", len(cells))
    figure(BENCH, "refused", sum(isinstance(load.ends[j.job_id], Refused) for j in jobs), None, "requests", REQUESTS)
    figure(BENCH, "cancelled", REQUESTS - compared, None, "requests", REQUESTS)
    figure(BENCH, "differences", near + others, None, "requests", compared)
    figure(BENCH, "near_ties", near, None, "requests", compared)
    figure(BENCH, "others", others, None, "requests", compared)
    figure(BENCH, "share", (near + others) / compared, None, "share", compared)


if __name__ == "__main__":
    main()
