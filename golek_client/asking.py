"""What can be asked of models, whoever runs them?

The type for programs that shall work with a fleet and without one: `Golek`, and `golek_worker.local.LocalGolek`, whose
models run in the program itself.

    async def summary(golek: Asking, text: str) -> str:
        return (await golek.ask("qwen3-4b", f"Summarize: {text}", max_tokens=100)).text
"""

from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self, Unpack, overload

from golek_client.embedding import EmbedOptions
from golek_client.options import Messages, Options
from golek_client.ranking import RerankOptions
from golek_client.seeing import ClassifyOptions, Source
from golek_client.stream import Stream
from golek_wire.replies import EmbeddingReply, InferenceReply, RerankReply
from golek_wire.signals import Health, ModelRecord
from golek_wire.vision import VisionReply


class Asking(Protocol):
    """A client of models. What each call promises is said in `Golek`."""

    deadline: float

    async def ask(
        self,
        model: str,
        input: str,  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> InferenceReply: ...

    def stream(
        self,
        model: str,
        input: str,  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Stream: ...

    @overload
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[False] = False,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, InferenceReply]: ...
    @overload
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: Literal[True],
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Stream: ...

    async def embed(
        self,
        model: str,
        input: str | Sequence[str],  # noqa: A002 - the field's name on the wire
        *,
        deadline: float | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingReply: ...

    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        deadline: float | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankReply: ...

    async def classify(
        self,
        model: str,
        images: Source | Sequence[Source],
        *,
        deadline: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> VisionReply: ...

    async def models(self) -> list[ModelRecord]: ...
    async def health(self, model: str) -> Health: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
