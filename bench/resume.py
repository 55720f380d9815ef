"""Does a constrained stream stay whole when its engine or its worker is killed, wherever that happens?

A paced stream of golek-tiny, 200 tokens and more under a grammar for a JSON object, whose engine's child is killed
with SIGKILL at token 1, 11, 21 …; then the same with echo, which numbers its tokens; then the worker itself, a few
times. Once by replay: the next attempt writes the same text, and the client swallows it. Once by resume: a new job goes
on behind what was handed out. Broken is a stream whose joined deltas are not its final text, invalid one whose text is
not such an object; repeated and missing are numbers of echo's.
"""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek
from tests.support.grammars import PERSON, is_person

BENCH = "resume"
CUTS = int(os.environ.get("RESUME_CUTS", "20"))
WORKER_KILLS = int(os.environ.get("RESUME_WORKER_KILLS", "3"))
PACE_MS = float(os.environ.get("RESUME_PACE_MS", "5"))
TOKENS = 200
SETTINGS = {"ENGINE_STEP_MIN_MS": PACE_MS, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 4}
CONSTRAINED: dict[str, Any] = {"grammar": PERSON, "seed": 7}
NUMBERED: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True}
_numbers = re.compile(r"#(\d+)").findall


class Read(NamedTuple):
    """One stream, read to its end."""

    joined: str
    final: str
    pieces: int
    seconds: float


async def read(golek: Golek, model: str, options: dict[str, Any], at: int, act: Callable[[], object]) -> Read:
    """A stream; `act` is called with its piece number `at`."""
    start, pieces = time.monotonic(), []
    stream = golek.stream(model, "go", deadline=60.0, **options)
    async for piece in stream:
        pieces.append(piece)
        if len(pieces) == at:
            act()
    return Read("".join(pieces), stream.reply.text, len(pieces), time.monotonic() - start)


async def kill_engines(golek: Golek, worker: WorkerProcess, model: str, options: dict[str, Any]) -> list[Read]:
    """The undisturbed stream, then one for each cut. Raises RuntimeError when a kill did not meet its stream."""
    reads = [await read(golek, model, options, 0, lambda: None)]
    if reads[0].pieces < TOKENS:
        raise RuntimeError(f"{model} wrote {reads[0].pieces} pieces, {TOKENS} are wanted")
    for cut in range(CUTS):
        reads.append(await read(golek, model, options, 1 + 10 * cut, worker.child.kill))
        note(f"{model}, engine killed at token {1 + 10 * cut}: {reads[-1].seconds:.2f} s")
    if (died := len(worker.log_lines("engine.died"))) != CUTS:
        raise RuntimeError(f"{CUTS} kills, but the engine died {died} times")
    return reads


async def kill_workers(golek: Golek, url: str, data: Path) -> list[Read]:
    """The undisturbed stream, then some whose worker is killed and replaced at once."""
    with ExitStack() as stack:
        worker = stack.enter_context(WorkerProcess(url, data, "golek-tiny", **SETTINGS))

        def replace() -> None:
            worker.kill()
            worker.start(wait=False)

        reads = [await read(golek, "golek-tiny", CONSTRAINED, 0, lambda: None)]
        for kill in range(WORKER_KILLS):
            reads.append(await read(golek, "golek-tiny", CONSTRAINED, 1 + 70 * kill, replace))
            note(f"worker killed at token {1 + 70 * kill}: {reads[-1].seconds:.2f} s")
    return reads


async def measure(replay: bool, url: str, data: Path) -> None:
    """All figures of one way."""
    way = "replay" if replay else "resume"
    async with Golek(url, replay=replay) as golek:
        with WorkerProcess(url, data, "golek-tiny", **SETTINGS) as worker:
            tell(way, await kill_engines(golek, worker, "golek-tiny", CONSTRAINED))
        with WorkerProcess(url, data, "echo", **SETTINGS) as worker:
            counted = await kill_engines(golek, worker, "echo", NUMBERED)
        told = [[int(number) for number in _numbers(each.joined)] for each in counted[1:]]
        figure(BENCH, f"repeated_{way}", sum(len(n) - len(set(n)) for n in told), None, "tokens", CUTS)
        figure(BENCH, f"missing_{way}", sum(len(set(range(1, TOKENS)) - set(n)) for n in told), None, "tokens", CUTS)
        figure(BENCH, f"broken_echo_{way}", sum(r.joined != counted[0].final for r in counted), None, "streams", CUTS)
        tell_times(f"echo_{way}", counted)
        tell(f"worker_{way}", await kill_workers(golek, url, data))


def tell(name: str, reads: list[Read]) -> None:
    """Broken and invalid streams, and what the deaths cost. A resumed text may be longer than the undisturbed one."""
    broken, invalid = sum(r.joined != r.final for r in reads), sum(not is_person(r.joined) for r in reads)
    figure(BENCH, f"broken_{name}", broken, None, "streams", len(reads) - 1)
    figure(BENCH, f"invalid_{name}", invalid, None, "streams", len(reads) - 1)
    tell_times(name, reads)


def tell_times(name: str, reads: list[Read]) -> None:
    """How much longer the disturbed streams took than the first one, which was not."""
    extra = [each.seconds - reads[0].seconds for each in reads[1:]]
    figure(BENCH, f"failover_p50_{name}", median(extra), None, "s", len(extra))
    figure(BENCH, f"failover_max_{name}", max(extra), None, "s", len(extra))


def main() -> None:
    """Each way has a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        for replay in (True, False):
            with broker() as url:
                asyncio.run(measure(replay, url, Path(folder) / f"{replay}"))


if __name__ == "__main__":
    main()
