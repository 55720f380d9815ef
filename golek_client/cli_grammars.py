"""What can a person do with named grammars from a terminal? `golek grammar list | show | put | rm`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from golek_client.client import Golek

grammar = typer.Typer(
    help="Named grammars, which requests give as `grammar`.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 of A-Z a-z 0-9 . _ -", show_default=False)]
Revision = Annotated[
    int | None, typer.Option("--revision", metavar="N", help="Only if the stored one is this; 0: if there is none.")
]


@grammar.command("list")
def grammar_list(
    server: Server = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the grammars, stored and built in."""
    found = _do(server, lambda golek: golek.grammars())
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    rows = [[x.name, "built in" if x.built_in else str(x.revision), x.updated[:19], x.description] for x in found]
    terminal.table(["name", "revision", "updated", "description"], rows)


@grammar.command("show")
def grammar_show(name: Name, server: Server = DEFAULT_URL) -> None:
    """Print the text of one grammar."""
    print(_do(server, lambda golek: golek.grammar(name)).content, end="")


@grammar.command("put")
def grammar_put(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GBNF; `-` is standard input.", show_default=False)],
    description: Annotated[str, typer.Option("--description", "-d", metavar="TEXT", help="What it is for.")] = "",
    revision: Revision = None,
    server: Server = DEFAULT_URL,
) -> None:
    """Store a grammar under a name, over what is there.

    A mistake in it is told with line and column, and nothing is stored.
    """
    try:
        content = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        terminal.fail(f"{file}: {error.strerror}")
    except UnicodeDecodeError as error:
        terminal.fail(f"{file}: no UTF-8 text: {error.reason} at byte {error.start}")
    stored = _do(server, lambda golek: golek.put_grammar(name, content, description=description, revision=revision))
    print(f"stored {name}, revision {stored.revision}")


@grammar.command("rm")
def grammar_rm(name: Name, revision: Revision = None, server: Server = DEFAULT_URL) -> None:
    """Remove a stored grammar."""
    _do(server, lambda golek: golek.delete_grammar(name, revision=revision))
    print(f"removed {name}")


def _do(server: str, call: "Callable[[Golek], Awaitable[Any]]") -> Any:
    from golek_client.client import Golek

    async def do() -> Any:
        async with Golek(server) as golek:
            return await call(golek)

    return terminal.run(do())
