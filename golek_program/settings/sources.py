"""Where does a value stand, and which one counts when several do?

The process environment wins over the worker's env file, that over `.env` in the project's folder, and that over what
a list of models or the catalogue says of the deployment's model. A setting's own name
wins over its aliases wherever they stand, and of the aliases the one that `names.ALIASES` lists first. An empty value
takes back what a later source says under the same name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import parse_stream

from golek_program.settings import names

ENVIRONMENT = "environment"


class Source(NamedTuple):
    """A place where values stand."""

    name: str
    """`environment`, or the file."""
    values: Mapping[str, str]


class Given(NamedTuple):
    """One value as somebody wrote it."""

    name: str
    """The name it was written under: the setting's own or an alias."""
    value: str
    """Without the spaces around it; never empty."""
    source: str


class Found(NamedTuple):
    """All places where values of a deployment stand."""

    sources: tuple[Source, ...]
    """The strongest first."""
    mistakes: list[str]
    """Lines of the worker's file that assign nothing."""
    remarks: list[str]
    """The same of `.env`, which may serve other programs too, and what looks like a mistyped key there."""

    def of(self, key: str) -> list[Given]:
        """What is said about `key`, the value that counts first; empty when nobody says anything."""
        return [given for name in (key, *names.ALIASES.get(key, ())) for given in self._under(name)]

    def _under(self, name: str) -> list[Given]:
        found = []
        for source in self.sources:
            if name in source.values:
                if not (value := source.values[name].strip()):
                    break
                found.append(Given(name, value, source.name))
        return found


def find(project: Path, environment: Mapping[str, str], file: Path | None, known: Sequence[str]) -> Found:
    """The sources of a deployment, or without `file` of all deployments of `project`."""
    sources = [Source(ENVIRONMENT, environment)]
    mistakes: list[str] = []
    if file is not None:
        written, mistakes = read_file(file)
        sources.append(Source(str(file), written))
    shared: dict[str, str] = {}
    remarks: list[str] = []
    dotenv = project / ".env"
    if dotenv.is_file():
        shared, remarks = read_file(dotenv)
        sources.append(Source(str(dotenv), shared))
    remarks += [unknown(key, dotenv, known) for key in shared if key not in known and key.startswith(names.PREFIXES)]
    return Found(tuple(sources), mistakes, remarks)


def read_file(file: Path) -> tuple[dict[str, str], list[str]]:
    """What the lines of an env file assign, and the lines that assign nothing."""
    written: dict[str, str] = {}
    mistakes = []
    with file.open(encoding="utf-8", errors="replace") as lines:
        for binding in parse_stream(lines):
            if binding.error or (binding.key is not None and binding.value is None):
                text = binding.original.string.strip()
                mistakes.append(f"{file}:{binding.original.line}: not KEY=VALUE: {text[:60]!r}")
            elif binding.key is not None and binding.value is not None:
                written[binding.key] = binding.value
    return written, mistakes


def unknown(key: str, file: Path, known: Sequence[str]) -> str:
    """The sentence about a key that nobody reads."""
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; envs/worker.example.env and .env.example list all keys"
    return f"{key}: unknown key in {file}{hint}"
