"""How does a program log?

JSON lines on stderr, and in further streams when there are any: one event a line, a stable dotted name, fields instead
of prose. structlog writes them; what libraries log through the standard library arrives in the same form. Source of
the recipe: structlog.org, "Rendering using structlog-based formatters within logging".
"""

import logging
import sys
from typing import Any, TextIO

import structlog


def configure(level: str, *streams: TextIO, **bound: Any) -> None:
    """Log from `level` on, to stderr and `streams`; `bound` fields are in every line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    form = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    root = logging.getLogger()
    root.handlers = [logging.StreamHandler(stream) for stream in (sys.stderr, *streams)]
    for handler in root.handlers:
        handler.setFormatter(form)
    root.setLevel(level.upper())
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at debug it logs what it writes: prompts
    structlog.contextvars.bind_contextvars(**bound)
