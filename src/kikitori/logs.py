"""Logs: one line for each event, for people or as JSON, with the ids of what it belongs to.

A record is a constant message with facts in ``extra``, among them an ``action``. Ids of the
request, task or session enter through ``log_ids``. What was said, and what was heard, is never
logged at ``info`` or above.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

_ids: ContextVar[Mapping[str, str]] = ContextVar("kikitori_log_ids", default={})  # noqa: B039 (never mutated)

_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "ids", "color_message"}
"""What every record carries anyway; everything else came through ``extra``."""

QUIET = {
    "python_multipart": logging.ERROR,  # speaks of each malformed form, which its sender is told about
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "openai": logging.WARNING,
    "huggingface_hub": logging.WARNING,
    "faster_whisper": logging.WARNING,
    "alembic": logging.WARNING,
    "uvicorn.error": logging.WARNING,  # web.server says when it listens, drains and stops
}
"""Libraries whose everyday events are not ours."""


@contextmanager
def log_ids(**ids: str) -> Generator[None, None, None]:
    """Every record made inside, also by tasks and threads started there, carries these ids."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def current_ids() -> Mapping[str, str]:
    """The ids that a record made here would carry."""
    return _ids.get()


class IdFilter(logging.Filter):
    """Puts the ids in force where the record is made onto it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "ids"):
            record.ids = _ids.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if trace := _trace(self, record):
            entry["trace"] = trace
        return json.dumps(entry, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """``12:30:01 INFO    message  name=value …``; a trace follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = " ".join(f"{name}={_shown(value)}" for name, value in _facts(record).items() if name != "action")
        line = f"{clock} {record.levelname:<7} {_one_line(record.getMessage())}"
        trace = _trace(self, record)
        return f"{line}  {facts}".rstrip() + (f"\n{trace}" if trace else "")


def configure_logging(log_format: str = "human", level: str = "info", *, stream: IO[str] | None = None) -> None:
    """Send all logs, those of uvicorn too, to ``stream`` (stderr) through one handler. May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name("kikitori")
    handler.addFilter(IdFilter())
    handler.setFormatter(JsonFormatter() if log_format == "json" else HumanFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == "kikitori"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
    ids: Mapping[str, str] = getattr(record, "ids", {})
    return {**extra, **ids}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _one_line(text: str) -> str:
    """Nobody can write a line of our log from outside."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _shown(value: object) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text
