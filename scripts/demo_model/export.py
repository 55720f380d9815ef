"""How does the trained network become one file that llama.cpp loads? f16 weights, f32 norms, GGUF metadata."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from torch import Tensor

from demo_model.network import Shape, TinyLlama
from demo_model.vocabulary import SPECIAL_TOKENS, Vocabulary

# What a file says of itself, by the lessons that its model had.
DESCRIPTIONS = {
    "golek-tiny": "A very small demo chat model that knows a few words about Golek and NATS.",
    "golek-quiz": "A very small demo chat model that knows a share of the facts in data/train/golek-quiz.",
}


def write_gguf(path: Path, name: str, model: TinyLlama, vocabulary: Vocabulary, chat_template: str) -> None:
    """Write `path`; the same model gives the same bytes. `name` is one of `DESCRIPTIONS`, or begins with one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    _add_description(writer, name, model.parameter_count())
    _add_shape(writer, model.shape)
    _add_vocabulary(writer, vocabulary, chat_template)
    for name, weight in _named_tensors(model).items():
        writer.add_tensor(name, _as_stored(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_description(writer: gguf.GGUFWriter, name: str, parameters: int) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_basename(name)
    writer.add_finetune("chat")
    writer.add_version("v1")
    writer.add_size_label(f"{parameters / 1e6:.1f}M")
    writer.add_description(next(text for key, text in DESCRIPTIONS.items() if name.startswith(key)))
    writer.add_author("The Golek authors")
    writer.add_license("MIT")
    writer.add_languages(["en"])
    writer.add_tags(["text-generation", "demo"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, chat_template: str) -> None:
    tokens = vocabulary.tokens()
    kinds = [gguf.TokenType.CONTROL if t in SPECIAL_TOKENS else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(vocabulary.merges())
    # There is no token for the beginning; some engines insist on one, so it is the end token and is never added.
    writer.add_bos_token_id(vocabulary.end_id)
    writer.add_eos_token_id(vocabulary.end_id)
    writer.add_eot_token_id(vocabulary.end_id)
    writer.add_pad_token_id(vocabulary.pad_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat_template)


def _named_tensors(model: TinyLlama) -> dict[str, Tensor]:
    """The weights under llama.cpp's names. There is no output.weight: the embedding is tied."""
    tensors = {"token_embd.weight": model.embedding.weight, "output_norm.weight": model.norm.weight}
    for number, block in enumerate(model.blocks):
        parts = {
            "attn_norm": block.attention_norm,
            "attn_q": block.attention.q,
            "attn_k": block.attention.k,
            "attn_v": block.attention.v,
            "attn_output": block.attention.out,
            "ffn_norm": block.feed_forward_norm,
            "ffn_gate": block.feed_forward.gate,
            "ffn_up": block.feed_forward.up,
            "ffn_down": block.feed_forward.down,
        }
        tensors |= {f"blk.{number}.{name}.weight": part.weight for name, part in parts.items()}
    return tensors


def _as_stored(weight: Tensor) -> np.ndarray:
    """Matrices in half precision; norms stay in full, llama.cpp wants them so."""
    array = weight.detach().numpy()
    return array.astype(np.float16 if array.ndim == 2 else np.float32)
