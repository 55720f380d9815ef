"""How does a command show a value to programs, and end when something is wrong that its user can put right?"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def said_plainly() -> Iterator[None]:
    """Errors that are for the user end the command with their text and exit code 1, Ctrl-C with 130."""
    from golek_program.settings import SettingsError
    from golek_worker.machine.lifecycle import StartError
    from golek_worker.machine.modelfiles import ModelError
    from golek_worker.machine.services import ServiceError
    from golek_worker.machine.supervised import SupervisedError
    from golek_worker.registry.entries import CatalogError
    from golek_worker.registry.report import DownloadError
    from golek_worker.registry.resolve import MissingModelError
    from golek_worker.store.database import StoreError

    try:
        yield
    except (
        StartError, ServiceError, SupervisedError, SettingsError, StoreError, DownloadError, MissingModelError,
        ModelError, CatalogError,
    ) as error:  # fmt: skip
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        sys.exit(130)


def print_json(value: object) -> None:
    """A value for programs, on stdout."""
    import msgspec  # `golek --help` need not wait for it

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
