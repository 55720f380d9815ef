"""How is a small model for LiteRT made, whose answers are known by construction?

    .venv/bin/python scripts/litert_models.py FOLDER

It writes two models of a few KB, without TensorFlow, by the schema that ai-edge-litert ships:

- `golek-letters/model.tflite` makes a vector of a text: its bytes are looked up in a table of random numbers, added up,
  turned by a matrix and made a unit vector. Equal letters, equal vectors. `tokenizer.json` beside it makes bytes of
  texts.
- `golek-colours/model.tflite` says which colour an image has: the mean of each channel is its score. `labels.txt`
  beside it says red, green, blue; `red.png`, `green.png` and `blue.png` are images to show it.
"""

import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from golek_worker import one_colour

Array = NDArray[Any]
TOKENS, WIDTH = 128, 64
"""Of the model of texts: how many it reads at most, and how wide its vectors are."""
SIZE = 8
"""Of the model of images: rows and columns."""
LABELS = ("red", "green", "blue")
SHARPNESS = 12.0
"""A channel that is full has a score so much above one that is empty."""
TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}
OPERATORS = {
    "DEQUANTIZE": 6, "FULLY_CONNECTED": 9, "L2_NORMALIZATION": 11, "MUL": 18, "RESHAPE": 22, "SOFTMAX": 25,
    "GATHER": 36, "TRANSPOSE": 39, "MEAN": 40, "CAST": 53, "EXPAND_DIMS": 70, "SUM": 74,
}  # fmt: skip
NO_BUFFER = -1


class Graph:
    """A model that is being written: tensors and operators in the order they are computed."""

    def __init__(self, description: str) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = description
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, kind: str, shape: Sequence[int], data: Array | None = None) -> int:
        """A tensor's number; -1 in its shape is open. With `data` it is a constant."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, TYPES[kind], 0
        tensor.shape = [max(1, size) for size in shape]
        if -1 in shape:
            tensor.shapeSignature = list(shape)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, data: Array) -> int:
        return self.tensor(name, str(data.dtype), data.shape, data)

    def input(self, name: str, kind: str, shape: Sequence[int], scale: float = 0.0, zero: int = 0) -> int:
        """What goes in; with a scale it is quantized."""
        number = self.tensor(name, kind, shape)
        if scale:
            quantized = schema.QuantizationParametersT()
            quantized.scale, quantized.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
            self.graph.tensors[number].quantization = quantized
        self.graph.inputs.append(number)
        return number

    def add(self, operator: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None) -> int:
        """An operator; the number of what it gives, float32 of this shape."""
        code = schema.OperatorCodeT()
        code.builtinCode = OPERATORS[operator]
        code.deprecatedBuiltinCode, code.version = min(OPERATORS[operator], 127), 1
        step = schema.OperatorT()
        step.opcodeIndex = len(self.model.operatorCodes)
        output = self.tensor(f"{operator.lower()}_{len(self.graph.tensors)}", "float32", shape)
        step.inputs, step.outputs = list(inputs), [output]
        if options is not None:
            step.builtinOptions = options
            step.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.model.operatorCodes.append(code)
        self.graph.operators.append(step)
        return output

    def attach(self, name: str, content: bytes) -> None:
        """Metadata of this name."""
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        entry.name, entry.buffer = name, len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.model.metadata = [entry]

    def write(self, path: Path, output: int) -> Path:
        """The file, whose model gives this tensor."""
        self.graph.outputs = [output]
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(builder.Output()))
        return path


def options(name: str, **values: Any) -> Any:
    """Options of an operator, by the schema's name."""
    found = getattr(schema, f"{name}T")()
    for key, value in values.items():
        assert hasattr(found, key), f"{name} has no {key}"
        setattr(found, key, value)
    return found


def weights() -> tuple[Array, Array]:
    """Of the model of texts: a row for each token, and the matrix that turns their sum."""
    random = np.random.default_rng(11)
    table = random.normal(0.0, 1.0, (257, WIDTH)).astype(np.float32)
    return table, random.normal(0.0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32)


def letters(path: Path, *, rows: int = -1, tokens: int = TOKENS, pooled: bool = True) -> Path:
    """The model of texts, and its tokenizer beside it; `rows` are computed together, -1 is any number.

    Without `pooled` it gives a vector for each token.
    """
    table, turn = weights()
    graph = Graph("bytes of a text, looked up and added")
    ids = graph.input("input_ids", "int32", (rows, tokens))
    mask = graph.input("attention_mask", "int32", (rows, tokens))
    graph.input("token_type_ids", "int32", (rows, tokens))
    found = graph.add("GATHER", [graph.constant("table", table), ids], (rows, tokens, WIDTH), options("GatherOptions"))
    if not pooled:
        return _with_tokenizer(graph.write(path, found))
    known = graph.add("CAST", [mask], (rows, tokens), options("CastOptions", inDataType=2, outDataType=0))
    axis = graph.constant("last", np.array(2, np.int32))
    wide = graph.add("EXPAND_DIMS", [known, axis], (rows, tokens, 1), options("ExpandDimsOptions"))
    kept = graph.add("MUL", [found, wide], (rows, tokens, WIDTH), options("MulOptions"))
    texts = graph.constant("tokens", np.array([1], np.int32))
    added = graph.add("SUM", [kept, texts], (rows, WIDTH), options("ReducerOptions", keepDims=False))
    turned = graph.add("FULLY_CONNECTED", [added, graph.constant("turn", turn), NO_BUFFER], (rows, WIDTH),
                       options("FullyConnectedOptions"))  # fmt: skip
    unit = graph.add("L2_NORMALIZATION", [turned], (rows, WIDTH), options("L2NormOptions"))
    return _with_tokenizer(graph.write(path, unit))


def _with_tokenizer(path: Path) -> Path:
    (path.parent / "tokenizer.json").write_text(json.dumps(tokenizer()), "utf-8")
    return path


def tokenizer() -> dict[str, Any]:
    """Each byte of a text is a token, in the form of the `tokenizers` library."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in shown}
    names |= {byte: chr(256 + i) for i, byte in enumerate(byte for byte in range(256) if byte not in shown)}
    vocabulary = {"[PAD]": 0} | {names[byte]: byte + 1 for byte in range(256)}
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    padding = {
        "id": 0, "content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [padding], "normalizer": None,
        "pre_tokenizer": bytes_of, "post_processor": None, "decoder": bytes_of,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": [],
        },
    }  # fmt: skip


def colours(
    path: Path, *, kind: str = "float32", softmax: bool = True, channels_first: bool = False, rows: int = -1,
    sharpness: float = SHARPNESS, mean: float | None = None, std: float = 1.0,
) -> Path:  # fmt: skip
    """The model of images, and its labels beside it. As float32 it takes pixels from 0 to 1, or less `mean` and divided
    by `std` as its metadata says then.
    """
    graph = Graph("the mean of each channel")
    if mean is not None:
        graph.attach("TFLITE_METADATA", normalization(mean, std))
    shape = (rows, 3, SIZE, SIZE) if channels_first else (rows, SIZE, SIZE, 3)
    quantized = {"uint8": (1 / 255, 0), "int8": (1 / 255, -128)}.get(kind, (0.0, 0))
    image = graph.input("image", kind, shape, *quantized)
    if kind != "float32":
        image = graph.add("DEQUANTIZE", [image], shape)
    axes = graph.constant("places", np.array([2, 3] if channels_first else [1, 2], np.int32))
    mean = graph.add("MEAN", [image, axes], (rows, 3), options("ReducerOptions", keepDims=False))
    weights = graph.constant("weights", (sharpness * np.eye(3)).astype(np.float32))
    scores = graph.add("FULLY_CONNECTED", [mean, weights, NO_BUFFER], (rows, 3), options("FullyConnectedOptions"))
    if softmax:
        scores = graph.add("SOFTMAX", [scores], (rows, 3), options("SoftmaxOptions", beta=1.0))
    graph.write(path, scores)
    (path.parent / "labels.txt").write_text("\n".join(LABELS) + "\n", "utf-8")
    return path


def normalization(mean: float, std: float) -> bytes:
    """Metadata that says how pixels are normalized; the nesting is TensorFlow Lite's metadata schema's."""
    builder = flatbuffers.Builder(256)

    def vector(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def table(size: int, fields: dict[int, int], kind: int | None = None) -> int:
        builder.StartObject(size)
        if kind is not None:
            builder.PrependUint8Slot(0, kind, 0)
        for slot, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return int(builder.EndObject())

    means, deviations = (builder.CreateNumpyVector(np.array([number], np.float32)) for number in (mean, std))
    unit = table(2, {1: table(2, {0: means, 1: deviations})}, kind=1)
    tensor = table(7, {4: vector([unit])})
    graph = table(5, {2: vector([tensor])})
    builder.Finish(table(8, {3: vector([graph])}), b"M001")
    return bytes(builder.Output())


def attach_labels(path: Path) -> Path:
    """Put the labels into the model's own file, where metadata has them, instead of beside it."""
    beside = path.parent / "labels.txt"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", beside.read_text("utf-8"))
    beside.unlink()
    return path


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
    for colour in LABELS:
        (folder / "golek-colours").mkdir(parents=True, exist_ok=True)
        (folder / f"golek-colours/{colour}.png").write_bytes(one_colour.png(colour))
    for made in (letters(folder / "golek-letters/model.tflite"), colours(folder / "golek-colours/model.tflite")):
        print(f"{made}: {made.stat().st_size} bytes")
