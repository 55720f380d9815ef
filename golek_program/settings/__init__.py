"""How does a program come by its settings?

The only readers of the environment. All mistakes are reported at once. `sources` says which value counts, `names` which
aliases there are, `values` what a text means; `fleet` and `http` hold what several programs have in common.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from golek_client.transport import DEFAULT_URL
from golek_program.settings import sources
from golek_program.settings.fleet import Fleet
from golek_program.settings.values import convert
from golek_wire.errors import BadRequestError

AnyFleet = TypeVar("AnyFleet", bound=Fleet)


class SettingsError(Exception):
    """One or more settings are wrong; each line names key, value, and what would have been right."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


def load(
    kind: type[AnyFleet], project: Path, environment: Mapping[str, str], file: Path, known: Sequence[str]
) -> AnyFleet:
    """The settings of a program from `environment`, its `file` if there is one, and `.env`; `known` are all keys.

    Raises SettingsError with all that is wrong.
    """
    found = sources.find(project, environment, file if file.is_file() else None, known)
    mistakes = list(found.mistakes)
    if file.is_file():
        mistakes += [sources.unknown(key, file, known) for key in sources.read_file(file)[0] if key not in known]
    loaded = kind(**convert(found, kind, mistakes, quiet=str(file)))
    mistakes += wrong_url(loaded.nats_url)
    if (problem := loaded.login.problem()) is not None:
        mistakes.append(problem)
    if mistakes:
        raise SettingsError(mistakes)
    return loaded


def wrong_url(url: str) -> list[str]:
    """What is wrong with NATS_URL."""
    from golek_client.connection import (
        check_url,
        servers,
        shown,
    )  # brings nats-py, which `golek --help` need not wait for

    if not all("://" in one for one in servers(url)):
        return [f"NATS_URL={shown(url)}: a URL like {DEFAULT_URL}"]
    try:
        check_url(url)
    except BadRequestError as error:
        return [f"NATS_URL={shown(url)}: {error.message}"]
    return []
