"""What do several models that answer together cost beside their own time?

All workers are echo engines, which cost next to nothing. `critique_overhead_ms`: what a critique of one round (three
steps: write, judge, revise) takes more than three requests for as many words to the same workers, one after the other;
the peer is 2 ms. `debate_5_slowest`, `ensemble_5_slowest`: five models answer at once, one of them slowly; the figure
is the whole against that one alone, asked the same. Medians of interleaved runs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from support import broker, figure, median, note, worker

from golek_client import Golek
from golek_wire.orchestration import Mode, Orchestration, OrchestrationWish, StepRecord

BENCH = "orchestration"
RUNS = 5
REQUESTS = 60
SLOW_RUNS = 5
STEP_MS = 25
TEXT = "Explain machine learning in simple words. " * 8
FAST = ("echo-a", "echo-b", "echo-c", "echo-d")
SLOW = "echo-slow"


async def _median_ms(act: Callable[[], Awaitable[object]], times: int = REQUESTS) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        await act()
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken)


async def _together(golek: Golek, mode: Mode, wish: OrchestrationWish, max_tokens: int, steps: int) -> Orchestration:
    """Ask once, and see that so many steps at least were asked."""
    reply = await golek.ask(FAST[0], TEXT, max_tokens=max_tokens, orchestration_mode=mode, orchestration=wish)
    assert reply.orchestration is not None, "a router should have answered"
    assert reply.orchestration.completed_steps >= steps, reply.orchestration
    return reply.orchestration


async def _one_by_one(golek: Golek, steps: list[StepRecord]) -> None:
    """Ask for as many words of the same models, one after the other."""
    for step in steps:
        await golek.ask(step.model, "word " * step.tokens_in, max_tokens=step.tokens_out)


async def _critique(golek: Golek) -> None:
    wish = OrchestrationWish(models=[FAST[0], FAST[1]], max_rounds=1)
    steps = (await _together(golek, "critique", wish, 50, 3)).steps
    straight, orchestrated = list[float](), list[float]()
    for _ in range(RUNS):
        straight.append(await _median_ms(lambda: _one_by_one(golek, steps)))
        orchestrated.append(await _median_ms(lambda: _together(golek, "critique", wish, 50, 3)))
    ours, trips = median(orchestrated), median(straight)
    note(f"three requests {trips:.2f} ms, a critique of three steps {ours:.2f} ms")
    figure(BENCH, "critique_overhead_ms", ours - trips, 2.0, "ms", RUNS)


async def _slowest(golek: Golek, mode: Mode) -> None:
    """Five answer at once: the whole against the slowest."""
    wish = OrchestrationWish(models=[*FAST, SLOW], max_rounds=1 if mode == "debate" else None)
    alone, together = list[float](), list[float]()
    for _ in range(SLOW_RUNS):
        alone.append(await _median_ms(lambda: golek.ask(SLOW, TEXT, max_tokens=40), 1))
        together.append(await _median_ms(lambda: _together(golek, mode, wish, 40, 5), 1))
    ours, peer = median(together), median(alone)
    note(f"{mode} of five {ours:.0f} ms, its slowest alone {peer:.0f} ms")
    figure(BENCH, f"{mode}_5_slowest", ours, peer, "ms", SLOW_RUNS)


async def _measure(url: str) -> None:
    async with Golek(url) as golek:
        await _critique(golek)
        await _slowest(golek, "debate")
        await _slowest(golek, "ensemble")


def main() -> None:
    with broker() as url, ExitStack() as fleet:
        for number, name in enumerate(FAST):
            # The last two say the whole conversation, so that answers differ.
            differs = {"ECHO_CACHE_TOKENS": "4096"} if number > 1 else {}
            fleet.enter_context(worker(url, MODEL_NAME=name, **differs))
        fleet.enter_context(worker(url, MODEL_NAME=SLOW, ENGINE_STEP_MIN_MS=STEP_MS))
        fleet.enter_context(worker(url, "router"))
        asyncio.run(_measure(url))


if __name__ == "__main__":
    main()
