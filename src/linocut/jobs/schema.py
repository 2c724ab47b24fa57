"""The tables. Times are milliseconds of the database's clock; a record's state is the job's.

The migrations make them; a test holds both together. Every text is `Words`, so none that one of
the databases refuses gets through.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from linocut.jobs.columns import Json, Words
from linocut.jobs.record import ENDINGS, FINAL, State

_OPEN: Final = ", ".join(f"'{state}'" for state in State if state not in FINAL)
_STATES: Final = ", ".join(f"'{state}'" for state in State)
_ENDS: Final = ", ".join(f"'{kind}'" for kind in ENDINGS.values())

metadata: Final = MetaData()


def _time(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=optional)


def _owner() -> Column[str]:
    return Column("record_id", Words, ForeignKey("records.id", ondelete="CASCADE"), nullable=False)


def _index_where(condition: str, name: str, *columns: str, unique: bool = False) -> Index:
    """An index of those rows only; each database has its own word for it."""
    rows = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)


records: Final = Table(
    "records",
    metadata,
    Column("id", Words, primary_key=True),
    Column("tenant", Words, nullable=False),
    Column("key_id", Words, nullable=False),
    Column("feature", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("body", Json, nullable=False),
    Column("plan", Json, nullable=False),  # an Order; the word itself is SQL's
    Column("prompt", Words, nullable=False),  # folded, for searching
    Column("webhook", Words, nullable=False),
    Column("webhook_events", Json, nullable=False),
    Column("estimate", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),  # whose quota it is reserved of
    Column("worker", Words, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("starred", Boolean, nullable=False),
    _time("run_at"),
    _time("lease_until", optional=True),
    _time("created_at"),
    _time("started_at", optional=True),
    _time("finished_at", optional=True),
    Column("paid", BigInteger),  # worker milliseconds; NULL until somebody said
    Column("result_keys", Json, nullable=False),
    Column("result", Json, nullable=False),
    Column("error", Json),
    CheckConstraint(f"state IN ({_STATES})", name="ck_records_state"),
    Index("ix_records_history", "tenant", "id"),
    _index_where(f"state IN ({_OPEN})", "ix_records_open", "state", "key_id", "id"),
    Index("ix_records_turn", "key_id", "started_at"),
    Index("ix_records_finished", "finished_at"),
)

events: Final = Table(
    "events",
    metadata,
    _owner(),
    Column("seq", Integer, nullable=False),
    Column("kind", Words, nullable=False),
    Column("data", Json, nullable=False),
    _time("at"),
    UniqueConstraint("record_id", "seq", name="uq_events_seq"),
    _index_where(f"kind IN ({_ENDS})", "uq_events_ending", "record_id", unique=True),
)

idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("tenant", Words, primary_key=True),
    Column("key", Words, primary_key=True),
    Column("fingerprint", Words, nullable=False),
    _owner(),
    _time("created_at"),
    Index("ix_idempotency_record", "record_id"),
)

files: Final = Table(
    "files",
    metadata,
    Column("key", Words, primary_key=True),
    Column("tenant", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("record_id", Words, nullable=False),  # "" for a file of no record
    Column("content_type", Words, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Words, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("original_name", Words, nullable=False),
    _time("created_at"),
    _time("used_at"),
    Index("ix_files_record", "record_id"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Words, primary_key=True),
    Column("tenant", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("digest", Words, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("rate", Double),
    Column("share", Integer),
    Column("quota", BigInteger),
    Column("allow_unsafe", Boolean, nullable=False),
    _time("created_at"),
    _time("expires_at", optional=True),
    _time("revoked_at", optional=True),
    _time("last_used_at", optional=True),
)

usage: Final = Table(
    "usage",
    metadata,
    Column("key_id", Words, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("reserved_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", Words, primary_key=True),
    _owner(),
    Column("tenant", Words, nullable=False),
    Column("event", Words, nullable=False),
    Column("url", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("attempt", Integer, nullable=False),
    _time("run_at"),
    _time("created_at"),
    Column("last_error", Words, nullable=False),
    CheckConstraint("state IN ('DUE', 'SENT', 'GIVEN_UP')", name="ck_deliveries_state"),
    UniqueConstraint("record_id", "event", name="uq_deliveries_event"),
    _index_where("state = 'DUE'", "ix_deliveries_due", "run_at"),
)

# One row for each thing that is done by one at a time, to be locked while it is done. SQLite has
# one writer anyway.
turns: Final = Table("turns", metadata, Column("name", Words, primary_key=True))
