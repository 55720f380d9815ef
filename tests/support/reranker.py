"""A small reranker: BERT with random weights and a classifier, and its scores as numpy computes them.

The vocabulary is all-MiniLM-L6-v2's. What llama.cpp is asked to compute is written down here a second time, from the
formulas of BERT (Devlin et al. 2018) with the head of a sequence classifier: dense, tanh, projection.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.minilm import convert, gguf_file

WIDTH, FORWARD, HEADS, BLOCKS, CONTEXT = 32, 64, 4, 2, 64
EPSILON = 1e-12
RANK_POOLING = 4
CLS, SEP = 101, 102

Array = NDArray[np.float32]


def model_file(folder: Path | None = None) -> Path:
    """The file, made when it is not there; with the same weights each time."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    path = (folder or Path(tempfile.gettempdir())) / f"golek-reranker-{code}.gguf"
    if not path.exists():
        gguf_file.write(path, metadata(), weights())
    return path


def vocabulary() -> list[str]:
    """The word pieces, in BERT's own spelling."""
    return (convert.source() / "vocab.txt").read_text("utf-8").splitlines()


def weights() -> dict[str, Array]:
    """By llama.cpp's names."""
    random = np.random.default_rng(7)

    def matrix(rows: int, columns: int) -> Array:
        return random.normal(0.0, 0.3, (rows, columns)).astype(np.float32)

    def vector(size: int, around: float = 0.0) -> Array:
        return (around + random.normal(0.0, 0.1, size)).astype(np.float32)

    tensors = {
        "token_embd.weight": matrix(len(vocabulary()), WIDTH),
        "token_types.weight": matrix(2, WIDTH),
        "position_embd.weight": matrix(CONTEXT, WIDTH),
        "token_embd_norm.weight": vector(WIDTH, 1.0),
        "token_embd_norm.bias": vector(WIDTH),
        "cls.weight": matrix(WIDTH, WIDTH),
        "cls.bias": vector(WIDTH),
        "cls.output.weight": matrix(1, WIDTH),
        "cls.output.bias": vector(1),
    }
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
    shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_up": (FORWARD, WIDTH), "ffn_down": (WIDTH, FORWARD)}
    for block in range(BLOCKS):
        for name, (rows, columns) in shapes.items():
            tensors[f"blk.{block}.{name}.weight"] = matrix(rows, columns)
            tensors[f"blk.{block}.{name}.bias"] = vector(rows)
        for name in ("attn_output_norm", "layer_output_norm"):
            tensors[f"blk.{block}.{name}.weight"] = vector(WIDTH, 1.0)
            tensors[f"blk.{block}.{name}.bias"] = vector(WIDTH)
    return tensors


def score(tokens: list[int]) -> float:
    """Of the text with these tokens."""
    w = weights()
    head = np.tanh(_linear(hidden(tokens)[0], w, "cls"))
    return float(_linear(head, w, "cls.output")[0])


def hidden(tokens: list[int]) -> Array:
    """What the last block gives, a row for each token."""
    w = weights()
    x = w["token_embd.weight"][tokens] + w["token_types.weight"][0] + w["position_embd.weight"][: len(tokens)]
    x = _norm(x, w, "token_embd_norm")
    for block in range(BLOCKS):
        name = f"blk.{block}"
        x = _norm(x + _attention(x, w, name), w, f"{name}.attn_output_norm")
        forward = _linear(_gelu(_linear(x, w, f"{name}.ffn_up")), w, f"{name}.ffn_down")
        x = _norm(x + forward, w, f"{name}.layer_output_norm")
    return x


def _linear(x: Array, w: dict[str, Array], name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: Array, w: dict[str, Array], name: str) -> Array:
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + EPSILON)
    return np.asarray((x - x.mean(axis=-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"])


def _attention(x: Array, w: dict[str, Array], name: str) -> Array:
    """Every token sees all."""
    q, k, v = (
        _linear(x, w, f"{name}.attn_{part}").reshape(len(x), HEADS, WIDTH // HEADS).swapaxes(0, 1) for part in "qkv"
    )
    seen = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(WIDTH // HEADS))
    mixed = (seen / seen.sum(axis=-1, keepdims=True)) @ v
    return _linear(mixed.swapaxes(0, 1).reshape(len(x), WIDTH), w, f"{name}.attn_output")


def _gelu(x: Array) -> Array:
    """Its approximation by tanh, which is llama.cpp's."""
    return np.asarray(0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))))


def metadata() -> dict[str, gguf_file.Value]:
    """The file's, but for its weights."""
    config = {
        "num_hidden_layers": BLOCKS, "max_position_embeddings": CONTEXT, "hidden_size": WIDTH,
        "intermediate_size": FORWARD, "num_attention_heads": HEADS, "layer_norm_eps": EPSILON, "type_vocab_size": 2,
    }  # fmt: skip
    found = convert._metadata(config, vocabulary(), weights(), "f32")  # type: ignore[arg-type]
    return found | {"general.name": "reranker", "general.basename": "reranker", "bert.pooling_type": RANK_POOLING}
