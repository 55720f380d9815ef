"""Which figures were published of services like this one, and how do ours stand beside them?

    python bench/claims.py

writes docs/published.md anew from bench/results/published.json, which `python bench/run.py published` measures.

Two documents have figures: the README of an inference service in Go with NATS (`go`; models on a GPU or Apple's Metal),
and the architecture of llama-gguf-inference, llama-server behind a gateway in Python (`gguf`; an RTX 4090).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "published.json"
PAGE = ROOT / "docs" / "published.md"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->\n"
GPU = "a GPU"


class Claim(NamedTuple):
    """A published figure."""

    figure: str
    said: str
    """As it was published."""
    value: float
    """The same as a number of `unit`; of a range its upper end."""
    unit: str
    source: str
    gpu: bool = False
    """It was measured on a GPU, and says nothing about a CPU."""


CLAIMS = [
    Claim("memory of the system without a model", "~100 MB", 100, "MB", "go"),
    Claim("gemma3-270m: file", "235 MB", 235 * 2**20 / 1e6, "MB", "go"),
    Claim("gemma3-270m: load", "~3 s", 3, "s", "go"),
    Claim("gemma3-270m: request", "~100 ms", 100, "ms", "go"),
    Claim("gemma3-270m: memory", "+ ~300 MB", 300, "MB", "go"),
    Claim("gemma3-270m: 8 tokens", "156 ms", 156, "ms", "go"),
    Claim("gemma3-270m: two callers beside one", "up to 2x", 2, "x", "go"),
    Claim("qwen3-4b: file", "2.32 GB", 2320 * 2**20 / 1e6, "MB", "go"),
    Claim("qwen3-4b: load", "~5 s", 5, "s", "go"),
    Claim("qwen3-4b: request", "~2000 ms", 2000, "ms", "go", gpu=True),
    Claim("qwen3-4b: memory", "+ ~2.5 GB", 2500, "MB", "go"),
    Claim("qwen3-4b: 87 tokens", "1250 ms", 1250, "ms", "go", gpu=True),
    Claim("qwen3-4b: two callers beside one", "up to 2x", 2, "x", "go"),
    Claim("gpt-oss-20b: file", "~20 GB", 20000, "MB", "go"),
    Claim("gpt-oss-20b: load", "~15 s", 15, "s", "go"),
    Claim("gpt-oss-20b: request", "~5000 ms", 5000, "ms", "go", gpu=True),
    Claim("gpt-oss-20b: memory", "+ ~20 GB", 20000, "MB", "go"),
    Claim("7b: model", "~4 GB", 4 * 2**30 / 1e6, "MB", "gguf"),
    Claim("7b: KV cache of 8K tokens", "~512 MB", 512 * 2**20 / 1e6, "MB", "gguf"),
    Claim("7b: compute", "~500 MB", 500, "MB", "gguf"),
    Claim("7b: memory with 16K tokens", "~5 GB", 5000, "MB", "gguf"),
    Claim("7b: prompt", "~100-500 ms", 500, "ms", "gguf", gpu=True),
    Claim("7b: tokens", "~100 tokens/s", 100, "tokens/s", "gguf", gpu=True),
    Claim("7b: a token", "~10 ms", 10, "ms", "gguf", gpu=True),
    Claim("13b: tokens", "~50 tokens/s", 50, "tokens/s", "gguf", gpu=True),
    Claim("13b: a token", "~20 ms", 20, "ms", "gguf", gpu=True),
    Claim("30b: tokens", "~25 tokens/s", 25, "tokens/s", "gguf", gpu=True),
    Claim("30b: a token", "~40 ms", 40, "ms", "gguf", gpu=True),
    Claim("network overhead", "~10-50 ms", 50, "ms", "gguf"),
    Claim("authentication over HTTP", "~1 ms", 1, "ms", "gguf"),
    Claim("authentication on the bus", "~1 ms", 1, "ms", "gguf"),
]
"""In the order in which they are shown."""


def table(lines: list[dict[str, Any]]) -> str:
    """What a run of the bench printed, as Markdown."""
    rows = ["| figure | published | ours | how ours was measured |", "|---|---|---|---|"]
    for line in lines:
        ours = f"{line['ours']:,} {line['unit']}" if line["ours"] is not None else "not measured"
        needs = f"; needs {line['needs']}" if line["needs"] else ""
        rows.append(f"| {line['figure']} | {line['published']} ({line['source']}) | {ours}{needs} | {line['how']} |")
    return "\n".join(rows) + "\n"


def page(text: str, lines: list[dict[str, Any]]) -> str:
    """The page with the figures of `lines`."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(lines)}{END}{after}"


def main() -> None:
    lines = json.loads(RESULTS.read_text())["figures"]
    PAGE.write_text(page(PAGE.read_text(), lines))


if __name__ == "__main__":
    main()
