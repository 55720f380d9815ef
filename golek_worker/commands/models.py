"""What can a person do with the models of this machine?

`golek models` alone asks the fleet, as it does for the client; its subcommands `list`, `show`, `pull`, `verify` and
`rm` are about files and need no broker. Each imports what it needs when it runs.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client.cli import models
from golek_worker.plainly import print_json, said_plainly

if TYPE_CHECKING:
    from golek_worker.machine.modelfiles import Model

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of `golek models list`, or a deployment.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
COLUMNS = ["model", "kind", "state", "size", "quantization", "context", "where"]


@models.command("list")
def list_models(
    here: Annotated[bool, typer.Option("--here", help="Only those with a file here, or a part of one.")] = False,
    as_json: Json = False,
) -> None:
    """All models that are known here: of the catalogue, of your own list, of deployments, and files.

    STATE is `present`, `begun` (a download that did not end), `missing` (it can be downloaded), `broken`,
    `to be made` or `unavailable`. KIND has `vision` beside `inference` for one that writes about images. A model that a
    worker of this machine runs with is marked with *.
    """
    from golek_worker.machine import modelfiles

    with said_plainly():
        rows = [modelfiles.describe(modelfiles.find(name)) for name in modelfiles.names()]
        rows = [row for row in rows if not here or row.state in ("present", "begun", "broken")]
        if as_json:
            print_json(rows)
            return
        _print_table(rows)
        for remark in modelfiles.remarks():
            typer.echo(f"note: {remark}", err=True)


@models.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """All that is known of one model: catalogue, file, what the file says of itself, who uses it."""
    from golek_worker.machine import modelfiles, showing

    with said_plainly():
        found = modelfiles.find(name)
        facts = showing.facts(found)
        if as_json:
            print_json(facts)
            return
        typer.echo("\n".join(showing.lines(facts)))


@models.command("pull")
def pull(
    what: Annotated[str, typer.Argument(metavar="NAME|SOURCE", help="A known model, a deployment, or a source.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What the model of a source shall be called.")] = "",
    to: Annotated[Path | None, typer.Option("--to", help="Where the file shall lie; else where it is used.")] = None,
    sha256: Annotated[str, typer.Option("--sha256", help="What the file must have.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also when it is there.")] = False,
) -> None:
    """Download a model's file. Interrupted, it goes on from there the next time.

    \b
      golek models pull phi-4
      golek models pull hf:Qwen/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf --name qwen3-8b
      golek models pull s3://models/m.gguf           AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …
      golek models pull https://example.org/m.gguf --sha256 HEX
      golek models pull /mnt/usb/m.gguf --name mine  a link on the same file system, else a copy
    """
    from golek_worker.machine import pulling

    with said_plainly():
        asyncio.run(pulling.pull_model(what, name=name, to=to, sha256=sha256, force=force, say=typer.echo))


@models.command("verify")
def verify(name: Name) -> None:
    """Hash a model's file and hold it against what it must be. Exit status 1 when it is another."""
    from golek_worker.machine import modelfiles, showing

    with said_plainly():
        sentences = showing.verified(modelfiles.find(name), typer.echo)
        typer.echo("\n".join(sentences))


@models.command("rm")
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a model's file from this machine, and what was begun of it.

    A file that a worker of this machine runs with is not deleted.
    """
    from golek_worker.machine import modelfiles
    from golek_worker.registry.catalog import shown_size

    with said_plainly():
        found = modelfiles.find(name)
        doomed = modelfiles.removable(found)
        typer.echo("\n".join(str(file) for file in doomed))
        if not yes and not typer.confirm(f"delete, which frees {shown_size(modelfiles.frees(doomed))}?"):
            raise typer.Exit(1)
        typer.echo(f"{shown_size(modelfiles.remove(found))} freed")


def _print_table(rows: "list[Model]") -> None:
    from golek_client import terminal

    cells = [
        [
            f"{row.name}{' *' if row.used_by else ''}",
            f"{row.kind}, vision" if row.sees else row.kind,
            row.state,
            row.size,
            row.quantization,
            str(row.context_length or ""),
            row.where,
        ]
        for row in rows
    ]
    terminal.table(COLUMNS, cells)
    for row in rows:
        if row.problem:
            typer.echo(f"{row.name}: {row.problem}")
