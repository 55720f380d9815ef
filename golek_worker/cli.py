"""What does `golek` do when it is typed?

The entry point. It stands apart from `commands` so that an install without the extras says which one is missing.
Options that take their default from a variable, such as `--server` from NATS_URL, find it in `.env`, too.
"""

import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the command line."""
    try:
        from golek_worker.commands.workers import app

        app(default_map=_from_dotenv(app) if Path(".env").is_file() else None)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("golek_"):
            raise
        extra = "cli" if missing == "typer" else "worker"
        print(
            f"this command needs the {extra} extra: pip install 'golek[{extra}]' (no module named {missing})",
            file=sys.stderr,
        )
        sys.exit(1)


def _from_dotenv(app: Any) -> dict[str, Any]:
    """What `.env` says to the options of all commands, in the nested form that click calls a default map."""
    from typer.main import get_command

    from golek_client import login
    from golek_program.settings.sources import read_file

    written, _ = read_file(Path(".env"))
    login.FROM_DOTENV.update({key: value for key, value in written.items() if key in (login.API_KEY, *login.VARIABLES)})

    def defaults(command: Any) -> dict[str, Any]:
        named = {param.name: written.get(str(param.envvar), "") for param in command.params}
        found: dict[str, Any] = {name: value for name, value in named.items() if value}
        return found | {name: defaults(sub) for name, sub in getattr(command, "commands", {}).items()}

    return defaults(get_command(app))


if __name__ == "__main__":
    main()
