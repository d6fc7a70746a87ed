"""Our own log: to standard error, warnings and worse, and never a traceback unless it was asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

Processor = Callable[[Any, str, dict[str, Any]], dict[str, Any]]


def talk(*, debug: bool) -> None:
    """Our own log goes to standard error: warnings and worse, with tracebacks only when asked for."""
    processors: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
    processors += [structlog.processors.ExceptionRenderer()] if debug else [_short_exception]
    structlog.configure(
        processors=[*processors, structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _short_exception(_logger: Any, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One word of what was raised and where, instead of a traceback."""
    info = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        entry["error"] = f"{type(error).__name__} at {_place(error.__traceback__)}"
    return entry


def _place(trace: TracebackType | None) -> str:
    last = ""
    while trace is not None:
        last = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last
