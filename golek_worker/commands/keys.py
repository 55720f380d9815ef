"""What can an operator do with keys from a terminal? `golek keys create`, `list`, `revoke`, `usage`.

Keys stand in the key file of this machine, which the workers here import into the fleet; what the fleet knows, and what
was used, is asked on the bus. Each command imports what it needs when it runs.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from golek_client.terminal import Server
from golek_client.transport import DEFAULT_URL
from golek_worker.plainly import print_json

if TYPE_CHECKING:
    from golek_wire.keys import Key
    from golek_wire.replies import Allowance
    from golek_worker.machine.keyring import Listed, Usage

HELP = """Who may ask, what, and how much.

\b
  golek keys create ann                                a key without limits
  golek keys create team-x --models qwen3-4b --rpm 60 --budget 1000000/day
  golek keys usage                                     what each has used, and what is left
  golek keys revoke ann

With GOLEK_NATS_IDENTITY=open a key says who asks, and nobody needs one; with `keys` all need one. The workers of this
machine read the key file at their start, and within 2 s when it changes. Callers give their key as GOLEK_API_KEY, or
over HTTP as `Authorization: Bearer`.
"""
keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="Who holds it: a name that logs and results show.")]
File = Annotated[
    Path | None,
    typer.Option("--file", envvar="GOLEK_KEY_FILE", help="The key file; else <GOLEK_DATA>/api_keys.txt."),
]
Data = Annotated[Path, typer.Option("--data", envvar="GOLEK_DATA", help="The folder that `data/` stands for.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
DEFAULT_DATA = Path("data")


@keys.command("create")
def create(
    key_id: KeyId,
    *,
    models: Annotated[str | None, typer.Option(metavar="A,B", help="Only these models; else all.")] = None,
    rpm: Annotated[int | None, typer.Option(metavar="N", help="Requests in a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(metavar="N", help="Tokens in a minute, read and written.")] = None,
    concurrent: Annotated[int | None, typer.Option(metavar="N", help="Requests at once.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="N[req|usd][/WINDOW]",
            help="Tokens, requests, or dollars that clouds take, in an hour, day, month, or total.",
        ),
    ] = None,
    cache: Annotated[
        str | None, typer.Option(metavar="MODE", help="Whether its answers are kept: off, exact or semantic.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="DAY", help="From this day on (UTC) nobody knows it.")] = None,
    file: File = None,
    data: Data = DEFAULT_DATA,
    server: Server = DEFAULT_URL,
) -> None:
    """Make a key and print it, this once: only its SHA-256 is written down.

    \b
      golek keys create ann --rpm 60
      golek keys create shop --models qwen3-4b,nomic-embed-v1.5 --tpm 100000 --concurrent 4
      golek keys create trial --budget 20req/total --expires 2026-12-31
      golek keys create cloud --budget 5usd/day
      export GOLEK_API_KEY=$(golek keys create me)

    A second key of the same KEY_ID is handed out before the first one goes; the two share what they use. Limits that
    are not given do not limit.
    """
    from golek_worker.machine import keyring

    said = {
        "models": models, "rpm": rpm, "tpm": tpm, "concurrent": concurrent, "budget": budget, "cache": cache,
        "expires": expires,
    }  # fmt: skip
    where = _file(file, data)
    with _said_plainly():
        made = keyring.create(where, key_id, [f"{name}={value}" for name, value in said.items() if value is not None])
    typer.echo(made.key)
    print(f"written to {where} as its digest. The key itself is shown this once.", file=sys.stderr)
    if made.others:
        theirs = "; ".join(_limits(key) for key in made.others)
        own = " ".join(f"{name}={value}" for name, value in said.items() if value) or "no limits"
        print(f"{key_id} has {len(made.others)} more there ({theirs}); this one: {own}", file=sys.stderr)
    if models:
        _warn_of_unknown(models.split(","), server)


@keys.command("list")
def list_keys(
    file: File = None, data: Data = DEFAULT_DATA, server: Server = DEFAULT_URL, as_json: Json = False
) -> None:
    """The keys of the key file and those that the fleet knows: who holds them and what they may do, never the keys.

    KNOWN TO says where a key stands: one that the fleet alone knows came from another machine's file, from one that
    was deleted, or by hand. `golek keys revoke` takes such a key away, too.
    """
    from golek_client import terminal
    from golek_worker.machine import keyring

    where = _file(file, data)
    with _said_plainly():
        found = terminal.run(keyring.listed(where, server))
    for remark in found.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    if as_json:
        print_json(found.keys)
        return
    if not found.keys:
        typer.echo(f"{where}: no keys; `golek keys create KEY_ID` makes one")
        return
    terminal.table(
        ["key_id", "models", "rpm", "tpm", "concurrent", "budget", "expires", "known to"],
        [_row(one) for one in found.keys],
    )


def _row(one: "Listed") -> list[str]:
    key = one.key
    known = "file and fleet" if one.in_file and one.in_fleet else "file" if one.in_file else "fleet"
    return [
        key.key_id, ",".join(key.models) or "all", _or_dash(key.rpm), _or_dash(key.tpm), _or_dash(key.concurrent),
        _budget(key), (key.expires or "-").removesuffix("T00:00:00Z"), known,
    ]  # fmt: skip


@keys.command("revoke")
def revoke(key_id: KeyId, file: File = None, data: Data = DEFAULT_DATA, server: Server = DEFAULT_URL) -> None:
    """Take away all keys of a holder, from the key file and from the fleet. Workers refuse them within 2 s; what runs
    already is answered. A line in a key file of another machine would bring its key back at the next start there.
    """
    from golek_client import terminal
    from golek_worker.machine import keyring

    where = _file(file, data)
    with _said_plainly():
        taken, others = terminal.run(keyring.revoke(where, key_id, server))
    for count, place in ((taken, str(where)), (others, "the fleet alone")):
        if count:
            typer.echo(f"{count} key{'s' if count > 1 else ''} of {key_id} taken from {place}")


@keys.command("usage")
def usage(
    key_id: Annotated[str | None, typer.Argument(metavar="[KEY_ID]", help="Without it: everybody.")] = None,
    server: Server = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """What each key with limits has used in its window, and what is left.

    USED is what ended, with the dollars that clouds took for it; IN FLIGHT what waits or runs, with what it may cost.
    `left/limit`: of the budget, and in a minute. RESETS is when the budget begins anew. Older windows stay for a day,
    without limits. `fleet.router` is the account of ROUTER_BUDGET.
    """
    from golek_client import terminal
    from golek_worker.machine import keyring

    with _said_plainly():
        found = terminal.run(keyring.usage(server, key_id))
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("no key of this fleet has limits, and none was counted")
        return
    terminal.table(
        ["key_id", "window", "used", "in flight", "budget", "resets", "requests", "tokens"],
        [_cells(one) for one in found],
    )


def _cells(one: "Usage") -> list[str]:
    left, budget = one.allowances, one.allowances.budget if one.allowances is not None else None
    return [
        one.key_id,
        one.window,
        f"{one.requests} requests, {one.tokens} tokens{_money(one.micros)}",
        _in_flight(one),
        _left(budget, in_money=left is not None and left.budget_unit == "usd"),
        _resets(one),
        _left(left.requests if left is not None else None),
        _left(left.tokens if left is not None else None),
    ]


def _in_flight(one: "Usage") -> str:
    if not one.in_flight and not one.reserved_micros:
        return "-"
    return f"{one.in_flight} ({one.reserved} tokens{_money(one.reserved_micros)})"


def _money(micros: int) -> str:
    """What clouds took, or may take, behind other figures; nothing for nothing."""
    from golek_wire.keys import dollars

    return f", {dollars(micros)}" if micros else ""


def _resets(one: "Usage") -> str:
    budget = one.allowances.budget if one.allowances is not None else None
    if budget is None:
        return "-"
    if one.window == "total":
        return "never"
    return f"in {_spoken(budget.reset_s)}" if budget.reset_s else "-"


def _spoken(seconds: float) -> str:
    """About how long."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _left(allowance: "Allowance | None", *, in_money: bool = False) -> str:
    from golek_wire.keys import dollars

    if allowance is None:
        return "-"
    if in_money:
        return f"{dollars(allowance.remaining)}/{dollars(allowance.limit)}"
    return f"{allowance.remaining}/{allowance.limit}"


def _limits(key: "Key") -> str:
    """What a key may do, as its line says it."""
    said = {
        "models": ",".join(key.models), "rpm": key.rpm, "tpm": key.tpm, "concurrent": key.concurrent,
        "budget": _budget(key) if key.budget is not None else "", "cache": key.cache, "expires": key.expires,
    }  # fmt: skip
    return " ".join(f"{name}={value}" for name, value in said.items() if value) or "no limits"


def _warn_of_unknown(models: Sequence[str], server: str) -> None:
    """Say which of the models that a key is for are known neither to the fleet nor to this machine."""
    import asyncio

    from golek_client import Golek
    from golek_wire import subjects
    from golek_wire.errors import InferenceServiceError
    from golek_worker.machine import startable

    async def fleet() -> list[str]:
        async with Golek(server) as golek:
            return [record.name for record in await golek.models()]

    known = {one.name for one in startable.here()}
    try:
        known.update(asyncio.run(fleet()))
    except InferenceServiceError:
        served = "on this machine; the fleet could not be asked"
    else:
        served = "in this fleet or on this machine"
    tokens = {subjects.model_token(name) for name in known}
    unknown = [name for name in models if name and subjects.model_token(name) not in tokens]
    if unknown:
        there = ", ".join(sorted(known)) or "none"
        print(f"warning: nobody knows a model {', '.join(unknown)} {served}; there is {there}", file=sys.stderr)


def _budget(key: "Key") -> str:
    return "-" if key.budget is None else str(key.budget)


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _file(file: Path | None, data: Path) -> Path:
    from golek_worker import settings

    return settings.in_data(str(file), data) if file is not None else data / "api_keys.txt"


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What is wrong with a key or its file ends the command with a sentence and status 1."""
    from golek_client import terminal
    from golek_worker.bus.keyfile import KeyFileError
    from golek_worker.machine.keyring import KeyringError

    try:
        yield
    except (KeyringError, KeyFileError) as error:
        terminal.fail(str(error))
