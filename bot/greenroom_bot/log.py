"""Where log lines go: stderr, a console layout on a terminal and one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

EXCERPT_LENGTH = 80
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog and route the standard library's loggers (nio's) through it. Called once, by `__main__`."""
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tty = stream.isatty()
    # Tracebacks without local variables: those hold access tokens and what people wrote.
    without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    tail: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if tty
        else [structlog.processors.ExceptionRenderer(without_locals), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.getLogger("nio").setLevel(logging.CRITICAL)  # its warnings quote whole events, with what people wrote
    root.setLevel(max(_LEVELS[level], logging.WARNING))  # nio tells every sync at lower levels


def excerpt(text: str) -> str:
    """Return the text as one short line: `⏎` for each line break, and nothing that a terminal would obey."""
    line = "⏎".join(text[: EXCERPT_LENGTH * 2].splitlines())
    line = "".join(character for character in line if character.isprintable())
    cut = len(text) > EXCERPT_LENGTH * 2 or len(line) > EXCERPT_LENGTH
    return line[: EXCERPT_LENGTH - 1] + "…" if cut else line
