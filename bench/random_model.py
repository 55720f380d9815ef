"""Where does a bench get a model of a usual size without a download?

    python bench/random_model.py VOCABULARY.gguf MODEL.gguf [--type f16] [--seed 1]

A GGUF of the llama architecture with random weights behind a real vocabulary: 143 million parameters, of which 37
million are the two tables of 32,000 tokens. It computes as much as a trained model of this shape, and writes words. The
vocabulary's file is one of those that llama.cpp has in `models/` for its tests.

Logits vary like those of trained models (standard deviation 3). Control tokens and single bytes have the logit 0, so
that they are hardly ever drawn: no text ends early and each token is whole characters.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 30, 576, 9, 3, 1536, 8192
LOGIT_SPREAD = 3.0
TYPES = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
TOKENIZER = "tokenizer.ggml."
WORD = int(gguf.TokenType.NORMAL)
Weights = NDArray[np.float32]


def write(vocabulary: Path, path: Path, kind: str = "q8_0", seed: int = 1) -> None:
    """Write the model to `path`; a file that is there is whole. The same arguments give the same bytes."""
    reader = gguf.GGUFReader(vocabulary)
    draft = path.with_suffix(".part")
    quantization, file_type = TYPES[kind]
    writer = gguf.GGUFWriter(draft, "llama")
    writer.add_name(f"random-{kind}-{seed}")
    writer.add_file_type(file_type)
    _describe(writer)
    for name, field in reader.fields.items():
        if name.startswith(TOKENIZER):
            _copy(writer, name, field)
    words = np.asarray(reader.fields[f"{TOKENIZER}token_type"].contents()) == WORD
    for name, weights in tensors(words, seed):
        stored = weights if weights.ndim == 1 else gguf.quants.quantize(weights, quantization)
        raw_type = gguf.GGMLQuantizationType.F32 if weights.ndim == 1 else quantization
        writer.add_tensor(name, stored, raw_dtype=raw_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(path)


def tensors(words: NDArray[np.bool_], seed: int) -> Iterator[tuple[str, Weights]]:
    """Names and weights, scaled so that what a layer adds is about as large as what goes into it."""
    draw = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> Weights:
        return draw.standard_normal((rows, columns), np.float32) * np.float32(scale / columns**0.5)

    kv_width = WIDTH // HEADS * KV_HEADS
    ones = np.ones(WIDTH, np.float32)
    yield "token_embd.weight", matrix(words.size, WIDTH, WIDTH**0.5)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield f"{block}attn_norm.weight", ones
        yield f"{block}attn_q.weight", matrix(WIDTH, WIDTH, 1.0)
        yield f"{block}attn_k.weight", matrix(kv_width, WIDTH, 1.0)
        yield f"{block}attn_v.weight", matrix(kv_width, WIDTH, 1.0)
        yield f"{block}attn_output.weight", matrix(WIDTH, WIDTH, 1.0)
        yield f"{block}ffn_norm.weight", ones
        yield f"{block}ffn_gate.weight", matrix(FEED_FORWARD, WIDTH, 1.0)
        yield f"{block}ffn_up.weight", matrix(FEED_FORWARD, WIDTH, 1.0)
        yield f"{block}ffn_down.weight", matrix(WIDTH, FEED_FORWARD, 1.0)
    yield "output_norm.weight", ones
    yield "output.weight", matrix(words.size, WIDTH, LOGIT_SPREAD) * words[:, np.newaxis].astype(np.float32)


def _describe(writer: gguf.GGUFWriter) -> None:
    """The shape."""
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _copy(writer: gguf.GGUFWriter, name: str, field: gguf.ReaderField) -> None:
    """Write a field of the vocabulary as it was."""
    inner = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--type", choices=TYPES, default="q8_0")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    write(wanted.vocabulary, wanted.model, wanted.type, wanted.seed)


if __name__ == "__main__":
    main()
