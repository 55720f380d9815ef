"""What can a person do with conversations that the fleet keeps? `golek session show | rm`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from golek_client.client import Golek

session = typer.Typer(
    help="Conversations that the fleet keeps, by their `session_id`.", no_args_is_help=True, rich_markup_mode=None
)

Id = Annotated[str, typer.Argument(metavar="ID", help="As requests give it in `session_id`.", show_default=False)]


@session.command("show")
def session_show(session_id: Id, server: Server = DEFAULT_URL) -> None:
    """Print a conversation as JSON: what was said under this id, by this caller."""
    import msgspec

    found = _do(server, lambda golek: golek.session(session_id))
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@session.command("rm")
def session_rm(session_id: Id, server: Server = DEFAULT_URL) -> None:
    """Forget a conversation."""
    _do(server, lambda golek: golek.delete_session(session_id))
    print(f"removed {session_id}")


def _do(server: str, call: "Callable[[Golek], Awaitable[Any]]") -> Any:
    from golek_client.client import Golek

    async def do() -> Any:
        async with Golek(server) as golek:
            return await call(golek)

    return terminal.run(do())
