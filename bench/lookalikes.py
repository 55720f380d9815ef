"""Where does a model of a known one's architecture and size come from, in seconds and without a download?

    python bench/lookalikes.py qwen3-4b MODEL.gguf

A GGUF file with that model's tensors, in the types of its usual quantisation, behind a vocabulary of as many tokens.
The blocks of numbers are drawn at random and written as they are: nothing is quantised, so that a file takes as long as
the disk does. It loads, takes memory and computes as the model would; what it writes are random words.
"""

import argparse
from collections.abc import Iterator
from itertools import cycle, islice, product
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

CONTROL = [
    "<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>",
    "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>",
]  # fmt: skip
BYTES = 256
BLANK = "\u2581"
ROLES = ("user", "model", "assistant", "system")
"""Words of templates, a token each."""
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
SCALE_BITS = 0xA0
"""A byte of Q4_K's packed scales and minima that makes all of them 32, beside four bytes of 0."""
TILE = 2**22
"""Bytes that are drawn for a type of numbers; a tensor is made of them, each with another beginning."""
Bytes = NDArray[np.uint8]


class Lookalike(NamedTuple):
    """What decides on size and speed."""

    architecture: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = False
    """The output is the table of tokens."""
    experts: int = 0
    used_experts: int = 0
    window: int = 0
    """Tokens that the layers with a sliding window look back at."""


LOOKALIKES = {
    "gemma3-270m": Lookalike("gemma3", 18, 640, 2048, 4, 1, 256, 262144, tied=True, window=512),
    "qwen3-4b": Lookalike("qwen3", 36, 2560, 9728, 32, 8, 128, 151936, tied=True),
    "gpt-oss-20b": Lookalike("gpt-oss", 24, 2880, 2880, 64, 8, 64, 201088, experts=32, used_experts=4, window=128),
    "7b": Lookalike("llama", 32, 4096, 14336, 32, 8, 128, 32768),
    "13b": Lookalike("llama", 40, 5120, 13824, 40, 40, 128, 32000),
    "30b": Lookalike("llama", 60, 6656, 17920, 52, 52, 128, 32000),
}
"""7b is Mistral's shape, 13b and 30b are Llama's."""


class Tensor(NamedTuple):
    """A tensor of a file."""

    name: str
    shape: tuple[int, ...]
    """As numpy has it: columns last."""
    type: Type

    @property
    def size(self) -> int:
        """Bytes."""
        block, size = gguf.GGML_QUANT_SIZES[self.type]
        return int(np.prod(self.shape)) // block * size


def write(name: str, path: Path) -> None:
    """Write the model; a file that is there is whole. The same name gives the same bytes."""
    like = LOOKALIKES[name]
    draft = path.with_suffix(".part")
    writer = gguf.GGUFWriter(draft, like.architecture)
    writer.add_name(f"random-{name}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_MXFP4_MOE if like.experts else gguf.LlamaFileType.MOSTLY_Q4_K_M)
    _describe(writer, like)
    _vocabulary(writer, like.vocabulary)
    content = list(tensors(like))
    for tensor in content:
        dtype = np.dtype(np.float32 if tensor.type is Type.F32 else np.int8)
        writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.size, tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    draw = np.random.default_rng(1)
    tiles: dict[tuple[Type, int], Bytes] = {}
    for tensor in content:
        writer.write_tensor_data(_numbers(tensor, tiles, draw))
    writer.close()
    draft.replace(path)


def file_bytes(name: str) -> int:
    """Of the tensors; a vocabulary is some megabytes more."""
    return sum(tensor.size for tensor in tensors(LOOKALIKES[name]))


def text(tokens: int) -> str:
    """A prompt of so many tokens; no template puts its own blank before it."""
    return "".join(f" {first}{second}" for first, second in islice(cycle(product(SYLLABLES, SYLLABLES)), tokens))


def kv_bytes(name: str, tokens: int) -> int:
    """Of a KV cache of 16-bit numbers for so many tokens, as if no layer had a window."""
    like = LOOKALIKES[name]
    return tokens * like.layers * 2 * like.kv_heads * like.head_width * 2


def tensors(like: Lookalike) -> Iterator[Tensor]:
    """All of a file."""
    many, width = like.vocabulary, like.width
    yield Tensor("token_embd.weight", (many, width), _type(like, Type.Q6_K if like.tied else Type.Q4_K, width))
    if not like.tied:
        yield Tensor("output.weight", (many, width), _type(like, Type.Q6_K, width))
    yield Tensor("output_norm.weight", (width,), Type.F32)
    for layer in range(like.layers):
        for name, shape, wanted in _layer(like, finer=_finer(layer, like.layers)):
            plain = len(shape) == 1 or name.endswith(".bias") or name == "ffn_gate_inp.weight"
            kind = Type.F32 if plain else _type(like, wanted, shape[-1])
            yield Tensor(f"blk.{layer}.{name}", shape, Type.MXFP4 if name.endswith("exps.weight") else kind)


def _finer(layer: int, layers: int) -> bool:
    """Which layers llama.cpp's Q4_K_M gives more bits: the first and last eighths, and each third between them."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _type(like: Lookalike, wanted: Type, columns: int) -> Type:
    """Blocks of 256 numbers need rows that are made of them; llama.cpp's own substitutes where they are not."""
    if like.experts:
        return Type.Q8_0
    if columns % 256 == 0:
        return wanted
    return {Type.Q4_K: Type.Q5_0, Type.Q6_K: Type.Q8_0}[wanted]


def _layer(like: Lookalike, *, finer: bool) -> Iterator[tuple[str, tuple[int, ...], Type]]:
    """Names, shapes and wanted types of a layer."""
    width, kv_width, all_heads = like.width, like.kv_heads * like.head_width, like.heads * like.head_width
    more = Type.Q6_K if finer else Type.Q4_K
    yield "attn_norm.weight", (width,), Type.F32
    yield "attn_q.weight", (all_heads, width), Type.Q4_K
    yield "attn_k.weight", (kv_width, width), Type.Q4_K
    yield "attn_v.weight", (kv_width, width), more
    yield "attn_output.weight", (width, all_heads), Type.Q4_K
    if like.architecture in ("gemma3", "qwen3"):
        yield "attn_q_norm.weight", (like.head_width,), Type.F32
        yield "attn_k_norm.weight", (like.head_width,), Type.F32
    if like.architecture == "gemma3":
        yield "post_ffw_norm.weight", (width,), Type.F32
    if like.architecture in ("gemma3", "gpt-oss"):
        yield "post_attention_norm.weight", (width,), Type.F32
    if like.experts:
        yield from _experts(like)
        return
    yield "ffn_norm.weight", (width,), Type.F32
    yield "ffn_gate.weight", (like.feed_forward, width), Type.Q4_K
    yield "ffn_up.weight", (like.feed_forward, width), Type.Q4_K
    yield "ffn_down.weight", (width, like.feed_forward), more


def _experts(like: Lookalike) -> Iterator[tuple[str, tuple[int, ...], Type]]:
    """What gpt-oss has instead of one feed-forward network, and its biases and sinks."""
    count, width, inner = like.experts, like.width, like.feed_forward
    for name, size in (("q", like.heads), ("k", like.kv_heads), ("v", like.kv_heads)):
        yield f"attn_{name}.bias", (size * like.head_width,), Type.F32
    yield "attn_output.bias", (width,), Type.F32
    yield "attn_sinks.weight", (like.heads,), Type.F32
    yield "ffn_gate_inp.weight", (count, width), Type.F32
    yield "ffn_gate_inp.bias", (count,), Type.F32
    for name, rows, columns in (("gate", inner, width), ("up", inner, width), ("down", width, inner)):
        yield f"ffn_{name}_exps.weight", (count, rows, columns), Type.MXFP4
        yield f"ffn_{name}_exps.bias", (count, rows), Type.F32


def _numbers(tensor: Tensor, tiles: dict[tuple[Type, int], Bytes], draw: np.random.Generator) -> NDArray[np.generic]:
    """A tensor's content; matrices keep the size of what goes through them."""
    if tensor.type is Type.F32:
        if tensor.name.endswith("norm.weight"):
            return np.ones(tensor.shape, np.float32)
        return draw.standard_normal(tensor.shape, np.float32) * np.float32(tensor.shape[-1] ** -0.5)
    _, size = gguf.GGML_QUANT_SIZES[tensor.type]
    key = tensor.type, tensor.shape[-1]
    if key not in tiles:
        tiles[key] = blocks(tensor.type, TILE // size, tensor.shape[-1] ** -0.5, draw)
    return np.resize(np.roll(tiles[key], size * int(draw.integers(TILE // size))), tensor.size)


def blocks(kind: Type, count: int, spread: float, draw: np.random.Generator) -> Bytes:
    """Random blocks of a type, of numbers around 0 with about this standard deviation, as a file has them."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    drawn = draw.integers(0, 256, (count, size), np.uint8)

    def half(value: float) -> Bytes:
        return np.frombuffer(np.float16(value).tobytes(), np.uint8)

    match kind:
        case Type.Q8_0:  # -128..127
            drawn[:, :2] = half(spread / 73.9)
        case Type.Q5_0:  # 0..31 less 16
            drawn[:, :2] = half(spread / 9.2)
        case Type.Q6_K:  # 0..63 less 32, times the scales of sixteen
            drawn[:, 192:208] = 16
            drawn[:, 208:] = half(spread / 18.5 / 16)
        case Type.Q4_K:  # 0..15, times the scale of 32, less as much as half of them
            drawn[:, :2], drawn[:, 2:4] = half(spread / 4.6 / 32), half(spread / 4.6 / 32 * 7.5)
            drawn[:, 4:12], drawn[:, 12:16] = SCALE_BITS, 0
        case Type.MXFP4:  # an exponent, and numbers of up to 6
            drawn[:, 0] = 127 + round(float(np.log2(spread / 2.9)))
        case _:
            raise ValueError(f"no random blocks of {kind.name}")
    return drawn.reshape(-1)


def _describe(writer: gguf.GGUFWriter, like: Lookalike) -> None:
    """The shape."""
    writer.add_context_length(32768)
    writer.add_embedding_length(like.width)
    writer.add_block_count(like.layers)
    writer.add_feed_forward_length(like.feed_forward)
    writer.add_head_count(like.heads)
    writer.add_head_count_kv(like.kv_heads)
    writer.add_key_length(like.head_width)
    writer.add_value_length(like.head_width)
    writer.add_rope_dimension_count(like.head_width)
    writer.add_layer_norm_rms_eps(1e-5)
    if like.window:
        writer.add_sliding_window(like.window)
    if like.experts:
        writer.add_expert_count(like.experts)
        writer.add_expert_used_count(like.used_experts)
        writer.add_expert_feed_forward_length(like.feed_forward)


def _vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """SentencePiece's kind: control tokens, bytes, letters, then words of syllables with all that they begin with."""
    letters = [BLANK, *map(chr, range(33, 127))]
    roles = [role[:end] for role in ROLES for end in range(2, len(role) + 1)]
    plain = list(dict.fromkeys([*letters, *roles, *_words(size)]))
    raw = [f"<0x{byte:02X}>" for byte in range(BYTES)]
    tokens = [*CONTROL, *raw, *plain][:size]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.BYTE] * BYTES
    kinds[0] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(size)])
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (size - len(kinds)))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


def _words(count: int) -> Iterator[str]:
    """`count` words with a blank before them, the short ones first."""
    known = [BLANK]
    for beginning in known:
        for syllable in SYLLABLES:
            if len(known) > count:
                return
            yield beginning + syllable[0]
            yield beginning + syllable
            known.append(beginning + syllable)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=LOOKALIKES)
    parser.add_argument("model", type=Path)
    wanted = parser.parse_args()
    write(wanted.name, wanted.model)


if __name__ == "__main__":
    main()
