"""How does an operator look after a model's caches from a terminal? `golek cache stats`, `clear`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from golek_client.client import Golek
    from golek_wire.caches import CacheReport

cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Kept answers of a model.")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model; `golek models` lists them.")]
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for all replicas.")]


@cache.command("stats")
def cache_stats(model: Model, server: Server = DEFAULT_URL, timeout: Timeout = "2s") -> None:
    """What each replica keeps in memory, and how often that helped."""
    _show(server, timeout, lambda golek, seconds: golek.cache_stats(model, timeout=seconds))


@cache.command("clear")
def cache_clear(model: Model, server: Server = DEFAULT_URL, timeout: Timeout = "10s") -> None:
    """Forget all answers of a model, in each replica's memory and in what they share.

    Exit status 1 when a replica could not.
    """
    _show(server, timeout, lambda golek, seconds: golek.clear_cache(model, timeout=seconds))


def _show(server: str, timeout: str, order: "Callable[[Golek, float], Awaitable[list[CacheReport]]]") -> None:
    """Give an order and print what is so at each replica; exit status 1 where one has a problem."""
    from golek_client.client import Golek

    seconds = terminal.seconds(timeout, "--timeout")

    async def ask() -> "list[CacheReport]":
        async with Golek(server) as golek:
            return await order(golek, seconds)

    reports = terminal.run(ask(), "--timeout")
    rows = [
        [
            one.worker_id, str(one.entries), f"{one.bytes / 2**20:.1f} of {one.limit / 2**20:.0f}", str(one.hits),
            str(one.misses), str(one.shared), str(one.forgotten),
        ]
        for one in reports
    ]  # fmt: skip
    terminal.table(["worker", "kept", "MiB", "hits", "misses", "shared", "forgotten"], rows)
    for one in reports:
        if one.problem is not None:
            print(f"{one.worker_id}: {one.problem}", file=sys.stderr)
    if any(one.problem is not None for one in reports):
        raise typer.Exit(1)
