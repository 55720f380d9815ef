"""How much memory will a model take, and does it fit?

From the header of its file alone, before gigabytes are read, and without native code. Three parts, as llama.cpp allots
them (of the sources that come with llama-cpp-python 0.3.36):

- **Weights**: the file, or all files of a split one (src/llama-model.cpp, `load_tensors`).
- **KV cache**: for each layer `head_count_kv` * (key length + value length) numbers of 16 bits a cell
  (src/llama-kv-cache.cpp, the constructor); cells are the context rounded up to 256, for each slot. Models with MLA
  keep no values. Recurrent layers keep a state of 32-bit numbers for each slot instead (src/llama-hparams.cpp,
  `n_embd_r`, `n_embd_s`).
- **Compute buffers**: what is alive at once in the graph of the largest batch (src/llama-context.cpp,
  `sched_reserve`), with flash attention. With R rows, N cells of a slot, E the model's width and F the feed-forward
  width: the mask, N*R numbers of 16 bits; beside it, in 32 bits, the larger of R*(3F + 4E) in the feed-forward part,
  R*(F + 3E) in that of BERT, which has no gate, and vocabulary + E for each output at the end; and the outputs once
  more, where they are read, of a model that makes vectors 64. The terms in E were fitted to what llama.cpp says of
  golek-tiny, all-MiniLM-L6-v2 and a model with 135M parameters, where the sum is right to 1 %; tests hold it to 15 %.

What the process itself takes, some 100 MB with its vocabulary, is not counted.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from golek_worker.engine.base import EngineConfig
from golek_worker.engine.llamacpp.batches import TEXTS, batch_tokens
from golek_worker.engine.llamacpp.threads import thread_count, usable_cores
from golek_worker.free_memory import free_bytes
from golek_worker.gguf import Header

ROWS = 512
"""Rows of the largest batch of an engine that writes text: `READ_BATCH` of its scheduler, which needs llama.cpp."""
ROUND = 256
"""llama.cpp allots cells of the cache in multiples of this."""
GIB, MIB = 2**30, 2**20


class Shape(NamedTuple):
    """How large an engine is."""

    kind: str
    slots: int
    ctx_size: int
    """Tokens of one sequence."""
    rows: int
    """Of the largest batch."""
    lanes: int = 1
    """Contexts side by side."""


class Needs(NamedTuple):
    """Bytes that a loaded model takes."""

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        return sum(self)

    def shown(self, shape: Shape) -> str:
        """`5.1 GiB (weights 4.4, KV cache 0.5 for 4 slots of 4096 tokens, compute 0.2)`."""
        size = GIB if self.total >= GIB else MIB
        weights, cache, compute = (f"{part / size:.1f}" for part in self)
        slots = f"{shape.slots} slot{'s' if shape.slots != 1 else ''}"
        kept = f"KV cache {cache} for {slots} of {shape.ctx_size} tokens, " if self.cache else ""
        return f"{shown(self.total)} (weights {weights}, {kept}compute {compute})"


def shape_of(kind: str, slots: int, ctx_size: int, threads: int, header: Header, weights: int) -> Shape:
    """An engine with these settings for a model with so many bytes of weights: 0 tokens are the model's own context,
    0 threads the engine's choice. More tokens than the model was trained with no engine takes.
    """
    ctx_size = min(ctx_size or header.context_length, header.context_length or ctx_size)
    if kind == "inference":
        return Shape(kind, slots, ctx_size, max(ROWS, slots))
    threads = thread_count(threads, usable_cores(), weights)
    lanes = threads + 1 if threads > 1 and not _keeps_tokens(header) else 1
    return Shape(kind, slots, ctx_size, _rounded(max(ctx_size, batch_tokens(header.parameters, threads))), lanes)


def needs(header: Header, weights: int, shape: Shape) -> Needs:
    """What a model with this header and so many bytes of weights takes."""
    if shape.kind != "inference":
        cells, streams = _rounded(shape.rows), 1
    else:
        cells, streams = _rounded(shape.ctx_size), shape.slots
    cache = streams * (cells * _bytes_a_cell(header) + _bytes_of_state(header))
    kept = cache if shape.kind == "inference" or _keeps_tokens(header) else 0
    return Needs(weights, kept, shape.lanes * _compute(header, cells, shape))


def weight_bytes(path: Path, header: Header) -> int:
    """The bytes of the model's file, or of all its files."""
    count = header.metadata.get("split.count", 1)
    if not isinstance(count, int) or count < 2:
        return header.size_bytes
    stem = path.stem.rpartition("-00001-of-")[0]
    parts = (path.with_name(f"{stem}-{number:05}-of-{count:05}{path.suffix}") for number in range(1, count + 1))
    return sum(part.stat().st_size for part in parts if part.is_file())


def problem(config: EngineConfig, header: Header, path: Path, *, on_gpu: bool) -> str | None:
    """Why the kernel would promise memory now and kill us for it later, and what would fit; None when it suffices.

    What lies on a GPU is not this machine's memory: llama.cpp says itself when a GPU is too small.
    """
    weights, on_host = weight_bytes(path, header), _share_on_host(config, header) if on_gpu else 1.0
    if config.projector_path and (eyes := Path(config.projector_path)).is_file():
        weights += eyes.stat().st_size
    free = free_bytes()
    shape = shape_of(config.kind, config.slots, config.ctx_size, config.threads, header, weights)
    found = _on_host(needs(header, weights, shape), on_host)
    if found.total <= free:
        return None
    return (
        f"{path}: needs {found.shown(shape)}, {shown(free)} are free: "
        f"{_what_fits(header, weights, shape, on_host, free)} would fit"
    )


def context_problem(ctx_size: int, trained: int, path: Path) -> str | None:
    """Why no engine takes so many tokens of one sequence: the model was trained with fewer. 0 trained is not known."""
    if ctx_size <= trained or not trained:
        return None
    return (
        f"CTX_SIZE={ctx_size}: {path} was trained with at most {trained} tokens. "
        f"Set CTX_SIZE={trained}, or 0 for the model's own."
    )


def _share_on_host(config: EngineConfig, header: Header) -> float:
    """The share of weights and cache that is not on a GPU; beside the layers there is the output."""
    layers = _number(header, "block_count") + 1
    return 0.0 if config.gpu_layers < 0 else 1.0 - min(1.0, config.gpu_layers / layers)


def _what_fits(header: Header, weights: int, shape: Shape, on_host: float, free: int) -> str:
    """The settings that help, each alone."""

    def fits(smaller: Shape) -> bool:
        return _on_host(needs(header, weights, smaller), on_host).total <= free

    ways = []
    contexts = [size for size in range(ROUND, shape.ctx_size, ROUND) if shape.kind == "inference"]
    if contexts and fits(shape._replace(ctx_size=contexts[0])):
        ways.append(f"CTX_SIZE={_last(contexts, lambda size: fits(shape._replace(ctx_size=size)))}")
    slots = [count for count in range(1, shape.slots) if shape.kind == "inference"]
    if slots and fits(shape._replace(slots=slots[0])):
        ways.append(f"WORKER_CONCURRENCY={_last(slots, lambda count: fits(shape._replace(slots=count)))}")
    return " or ".join([", ".join(ways), "a smaller quantisation"] if ways else ["a smaller quantisation or model"])


def _last(values: list[int], holds: Callable[[int], bool]) -> int:
    """The last of ascending `values` for which it `holds`; it does for the first, and what holds for one for less."""
    return values[bisect.bisect_left(values, True, key=lambda value: not holds(value)) - 1]


def shown(size: int) -> str:
    """Bytes, for people."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def _on_host(needed: Needs, share: float) -> Needs:
    return Needs(int(needed.weights * share), int(needed.cache * share), needed.compute)


def _rounded(tokens: int) -> int:
    return -(-tokens // ROUND) * ROUND


def _bytes_a_cell(header: Header) -> int:
    """Keys and values of one token in all layers."""
    keys, values = _head_lengths(header)
    if header.of_architecture("attention.kv_lora_rank") and header.of_architecture("attention.key_length_mla"):
        values = 0
    return 2 * (keys + values) * sum(_kv_heads(header))


def _bytes_of_state(header: Header) -> int:
    """What the recurrent layers keep of one sequence; 0 where there are none."""
    inner, state = _number(header, "ssm.inner_size"), _number(header, "ssm.state_size")
    convolved = max(0, _number(header, "ssm.conv_kernel") - 1) * (
        inner + 2 * _number(header, "ssm.group_count") * state
    )
    short = max(0, _number(header, "shortconv.l_cache") - 1) * header.embedding_length
    layers = sum(heads == 0 for heads in _kv_heads(header))
    return 4 * layers * (convolved + inner * state + short)


def _compute(header: Header, cells: int, shape: Shape) -> int:
    """The buffers of one context; see above."""
    width, vocabulary, rows = header.embedding_length, _vocabulary(header), shape.rows
    mask = 2 * cells * rows
    forward = 4 * rows * (3 * _forward_width(header) + 4 * width)
    if header.architecture == "bert":
        forward = 4 * rows * (_forward_width(header) + 3 * width)
    if shape.kind != "inference":
        return mask + forward + 4 * TEXTS * (vocabulary + width)
    outputs = min(rows, shape.slots)
    return mask + max(forward, 4 * outputs * (vocabulary + width)) + 4 * outputs * vocabulary


def _forward_width(header: Header) -> int:
    """Of a mixture of experts: what those that a token uses have together, where that is more."""
    experts = _number(header, "expert_feed_forward_length") * _number(header, "expert_used_count")
    return max(_number(header, "feed_forward_length"), experts)


def _head_lengths(header: Header) -> tuple[int, int]:
    """Of keys and values."""
    usual = header.embedding_length // max(1, *_heads(header))
    return _number(header, "attention.key_length") or usual, _number(header, "attention.value_length") or usual


def _heads(header: Header) -> list[int]:
    return _of_layers(header, "attention.head_count") or [0]


def _kv_heads(header: Header) -> list[int]:
    """Of each layer; 0 of those that keep no tokens but a state."""
    listed = _of_layers(header, "attention.head_count_kv") or _of_layers(header, "attention.head_count")
    interval = _number(header, "full_attention_interval")
    return [0 if interval and (layer + 1) % interval else heads for layer, heads in enumerate(listed)] or [0]


def _of_layers(header: Header, key: str) -> list[int]:
    """The value of each layer, which the file gives once for all or one by one; nothing when it does not say."""
    value = header.of_architecture(key)
    if isinstance(value, list):
        return [number for number in value if isinstance(number, int)]
    return [value] * _number(header, "block_count") if isinstance(value, int) else []


def _number(header: Header, key: str) -> int:
    """A number of the architecture's, the largest where each layer has its own; 0 when the file does not say."""
    value = header.of_architecture(key)
    numbers = value if isinstance(value, list) else [value]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _vocabulary(header: Header) -> int:
    """Tokens; the header keeps a long list as its length."""
    tokens = header.metadata.get("tokenizer.ggml.tokens", 0)
    return len(tokens) if isinstance(tokens, list) else int(tokens)


def _keeps_tokens(header: Header) -> bool:
    """Whether an embedding model has a cache: its tokens see only what precedes them."""
    return header.of_architecture("attention.causal") is not False and not header.architecture.endswith("bert")
