"""What do LoRA adapters cost?

One engine, STREAMS sequences of TOKENS tokens, in interleaved rounds: all on the base model, all on one adapter, and
dealt out to the base model and two adapters. llama.cpp computes one adapter at a time, so the last needs three steps
where the others need one, and a change of graphs between two turns. Each figure's peer is the base model's.

Parameters: MODEL (a GGUF file; golek-tiny), STREAMS (12), TOKENS (64), THREADS (0: the engine's choice), ROUNDS (5).
"""

import os
import tempfile
import time
from pathlib import Path

from support import figure, median, note

from golek_wire.requests import Params
from golek_worker.engine.base import EngineConfig, LoadAdapter, Submit
from golek_worker.engine.llamacpp.engine import LlamaCppEngine
from tests.support import adapters

BENCH = "adapters"
MODEL = Path(os.environ.get("MODEL", "data/models/golek-tiny/model.gguf"))
STREAMS = int(os.environ.get("STREAMS", "12"))
TOKENS = int(os.environ.get("TOKENS", "64"))
THREADS = int(os.environ.get("THREADS", "0"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
WAYS = {"base": [""], "one": ["a"], "mixed": ["", "a", "b"]}


def tokens_per_s(engine: LlamaCppEngine, names: list[str]) -> float:
    """All streams at once, dealt out to the adapters `names`."""
    params = Params(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    start = time.perf_counter()
    for i in range(STREAMS):
        engine.submit(Submit(str(i), f"Question {i}", params, 1, adapter=names[i % len(names)]))
    while engine.running:
        for _ in engine.step():
            pass
    return STREAMS * TOKENS / (time.perf_counter() - start)


def main() -> None:
    """Print the figures."""
    engine = LlamaCppEngine(EngineConfig("llamacpp", str(MODEL), STREAMS, 256, THREADS), lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate("ab"):
            path = adapters.write(Path(folder) / f"{name}.gguf", MODEL, seed)
            start = time.perf_counter()
            problem = engine.change_adapter(LoadAdapter(name, str(path))).problem
            if problem is not None:
                raise RuntimeError(problem)
            figure(BENCH, f"load_{name}", 1000 * (time.perf_counter() - start), None, "ms", 1)
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_number in range(ROUNDS):
        for way, names in WAYS.items():
            speeds[way].append(tokens_per_s(engine, names))
            note(f"round {round_number + 1}: {way} {speeds[way][-1]:.0f} tokens/s")
    for way, found in speeds.items():
        figure(BENCH, f"tokens_per_s_{way}", median(found), median(speeds["base"]), "tokens/s", ROUNDS)


if __name__ == "__main__":
    main()
