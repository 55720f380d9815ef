"""What does `golek trace` run? `python -m golek_monitor.logs ID`, under the name by which people know it."""

import sys
from typing import Annotated

import typer


def trace(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Job id, req_id or x-request-id of a request, or its beginning.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs, as GET /api/requests/ID tells it.")] = False,
) -> None:
    """Where a request's time went, by the logs.

    A bar per phase of each attempt: queue, prefill, decode; what befell its model's workers meanwhile; how it was asked
    over HTTP. What is not found on this machine is asked for over the bus. With MONITOR_SHOW_PROMPTS=1 what was asked
    and answered, too, where this machine has it. Exit status 1 when it is not found: then it says where was looked.
    """
    from golek_client import Golek
    from golek_monitor.logs import trace as printed
    from golek_monitor.logs.explorer import Explorer
    from golek_program.settings import SettingsError, monitor

    try:
        chosen = monitor.load()
        golek = Golek(chosen.nats_url, login=chosen.login)
        explorer = Explorer(chosen.data, golek=golek, show_prompts=chosen.monitor_show_prompts)
        status = printed.run(explorer, name, golek=golek, as_json=as_json)
    except SettingsError as error:
        print(error, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    raise typer.Exit(status)


def main() -> None:
    """Run it."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.command()(trace)
    app(prog_name="golek trace")


if __name__ == "__main__":
    main()
