"""How does a program ask a model that it runs itself, without a fleet?

    from golek_worker.local import LocalGolek

    async with LocalGolek("golek-tiny") as golek:
        reply = await golek.ask("golek-tiny", "The capital of France is", max_tokens=5, temperature=0)
        async for delta in golek.stream("golek-tiny", "Once upon a time"):
            print(delta, end="", flush=True)

The same calls as `golek_client.Golek`, with the same options, replies, streams and errors, on engines that are children
of this process. There is no broker, no queue and nothing to start. A program that shall run with either writes
`golek_client.Asking` as the type of its client. Warnings go to the logger `golek.local`.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, Unpack, overload

from golek_client import discovery, ranking, seeing
from golek_client.client import DEFAULT_DEADLINE_S
from golek_client.embedding import EmbedOptions, Question
from golek_client.options import Messages, Options
from golek_client.ranking import RerankOptions
from golek_client.reading import Reply
from golek_client.seeing import ClassifyOptions, Source
from golek_client.stream import Stream
from golek_client.timed import Timed
from golek_wire import headers, parts
from golek_wire.errors import BadRequestError
from golek_wire.replies import EmbeddingReply, InferenceReply, RerankReply
from golek_wire.signals import Health, ModelRecord
from golek_wire.subjects import Kind
from golek_wire.vision import VisionReply
from golek_worker.local_exchange import LocalExchange
from golek_worker.local_model import LocalModel, check_settings, configured, quiet

ROOM: Final = parts.WHOLE_LIMIT - headers.REQUEST_RESERVE
"""Bytes of texts that are embedded together."""


class LocalGolek(Timed):
    """Models in this program. Share one: calls run side by side, as many at once as the model has slots.

    `async with LocalGolek("golek-tiny") as golek:` loads at once and frees all memory at the end; without it the first
    call loads, and `close` frees. Not for use from several event loops. Errors are those of `Golek`, all subclasses of
    `InferenceServiceError`.
    """

    def __init__(
        self,
        *models: str,
        model_path: str | Path | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """`models` are names as of workers: envs/worker.<name>.env counts where it is, and the catalogue. `model_path`
        is a GGUF file, or what ENGINE among the `settings` takes; it is asked by the one name given, else by its own
        without `.gguf` or `.tflite`. `settings` are a worker's, such as `{"CTX_SIZE": 4096, "WORKER_CONCURRENCY": 2}`,
        for all models; they win over the environment.

        Raises ModelNotFoundError where a file is not there, which is never downloaded here, and BadRequestError for
        settings that are wrong.
        """
        quiet()
        given = {key: str(value) for key, value in settings.items()}
        check_settings(given)
        if model_path is not None:
            if len(models) > 1:
                raise BadRequestError("model_path: the file of one model; name one at most", param="model_path")
            models = models or (Path(model_path).name.removesuffix(".gguf").removesuffix(".tflite"),)
            given["MODEL_PATH"] = str(model_path)
        if not models:
            raise BadRequestError("models: name one at least, or a model_path", param="models")
        self.deadline = deadline
        environment = {key: value for key, value in os.environ.items() if key not in {"MODEL_NAME", "SUBJECT"}}
        chosen = [configured(name, {**environment, **given}) for name in dict.fromkeys(models)]
        self._models = {one.model_name: LocalModel(one) for one in chosen}

    async def ask(
        self,
        model: str,
        input: str,  # noqa: A002 - as in Golek
        *,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> InferenceReply:
        """The whole answer to one prompt, as `Golek.ask`.

        Raises BadRequestError for `reply_to`, `session_id`, `resumable` and every `orchestration_mode` but `single`,
        which only a fleet has; ModelNotFoundError for another model, EngineFailedError when it cannot be loaded,
        DeadlineExceededError (loading counts), and what a worker answers. A caller that stops waiting (its task is
        cancelled) ends the job.
        """
        payload, seconds = self._request(deadline, options, prompt=input)
        return await self._reply(model, payload, seconds)

    def stream(
        self,
        model: str,
        input: str,  # noqa: A002 - as in Golek
        *,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Stream:
        """The answer while it is written, as `Golek.stream`. Errors are those of `ask`."""
        payload, seconds = self._request(deadline, options, prompt=input, stream=True)
        return self._stream(model, payload, seconds)

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
    def chat(
        self,
        model: str,
        messages: Messages,
        *,
        stream: bool = False,
        deadline: float | None = None,
        **options: Unpack[Options],
    ) -> Coroutine[Any, Any, InferenceReply] | Stream:
        """The next turn of a conversation, as `Golek.chat`. Errors are those of `ask`."""
        payload, seconds = self._request(deadline, options, messages=messages, stream=stream)
        return self._stream(model, payload, seconds) if stream else self._reply(model, payload, seconds)

    async def embed(
        self,
        model: str,
        input: str | Sequence[str],  # noqa: A002 - as in Golek
        *,
        deadline: float | None = None,
        **options: Unpack[EmbedOptions],
    ) -> EmbeddingReply:
        """The vector of a text, or of each text in a list, as `Golek.embed`."""
        seconds = self._seconds(deadline)
        question = Question(input, options)
        clock = asyncio.get_running_loop().time
        until = clock() + seconds

        async def ask(payload: bytes, _part: str) -> EmbeddingReply:
            async with self._exchange(model, "embedding", EmbeddingReply, payload, until, seconds) as exchange:
                return await exchange.reply()

        return await question.answer(ask, ROOM, lambda: until - clock())

    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        deadline: float | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankReply:
        """How well each of `documents` suits `query`, as `Golek.rerank`."""
        seconds = self._seconds(deadline)
        payload = ranking.build(query, documents, options, seconds)
        until = asyncio.get_running_loop().time() + seconds
        async with self._exchange(model, "rerank", RerankReply, payload, until, seconds) as exchange:
            return await exchange.reply()

    async def classify(
        self,
        model: str,
        images: Source | Sequence[Source],
        *,
        deadline: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> VisionReply:
        """What an image shows, or each of several, as `Golek.classify`."""
        seconds = self._seconds(deadline)
        payload = seeing.build(images, options, seconds)
        until = asyncio.get_running_loop().time() + seconds
        async with self._exchange(model, "vision", VisionReply, payload, until, seconds) as exchange:
            return await exchange.reply()

    async def models(self) -> list[ModelRecord]:
        """The models of this program, by name; `state` is `starting` before the first call that loads one."""
        return [self._models[name].record() for name in sorted(self._models)]

    async def health(self, model: str) -> Health:
        """How `model` is. Raises ModelNotFoundError."""
        return self._of(model).health()

    async def close(self) -> None:
        """End all engines; who still waits gets an error, and a later call BusUnavailableError."""
        await asyncio.gather(*(model.close() for model in self._models.values()))

    async def __aenter__(self) -> Self:
        """Load all models. Raises EngineFailedError with the words of an engine that cannot."""
        try:
            await asyncio.gather(*(model.ready() for model in self._models.values()))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _of(self, model: str) -> LocalModel:
        found = self._models.get(model)
        if found is None:
            raise discovery.not_found(model, list(self._models), list(self._models))
        return found

    def _exchange(
        self, model: str, kind: Kind, reply: type[Reply], payload: bytes, until: float, seconds: float
    ) -> LocalExchange[Reply]:
        return LocalExchange(self._of(model), kind, reply, payload, until, seconds)

    async def _reply(self, model: str, payload: bytes, seconds: float) -> InferenceReply:
        until = asyncio.get_running_loop().time() + seconds
        async with self._exchange(model, "inference", InferenceReply, payload, until, seconds) as exchange:
            return await exchange.reply()

    def _stream(self, model: str, payload: bytes, seconds: float) -> Stream:
        async def open_exchange(asked: bytes, until: float) -> LocalExchange[InferenceReply]:
            return self._exchange(model, "inference", InferenceReply, asked, until, seconds)

        return Stream(open_exchange, payload, seconds)
