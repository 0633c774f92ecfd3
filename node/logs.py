"""Logs without patient data: a JSON line an event, identifiers only as keyed hashes (S28)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

#: Something that looks like a UID, whatever sentence it stands in.
_UID = re.compile(r"\b[0-2](?:\.\d+){3,}\b")
#: Libraries whose words may quote a data set.
_LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "py.warnings", "httpx")

_key = os.urandom(16)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; events are short words, values are keyword arguments."""
    logger: FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def hashed(value: object) -> str:
    """Return a short keyed hash of an identifier: equal values can be followed, not read.

    Examples
    --------
    >>> hashed("1.2.3") == hashed("1.2.3"), len(hashed("1.2.3"))
    (True, 12)
    """
    return hashlib.blake2b(str(value).encode(), key=_key, digest_size=6).hexdigest()


def configure(level: str, *, key: bytes | None = None, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (default: standard error) as JSON lines.

    Parameters
    ----------
    level : str
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    key : bytes
        Key of `hashed`, the same in all processes of a node (`load_key`).
    stream : text file
        Where to write.
    """
    global _key
    _key = key or _key
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_without_values,
            _scrub,
            structlog.processors.JSONRenderer(serializer=json.dumps, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    _route_libraries(number)


def load_key(path: Path) -> bytes:
    """Return the key of `hashed` kept in `path`; make it (mode 0600) if it is not there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32))
    return path.read_bytes()


class _LibraryHandler(logging.Handler):
    """Log where a library spoke, never what it said: its words may quote a data set."""

    def emit(self, record: logging.LogRecord) -> None:
        event: dict[str, Any] = {"library": record.name, "line": record.lineno}
        if record.exc_info and record.exc_info[0]:
            event["error"] = record.exc_info[0].__name__
        level = logging.getLevelName(record.levelno).lower()
        log = get_logger(record.module)
        getattr(log, level if level in {"debug", "warning", "error"} else "info")(
            "library message", **event
        )


def _route_libraries(level: int) -> None:
    logging.captureWarnings(True)
    if not sys.warnoptions:
        warnings.simplefilter("default")
    handler = _LibraryHandler()
    # A library's DEBUG prints whole requests; its place in the code is worth nothing there.
    quiet = max(level, logging.WARNING)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:] = [handler]
        library.propagate = False
        library.setLevel(quiet)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(quiet)


def _scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever still looks like a UID or a path: the second fence, not the first."""
    for name, value in event.items():
        if isinstance(value, Path):
            event[name] = f"path:{hashed(value)}"
        elif isinstance(value, str) and name not in {"timestamp", "level"}:
            event[name] = _UID.sub(lambda found: f"uid:{hashed(found.group())}", value)
    return event


def _exception_without_values(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Turn `exc_info` into types and places; messages of exceptions may hold values."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["at"] = _places(error)
    return event


def _places(error: BaseException) -> list[str]:
    places: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-6:]
