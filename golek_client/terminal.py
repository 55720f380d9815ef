"""How do the commands speak to a person? Errors, tables, and running a coroutine to its end."""

import asyncio
import contextlib
import math
import os
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from golek_client import duration
from golek_wire.errors import InferenceServiceError, RetriableError

T = TypeVar("T")

Server = Annotated[
    str, typer.Option("--server", "-s", envvar="NATS_URL", metavar="URL", help="The NATS server of the fleet.")
]

Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Any other wish for the draw, such as top_p=0.5."),
]

_INTERRUPTED = 130
_HINTS = {
    "MODEL_NOT_FOUND": "`golek models` lists what there is",
    "NO_WORKERS": "`golek models` shows when it was last seen; `make start WORKER=<name>` starts a worker",
    "UNKNOWN_GRAMMAR": "`golek grammar list` shows all",
    "CONFLICT": "read it again, and give its new revision",
    "ENGINE_FAILED": "the worker's log says how",
    "POISON_JOB": "`golek dlq show JOB_ID` has the engine's last lines",
}
_FIELDS = {
    "messages": "`golek req` asks without a template: golek req inference.request.{model} "
    """'{"input": "…", "raw": true, "params": {"max_tokens": 50}}' --timeout=30s""",
    "orchestration_mode": "--mode says how they answer, such as --mode debate; or ask a preset by its name",
}
_COMMANDS = {
    "inference": "`golek chat {model}`",
    "embedding": "`golek embed {model} TEXT`",
    "rerank": "`golek rerank {model} QUERY DOCUMENT...`",
    "vision": "`golek classify {model} IMAGE`",
}
"""Which asks a model of a kind."""


def run(work: Coroutine[Any, Any, T], patience: str | None = None) -> T:
    """What `work` gives; its errors end the program as `errors` says."""
    with errors(patience):
        return asyncio.run(work)


@contextlib.contextmanager
def errors(patience: str | None = None, model: str = "MODEL") -> Iterator[None]:
    """Turns an error of the fleet into `error CODE: message` and a hint, exit status 1.

    `patience` is the command's option that waits longer, where it has one; `model` is whom it asks.
    Ctrl-C is 130, and a reader that closed the pipe 1, both without a word.
    """
    try:
        yield
    except InferenceServiceError as error:
        print(f"error {error.code}: {error.message}", file=sys.stderr)
        if said := hint(error, patience, model):
            print(f"hint: {said}", file=sys.stderr)
        raise typer.Exit(1) from None
    except BrokenPipeError:
        # Else the interpreter meets the closed pipe again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Say why and end with status 1."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1)


def seconds(text: str, option: str) -> float:
    """The seconds that `text` says; a mistake ends the program naming the option."""
    try:
        return duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def params(pairs: list[str]) -> dict[str, Any]:
    """What `--param NAME=VALUE` says, values as JSON or else as text; a name that there is not ends the program."""
    import json

    from golek_wire.requests import Params

    found: dict[str, Any] = {}
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given or name not in Params.__struct_fields__:
            there = ", ".join(Params.__struct_fields__)
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE with one of {there}", param_hint="--param")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def together(mode: str | None, models: str | None, rounds: int | None, progress: str | None) -> dict[str, Any]:
    """The fields of a request that say how several models answer. A terminal shows their steps unless told not to, for
    a model's name does not tell whether it stands for several.
    """
    if progress is None and sys.stderr.isatty():
        progress = "steps"
    names = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    if names == []:
        raise typer.BadParameter("names no model; as phi-4,qwen2.5-7b", param_hint="--models")
    said = {"models": names, "max_rounds": rounds, "progress": progress}
    wish = {name: value for name, value in said.items() if value is not None}
    return {"orchestration_mode": mode} | ({"orchestration": wish} if wish else {})


def json_list(file: Path, option: str) -> list[Any]:
    """The list in a JSON file; anything else ends the program."""
    import json

    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint=option) from None
    if not isinstance(found, list):
        raise typer.BadParameter(f"{file}: holds no list", param_hint=option)
    return found


def piped_text() -> str:
    """All of standard input, without blanks around it; bytes that are no text end the program."""
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        fail(f"standard input is no UTF-8 text: {error}")


def piped_lines() -> list[str]:
    """The lines of standard input that hold anything. Only a line feed ends a line: others may stand in a text."""
    return [line.removesuffix("\r") for line in piped_text().split("\n") if line.strip()]


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print `rows` in columns under `head`."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [[name.upper() for name in head], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(milliseconds: int) -> str:
    """About how long, rounded up."""
    if milliseconds < 10_000:
        return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"
    seconds = math.ceil(milliseconds / 1000)
    return f"{seconds} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"


def hint(error: InferenceServiceError, patience: str | None, asked: str) -> str | None:
    """What a person who asked the model `asked` may do about `error`; None where nobody knows."""
    model = error.details.get("model")
    wanted = error.details.get("missing") or [model] * (error.code == "MODEL_NOT_FOUND")
    here = [f"`make start WORKER={name}`" for name in wanted if Path(f"envs/worker.{name}.env").is_file()]
    if here and not error.details.get("command"):
        return f"{'it is' if len(here) == 1 else 'they are'} not running here: {', '.join(here)} starts it"
    param = str(error.details.get("param", ""))
    if error.code == "BAD_REQUEST" and param in _FIELDS:  # which `chat` wrote itself
        return _FIELDS[param].replace("{model}", asked)
    if error.code in _HINTS and not error.details.get("command"):  # which its message has
        return _HINTS[error.code].replace("JOB_ID", str(error.details.get("job_id", "JOB_ID")))
    if error.code == "DEADLINE_EXCEEDED":
        return f"{patience} waits longer" if patience else None
    return _another_command(error, asked) or _later(error)


def _another_command(error: InferenceServiceError, asked: str) -> str | None:
    """Which ones ask the model for what it does, where it was asked for something else."""
    commands = [_COMMANDS[kind] for kind in error.details.get("kinds") or () if kind in _COMMANDS]
    return f"{' or '.join(commands).replace('{model}', asked)} asks it" if commands else None


def _later(error: InferenceServiceError) -> str | None:
    """When the same may succeed."""
    # No connection ever stood when the error names a URL: its message says what to do, and time alone mends nothing.
    told = "try again in" in error.message
    if isinstance(error, RetriableError) and "url" not in error.details and not told:
        return f"it may succeed in {_shown(error.retry_after_ms)}"
    return None
