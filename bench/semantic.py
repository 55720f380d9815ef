"""How often does the semantic cache find an answer, and how often the wrong one?

all-MiniLM-L6-v2 in a real worker, asked on the bus, and the 500 pairs of tests/data/semantic_pairs.jsonl, which were
fixed before anything was tuned. For each pair the answer to the first question is kept and the second one asked: a hit
where both mean the same is right, one of a near-miss is false. At several thresholds, with the guards and without; then
with all 500 first questions in one cache, as they are in use. Shares are of all 250; `by_category` says how many.
"""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from support import broker, figure, median, note, worker

from golek_client import Golek
from golek_worker.cache import guards, wording
from golek_worker.cache.base import CacheKey
from golek_worker.cache.questions import Question
from golek_worker.cache.semantic import MOST, SemanticCache, Vector
from tests.support.minilm import model_file

BENCH = "semantic"
NAME = "all-minilm-l6-v2"
PAIRS = Path(__file__).resolve().parent.parent / "tests" / "data" / "semantic_pairs.jsonl"
THRESHOLDS = (0.90, 0.95, 0.97)
DEFAULT = 0.95
LOOKS = 200
SCOPE = CacheKey("a-model", "0")
Pair = dict[str, Any]


def unit(vectors: list[list[float]]) -> Vector:
    rows = np.array(vectors, np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def passes(pair: Pair) -> bool:
    """Whether the guards let both questions share an answer."""
    if guards.obstacle(pair["a"]) or guards.obstacle(pair["b"]):
        return False
    return not guards.difference(wording.read(pair["a"]), wording.read(pair["b"]))


def by_category(pairs: list[Pair], hits: list[bool]) -> dict[str, str]:
    """Hits of all, by what the questions differ in."""
    total, found = Counter(str(pair["category"]) for pair in pairs), Counter[str]()
    for pair, hit in zip(pairs, hits, strict=True):
        found[str(pair["category"])] += hit
    return {name: f"{found[name]}/{count}" for name, count in sorted(total.items())}


def tell(name: str, pairs: list[Pair], hits: list[bool]) -> None:
    """The share of right hits and that of false ones."""
    for same, kind in ((True, "hit_rate"), (False, "false_hit_rate")):
        some = [(pair, hit) for pair, hit in zip(pairs, hits, strict=True) if pair["same"] is same]
        listed, found = [pair for pair, _ in some], [hit for _, hit in some]
        figure(BENCH, f"{kind}_{name}", sum(found) / len(found), None, "share", 1, by_category(listed, found))


async def in_use(pairs: list[Pair], vectors: dict[str, list[float]], golek: Golek) -> None:
    """All first questions in one cache; whose answer do the second ones get?"""

    async def known(text: str) -> list[float]:
        return vectors[text]

    cache = SemanticCache(known, threshold=DEFAULT, max_bytes=1 << 30)
    asked = [pair for pair in pairs if not guards.obstacle(pair["a"]) and not guards.obstacle(pair["b"])]
    for pair in asked:
        await cache.store(Question(SCOPE, pair["a"]), pair["a"].encode(), 3600)
    firsts = {pair["a"] for pair in pairs}
    right, other = 0, 0
    for pair in asked:
        found = await cache.get(Question(SCOPE, pair["b"]))
        if found is not None and pair["b"] not in firsts:
            is_right = pair["same"] and found.decode() == pair["a"]
            right, other = right + is_right, other + (not is_right)
            if not is_right:
                note(f"{pair['b']!r} got the answer to {found.decode()!r}")
    figure(BENCH, "hit_rate_in_one_cache", right / 250, None, "share", 1)
    figure(BENCH, "other_answer_rate_in_one_cache", other / 250, None, "share", 1)
    await looks(pairs, golek)


async def looks(pairs: list[Pair], golek: Golek) -> None:
    """What a look takes: with its vector asked on the bus, and beside that, in a full cache."""

    async def asked(text: str) -> list[float]:
        return (await golek.embed(NAME, text, deadline=5)).vectors[0]

    cache = SemanticCache(asked, threshold=DEFAULT, max_bytes=1 << 30)
    for pair in pairs[:50]:
        await cache.store(Question(SCOPE, pair["a"]), b"{}", 3600)
    times = [await timed(cache, Question(SCOPE, pair["b"])) for pair in pairs[:LOOKS]]
    figure(BENCH, "look_p50_ms", median(times), None, "ms", len(times))
    figure(BENCH, "look_p99_ms", sorted(times)[int(len(times) * 0.99)], None, "ms", len(times))

    draw = np.random.default_rng(1)
    rows = {f"question {number}": draw.standard_normal(384).astype(np.float32) for number in range(MOST)}

    async def drawn(text: str) -> list[float]:
        return rows[text].tolist()

    full = SemanticCache(drawn, threshold=DEFAULT, max_bytes=1 << 30)
    for text in rows:
        await full.store(Question(SCOPE, text), b"{}", 3600)
    times = [await timed(full, Question(SCOPE, f"question {number}")) for number in range(LOOKS)]
    figure(BENCH, "compare_20000_p50_ms", median(times), None, "ms", len(times))


async def timed(cache: SemanticCache, question: Question) -> float:
    """Milliseconds of a look."""
    start = time.perf_counter()
    await cache.get(question)
    return (time.perf_counter() - start) * 1e3


async def main() -> None:
    pairs: list[Pair] = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
    with broker() as url, worker(url, NAME, MODEL_PATH=model_file()):
        async with Golek(url) as golek:
            firsts = (await golek.embed(NAME, [pair["a"] for pair in pairs])).vectors
            seconds = (await golek.embed(NAME, [pair["b"] for pair in pairs])).vectors
            cosines = np.sum(unit(firsts) * unit(seconds), axis=1)
            allowed = [passes(pair) for pair in pairs]
            for threshold in THRESHOLDS:
                alike = [bool(cosine >= threshold) for cosine in cosines]
                at = f"at_{threshold:.2f}"
                tell(f"{at}_without_guards", pairs, alike)
                tell(at, pairs, [one and other for one, other in zip(alike, allowed, strict=True)])
            tell("of_guards_alone", pairs, allowed)
            texts = [pair["a"] for pair in pairs] + [pair["b"] for pair in pairs]
            await in_use(pairs, dict(zip(texts, [*firsts, *seconds], strict=True)), golek)


if __name__ == "__main__":
    asyncio.run(main())
