"""The kinds of columns: text that both databases take, and JSON as such a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import TEXT, Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from linocut.errors import InvalidRequest


def check_text(value: str) -> str:
    """The text itself; InvalidRequest for a NUL or a lone surrogate.

    PostgreSQL refuses a NUL and SQLite keeps it; neither takes half a surrogate pair.
    """
    if "\0" in value:
        raise InvalidRequest("the text holds a NUL character", hint="leave out U+0000")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the text is not valid Unicode: a lone surrogate at character {error.start}"
        ) from error
    return value


class Words(TypeDecorator[str]):
    """Any text that is valid Unicode without NUL, compared byte by byte on both databases."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """PostgreSQL would else compare by the rules of some language."""
        return TEXT(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text, once it is known to be storable."""
        return None if value is None else check_text(value)


class Json(TypeDecorator[Any]):
    """A JSON value, kept as ASCII text: what is inside a string can do no harm."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Its text; InvalidRequest for what JSON cannot say."""
        if value is None:
            return None
        try:
            return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidRequest(f"this cannot be kept as JSON: {error}") from error

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The value."""
        return None if value is None else json.loads(value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")
