"""How is the fleet watched from here?

`golek monitor` and `golek trace`. They belong to another package, which this one does not import: what shows something
is run in the place of this process.
"""

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from golek_client.cli import app

if TYPE_CHECKING:
    from golek_program.settings.monitor import Monitor

monitor = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Watch the fleet: terminal, web page, REST, figures, alerts."
)
app.add_typer(monitor, name="monitor")

MODULE: Final = "golek_monitor"
TRACE: Final = "golek_monitor.logs"
PASSED_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""All that is typed is read by the program itself, `--help` too."""


@monitor.command("status", context_settings=PASSED_ON)
def status(context: typer.Context) -> None:
    """The fleet on one screen, or as JSON; the exit status tells health."""
    _become("status", *context.args)


@monitor.command("tui", context_settings=PASSED_ON)
def tui(context: typer.Context) -> None:
    """The fleet in the terminal, live."""
    _become("tui", *context.args)


@monitor.command("dashboard", context_settings=PASSED_ON)
def dashboard(context: typer.Context) -> None:
    """The page in the foreground, with its URLs; Ctrl-C ends it."""
    _note_this_process(context.args)
    _become("dashboard", *context.args)


@monitor.command("run", context_settings=PASSED_ON)
def run(context: typer.Context) -> None:
    """Serve in the foreground, with the log on the terminal; Ctrl-C ends it."""
    _note_this_process(context.args)
    _become("serve", *context.args)


@monitor.command("start")
def start() -> None:
    """Start the monitor and wait until it answers. It starts no broker, and waits for one."""
    from golek_program.settings import monitor as settings
    from golek_worker.machine import monitor as machine
    from golek_worker.plainly import said_plainly

    with said_plainly():
        chosen = _settings()
        for remark in settings.remarks(chosen):
            typer.echo(remark, err=True)
        asyncio.run(machine.start(chosen, say=typer.echo))
        if chosen.url_for_others:
            typer.echo(f"other machines reach it at {chosen.url_for_others}, with MONITOR_KEY")


@monitor.command("stop")
def stop() -> None:
    """Stop the monitor that was started here."""
    from golek_worker.machine import monitor as machine
    from golek_worker.machine import services
    from golek_worker.plainly import said_plainly

    with said_plainly():
        if not services.stop(machine.KIND, _settings().data, typer.echo):
            typer.echo("no monitor of ours runs")


@app.command("trace", context_settings=PASSED_ON)
def trace(context: typer.Context) -> None:
    """Where a request's time went, by the logs."""
    _become(*context.args, module=TRACE)


def _settings() -> "Monitor":
    """Raises SettingsError."""
    from golek_program.settings import monitor as settings

    return settings.load()


def _note_this_process(arguments: list[str]) -> None:
    """It becomes the monitor: `make stop` finds it by this. Where workers are not installed there is no `make`."""
    with contextlib.suppress(ModuleNotFoundError):
        from golek_program.settings import SettingsError
        from golek_worker.machine import monitor as machine
        from golek_worker.machine import services

        with contextlib.suppress(SettingsError):  # the monitor says it itself
            chosen = _settings()
            if not arguments and machine.running(chosen.data) is None:
                services.note(machine.KIND, machine.place(chosen), os.getpid(), log="")


def _become(*arguments: str, module: str = MODULE) -> NoReturn:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted
