"""What does `golek` do when it is typed?

The entry point. It stands apart from `commands` so that an install without the extras says which one is missing.
"""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from golek_worker.commands import app

        app()
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


if __name__ == "__main__":
    main()
