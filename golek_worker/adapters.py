"""Which LoRA adapters does this worker offer, and how do operators change that?

ADAPTERS of the env file names some; operators load others on `models.<model>.adapters.load`, in all replicas
(bus/orders.py). What was loaded so is kept in the fleet's bucket, from which replicas that start later, or were away,
take it. See docs/decisions/0024.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from golek_client.bus_client import BusClient
from golek_wire import codec, subjects
from golek_wire.adapters import AdapterFile, AdapterOrder, AdapterReport
from golek_wire.errors import BadRequestError
from golek_worker.bus.adapters import AdapterBucket
from golek_worker.bus.jetstream import BUS_ERRORS, patiently
from golek_worker.bus.orders import Orders, Task
from golek_worker.engine import lora_file, peft_folder
from golek_worker.engine.adapters import AdapterBook
from golek_worker.engine.base import LoadAdapter, UnloadAdapter
from golek_worker.engine.host import EngineHost
from golek_worker.gguf import read_header, read_tensors
from golek_worker.settings import Settings, shipped

log = structlog.get_logger("adapters")

TAKE_ADAPTERS = ("llamacpp", "vllm")
"""Engines."""


def not_here(engine: str) -> str:
    """Why there are no adapters."""
    return f"ENGINE={engine} takes no adapters"


def problems(chosen: Settings, model: Path | None) -> list[str]:
    """What is wrong with the files that ADAPTERS names; a sentence each."""
    if not chosen.adapter_files:
        return []
    if model is None or chosen.engine not in TAKE_ADAPTERS:
        return [f"ADAPTERS={chosen.adapters}: {not_here(chosen.engine)}"]
    paths = [Path(one.path) for one in chosen.adapter_files]
    if chosen.engine == "vllm":
        found = [peft_folder.problem(path, chosen.vllm_max_lora_rank) for path in paths]
    else:
        header = read_header(model)
        tensors = read_tensors(model) if header.metadata.get("split.count", 1) == 1 else []
        found = [lora_file.problem(path, header.architecture, tensors) for path in paths]
    return [f"ADAPTERS: {problem}" for problem in found if problem is not None]


class Event(Protocol):
    """One line in the log, one row among the events."""

    def __call__(self, code: str, message: str, *, level: str = "info") -> None: ...


def book(chosen: Settings, model: Path | None, event: Event) -> AdapterBook:
    """The adapters that the env file names, for the engine. Raises RuntimeError with what is wrong with them."""
    if wrong := problems(chosen, model):
        raise RuntimeError("\n".join(wrong))
    wanted = [LoadAdapter(one.name, one.path, one.scale) for one in chosen.adapter_files]
    return AdapterBook(wanted, lambda problem: event("adapter.failed", problem, level="error"))


class Adapters:
    """The adapters of one worker, and orders to change them."""

    def __init__(
        self,
        client: BusClient,
        orders: Orders,
        chosen: Settings,
        worker_id: str,
        host: EngineHost,
        kept: AdapterBucket,
        changed: Callable[[], Awaitable[object]],
    ) -> None:
        """`changed` is called when an adapter came or went by order: what was answered with it counts no more."""
        self._client = client
        self._orders = orders
        self._settings = chosen
        self._worker_id = worker_id
        self._host = host
        self._kept = kept
        self._changed = changed
        self._in_file = {one.name for one in chosen.adapter_files}
        self._change = asyncio.Lock()

    async def start(self) -> None:
        """Take over what the fleet keeps, and hear orders, on the literal and the token subject."""
        await patiently(self._client, self.sync)
        spellings = subjects.spellings(self._settings.model_name)
        await self._orders.hear(
            [subjects.adapters(spelling, verb) for spelling in spellings for verb in subjects.ADAPTER_VERBS], self._read
        )

    async def sync(self) -> None:
        """Do what was ordered while this worker was away. What the env file names wins. Raises BUS_ERRORS."""
        async with self._change:
            kept = {one.name: one for one in await self._kept.all() if one.name not in self._in_file}
            wanted = self._host.adapters.wanted
            for name in wanted.keys() - kept.keys() - self._in_file:
                await self._host.change_adapter(UnloadAdapter(name))
            for name, one in kept.items():
                command = self._command(one)
                if wanted.get(name) != command:
                    changed = await self._host.change_adapter(command)
                    if changed.problem is not None:
                        log.error("adapter.failed", name=name, problem=changed.problem)

    def _read(self, verb: str, body: bytes) -> Task:
        order = codec.decode_order(body, AdapterOrder)
        if verb != "list":
            _check(verb, order)
            log.info("adapter.order", verb=verb, name=order.name, path=order.path)
        return Task(lambda: self._obey(verb, order), self._report)

    async def _obey(self, verb: str, order: AdapterOrder) -> str | None:
        """Why it is not as it was ordered; None when it is."""
        if verb == "list":
            return None
        async with self._change:
            if verb == "load":
                problem = await self._load(AdapterFile(order.name, order.path, order.scale))
            else:
                problem = await self._unload(order.name)
            with contextlib.suppress(*BUS_ERRORS):  # its file and scale are in the keys of answers as well
                await self._changed()
            return problem

    async def _load(self, adapter: AdapterFile) -> str | None:
        if self._settings.engine not in TAKE_ADAPTERS:
            return not_here(self._settings.engine)
        command = self._command(adapter)
        if not self._host.serving and self._host.ready is not None:
            problem = self._wrong(Path(command.path), self._host.ready.info.architecture)
            if problem is not None:
                return problem
        changed = await self._host.change_adapter(command)
        return changed.problem or await self._keep(adapter)

    async def _unload(self, name: str) -> str | None:
        changed = await self._host.change_adapter(UnloadAdapter(name))
        try:
            await self._kept.remove(name)
        except BUS_ERRORS as error:
            return f"replicas that start later will still load it: {error}"
        return changed.problem

    async def _keep(self, adapter: AdapterFile) -> str | None:
        try:
            await self._kept.put(adapter)
        except BUS_ERRORS as error:
            return f"loaded here, but replicas that start later will not know it: {error}"
        return None

    def _wrong(self, path: Path, architecture: str) -> str | None:
        """What is wrong with an adapter, as far as that can be told without the engine."""
        if self._settings.engine == "vllm":
            return peft_folder.problem(path, self._settings.vllm_max_lora_rank)
        return lora_file.problem(path, architecture)

    def _command(self, adapter: AdapterFile) -> LoadAdapter:
        return LoadAdapter(adapter.name, str(shipped(adapter.path, self._settings.data)), adapter.scale)

    def _report(self, problem: str | None) -> AdapterReport:
        wanted = self._host.adapters.wanted
        files = [AdapterFile(name, wanted[name].path, wanted[name].scale) for name in sorted(wanted)]
        return AdapterReport(
            self._settings.model_name,
            self._worker_id,
            files,
            problem,
            waits=not self._host.serving,
            failed=self._host.adapters.problems,
        )


def _check(verb: str, order: AdapterOrder) -> None:
    """Raises BadRequestError for an order that no replica can obey."""
    if not subjects.is_adapter_name(order.name):
        raise BadRequestError(
            f"name: at most {subjects.ADAPTER_NAME_LIMIT} of A-Z a-z 0-9 _ - . without an empty part between dots, "
            f"got {order.name!r}",
            param="name",
        )
    if verb == "load" and not order.path:
        raise BadRequestError(
            "path: the adapter's GGUF file, or folder for vLLM, on the worker's machine", param="path"
        )
