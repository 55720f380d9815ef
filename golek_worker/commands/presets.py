"""What can a person do with presets: models that answer together?

`golek presets list` and `show` tell what is written down, `check` whether this machine could run it, `start` runs it.
Each imports what it needs when it runs.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from golek_worker.plainly import print_json, said_plainly

if TYPE_CHECKING:
    from golek_worker.machine.preset_facts import Checked, Row

presets = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Models that answer together, asked like one: `"model": "D3"`.

    Presets stand in data/catalog/presets.yaml; your own go into config/presets.yaml, or where PRESETS_FILE says. Only a
    router answers for them.

    \b
      golek presets list --mode debate     which there are, how large, what of them is here
      golek presets check D3               would it run on this machine
      golek presets start D3               its workers and a router
      golek req inference.request.D3 '{"input": "Why is the sky blue?"}' --timeout=120s
    """,
)
Name = Annotated[str, typer.Argument(metavar="ID", help="A preset of `golek presets list`.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
COLUMNS = ["id", "mode", "size gb", "stated", "tier", "mark", "here", "models"]


@presets.command("list")
def list_presets(
    mode: Annotated[str, typer.Option("--mode", help="Only those that answer so.")] = "",
    here: Annotated[bool, typer.Option("--here", help="Only those all of whose models are here.")] = False,
    as_json: Json = False,
) -> None:
    """All presets, with their sizes.

    SIZE GB is that of the models' files; of a file that is not here, what the catalogue says. STATED and MARK are what
    the preset's own documents print. TIER goes by SIZE GB: Light below 8, Medium below 12, Full below 15, else Server.
    HERE says how many of its models could run at once.
    """
    from golek_wire.orchestration import Mode
    from golek_worker.machine import preset_facts

    if mode and mode not in get_args(Mode):
        raise typer.BadParameter(f"{mode}: there are {', '.join(get_args(Mode))}", param_hint="--mode")
    with said_plainly():
        rows = [row for row in preset_facts.rows(preset_facts.known().values()) if mode in ("", row.mode)]
        rows = [row for row in rows if not here or row.here == row.of]
        if as_json:
            print_json(rows)
            return
        _print_table(rows)
        for problem in preset_facts.problems():
            typer.echo(f"note: {problem}", err=True)


@presets.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """One preset: its models as they are here, and who does what."""
    from golek_worker.machine import preset_facts, showing

    with said_plainly():
        facts = preset_facts.facts(preset_facts.find(name))
        if as_json:
            print_json(facts)
            return
        typer.echo("\n".join(showing.lines(facts)))


@presets.command("check")
def check(name: Name, as_json: Json = False) -> None:
    """Whether this machine could run it now.

    Are its models known, are their files here or can they be downloaded, and does what does not run yet fit into the
    memory of GPUs and machine that is free? Exit status 1 when something is in the way, which a file that can be
    downloaded is not.
    """
    from golek_worker.machine import preset_facts

    with said_plainly():
        found = preset_facts.check(preset_facts.find(name))
        if as_json:
            print_json(found)
        else:
            _print_check(found)
    raise typer.Exit(1 if found.problems else 0)


@presets.command("start")
def start(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Also what does not fit into the memory that is free.")
    ] = False,
) -> None:
    """Start its models' workers and a router, and wait until all are online.

    It checks first, and starts nothing where something is in the way. What runs already is left as it is, so a second
    start changes nothing. Files that are missing are downloaded; `make stop` ends all.
    """
    from golek_worker.machine import preset_facts, preset_start

    with said_plainly():
        found = preset_facts.check(preset_facts.find(name))
        asyncio.run(preset_start.start(found, force=force, say=typer.echo))
    typer.echo(f'ask it: golek req inference.request.{name} \'{{"input": "…"}}\' --timeout=120s')


def _print_table(rows: "list[Row]") -> None:
    from golek_client import terminal

    terminal.table(COLUMNS, [_cells(row) for row in rows])


def _cells(row: "Row") -> list[str]:
    from golek_worker.machine.preset_facts import shown_gb

    sizes = [shown_gb(row.size_gb), shown_gb(row.stated_gb), row.tier or "-", row.hardware or "-"]
    return [row.id, row.mode or "-", *sizes, f"{row.here} of {row.of}", " + ".join(row.models)]


def _print_check(found: "Checked") -> None:
    from golek_client import terminal
    from golek_worker.engine.llamacpp import memory
    from golek_worker.machine import preset_facts

    cells = []
    for part in found.parts:
        place = found.places.get(part.model)
        size = "-" if part.size_bytes is None else preset_facts.shown_gb(part.size_bytes / 10**9)
        where = f"runs ({part.runs})" if part.runs else "-" if place is None else place.where or "does not fit"
        least = "" if part.state == "present" else "at least "  # its header says how large the KV cache is
        needs = "-" if place is None else least + memory.shown(place.bytes)
        cells.append([part.model, part.state, size, needs, where])
    terminal.table(["model", "state", "size gb", "needs", "where"], cells)
    typer.echo("free: " + ", ".join(f"{one.name} {memory.shown(one.free)}" for one in found.devices))
    for problem in found.problems:
        typer.echo(problem, err=True)
    wanted = [part for part in found.parts if part.state in ("missing", "begun") and not part.runs]
    if wanted and not found.problems:
        known = [part.size_bytes for part in wanted if part.size_bytes]
        least = "" if len(known) == len(wanted) else "at least "
        names = ", ".join(part.model for part in wanted)
        typer.echo(
            f"ok once {least}{preset_facts.shown_gb(sum(known) / 10**9)} GB are downloaded ({names}), which `golek "
            f"presets start {found.preset.id}` does"
        )
    elif not found.problems:
        typer.echo("ok")
