"""How is vLLM opened, watched and closed?

`AsyncLLM` lives in the engine's child; it starts EngineCore, which computes, and speaks to it over sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from golek_wire.errors import BadRequestError, InternalError, ModelBusyError
from golek_worker.engine.asynchronous import EngineDiedError
from golek_worker.engine.base import EngineConfig, EngineLoadError
from golek_worker.engine.vllm import guard
from golek_worker.engine.vllm.arguments import arguments
from golek_worker.engine.vllm.heard import Heard
from golek_worker.engine.vllm.meter import Meter

WATCH_S = 0.2
CLOSE_S = 0.3
"""For EngineCore to end by itself; then it is killed, and the kernel frees what it had."""
PULSE_S = 1.0
"""Between two signs of life while it loads, whose end nobody knows."""
ADVICE = (
    (
        ("KV cache", "cache blocks", "max seq len", "max_model_len"),
        "Give less CTX_SIZE or WORKER_CONCURRENCY, or more VLLM_KV_CACHE_MEMORY_BYTES",
    ),
    (("memory",), "Give VLLM_GPU_MEMORY_UTILIZATION or CTX_SIZE a smaller value, or take a smaller model"),
    (("architecture", "not supported", "Unrecognized model"), "A newer vLLM may know this model"),
    (
        ("torchvision", "torchaudio"),
        "The model needs that package, of a build that fits torch in vLLM's environment; see docs/vllm.md, Images",
    ),
    (("config.json", "No such file", "does not appear to have"), "MODEL_PATH is a folder of Hugging Face's"),
)
"""What to do, by words of the cause."""
_ELSEWHERE = ("root cause", "check the logs")
"""Words of errors whose cause was told on stderr."""


class Runtime:
    """One running vLLM."""

    def __init__(self, llm: AsyncLLM, meter: Meter, stall_s: float, thread: ThreadPoolExecutor) -> None:
        self.llm = llm
        self.meter = meter
        self._stall_s = stall_s
        self._thread = thread

    @classmethod
    async def open(cls, config: EngineConfig, progress: Callable[[int, int], None]) -> Runtime:
        """Load the model. Raises EngineLoadError, which says why and what to do."""
        heard = Heard()
        os.environ[guard.PARENT] = str(os.getpid())
        meter = Meter()
        # The thread stays as long as the process: EngineCore is told by the kernel when it ends.
        thread = ThreadPoolExecutor(1, "vllm")
        loop = asyncio.get_running_loop()
        with heard.within():
            loading = loop.run_in_executor(thread, _load, config, meter)
            while not (await asyncio.wait([loading], timeout=PULSE_S))[0]:
                progress(0, 1)
        try:
            llm = await loading
        except EngineLoadError:
            raise
        except Exception as error:  # noqa: BLE001 - vLLM raises what comes
            raise EngineLoadError(f"{config.model_path}: vLLM cannot load it: {_reason(error, heard)}") from None
        return cls(llm, meter, config.vllm.stall_s, thread)

    @property
    def config(self) -> Any:
        """vLLM's own, as it was decided."""
        return self.llm.vllm_config

    async def watch(self) -> None:
        """Raise EngineDiedError when EngineCore is gone, or computes no step though sequences run."""
        idle_at = monotonic()
        while True:
            await asyncio.sleep(WATCH_S)
            if self.llm.errored:
                raise EngineDiedError("vLLM's EngineCore is gone")
            now = monotonic()
            if not self.llm.get_num_unfinished_requests():
                idle_at = now
            elif now - max(idle_at, self.meter.at) > self._stall_s:
                self._kill()
                raise EngineDiedError(f"vLLM's EngineCore computed no step for {self._stall_s:g} s")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """vLLM's errors as ours."""
        try:
            yield
        except VLLMClientError as error:
            raise BadRequestError(str(error)) from None
        except GracefulHTTPError as error:
            raise ModelBusyError(f"vLLM takes no more sequences: {error}") from None
        except EngineDeadError:
            raise EngineDiedError("vLLM's EngineCore is gone") from None
        except EngineGenerateError as error:
            raise InternalError(f"vLLM failed on this request: {error.__cause__!r}") from error

    async def close(self) -> None:
        """End EngineCore. Nothing runs any more."""
        handler = self.llm.output_handler
        if handler is not None:  # before the sockets close, or it reports an engine that died
            handler.cancel()
            await asyncio.gather(handler, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self.llm.shutdown, CLOSE_S)

    def _kill(self) -> None:
        manager = getattr(self.llm.engine_core.resources, "engine_manager", None)
        for process in getattr(manager, "processes", ()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _load(config: EngineConfig, meter: Meter) -> AsyncLLM:
    vllm_config = arguments(config).create_engine_config()
    return AsyncLLM.from_vllm_config(vllm_config, stat_loggers=[meter.logger()], disable_log_stats=True)


def _reason(error: Exception, heard: Heard) -> str:
    said = str(error) or type(error).__name__
    cause = heard.cause if any(words in said for words in _ELSEWHERE) else said.strip()
    cause = " ".join((cause or said).split())
    advice = next((what for words, what in ADVICE if any(word in cause for word in words)), "")
    return f"{cause.rstrip('.')}. {advice}".rstrip(". ") + "."
