"""How well does a document suit a query?

A model with a classifier reads both as one text and gives a number. How the two become one text its file says: by a
template named `rerank`, in which `{query}` and `{document}` stand for them; without one, what of the model's own
first, last and separating tokens the file wants stands around query and document.

The score is the classifier's first number as it comes, as llama-server gives it: of most models a logit, of Qwen3's
rerankers a probability.
"""

import re

import llama_cpp
import msgspec
import numpy as np
from numpy.typing import NDArray

from golek_wire.errors import BadRequestError
from golek_wire.signals import ModelInfo
from golek_worker.engine.base import EngineLoadError, Rank, Ranked, SequenceStart
from golek_worker.engine.llamacpp.pooled import Job, PooledEngine

TEMPLATE = "tokenizer.chat_template.rerank"
_PLACES = re.compile(r"(\{query\}|\{document\})")


class LlamaCppRanker(PooledEngine[float]):
    """A GGUF model that scores pairs of texts."""

    capability = "rerank"

    def _check(self) -> None:
        model = self._model
        if not model.header.ranks:
            raise EngineLoadError(
                f"{model.path}: this {model.header.architecture} model ranks nothing (its pooling is no classifier's). "
                "Set MODEL_PATH to a reranker."
            )
        template = model.header.metadata.get(TEMPLATE)
        self._template = template if isinstance(template, str) else None
        self._names = model.control_names

    def _about(self, info: ModelInfo) -> ModelInfo:
        return msgspec.structs.replace(info, modalities=["rerank"])

    def _texts(self, command: SequenceStart) -> list[list[int]]:
        if not isinstance(command, Rank):
            raise BadRequestError(
                "This model ranks documents, it neither writes nor makes vectors. "
                "Send `query` and `documents` to rerank.request.<model>"
            )
        if not command.documents:
            raise BadRequestError("There is no text in `documents`", param="documents")
        self._least_tokens(0, command.query)
        return [self._pair(i, command.query, document) for i, document in enumerate(command.documents)]

    def _value(self, row: NDArray[np.float32]) -> float | None:
        return float(row[0]) if np.isfinite(row[0]) else None

    def _made(self, job: Job[float]) -> Ranked:
        return Ranked(job.job_id, job.values, job.tokens_in)

    def _name(self, i: int) -> str:
        return f"documents[{i}]"

    def _too_long_text(self, name: str, told: str, limit: int) -> str:
        return (
            f"{name} and the query have {told} tokens together; this model reads pairs of at most {limit}. "
            "Split the document: no text is cut off silently."
        )

    def _sample(self) -> list[int]:
        return self._joined("word", "word")

    def _pair(self, i: int, query: str, document: str) -> list[int]:
        self._least_tokens(i, document)
        return self._fitting(i, self._joined(query, document))

    def _joined(self, query: str, document: str) -> list[int]:
        """The tokens of the one text."""
        if self._template is not None:
            return self._filled(self._template, query, document)
        vocab, model = self._model.vocab, self._model
        separator = llama_cpp.llama_vocab_sep(vocab)
        last = llama_cpp.llama_vocab_eos(vocab)
        end = [last if last >= 0 else separator] if llama_cpp.llama_vocab_get_add_eos(vocab) else []
        return [
            *([model.bos] if llama_cpp.llama_vocab_get_add_bos(vocab) else []),
            *model.tokenize_part(query, named=False),
            *end,
            *([separator] if llama_cpp.llama_vocab_get_add_sep(vocab) else []),
            *model.tokenize_part(document, named=False),
            *end,
        ]

    def _filled(self, template: str, query: str, document: str) -> list[int]:
        """The template's tokens. A name of a control token that a caller wrote is plain text."""
        given = {"{query}": query, "{document}": document}
        parts = _PLACES.split(template)
        if not any(name in text for name in self._names for text in given.values()):
            return self._model.tokenize_part("".join(given.get(part, part) for part in parts), named=True)
        tokens: list[int] = []
        for part in parts:
            tokens += self._model.tokenize_part(given.get(part, part), named=part not in given)
        return tokens
