"""What can a person do with dead letters from a terminal? `golek dlq list | show | retry | drop`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client import terminal
from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL
from golek_wire.signals import DeadLetter

if TYPE_CHECKING:
    from golek_client.client import Golek

dlq = typer.Typer(
    help="Jobs that crashed their engine each time they ran.", no_args_is_help=True, rich_markup_mode=None
)

OfModel = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Only jobs of this model.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Job id, or the beginning of one.")]


@dlq.command("list")
def dlq_list(
    model: OfModel = None,
    server: Server = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Whole letters, for programs.")] = False,
) -> None:
    """List the dead letters, oldest first.

    RETRY is `no` where a letter has no request; `golek dlq show ID` says why.
    """
    letters = _read(server, model)
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(letters), indent=2).decode())
        return
    if not letters:
        print("the dead letter queue is empty")
        return
    rows = [[x.job_id, x.model, _age(x), str(x.crashes), "no" if x.payload is None else "yes"] for x in letters]
    terminal.table(["id", "model", "age", "crashes", "retry"], rows)


@dlq.command("show")
def dlq_show(job_id: JobId, model: OfModel = None, server: Server = DEFAULT_URL) -> None:
    """Show one dead letter as JSON.

    It has the engine's last lines, and the request where the audit setting keeps it. Standard error says how the job is
    run again.
    """
    import msgspec

    letter = _only(_read(server, model), job_id)
    print(msgspec.json.format(msgspec.json.encode(letter), indent=2).decode())
    again = f"run it again: golek dlq retry {letter.job_id}"
    if letter.payload is None:
        again = f"it cannot be run again, for it has no request: {letter.withheld or 'none was kept'}"
    print(f"hint: {again}", file=sys.stderr)


@dlq.command("retry")
def dlq_retry(
    job_id: JobId,
    server: Server = DEFAULT_URL,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the answer.")] = "2m",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the letter though the job was answered.")] = False,
) -> None:
    """Ask a dead letter's request once more, with the same seed.

    It goes the usual way as a fresh job. Its answer is printed and the letter dropped; when it fails the letter stays,
    and a job that crashes its engine again leaves one more.
    """
    from golek_client.client import Golek
    from golek_client.results import shown
    from golek_wire.replies import Reply

    seconds = terminal.seconds(deadline, "--deadline")

    async def again() -> Reply:
        async with Golek(server) as golek:
            return await golek.retry(await _id(golek, job_id), deadline=seconds, keep=keep)

    print(shown(terminal.run(again(), "--deadline")))


@dlq.command("drop")
def dlq_drop(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Job id, or the beginning of one.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters, or with --model all of one model.")] = False,
    model: OfModel = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    server: Server = DEFAULT_URL,
) -> None:
    """Delete one dead letter, or all."""
    if (job_id is None) == (not everything):
        terminal.fail("say which: an ID, or --all")
    letters = _read(server, model)
    chosen = letters if job_id is None else [_only(letters, job_id)]
    if job_id is None and chosen and not yes:
        if not sys.stdin.isatty():
            terminal.fail(f"{len(chosen)} dead letters would be dropped: say --yes")
        typer.confirm(f"drop {len(chosen)} dead letters?", abort=True)

    async def drop() -> None:
        from golek_client.client import Golek

        async with Golek(server) as golek:
            for letter in chosen:
                await golek.drop(letter.job_id)

    terminal.run(drop())
    print(f"dropped {len(chosen)} dead letter{'s' if len(chosen) != 1 else ''}")


def _read(server: str, model: str | None) -> list[DeadLetter]:
    from golek_client.client import Golek

    async def read() -> list[DeadLetter]:
        async with Golek(server) as golek:
            return await golek.dead_letters(model)

    return terminal.run(read())


async def _id(golek: "Golek", begin: str) -> str:
    return _only(await golek.dead_letters(), begin).job_id


def _only(letters: list[DeadLetter], begin: str) -> DeadLetter:
    """The one letter whose job id begins so; else the program ends."""
    if not begin:  # as of a variable that is not set
        terminal.fail("say which: an ID, or its beginning")
    found = [letter for letter in letters if letter.job_id.startswith(begin)]
    if len(found) != 1:
        terminal.fail(f"{len(found)} dead letters begin with {begin!r}; `golek dlq list` shows all")
    return found[0]


def _age(letter: DeadLetter) -> str:
    from datetime import UTC, datetime

    from golek_client.discovery import shown

    try:
        return shown((datetime.now(UTC) - datetime.fromisoformat(letter.at)).total_seconds())
    except (ValueError, TypeError):
        return letter.at
