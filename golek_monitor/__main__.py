"""What does `python -m golek_monitor` do? The commands of `cli`, under the name by which people know them."""

import sys


def main() -> None:
    """Run the command line; without the extra it says what is missing."""
    try:
        from golek_monitor.cli import app

        app(prog_name="golek monitor")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("golek_"):
            raise
        print(f"the monitor needs its extra: pip install 'golek[monitor]' (no module named {missing})", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
