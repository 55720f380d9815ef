"""Small models with other vocabularies than the demo model's: random weights, real tokenizers of llama.cpp.

`bytes` is a byte-level BPE that knows one merge, so that nearly each byte is a token. `pieces` is SentencePiece with
byte fallback, which puts a blank before each text and its first token in front.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from scripts.minilm import gguf_file

WIDTH, FORWARD, HEADS, CONTEXT = 32, 64, 2, 512
WORDS = ("the", "and", "of", "answer", "decision", "is", "in", "ing", "er", "tion")
BLANK = "\u2581"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def model_file(kind: str) -> Path:
    """The file of `bytes` or `pieces`, made when it is not there."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"golek-vocabulary-{kind}-{code}.gguf"
    if not path.exists():
        tokens = _byte_level() if kind == "bytes" else _pieces()
        size = len(tokens["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
        gguf_file.write(path, {**_shape(), **tokens}, _weights(size))
    return path


def _shape() -> dict[str, gguf_file.Value]:
    return {
        "general.architecture": "llama",
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }


def _byte_level() -> dict[str, gguf_file.Value]:
    """GPT-2's spelling of bytes, with the pre-tokenizer of Llama 3."""
    letters = [spelling(byte) for byte in range(256)]
    tokens = [*letters, f"{spelling(32)}t", "<|begin|>", "<|end|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [NORMAL] * 257 + [CONTROL] * 2,
        "tokenizer.ggml.merges": [f"{spelling(32)} t"],
        "tokenizer.ggml.bos_token_id": 257,
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.add_bos_token": True,
    }


def _pieces() -> dict[str, gguf_file.Value]:
    control = ["<unk>", "<s>", "</s>"]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [BLANK, *map(chr, range(33, 127)), *WORDS, *(BLANK + word for word in WORDS)]
    scores = [0.0] * 259 + [-float(len(words) - at) for at in range(len(words))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*control, *raw, *words],
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(words)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": True,
    }


def spelling(byte: int) -> str:
    """How GPT-2's vocabulary writes a byte: itself where it can be seen, else a character of its own."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in seen else chr(256 + [one for one in range(256) if one not in seen].index(byte))


def _weights(size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0.0, 0.1, (rows, columns)).astype(np.float32)

    block = "blk.0."
    square = {f"{block}{name}.weight": matrix(WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    norms = {name: np.ones(WIDTH, np.float32) for name in (f"{block}attn_norm.weight", f"{block}ffn_norm.weight")}
    return {
        "token_embd.weight": matrix(size, WIDTH),
        **square,
        **norms,
        f"{block}ffn_gate.weight": matrix(FORWARD, WIDTH),
        f"{block}ffn_up.weight": matrix(FORWARD, WIDTH),
        f"{block}ffn_down.weight": matrix(WIDTH, FORWARD),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "output.weight": matrix(size, WIDTH),
    }
