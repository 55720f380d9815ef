"""Which LoRA adapters does vLLM have, and how does one come and go?

An adapter that cannot be loaded while a sequence runs ends EngineCore for all of them. So each is loaded when it is
ordered, where only that order fails, and no more are taken than stay loaded.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from golek_wire.errors import AdapterNotFoundError
from golek_worker.engine import peft_folder
from golek_worker.engine.adapters import not_loaded
from golek_worker.engine.asynchronous import EngineDiedError
from golek_worker.engine.base import AdapterChanged, LoadAdapter, UnloadAdapter


class Adapters:
    """The adapters of one engine."""

    def __init__(self, llm: AsyncLLM, limit: int, rank: int) -> None:
        self._llm = llm
        self._limit = limit
        self._rank = rank
        self._named: dict[str, LoRARequest] = {}
        self._users: Counter[int] = Counter()
        self._retired: dict[int, LoRARequest] = {}
        """Whose name means another one now, or none, while sequences use them."""
        self._last = 0

    @property
    def names(self) -> list[str]:
        """What requests may name, sorted."""
        return sorted(self._named)

    async def change(self, command: LoadAdapter | UnloadAdapter) -> AdapterChanged:
        """Load or free an adapter, and how that went; sequences that use the old one go on with it.

        Raises EngineDiedError.
        """
        problem = None
        try:
            if isinstance(command, LoadAdapter):
                problem = self._refused(command) or await self._load(command)
            elif command.name in self._named:
                await self._retire(self._named.pop(command.name))
            else:
                problem = not_loaded(command.name, self.names)
        except EngineDeadError:
            raise EngineDiedError("vLLM's EngineCore is gone") from None
        return AdapterChanged(command.name, self.names, problem)

    def take(self, name: str) -> LoRARequest | None:
        """The adapter of this name, until it is given back; None for the model alone. Raises AdapterNotFoundError."""
        if not name:
            return None
        found = self._named.get(name)
        if found is None:
            raise AdapterNotFoundError(not_loaded(name, self.names), param="adapter", loaded=self.names)
        self._users[found.lora_int_id] += 1
        return found

    async def give_back(self, adapter: LoRARequest | None) -> None:
        """A sequence has ended."""
        if adapter is None:
            return
        number = adapter.lora_int_id
        self._users[number] -= 1
        if not self._users[number] and self._retired.pop(number, None) is not None:
            with suppress(EngineDeadError):  # then it is gone with all others
                await self._llm.remove_lora(number)

    def _refused(self, command: LoadAdapter) -> str | None:
        if not self._limit:
            return f"{command.path}: this engine takes no adapters; VLLM_MAX_LORAS says how many it shall"
        here = len(self._named.keys() - {command.name}) + len(self._retired)
        if here >= self._limit:
            return (
                f"{command.path}: {here} adapters are loaded, and VLLM_MAX_LORAS={self._limit}; unload one, or raise it"
            )
        if command.scale != 1.0:
            return f"{command.path}: vLLM applies an adapter at its own scale, not at {command.scale:g}"
        return peft_folder.problem(Path(command.path), self._rank)

    async def _load(self, command: LoadAdapter) -> str | None:
        self._last += 1
        adapter = LoRARequest(command.name, self._last, command.path)
        try:
            await self._llm.add_lora(adapter)
        except EngineDeadError:
            raise
        except Exception as error:  # noqa: BLE001 - it says in many ways that a file does not fit
            return f"{command.path}: vLLM cannot load it: {_said(error)}"
        if (old := self._named.pop(command.name, None)) is not None:
            await self._retire(old)
        self._named[command.name] = adapter
        return None

    async def _retire(self, adapter: LoRARequest) -> None:
        if self._users[adapter.lora_int_id]:
            self._retired[adapter.lora_int_id] = adapter
        else:
            await self._llm.remove_lora(adapter.lora_int_id)


def _said(error: Exception) -> str:
    """The last line: the one with the cause, where a call went through several processes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
