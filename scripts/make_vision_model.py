"""Make a model with eyes for tests and demonstrations: `.venv/bin/python scripts/make_vision_model.py`.

Writes golek-tiny as `model.gguf`, an image of each colour, and `mmproj.gguf`, a projector that was not trained but put
together by hand: a red image reads to the model as "What is NATS?", a green one as "What is JetStream?", a blue one as
"What is Golek?", and any other colour as nothing. Who shows such an image gets the answer that the words would get: so
an answer tells whether the image was seen. A second, the same bytes every time.
"""

import argparse
import shutil
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from golek_worker import one_colour

LANGUAGE_MODEL = Path("data/models/golek-tiny/model.gguf")
FOLDER = Path("data/models/golek-eyes")
PATCH = 14
"""Pixels on a side."""
COLOURS = ("red", "green", "blue")
WORDS = (("What", " is", " NATS", "?"), ("What", " is", " JetStream", "?"), ("What", " is", " Golek", "?"))
"""What an image of each colour says, a token for each of the first patches."""
STEEP = 40.0
"""A hidden unit beyond its threshold gives 10 and more: GELU is the identity there."""
Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"default {FOLDER}")
    parser.add_argument("--side", type=int, default=2, help="patches on a side of an image, at least 2; default 2")
    options = parser.parse_args()
    if options.side < 2:
        parser.error(f"--side={options.side}: an image says 4 words, so at least 2")
    options.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LANGUAGE_MODEL, options.folder / "model.gguf")
    projector = options.folder / "mmproj.gguf"
    write(projector, options.side)
    for colour in COLOURS:
        (options.folder / f"{colour}.png").write_bytes(one_colour.png(colour))
    print(f"{projector}: {projector.stat().st_size / 1e3:.0f} kB, {options.side**2} tokens an image")


def write(path: Path, side: int = 2) -> None:
    """A projector for golek-tiny; an image has `side` times `side` tokens."""
    language = gguf.GGUFReader(LANGUAGE_MODEL)
    tokens: list[str] = language.fields["tokenizer.ggml.tokens"].contents()
    embeddings = next(t.data for t in language.tensors if t.name == "token_embd.weight").astype(np.float32)
    said = [[embeddings[tokens.index(word.replace(" ", "\u0120"))] for word in words] for words in WORDS]
    width = len(COLOURS) + side * side
    writer = gguf.GGUFWriter(path, "clip")
    _add_shape(writer, width, side, embeddings.shape[1])
    for name, tensor in _tensors(said, width, side).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, width: int, side: int, out: int) -> None:
    writer.add_type("mmproj")
    writer.add_name("golek-eyes")
    writer.add_description("A projector put together by hand: three colours, three questions.")
    writer.add_license("MIT")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_projection_dim(out)
    writer.add_vision_image_size(PATCH * side)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(width)
    writer.add_vision_feed_forward_length(2 * width)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(1)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean([0.0, 0.0, 0.0])
    writer.add_vision_image_std([1.0, 1.0, 1.0])
    writer.add_vision_use_gelu(True)


def _tensors(said: list[list[Floats]], width: int, side: int) -> dict[str, Floats]:
    """A patch becomes its average colour and its place; each pair of a colour and a place has two hidden units.

    Their difference is 1 for that colour at that place, and else 0: it is the weight of the word said there.
    """
    places = len(said[0])
    patch = np.zeros((width, 3, PATCH, PATCH), np.float32)
    for colour in range(3):
        patch[colour, colour] = 1 / PATCH**2
    place = np.zeros((side * side, width), np.float32)
    place[:, 3:] = np.eye(side * side)
    hidden = np.zeros((2 * 3 * places, width), np.float32)
    bias = np.zeros(2 * 3 * places, np.float32)
    output = np.zeros((len(said[0][0]), 2 * 3 * places), np.float32)
    for colour, words in enumerate(said):
        for at, word in enumerate(words):
            unit = 2 * (colour * places + at)
            hidden[unit : unit + 2, :3] = -STEEP
            hidden[unit : unit + 2, colour] = STEEP
            hidden[unit : unit + 2, 3 + at] = 2 * STEEP
            bias[unit : unit + 2] = -2.5 * STEEP, -2.5 * STEEP - 1
            output[:, unit], output[:, unit + 1] = word, -word
    return {
        "v.patch_embd.weight": patch,
        "v.position_embd.weight": place,
        "mm.0.weight": hidden,
        "mm.0.bias": bias,
        "mm.2.weight": output,
        "mm.2.bias": np.zeros(len(output), np.float32),
        **_idle_layer(width),
    }


def _idle_layer(width: int) -> dict[str, Floats]:
    """The one layer that the file must have; a LLaVA projector reads what precedes the last layer."""
    matrices = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (width, width))
    matrices |= {"ffn_up": (2 * width, width), "ffn_down": (width, 2 * width)}
    layer = {f"v.blk.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in matrices.items()}
    layer |= {f"v.blk.0.{name}.bias": np.zeros(shape[0], np.float32) for name, shape in matrices.items()}
    norms = (f"v.blk.0.ln{n}.{part}" for n in (1, 2) for part in ("weight", "bias"))
    return layer | {name: np.zeros(width, np.float32) for name in norms}


if __name__ == "__main__":
    main()
