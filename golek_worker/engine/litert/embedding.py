"""How do texts become vectors with LiteRT?

The model takes the numbers of a text's tokens, and if it wants them a mask and segments; `tokenizer.json` beside its
file says how a text becomes tokens. It gives a vector, or one for each token, of which the mean is taken. Vectors have
length 1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError, ContextBudgetExceededError, InferenceServiceError, InternalError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import Embedded, EngineConfig, EngineLoadError, Ready, SequenceStart
from golek_worker.engine.litert import TO_INSTALL
from golek_worker.engine.litert.engine import Job, LiteRTEngine
from golek_worker.engine.litert.model import only
from golek_worker.engine.unit import embeds, unit_vector

TOKENIZER: Final = "tokenizer.json"
MASKS: Final = ("mask",)
SEGMENTS: Final = ("segment", "type")
OPEN_CTX: Final = 512
"""Tokens of a text where the model leaves that open and neither CTX_SIZE nor its tokenizer says it."""
PADDING: Final = ("[PAD]", "<pad>", "<|padding|>")
LONG: Final = 16
"""A text of more characters for each token of the context is likely too long for it."""


class Inputs(NamedTuple):
    """Which of the model's inputs is what; None for one that it does not have."""

    tokens: int
    mask: int | None
    segments: int | None


class LiteRTEmbedder(LiteRTEngine[list[int]]):
    """A `.tflite` model that makes vectors."""

    def __init__(self, config: EngineConfig, progress: Callable[[int, int], None]) -> None:
        super().__init__(config, progress)
        model = self._model
        self._inputs = self._find_inputs()
        output = only(model.outputs, (2, 3))
        if output is None:
            raise model.fail("an embedding model gives one vector for a text (2 dimensions) or for each token (3)")
        self._output = output
        self._tokenizer = _tokenizer(model.path)
        length = model.inputs[self._inputs.tokens].shape[1]
        self._is_open = length == -1
        """The model takes texts of any length; else they are filled up."""
        cut = (self._tokenizer.truncation or {}).get("max_length", 0)
        padding = self._tokenizer.padding or {}
        self._padding = padding.get("pad_id", _padding(self._tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # what a text calls so is plain text
        ctx_size = (config.ctx_size or cut or OPEN_CTX) if self._is_open else length
        if config.ctx_size > ctx_size:
            raise EngineLoadError(f"CTX_SIZE={config.ctx_size}: {model.path} reads texts of at most {ctx_size} tokens")
        info = ModelInfo(
            architecture="tflite", modalities=["embeddings"], context_size=ctx_size, model_family="tflite",
            vocab_size=self._tokenizer.get_vocab_size(), size_bytes=model.told.size_bytes,
            embedding_size=len(self._try(ctx_size)),
        )  # fmt: skip
        self.ready = Ready(info, ["embeddings"], "cpu", config.slots, config.ctx_size or ctx_size)

    def _find_inputs(self) -> Inputs:
        found: dict[str, int] = {}
        for i, tensor in enumerate(self._model.inputs):
            name = tensor.name.lower()
            role = "mask" if _named(name, MASKS) else "segments" if _named(name, SEGMENTS) else "tokens"
            if role in found or len(tensor.shape) != 2 or (role == "tokens" and tensor.type not in ("int32", "int64")):
                raise self._model.fail(
                    "an embedding model takes one input with the numbers of tokens, int32 or int64 of 2 dimensions "
                    "(texts, tokens), and with `mask` and `segment` or `type` in their names a mask and segments"
                )
            found[role] = i
        if "tokens" not in found:
            raise self._model.fail("there is no input for the numbers of tokens")
        return Inputs(found["tokens"], found.get("mask"), found.get("segments"))

    def _items(self, command: SequenceStart) -> list[list[int]]:
        asked = embeds(command)
        return [self._encode(text, f"input[{i}]") for i, text in enumerate(asked.inputs)]

    def _encode(self, text: str, name: str) -> list[int]:
        limit = self.ready.ctx_size
        if len(text) > LONG * limit and (least := len(self._tokenizer.encode(text[: LONG * limit]).ids)) > limit:
            raise _too_long(name, f"at least {least}", least, limit)
        tokens: list[int] = self._tokenizer.encode(text).ids
        if not tokens:
            raise BadRequestError(f"{name} is empty: there is nothing to embed", param=name)
        if len(tokens) > limit:
            raise _too_long(name, str(len(tokens)), len(tokens), limit)
        return tokens

    def _input(self, item: list[int], name: int) -> list[int]:  # noqa: ARG002 - tokens need no more
        return item

    def _compute(self, batch: list[Any]) -> list[list[float] | InferenceServiceError]:
        width = max(map(len, batch)) if self._is_open else self._model.inputs[self._inputs.tokens].shape[1]
        tokens = np.full((len(batch), width), self._padding, np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, text in enumerate(batch):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        parts = {self._inputs.tokens: tokens, self._inputs.mask: mask, self._inputs.segments: np.zeros_like(tokens)}
        rows = self._model.compute([parts[i] for i in range(len(self._model.inputs))], self._output)
        if rows.ndim == 3:
            rows = (rows * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return [_vector(row) for row in rows]

    def _made(self, job: Job[list[int]]) -> Embedded:
        return Embedded(job.job_id, job.values, self._tokens(job), [len(text) for text in job.items])

    def _tokens(self, job: Job[list[int]]) -> int:
        return sum(map(len, job.items))

    def _try(self, ctx_size: int) -> list[float]:
        """The vector of a word. Raises EngineLoadError when nothing comes of it."""
        tokens = self._tokenizer.encode("word").ids[:ctx_size]
        try:
            (value,) = self._compute([tokens])
        except (RuntimeError, ValueError) as error:
            raise self._model.fail(f"it fails on a word: {error}") from None
        if isinstance(value, InferenceServiceError):
            raise self._model.fail(f"what it gives for a word is of no use: {value.message}")
        return value


def _named(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)


def _vector(row: NDArray[np.float32]) -> list[float] | InferenceServiceError:
    vector = unit_vector(row)
    if vector is None:
        return InternalError("The model gave nothing of use for a text: all zeros, or numbers that are none")
    return vector.tolist()  # type: ignore[no-any-return]


def _too_long(name: str, told: str, count: int, limit: int) -> ContextBudgetExceededError:
    message = f"{name} has {told} tokens; this model embeds texts of at most {limit}. "
    return ContextBudgetExceededError(count, limit, message + "Split it: no text is cut off silently.", param=name)


def _tokenizer(model: Path) -> Any:
    path = model.parent / TOKENIZER
    if not path.is_file():
        raise EngineLoadError(
            f"{path}: no such file. It says how a text becomes tokens; put it beside the model's file."
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EngineLoadError(f"ENGINE=litert: tokenizers is not installed ({error}). {TO_INSTALL}") from None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises this and nothing narrower
        raise EngineLoadError(f"{path}: it is no tokenizer of the `tokenizers` library: {error}") from None


def _padding(tokenizer: Any) -> int:
    """What fills a text up."""
    found = (tokenizer.token_to_id(name) for name in PADDING)
    return next((number for number in found if number is not None), 0)
