"""Every preset that ships, in every mode, over a real bus: echo workers have the names of its models."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import pytest

from golek_wire.orchestration import Mode, Preset
from golek_worker.orchestration.presets import MINIMUM, PRESETS, read
from tests.bus.test_router import router
from tests.support import raw
from tests.support.workers import WorkerProcess

SHIPPED = read(PRESETS).by_id
MODELS = sorted({model for one in SHIPPED.values() for model in one.models})
AT_ONCE = 8


@pytest.fixture
def fleet(nats_server: str, tmp_path: Path) -> Iterator[str]:
    """A worker for each model that a preset names, and a router."""
    with ExitStack() as stack:
        for name in MODELS:
            echo = WorkerProcess(
                nats_server, tmp_path / name, name, ENGINE="echo", MODEL_NAME=name, MODEL_FORMAT="template"
            )
            stack.enter_context(echo)
        stack.enter_context(router(nats_server, tmp_path / "router"))
        yield nats_server


async def test_every_preset_answers_in_every_mode(fleet: str) -> None:
    """In its own mode and in each other one, by models of its row alone; one with too few models for a mode says so."""
    free = asyncio.Semaphore(AT_ONCE)
    async with raw.connected(fleet) as client:

        async def one(preset: Preset, mode: Mode | None) -> None:
            request: dict[str, Any] = {"input": "four", "params": {"max_tokens": 64}}
            wish = {} if mode is None else {"orchestration_mode": mode}
            async with free:
                said, _ = await raw.ask(client, f"inference.request.{preset.id}", request | wish)
            check(preset, mode or preset.mode, said)

        async with asyncio.TaskGroup() as group:
            for preset in SHIPPED.values():
                for mode in (None, *get_args(Mode)):
                    group.create_task(one(preset, mode))


def check(preset: Preset, mode: Mode | None, said: dict[str, Any]) -> None:
    assert mode is not None, preset.id
    if len(preset.models) < MINIMUM[mode]:
        assert (said["error"]["code"], said["error"]["param"]) == ("BAD_REQUEST", "orchestration.models"), preset.id
        return
    assert "error" not in said, (preset.id, mode, said)
    how, about = said["orchestration"], said["inference_metadata"]
    assert (said["model"], about["config"], how["mode"]) == (preset.id, preset.id, mode)
    assert said["finish_reason"] != "partial", (preset.id, how)
    assert "failed" not in how or how["failed"] == {}
    asked = {step["model"] for step in how["steps"]}
    assert asked <= set(preset.models)
    if mode in ("debate", "ensemble"):
        assert asked == set(preset.models), preset.id
    if mode == "pipeline" and preset.stages:
        assert [(step["name"], step["model"]) for step in how["steps"]] == [*map(tuple, preset.stages)]
