"""Which commands has the monitor?

`serve`, `dashboard`, `status` and `tui`. Each imports what it needs when it runs.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from golek_program.settings.monitor import Monitor

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Watch a Golek fleet.",
    pretty_exceptions_enable=False,
)

Log = Annotated[
    str | None, typer.Option("--log", help="The file that stderr goes to; whoever starts it says so.", hidden=True)
]


@app.command("serve")
def serve(log: Log = None) -> None:
    """Serve page, REST, events and figures, with the log on stderr; Ctrl-C ends it."""
    from golek_monitor import service

    with _said_plainly():
        chosen = _settings()
        raise typer.Exit(service.serve(chosen, into_file=log is not None, remarks=_remarks(chosen)))


@app.command("dashboard")
def dashboard() -> None:
    """Serve the page in the foreground and say where it is; Ctrl-C ends it.

    It is on MONITOR_ADDR and, where nobody else listens there, on MONITOR_DASHBOARD_ADDR.
    """
    from golek_monitor import dashboard as page

    with _said_plainly():
        chosen = _settings()
        for remark in _remarks(chosen):
            _say(remark)
        status = page.run(chosen, say=_say)
    raise typer.Exit(status)


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: all that is known.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=86400, help="Look again for so many seconds until it is healthy.")
    ] = 0.0,
    everything: Annotated[bool, typer.Option("--all", help="Every worker, however many.")] = False,
) -> None:
    """The fleet on one screen.

    It asks the bus itself: no monitor need run. Exit status: 0 every model takes requests and nothing is critical, 1
    something needs attention, 2 wrong options or settings, 3 the bus cannot be reached.
    """
    from golek_monitor import status as one_look

    with _said_plainly(2, otherwise=one_look.nothing if as_json else None):
        found = one_look.run(_settings(), as_json=as_json, wait_s=wait, everything=everything)
    raise typer.Exit(found)


@app.command("tui")
def tui() -> None:
    """The fleet in the terminal, live; ? shows the keys, q leaves it. Exit status 3: a wrong login or setting."""
    from golek_monitor.tui.opening import main

    with _said_plainly(3):
        found = main(_settings())
    raise typer.Exit(found)


def _settings() -> "Monitor":
    """Raises SettingsError."""
    from golek_program.settings import monitor

    return monitor.load()


def _remarks(chosen: "Monitor") -> list[str]:
    from golek_program.settings import monitor

    return monitor.remarks(chosen)


@contextmanager
def _said_plainly(status: int = 1, otherwise: Callable[[], str] | None = None) -> Iterator[None]:
    """What its user can put right ends the command with its text and this exit status, Ctrl-C with 130.

    `otherwise` is what goes to the standard output then.
    """
    from golek_program.settings import SettingsError

    try:
        yield
    except SettingsError as error:
        if otherwise is not None:
            typer.echo(otherwise())
        typer.echo(str(error), err=True)
        raise typer.Exit(status) from None
    except KeyboardInterrupt:
        sys.exit(130)


def _say(line: str) -> None:
    print(line, flush=True)
