"""How does an operator look after LoRA adapters from a terminal? `golek adapter list`, `load`, `unload`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from golek_client.client import Golek
    from golek_wire.adapters import AdapterReport

adapter = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="LoRA adapters of a model.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `golek models` lists them.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What requests say as `adapter`.")]
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for all replicas.")]


@adapter.command("list")
def adapter_list(model: Model, server: Server = DEFAULT_URL, timeout: Timeout = "2s") -> None:
    """The adapters that each replica offers."""
    _show(server, timeout, lambda golek, seconds: golek.adapters(model, seconds))


@adapter.command("load")
def adapter_load(
    model: Model,
    name: Name,
    path: Annotated[str, typer.Argument(metavar="PATH", help="GGUF file on the machine of each worker.")],
    scale: Annotated[float, typer.Option(metavar="X", help="How strongly it counts.")] = 1.0,
    server: Server = DEFAULT_URL,
    timeout: Timeout = "1m",
) -> None:
    """Load an adapter into all replicas, and into those that start later.

    \b
      golek adapter load qwen3-4b pirate data/adapters/pirate.gguf
      golek chat qwen3-4b --adapter pirate "Who are you?"

    One of this name is replaced; requests that run with it go on with the old one. Exit status 1 when a replica could
    not load it.
    """
    _show(server, timeout, lambda golek, seconds: golek.load_adapter(model, name, path, scale=scale, timeout=seconds))


@adapter.command("unload")
def adapter_unload(model: Model, name: Name, server: Server = DEFAULT_URL, timeout: Timeout = "1m") -> None:
    """Take an adapter from all replicas. Requests that run with it go on, then its memory is free."""
    _show(server, timeout, lambda golek, seconds: golek.unload_adapter(model, name, timeout=seconds))


def _show(server: str, timeout: str, order: "Callable[[Golek, float], Awaitable[list[AdapterReport]]]") -> None:
    """Give an order and print what is so at each replica; exit status 1 where one has a problem."""
    from golek_client.client import Golek

    seconds = terminal.seconds(timeout, "--timeout")

    async def ask() -> "list[AdapterReport]":
        async with Golek(server) as golek:
            return await order(golek, seconds)

    reports = terminal.run(ask(), "--timeout")
    rows = [
        [report.worker_id, one.name, f"{one.scale:g}", one.path + (" (with the model)" if report.waits else "")]
        for report in reports
        for one in report.adapters
    ]
    if rows:
        terminal.table(["worker", "adapter", "scale", "path"], rows)
    elif not any(report.problem or report.failed for report in reports):
        print("no adapters are loaded; `golek adapter load MODEL NAME PATH` loads one")
    for report in reports:
        if report.problem is not None:
            print(f"{report.worker_id}: {report.problem}", file=sys.stderr)
            continue
        for name, why in report.failed.items():
            print(f"{report.worker_id}: {name} is not loaded: {why}")
    if any(report.problem is not None for report in reports):
        raise typer.Exit(1)
