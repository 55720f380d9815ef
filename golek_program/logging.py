"""How does a program log?

One event a line, a stable dotted name, fields instead of prose: JSON, or on a terminal the same for people. structlog
writes them; what libraries log through the standard library arrives in the same form. Source of the recipe:
structlog.org, "Rendering using structlog-based formatters within logging".
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

Form = Literal["auto", "json", "pretty"]


def configure(level: str, *files: TextIO, form: Form = "auto", into_file: bool = False, **bound: Any) -> None:
    """Log from `level` on, to stderr in `form` and to `files`, which always hold JSON; `bound` fields are in each line.

    `auto` is pretty on a terminal and JSON elsewhere. `into_file` says that stderr is a log file, which programs read.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    pretty = not into_file and is_pretty(form, sys.stderr)
    root = logging.getLogger()
    root.handlers = [_handler(sys.stderr, shared, pretty=pretty), *(_handler(file, shared) for file in files)]
    root.setLevel(level.upper())
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at debug it logs what it writes: prompts
    structlog.contextvars.bind_contextvars(**bound)


def is_pretty(form: Form, stream: TextIO) -> bool:
    """Whether lines to `stream` are for people."""
    return form == "pretty" or (form == "auto" and stream.isatty())


def has_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether pretty lines have colours: on a terminal, unless NO_COLOR says otherwise (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR")


def _handler(stream: TextIO, shared: list[Any], *, pretty: bool = False) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    last = _pretty(stream) if pretty else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    processors = [ProcessorFormatter.remove_processors_meta, *last]
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=processors))
    return handler


def _pretty(stream: TextIO) -> list[Any]:
    # Not the traceback that rich would draw: it shows the values of variables, prompts among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=has_colours(stream), exception_formatter=plain, sort_keys=False)]
