"""Makes folders of Hugging Face's with weights that nobody will run: what they say of themselves is what counts."""

import json
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def weights(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A safetensors file with 16-bit zeros."""
    header, at, data = {}, 0, b""
    for name, shape in shapes.items():
        size = 2
        for one in shape:
            size *= one
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
        data += bytes(size)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + data


def contents(**config: Any) -> dict[str, bytes]:
    """The files of a model in two files of weights, by name."""
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    return {
        "config.json": json.dumps(CONFIG | config).encode(),
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": json.dumps({"chat_template": TEMPLATE}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": weights({"a": (320, 64)}),
        "model-2.safetensors": weights({"b": (64, 64), "c": (64,)}),
    }


def write(folder: Path, files: dict[str, bytes] | None = None, **config: Any) -> Path:
    """A folder with these files, or with `contents`."""
    for name, content in (files or contents(**config)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
