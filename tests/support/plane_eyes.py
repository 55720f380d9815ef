"""golek-tiny as a model whose positions lie in a plane (M-RoPE, as Qwen-VL), and a random projector for it.

Texts alone it continues as golek-tiny does: a head's numbers are paired otherwise, so the rows of its queries and keys
stand in another order. What it makes of images means nothing, but other images give other answers.
"""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.eyes import MODEL

PATCH, WIDTH = 14, 16
Floats = NDArray[np.float32]


@cache
def files() -> tuple[Path, Path]:
    """The model, and its projector."""
    folder = Path(mkdtemp(prefix="golek-plane-"))
    atexit.register(shutil.rmtree, folder)
    _write_model(folder / "model.gguf")
    _write_projector(folder / "mmproj.gguf")
    return folder / "model.gguf", folder / "mmproj.gguf"


def _write_model(path: Path) -> None:
    source = gguf.GGUFReader(MODEL)
    writer = gguf.GGUFWriter(path, "qwen2vl")
    for name, field in source.fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub)
        elif name.startswith("llama.") and "rope.dim" not in name:
            writer.add_key_value(name.replace("llama.", "qwen2vl."), field.contents(), field.types[0])
    writer.add_rope_dimension_sections([6, 5, 5, 0])
    heads = source.fields["llama.attention.head_count"].contents()
    for tensor in source.tensors:
        data = np.asarray(tensor.data)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            rows, columns = data.shape
            data = data.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data))
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight")):
            writer.add_tensor(tensor.name.replace(".weight", ".bias"), np.zeros(len(data), np.float32))
    _close(writer)


def _write_projector(path: Path) -> None:
    random = np.random.default_rng(7)

    def drawn(*shape: int) -> Floats:
        return random.standard_normal(shape, np.float32) * np.float32(0.3)

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen2vl_merger")
    writer.add_vision_projection_dim(192)
    writer.add_vision_image_size(112)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(2 * WIDTH)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(1)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        writer.add_tensor(name, drawn(WIDTH, 3, PATCH, PATCH))
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_out": (WIDTH, WIDTH)}
    shapes |= {"ffn_up": (2 * WIDTH, WIDTH), "ffn_down": (WIDTH, 2 * WIDTH)}
    for name, shape in shapes.items():
        writer.add_tensor(f"v.blk.0.{name}.weight", drawn(*shape))
        writer.add_tensor(f"v.blk.0.{name}.bias", np.zeros(shape[0], np.float32))
    for name in ("v.blk.0.ln1", "v.blk.0.ln2", "v.post_ln"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))
    for name, shape in (("mm.0", (4 * WIDTH, 4 * WIDTH)), ("mm.2", (192, 4 * WIDTH))):
        writer.add_tensor(f"{name}.weight", drawn(*shape) * np.float32(0.2))
        writer.add_tensor(f"{name}.bias", np.zeros(shape[0], np.float32))
    _close(writer)


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
