"""How long does it take to learn what a model's file says of itself?

A file with a vocabulary of 150,000 tokens and as many merges, of the lengths that real ones have: our reader beside
llama.cpp loading nothing but the vocabulary, in turn. Both ask for the same things at the end: the architecture and the
context length.
"""

import ctypes
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import llama_cpp
from support import figure, median, note

from golek_worker.gguf import read_header
from scripts.minilm import gguf_file

BENCH = "gguf_header"
RUNS = int(os.environ.get("GGUF_HEADER_RUNS", "20"))
TOKENS = 150_000
CONTEXT = 32_768
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens of 1 to 14 letters, 6.5 on average, after the 256 that stand for bytes; and merges of two pieces each."""
    draw = random.Random(1)
    # The alphabet that byte-level vocabularies write bytes with: printable ones as they are, others from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = dict.fromkeys([chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))])
    while len(tokens) < TOKENS:
        length = min(14, max(2, round(draw.gauss(6.5, 2.5))))
        tokens[draw.choice(["", "Ġ"]) + "".join(draw.choices(LETTERS, k=length))] = None
    pieces = list(tokens)
    merges = [f"{token[: len(token) // 2]} {token[len(token) // 2 :]}" for token in pieces[256:]]
    return pieces, merges


def write(path: Path) -> None:
    """A file without weights, as far as llama.cpp needs it for its vocabulary."""
    tokens, merges = vocabulary()
    metadata = {
        "general.architecture": "llama",
        "general.name": "bench",
        "llama.context_length": CONTEXT,
        "llama.embedding_length": 64,
        "llama.block_count": 1,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": 256,
        "tokenizer.chat_template": "{{ messages }}" * 100,
    }
    gguf_file.write(path, metadata, {})


def ours(path: Path) -> tuple[str, int]:
    header = read_header(path)
    return header.architecture, header.context_length


def peer(path: Path) -> tuple[str, int]:
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if model is None:
        raise RuntimeError(f"llama.cpp does not load {path}")
    answer = value(model, b"general.architecture"), int(value(model, b"llama.context_length"))
    llama_cpp.llama_model_free(model)
    return answer


def value(model: llama_cpp.llama_model_p, key: bytes) -> str:
    buffer = ctypes.create_string_buffer(64)
    llama_cpp.llama_model_meta_val_str(model, key, buffer, len(buffer))
    return buffer.value.decode()


def seconds(read: Callable[[Path], tuple[str, int]], path: Path) -> float:
    start = time.perf_counter()
    if read(path) != ("llama", CONTEXT):
        raise RuntimeError(f"{read.__name__} read something else")
    return time.perf_counter() - start


@llama_cpp.llama_log_callback
def silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """llama.cpp has much to say of a file without weights."""


def main() -> None:
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory(prefix="golek-bench-") as folder:
        path = Path(folder) / "model.gguf"
        write(path)
        note(f"{path.stat().st_size / 1e6:.1f} MB of header")
        times = [(seconds(ours, path), seconds(peer, path)) for _ in range(RUNS)]
    our_time, peer_time = (median(list(column)) for column in zip(*times, strict=True))
    figure(BENCH, "read_header", our_time * 1e3, peer_time * 1e3, "ms", RUNS)


if __name__ == "__main__":
    main()
