"""Where does a bench get a model in a folder of Hugging Face's without a download?

    python bench/random_folder.py FOLDER [--seed 1]

A Llama of 135 million parameters with random weights (bfloat16), in the shape of SmolLM: it computes as much as that
does. The tokenizer is a byte-level BPE of 49,152 tokens, which are syllables, and words made of them; `words` gives
those that are one token wherever a blank stands before them. Nothing but numpy is needed.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support import note

from tests.support.vocabularies import spelling

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT, VOCABULARY = 30, 576, 9, 3, 1536, 8192, 49152
KV_BYTES = LAYERS * 2 * WIDTH // HEADS * KV_HEADS * 2
"""Of the KV cache, for each token."""
LOGIT_SPREAD = 3.0
CONTROL = ("<|pad|>", "<|begin|>", "<|im_start|>", "<|im_end|>")
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
BLANK = "\u0120"
"""How a byte-level BPE spells one."""
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Weights = NDArray[np.float32]


def write(folder: Path, seed: int = 1) -> None:
    """Write the folder; one that is there is whole."""
    draft = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, content in (
        ("config.json", _config()),
        ("generation_config.json", {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}),
        ("tokenizer.json", _tokenizer()),
        ("tokenizer_config.json", _tokenizer_config()),
    ):
        (draft / name).write_text(json.dumps(content))
    _write_tensors(draft / "model.safetensors", dict(tensors(seed)))
    draft.replace(folder)


def words(count: int) -> list[str]:
    """So many words of two syllables; with a blank before it each is one token."""
    pairs = [first + second for first, second in product(SYLLABLES, SYLLABLES)]
    return pairs[:count]


def tensors(seed: int) -> Iterator[tuple[str, Weights]]:
    """Names and weights, scaled so that what a layer adds is about as large as what goes into it."""
    draw = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Weights:
        return draw.standard_normal((rows, columns), np.float32) * np.float32(scale / columns**0.5)

    kv_width = WIDTH // HEADS * KV_HEADS
    ones = np.ones(WIDTH, np.float32)
    yield "model.embed_tokens.weight", matrix(VOCABULARY, WIDTH, LOGIT_SPREAD)
    for layer in range(LAYERS):
        block = f"model.layers.{layer}."
        yield f"{block}input_layernorm.weight", ones
        yield f"{block}self_attn.q_proj.weight", matrix(WIDTH, WIDTH)
        yield f"{block}self_attn.k_proj.weight", matrix(kv_width, WIDTH)
        yield f"{block}self_attn.v_proj.weight", matrix(kv_width, WIDTH)
        yield f"{block}self_attn.o_proj.weight", matrix(WIDTH, WIDTH)
        yield f"{block}post_attention_layernorm.weight", ones
        yield f"{block}mlp.gate_proj.weight", matrix(FEED_FORWARD, WIDTH)
        yield f"{block}mlp.up_proj.weight", matrix(FEED_FORWARD, WIDTH)
        yield f"{block}mlp.down_proj.weight", matrix(WIDTH, FEED_FORWARD)
    yield "model.norm.weight", ones


def _write_tensors(path: Path, content: dict[str, Weights]) -> None:
    """A safetensors file: the length of its header, the header, the numbers."""
    places: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, weights in content.items():
        places[name] = {"dtype": "BF16", "shape": weights.shape, "data_offsets": [offset, offset + weights.size * 2]}
        offset += weights.size * 2
    header = json.dumps(places).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for weights in content.values():
            file.write((weights.view(np.uint32) >> 16).astype("<u2").tobytes())


def _config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": 1,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }


def _tokenizer() -> dict[str, Any]:
    """Each merge makes one token: syllables, these behind a blank, then words, the short ones first."""
    tokens = [*CONTROL, *map(spelling, range(256))]
    merges = list(_merges(VOCABULARY - len(tokens)))
    tokens += ["".join(pair) for pair in merges]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytes_to_text = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": name} | flags for number, name in enumerate(CONTROL)],
        "normalizer": None,
        "pre_tokenizer": bytes_to_text,
        "post_processor": None,
        "decoder": bytes_to_text,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def _merges(count: int) -> Iterator[tuple[str, str]]:
    """So many pairs of tokens that become one."""
    yield from ((syllable[0], syllable[1]) for syllable in SYLLABLES)
    known, left = [BLANK], count - len(SYLLABLES)
    for beginning in known:
        for syllable in SYLLABLES:
            if left == 0:
                return
            yield beginning, syllable
            known.append(beginning + syllable)
            left -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    write(wanted.folder, wanted.seed)
    note(f"{wanted.folder}: {VOCABULARY} tokens")


if __name__ == "__main__":
    main()
