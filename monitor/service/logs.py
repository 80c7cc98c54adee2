"""Structured logs on standard error."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

# Tracebacks come without local variables: those hold what strangers wrote, and secrets.
_JSON: tuple[structlog.typing.Processor, ...] = (
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    ),
    structlog.processors.JSONRenderer(),
)


class _Lines:
    """A stream whose disk may be full and whose reader may be gone: that costs lines, not work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure_logs(*, level: str, form: str) -> None:
    """Console lines on a terminal, else JSON; ``form`` forces one of them.

    What libraries log from warnings upwards comes out in the same way.
    """
    as_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    ending = _console() if as_console else _JSON
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Lines(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    of_libraries = logging.StreamHandler(sys.stderr)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[of_libraries], level=logging.WARNING, force=True)
    # A job that is still running when its time comes again is no fault: it finds all there is.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _console() -> tuple[structlog.typing.Processor, ...]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
    )
    return (renderer,)
