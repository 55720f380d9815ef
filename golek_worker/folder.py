"""What does a folder of Hugging Face say of its model?

`config.json`, the headers of its safetensors files, and what stands beside them. It is told in GGUF's words, as
`Header`, so that whoever knows a model by its header knows this one: without native code, without reading weights.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from golek_worker.gguf import GGUFError, Header

CONFIG: Final = "config.json"
WEIGHTS: Final = ".safetensors"
INDEX: Final = "model.safetensors.index.json"
HEADER_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of the header of one safetensors file."""
_LENGTH: Final = 8
"""Bytes at the beginning of such a file, which say how long its header is."""
_POOLS: Final = ("modules.json", "1_Pooling/config.json")
"""What a model for sentence-transformers has."""
_TAKEN: Final = re.compile(
    r"[^/]+\.(safetensors|json|jinja|tiktoken|model)|tokenizer[^/]*|merges\.txt|vocab\.txt|\d_\w+/[^/]+\.(json|safetensors)"
)
_LEFT: Final = re.compile(r"\..*|consolidated[^/]*\.safetensors|.*\.(lock|part)")
"""Hidden files, downloads that did not end, and a second copy of the weights in Mistral's own form."""
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "block_count": ("num_hidden_layers", "n_layer", "num_layers"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "feed_forward_length": ("intermediate_size", "ffn_dim"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "context_length": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_used_count": ("num_experts_per_tok",),
}
"""What GGUF calls it, and what a config.json may."""
_WRITES: Final = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatModel", "MiniCPMV")
"""The last two are models that see, under names of their own."""
_VECTORS: Final = ("Model", "ForMaskedLM", "ForTextEncoding")
_UNSAID: Final = {"deepseek_vl_v2": ["DeepseekVLV2ForCausalLM"]}
"""The architectures of models whose config.json names none, by their `model_type`; vLLM knows the same."""
_PARTS: Final = ("text_config", "language_config", "llm_config")
"""What models that see call their part about text."""


class FolderError(GGUFError):
    """The folder is no model that can be served, or damaged; the message says what is wrong with it."""


class FolderHeader(Header):
    """The header of a folder. `metadata` has GGUF's keys; below `config` lies what config.json says."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What config.json says."""
        return dict(self.metadata["config"])

    @property
    def embeds(self) -> bool:
        return bool(self.metadata["pools"]) or (self._is(_VECTORS) and not self._is(_WRITES))

    @property
    def ranks(self) -> bool:
        return self._is(("ForSequenceClassification",))

    @property
    def quantization(self) -> str:
        """`AWQ`, `FP8`, …, else the type of its numbers: `BF16`."""
        quantized = self.config.get("quantization_config") or {}
        method = str(quantized.get("quant_method", "")) if isinstance(quantized, dict) else ""
        kind = str(self._text.get("torch_dtype") or self._text.get("dtype") or self.config.get("torch_dtype") or "")
        return method.upper() or {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(kind, kind or "unknown")

    @property
    def classes(self) -> list[str]:
        """`architectures`, such as `Qwen3ForCausalLM`."""
        return list(self.config.get("architectures") or _UNSAID.get(str(self.config.get("model_type")), []))

    @property
    def _text(self) -> Mapping[str, Any]:
        return _text_config(self.config)

    def _is(self, endings: tuple[str, ...]) -> bool:
        return any(name.endswith(endings) for name in self.classes)


def is_model(folder: Path) -> bool:
    """Whether a folder holds what this module reads."""
    return (folder / CONFIG).is_file()


def belongs(name: str) -> bool:
    """Whether a file of a repository belongs to its model, by its path there: weights in safetensors, and what says how
    to read them. Weights in other forms, copies for other programs and pictures do not.
    """
    return _TAKEN.fullmatch(name) is not None and _LEFT.fullmatch(PurePosixPath(name).name) is None


def chosen(names: Iterable[str]) -> list[str]:
    """The files of the model among those of a repository; what says that it is whole comes first."""
    return sorted((name for name in names if belongs(name)), key=lambda name: (name != CONFIG, name))


def files(folder: Path) -> list[Path]:
    """All files of the model in `folder`, config.json first."""
    there = (path for pattern in ("*", "[0-9]_*/*") for path in folder.glob(pattern) if path.is_file())
    return [folder / name for name in chosen(path.relative_to(folder).as_posix() for path in there)]


def missing(folder: Path) -> list[str]:
    """Files with weights that the folder's index names and that are not there."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        index = json.loads((folder / INDEX).read_text("utf-8"))
        return sorted(name for name in set(index["weight_map"].values()) if not (folder / name).is_file())
    return []


def read_header(folder: Path) -> FolderHeader:
    """What the model in `folder` says of itself. Raises OSError, FolderError."""
    config = _read_config(folder / CONFIG)
    weights = [file for file in files(folder) if file.suffix == WEIGHTS]
    if not weights:
        raise FolderError(f"no file with weights ({WEIGHTS}) beside {CONFIG}; other forms are not served")
    header = FolderHeader(
        dict(_metadata(folder, config)), sum(map(_parameters, weights)), sum(file.stat().st_size for file in weights)
    )
    if header.ranks and len(config.get("id2label") or {}) > 1:
        raise FolderError(f"{CONFIG} says architectures={header.classes}: it sorts texts, which no engine does")
    known = (*_WRITES, *_VECTORS, "ForSequenceClassification")
    if not any(name.endswith(known) for name in header.classes):
        raise FolderError(f"{CONFIG} says architectures={header.classes}: it neither writes nor makes vectors")
    return header


def _read_config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise FolderError(f"no {CONFIG}: no model of Hugging Face's; a GGUF file is named with its path") from None
    except ValueError as error:
        raise FolderError(f"{CONFIG} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise FolderError(f"{CONFIG} is no mapping")
    return found


def _metadata(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """GGUF's keys with what config.json says."""
    text, architecture = _text_config(config), str(config.get("model_type", ""))
    yield "general.architecture", architecture
    yield "config", config
    yield "pools", any((folder / name).is_file() for name in _POOLS)
    yield "tokenizer.ggml.tokens", int(text.get("vocab_size") or 0)
    if (template := _chat_template(folder)) is not None:
        yield "tokenizer.chat_template", template
    for key, names in _WORDS.items():
        value = next((text[name] for name in names if isinstance(text.get(name), int)), None)
        if value is not None:
            yield f"{architecture}.{key}", value


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about text, of a model that sees as well."""
    return next((inner for name in _PARTS if isinstance(inner := config.get(name), dict)), config)


def _chat_template(folder: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / "chat_template.jinja").read_text("utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):  # the latter beside a processor of images
        with contextlib.suppress(OSError, ValueError, AttributeError):
            said = json.loads((folder / name).read_text("utf-8")).get("chat_template")
            if isinstance(said, str):
                return said
    return None


def _parameters(file: Path) -> int:
    """Numbers in one file, by its header; packed ones count as they lie there. Raises OSError, FolderError."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH), "little")
            if length > min(HEADER_LIMIT, file.stat().st_size):
                raise FolderError(f"{file.name}: a damaged file, with a header of {length} bytes")
            said = json.loads(stream.read(length))
        ends = [one["data_offsets"][1] for name, one in said.items() if name != "__metadata__"]
        lacks = _LENGTH + length + max(ends, default=0) - file.stat().st_size
        if lacks > 0:
            raise FolderError(f"{file.name}: cut off, {lacks} bytes are missing at its end")
        return sum(math.prod(one["shape"]) for name, one in said.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{file.name}: a damaged file: {error}") from None
