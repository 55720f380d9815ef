"""What do callers notice while engines and workers are killed, and while they freeze?

Two replicas, 18 callers with golek_client (half of them streaming) and 6 that know only NATS, in closed loops, CHAOS_S
seconds a round. Round `kill`: the echo engine, 20 tokens of 5 ms; SIGKILL of a random engine's child every 0.8 s and of
a random worker every 5 s. Round `freeze`: SIGSTOP of a random worker or child for 1 to 15 s instead. Round `tiny`: the
kills again, with golek-tiny and its text compared with the undisturbed one. CHAOS_ROUNDS names the rounds to run.

*Lost* is a request of golek_client without its answer, *hung* an answer after more than 20 s, *broken* an answer that
differs from the right one, as a whole or in its pieces. A failover is the time between the last piece of an attempt and
the first piece of the next.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from support import WorkerProcess, broker, figure, median, note

from golek_client import Golek
from tests.support.faults import Blow, Faults
from tests.support.load import Load, Overhearing, Question, left_in_queue, numbered

BENCH = "chaos"
SECONDS = float(os.environ.get("CHAOS_S", "60"))
ROUNDS = os.environ.get("CHAOS_ROUNDS", "kill,freeze,tiny").split(",")
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SETTINGS = {
    "ENGINE_STEP_MIN_MS": 5, "STREAM_GATHER_MS": 0, "WORKER_CONCURRENCY": 16, "POISON_STRIKES": 10,
    "GOLEK_LOG_LEVEL": os.environ.get("CHAOS_LOG_LEVEL", "warning"),
}  # fmt: skip
SHIPPED = ("ping_interval: 2s", "ping_max: 2", "write_deadline: 5s")
"""What the broker that Golek starts is told: by that it notices a frozen worker."""
TOKENS = 20
TINY = "golek-tiny"
TINY_ASK = {"max_tokens": TOKENS, "ignore_eos": True, "seed": 7}
PROMPTS = ["What is NATS?", "What is a lease?", "What is a slot?", "What is GGUF?", "What is a token?"]


async def run(url: str, workers: list[WorkerProcess], name: str) -> None:
    """One round: its load, its faults, its figures."""
    model = "echo"
    ask: dict[str, object] = {"max_tokens": TOKENS, "ignore_eos": True}
    question = numbered(TOKENS)
    if name == "tiny":
        model, ask, question = TINY, TINY_ASK, await undisturbed(url)
    faults = Faults(workers, SEED)
    async with Overhearing(url) as heard:
        async with Load(heard, url, model, question, clients=18, raws=6, raw_patience_s=20, **ask) as load:
            if name == "freeze":
                await faults.freeze(SECONDS, 1, 15, 1)
            else:
                await faults.kill(SECONDS, 0.8, 5.0)
        left = await left_in_queue(url, model)
    tally, answered = load.tally, len(load.tally.seconds)
    for line in (tally.lost + tally.broken)[:20]:
        note(line)
    for figure_name, value, unit, runs in (
        ("answered", answered, "requests", answered),
        ("p50", tally.p50_s, "s", answered),
        ("slowest", max(tally.seconds), "s", answered),
        ("lost", len(tally.lost), "requests", answered),
        ("hung", tally.hung, "requests", answered),
        ("streams_broken", len(tally.broken), "answers", answered),
        ("duplicate_finals", heard.duplicate_finals, "messages", answered + tally.raw_answered),
        ("raw_lost_share", tally.raw_lost_share, "share", tally.raw_answered + tally.raw_lost),
        ("left_in_queue", left, "jobs", 1),
    ):
        figure(BENCH, f"{figure_name}_{name}", value, None, unit, runs)
    gaps = failovers(heard, faults.blows)
    for what, label in (("child", "failover_child_p50_s"), ("worker", "failover_p50_s")):
        if gaps[what]:
            figure(BENCH, f"{label}_{name}", median(gaps[what]), None, "s", len(gaps[what]))


def failovers(heard: Overhearing, blows: list[Blow]) -> dict[str, list[float]]:
    """The gaps in streams, by what was killed in them; a gap with both counts as the worker's."""
    found: dict[str, list[float]] = {"child": [], "worker": []}
    for gap in heard.gaps:
        within = {blow.what for blow in blows if gap.last - 0.05 <= blow.at <= gap.first}
        if within:
            found["worker" if "worker" in within else "child"].append(gap.seconds)
    return found


async def undisturbed(url: str) -> Callable[[int, int], Question]:
    """Questions for golek-tiny, each with the text it has when nothing dies."""
    async with Golek(url) as golek:
        texts = [(await golek.ask(TINY, prompt, **TINY_ASK)).text for prompt in PROMPTS]
    return lambda caller, n: (PROMPTS[(caller + n) % len(PROMPTS)], texts[(caller + n) % len(PROMPTS)])


def main() -> None:
    for name in ROUNDS:
        with (
            tempfile.TemporaryDirectory(prefix="golek-bench-") as folder,
            broker(*SHIPPED) as url,
            ExitStack() as stack,
        ):
            data = Path(os.environ.get("CHAOS_DATA", folder)) / name
            deployment = TINY if name == "tiny" else "echo"
            workers = [
                stack.enter_context(WorkerProcess(url, data, deployment, number + 1, **SETTINGS)) for number in range(2)
            ]
            asyncio.run(run(url, workers, name))


if __name__ == "__main__":
    main()
