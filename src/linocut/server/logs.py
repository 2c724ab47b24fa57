"""One line of log per happening: JSON for machines, columns for a terminal, no secret in either.

Modules log through structlog, `log.info("job done", record=id)`, and libraries as they always do;
both end here. A request's id is bound at the edge, and every line of its task carries it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.types import EventDict, Processor

HIDDEN: Final = frozenset(
    {"api_key", "api-key", "authorization", "body", "key", "prompt", "query", "secret", "sig",
     "signature", "token", "url", "x-key"}
)  # fmt: skip
_SECRETS: Final = (
    (re.compile(r"(lino_[0-9A-Za-z]{8}_)[0-9A-Za-z]{8,}"), r"\1…"),
    (re.compile(r"(whsec_)[A-Za-z0-9+/=]+"), r"\1…"),
    (re.compile(r"\b(sig=)[A-Za-z0-9_-]+"), r"\1…"),
    (re.compile(r"(\w+://[^:/@\s]+:)[^@/\s]+(?=@)"), r"\1…"),
    (re.compile(r"(\[parameters: ).*", re.DOTALL), r"\1…]"),  # a database's words about a row
)


def configure(stream: TextIO, *, form: str, level: str) -> None:
    """Every logger of this process writes to the stream. form: auto, json or console."""
    console = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                without_secrets,
                _renderer(console=console, colors=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn.error", "alembic", "sqlalchemy", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def without_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    """The event without what belongs to somebody: prompts, keys, signatures, passwords."""
    return {
        name: "…" if name.lower() in HIDDEN else _scrubbed(value) for name, value in event.items()
    }


def _scrubbed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(None, "", dict(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(one) for one in value]
    if isinstance(value, str):
        for pattern, kept in _SECRETS:
            value = pattern.sub(kept, value)
    return value


def _renderer(*, console: bool, colors: bool) -> Processor:
    if console:
        return structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24)
    return structlog.processors.JSONRenderer(ensure_ascii=True)
