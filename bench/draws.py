"""What does one draw cost?

A model with a vocabulary of 32,000 tokens (random_model.py, or the file DRAWS_MODEL), one row of logits, and each wish
for a draw by itself, DRAWS_RUNS draws in each of five rounds; the best round counts, for others use this machine too.
`grammar_allowed` is a draw that a grammar allows, `grammar_refused` one that it refuses, so that another is drawn.
"""

import os
import time
from pathlib import Path

import peers
from support import figure

from golek_wire.requests import Params
from golek_worker.engine.base import Constraint, EngineConfig, Submit
from golek_worker.engine.llamacpp.context import Context
from golek_worker.engine.llamacpp.logprobs import scores
from golek_worker.engine.llamacpp.model import Model
from golek_worker.engine.llamacpp.sampling import Sampler

BENCH = "draws"
RUNS = int(os.environ.get("DRAWS_RUNS", "100"))
ROUNDS = 5
ANYTHING = r"root ::= [^\x00]*"
WISHES = {
    "greedy": Params(temperature=0.0),
    "defaults": Params(),
    "penalties": Params(repeat_penalty=1.1),
    "dry": Params(dry_multiplier=1.0),
    "all_tokens": Params(top_k=0, top_p=1.0, min_p=0.0),
    "top_p_alone": Params(top_k=0, min_p=0.0),
    "mirostat_2": Params(mirostat=2),
    "logprobs": Params(logprobs=True),
    "top_logprobs": Params(logprobs=True, top_logprobs=5),
}


def main() -> None:
    """Print the microseconds of each."""
    path = Path(os.environ["DRAWS_MODEL"]) if "DRAWS_MODEL" in os.environ else peers.model_file("q8_0")
    model = Model(EngineConfig("llamacpp", str(path), 1, 512, 2), lambda *_: None)
    context = Context(model, 1, 512, 2, 64)
    context.decode([max(model.bos, 0)], [0], [0], [True])
    for name, params in WISHES.items():
        figure(BENCH, f"{name}_us", cost(model, context, params), None, "us", RUNS)
    figure(BENCH, "grammar_allowed_us", cost(model, context, Params(), ANYTHING), None, "us", RUNS)
    figure(BENCH, "grammar_refused_us", refused(model, context), None, "us", RUNS)
    context.close()
    model.close()


def cost(model: Model, context: Context, params: Params, grammar: str = "") -> float:
    """Microseconds of a draw."""
    constraint = Constraint("gbnf", grammar) if grammar else None
    best = float("inf")
    for _ in range(ROUNDS):
        scored = scores(model, Submit("", "", params, 1))
        sampler = Sampler(model, params, 1, [1], constraint=constraint, scores=scored)
        start = time.perf_counter()
        for _ in range(RUNS):
            sampler.sample(context, 0)
        best = min(best, time.perf_counter() - start)
        sampler.close()
    return best / RUNS * 1e6


def refused(model: Model, context: Context) -> float:
    """Microseconds of a first draw where the likeliest token begins no digit."""
    best = float("inf")
    for _ in range(RUNS):
        sampler = Sampler(model, Params(temperature=0.0), 1, [1], constraint=Constraint("gbnf", "root ::= [0-9]+"))
        start = time.perf_counter()
        sampler.sample(context, 0)
        best = min(best, time.perf_counter() - start)
        sampler.close()
    return best * 1e6


if __name__ == "__main__":
    main()
