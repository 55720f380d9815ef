"""How do texts become vectors?

A vector is the model's own, pooled as its file says, with length 1.

What a text's vector is depends on its neighbours only by the order in which numbers are summed. Measured with
all-MiniLM-L6-v2 (f32, CPU) over 50 texts of 3 to 246 tokens, alone and in shuffled batches: at most 0.00016 in any of
384 numbers (llama.cpp reads GELU from a table of 16-bit numbers, so a last bit can become that much).
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError, PayloadTooLargeError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import FRAME_LIMIT, Embedded, EngineLoadError, SequenceStart
from golek_worker.engine.llamacpp.pooled import Job, PooledEngine
from golek_worker.engine.unit import embeds, unit_vector

_NUMBER_BYTES = 9
"""A float in a frame."""

Vector = NDArray[np.float64]


class LlamaCppEmbedder(PooledEngine[Vector]):
    """A GGUF model that makes vectors."""

    capability = "embeddings"

    def _check(self) -> None:
        if self._model.header.ranks:
            raise EngineLoadError(
                f"{self._model.path}: this model ranks pairs of texts, it makes no vectors. "
                "Set MODEL_PATH to an embedding model."
            )

    def _about(self, info: ModelInfo) -> ModelInfo:
        return msgspec.structs.replace(info, modalities=["embeddings"], embedding_size=self._lanes.width)

    def _texts(self, command: SequenceStart) -> list[list[int]]:
        """Raises PayloadTooLargeError (too many vectors for one answer) beside what `submit` does."""
        asked = embeds(command)
        self._check_size(len(asked.inputs))
        return [self._tokenize(i, text) for i, text in enumerate(asked.inputs)]

    def _value(self, row: NDArray[np.float32]) -> Vector | None:
        return unit_vector(row)

    def _made(self, job: Job[Vector]) -> Embedded:
        vectors = [vector.tolist() for vector in job.values]
        return Embedded(job.job_id, vectors, job.tokens_in, [len(text) for text in job.texts])

    def _name(self, i: int) -> str:
        return f"input[{i}]"

    def _too_long_text(self, name: str, told: str, limit: int) -> str:
        return (
            f"{name} has {told} tokens; this model embeds texts of at most {limit}. "
            "Split it: no text is cut off silently."
        )

    def _sample(self) -> list[int]:
        return self._model.tokenize_whole("word")

    def _tokenize(self, i: int, text: str) -> list[int]:
        self._least_tokens(i, text)
        tokens = self._fitting(i, self._model.tokenize_whole(text))
        if not tokens:
            raise BadRequestError(f"input[{i}] is empty: there is nothing to embed", param=f"input[{i}]")
        return tokens

    def _check_size(self, inputs: int) -> None:
        """The vectors of a job travel to the worker in one frame."""
        fit = (FRAME_LIMIT // 2) // (self._lanes.width * _NUMBER_BYTES)
        if inputs > fit:
            raise PayloadTooLargeError(
                f"{inputs} vectors of {self._lanes.width} numbers do not fit into one answer. "
                f"Ask for at most {fit} at once.",
                param="input",
            )
