"""Does our engine write what llama-server writes?

golek-tiny, temperature 0, EQUALITY_PROMPTS questions to our engine's child and to llama-server, EQUALITY_SLOTS at a
time: once as they are (`greedy`), once with grammars in GBNF (`grammar`). `equal` are texts equal to the letter. Of
those that differ, `near_ties` are the ones where llama-server's logits of the two tokens at the first difference lie
less than 0.05 apart, `others` the rest; each is printed with its gap.

Two engines sum the same numbers in other orders, and a batch of another shape is another order: the last bits differ.
`changed_by_neighbours` is the share of our own texts that differ when the same questions are asked one by one.
"""

import asyncio
import itertools
import json
import math
import os
import random
import tomllib
from typing import Any, NamedTuple

import peers
from peers import LlamaServer, Shape
from support import ROOT, figure, note

from golek_wire.requests import Params
from golek_worker.engine.base import Constraint, EngineConfig, Finished, Submit
from tests.engine.driver import Child, running

BENCH = "equality"
PROMPTS = int(os.environ.get("EQUALITY_PROMPTS", "200"))
SLOTS = int(os.environ.get("EQUALITY_SLOTS", "4"))
TOKENS = 96
THREADS = 2
NEAR = 0.05
MODEL = ROOT / "data/models/golek-tiny/model.gguf"
GRAMMARS = (
    r'root ::= "{\"answer\": \"" [a-zA-Z ,.]{8,120} "\", \"sure\": " ("true" | "false") "}"',
    'root ::= line{2,4}\nline ::= "- " [a-z ]{4,40} "\\n"',
    r'root ::= ("yes" | "no") ", because " [^\n"]{10,100} "."',
)
Answers = list[str]


class Difference(NamedTuple):
    """Where two texts part."""

    ours: str
    theirs: str
    gap: float
    """Of llama-server's two logits there."""


def questions() -> list[str]:
    """Of the evaluation first, then of the training data; as the model's template puts them."""
    lines = (ROOT / "data/eval/tiny.jsonl").read_text().splitlines()
    topics = tomllib.loads((ROOT / "data/train/golek-tiny/topics.toml").read_text())
    learnt = [question for topic in topics.values() for question in topic["questions"]]
    random.Random(1).shuffle(learnt)
    asked = [json.loads(line)["question"] for line in lines] + learnt
    return [f"<|user|>{question}<|end|><|assistant|>" for question in asked[:PROMPTS]]


def ours(child: Child, prompts: list[str], grammars: list[str | None], together: int) -> list[Finished]:
    """Our answers, `together` at a time."""
    jobs = []
    for prompt, grammar in zip(prompts, grammars, strict=True):
        constraint = Constraint("gbnf", grammar) if grammar is not None else None
        params = Params(temperature=0.0, max_tokens=TOKENS)
        jobs.append(Submit(f"{next(_numbers)}", prompt, params, 1, constraint=constraint))
    for start in range(0, len(jobs), together):
        some = jobs[start : start + together]
        child.send(*some)
        child.until_ended(*[job.job_id for job in some])
    ends = {end.job_id: end for end in child.ends()}
    answers = [ends[job.job_id] for job in jobs]
    bad = [answer for answer in answers if not isinstance(answer, Finished)]
    if bad:
        raise RuntimeError(f"{len(bad)} refused: {bad[0]}")
    return [answer for answer in answers if isinstance(answer, Finished)]


_numbers = itertools.count()


async def theirs(server: LlamaServer, prompt: str, grammar: str | None, n_probs: int = 0) -> dict[str, Any]:
    """llama-server's answer."""
    body = {"prompt": prompt, "temperature": 0.0, "n_predict": TOKENS, "cache_prompt": False, "n_probs": n_probs}
    return await server.post("/completion", **body, **({} if grammar is None else {"grammar": grammar}))


async def all_theirs(server: LlamaServer, prompts: list[str], grammars: list[str | None]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for start in range(0, len(prompts), SLOTS):
        some = zip(prompts[start : start + SLOTS], grammars[start : start + SLOTS], strict=True)
        answers += await asyncio.gather(*[theirs(server, prompt, grammar) for prompt, grammar in some])
    return answers


async def difference(server: LlamaServer, prompt: str, grammar: str | None, our_text: str) -> Difference:
    """Where llama-server's text leaves ours. The gap is infinite where it saw no token that goes on with ours."""
    answer = await theirs(server, prompt, grammar, n_probs=1000)
    text = b""
    for token in answer["completion_probabilities"]:
        written = bytes(token["bytes"])
        rest = our_text.encode()[len(text) :]
        if rest.startswith(written) and written:
            text += written
            continue
        ways = [top["logprob"] for top in token["top_logprobs"] if _goes_on(bytes(top["bytes"]), rest)]
        gap = abs(token["logprob"] - max(ways)) if ways else math.inf
        return Difference(rest[:24].decode(errors="replace"), token["token"], gap)
    return Difference(our_text[-24:], "", math.inf)


def _goes_on(piece: bytes, rest: bytes) -> bool:
    """Whether `rest` begins with what a token writes; a control token writes nothing, which fits an ended text."""
    return bool(piece) and rest.startswith(piece) if rest else not piece


async def compare(child: Child, server: LlamaServer, name: str, prompts: list[str], grammars: list[str | None]) -> None:
    """All figures of one way of asking."""
    mine = ours(child, prompts, grammars, SLOTS)
    other = await all_theirs(server, prompts, grammars)
    if [answer.tokens_in for answer in mine] != [answer["tokens_evaluated"] for answer in other]:
        raise RuntimeError("the two engines cut a prompt into other tokens")
    near = others = 0
    for prompt, grammar, left, right in zip(prompts, grammars, mine, other, strict=True):
        if left.text != right["content"]:
            found = await difference(server, prompt, grammar, left.text)
            near += found.gap < NEAR
            others += found.gap >= NEAR
            note(f"{name}: {prompt!r}: golek {found.ours!r}, llama-server {found.theirs!r}, gap {found.gap:.4f}")
    alone = ours(child, prompts, grammars, 1)
    changed = sum(one.text != other.text for one, other in zip(alone, mine, strict=True))
    figure(BENCH, f"equal_{name}", len(prompts) - near - others, None, "texts", len(prompts))
    figure(BENCH, f"differences_{name}", near + others, None, "texts", len(prompts))
    figure(BENCH, f"near_ties_{name}", near, None, "texts", len(prompts))
    figure(BENCH, f"others_{name}", others, None, "texts", len(prompts))
    figure(BENCH, f"changed_by_neighbours_{name}", changed / len(prompts), None, "share", len(prompts))


def main() -> None:
    prompts = questions()
    constrained = [GRAMMARS[i % len(GRAMMARS)] for i in range(len(prompts))]
    config = EngineConfig("llamacpp", str(MODEL), SLOTS, 2048, THREADS)
    with running(config) as child, peers.llama_server(Shape(MODEL, SLOTS, 2048, THREADS)) as server:
        asyncio.run(compare(child, server, "greedy", prompts, [None] * len(prompts)))
        asyncio.run(compare(child, server, "grammar", prompts, list(constrained)))


if __name__ == "__main__":
    main()
