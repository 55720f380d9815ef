"""What can this machine run? `golek doctor`. It imports what it needs when it runs."""

import asyncio
from typing import Annotated

import typer

from golek_client.cli import app
from golek_worker.plainly import print_json, said_plainly


@app.command("doctor")
def doctor(
    name: Annotated[str | None, typer.Argument(help="A deployment; without it, all of this machine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What this machine can run, and what to install.

    A line for each engine, for processor, memory, GPUs, disk, broker and ports, and for each deployment: `ok`,
    `could be` (and what to do for it) or `cannot`. Exit code 1 when something is missing that a deployment needs
    which has run here before, or which was named.
    """
    from golek_worker.doctor import examination
    from golek_worker.doctor.finding import Finding

    async def examined() -> list[Finding]:
        found = []
        async for finding in examination.machine() if name is None else examination.deployment(name):
            found.append(finding)
            if not as_json:
                typer.echo(finding.line)
        return found

    with said_plainly():
        found = asyncio.run(examined())
    if as_json:
        print_json(found)
    raise typer.Exit(0 if examination.is_well(found) else 1)
