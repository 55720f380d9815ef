"""How does an operator load and unload models from a terminal? `golek load`, `golek unload`, `golek drain`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL
from golek_wire.signals import Residence

if TYPE_CHECKING:
    from golek_client.client import Golek

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `golek models` lists them.")]
Worker = Annotated[str, typer.Option("--worker", metavar="ID", help="Only this replica; all of the model without it.")]
Give = Callable[["Golek", float, Callable[[Residence], None]], Awaitable[list[Residence]]]
"""Gives an order, with the seconds it may take and who hears of its progress."""
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the last of them.")]


def load(model: Model, worker: Worker = "", server: Server = DEFAULT_URL, timeout: Timeout = "15m") -> None:
    """Load a model where it was unloaded, or have it started.

    Prints what is so at each replica then; exit status 1 when one could not load it. Ctrl-C stops the waiting, not the
    load. A request does the same with a model that was unloaded: it waits until that is there. A model that nobody
    serves is started by a `golek serve` whose machine has it; where none answers, the command to type is told.
    """
    _order(
        server,
        lambda golek, seconds, status: golek.load(model, worker_id=worker, timeout=seconds, on_status=status),
        timeout,
    )


def unload(
    model: Model,
    worker: Worker = "",
    force: Annotated[bool, typer.Option("--force", help="Give jobs that run back to the queue.")] = False,
    server: Server = DEFAULT_URL,
    timeout: Timeout = "15m",
) -> None:
    """Take a model out of memory once its jobs have ended.

    Its workers go on taking requests, and the next one loads it again. Exit status 1 when a replica keeps it: while it
    loads, when jobs run for longer than DRAIN_S, and when others wait.
    """
    _order(
        server,
        lambda golek, seconds, status: golek.unload(
            model, worker_id=worker, force=force, timeout=seconds, on_status=status
        ),
        timeout,
    )


def drain(model: Model, worker: Worker = "", server: Server = DEFAULT_URL, timeout: Timeout = "15m") -> None:
    """End the workers of a model, or one, once their jobs have ended.

    What does not end within DRAIN_S goes back to the queue, for other replicas. `make start WORKER=<name>` starts them
    again.
    """
    _order(
        server,
        lambda golek, seconds, status: golek.drain(model, worker_id=worker, timeout=seconds, on_status=status),
        timeout,
    )


def _order(server: str, give: Give, timeout: str) -> None:
    from golek_client.client import Golek
    from golek_client.terminal_wait import Residences

    seconds = terminal.seconds(timeout, "--timeout")
    said = Residences()

    async def ask() -> list[Residence]:
        async with Golek(server) as golek:
            return await give(golek, seconds, said.show)

    found = terminal.run(ask(), "--timeout")
    said.end()
    rows = [[one.worker_id, one.status, f"{one.seconds:.1f} s", one.problem or ""] for one in found]
    terminal.table(["worker", "status", "after", "problem"], rows)
    if any(one.problem for one in found):
        raise typer.Exit(1)
