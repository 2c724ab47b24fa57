"""The first tables: records, events, files, keys, usage, deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Compared byte by byte on both databases.
_WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _words(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, _WORDS, primary_key=key, nullable=False)


def _json(name: str, *, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=optional)


def _whole(name: str, *, optional: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=optional)


def _large(name: str, *, optional: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=optional)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _owner() -> sa.Column[str]:
    target = sa.ForeignKey("records.id", ondelete="CASCADE")
    return sa.Column("record_id", _WORDS, target, nullable=False)


def _index(name: str, table: str, columns: list[str], *, where: str, unique: bool = False) -> None:
    condition = sa.text(where) if where else None
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def upgrade() -> None:
    """Make the tables."""
    _make_records()
    _make_what_belongs_to_records()
    _make_files()
    _make_keys()
    turns = op.create_table("turns", _words("name", key=True))
    op.bulk_insert(turns, [{"name": "submit"}, {"name": "claim"}])


def _make_records() -> None:
    op.create_table(
        "records",
        _words("id", key=True),
        *map(_words, ("tenant", "key_id", "feature", "model", "state")),
        _json("body"),
        _json("plan"),
        _words("prompt"),
        _words("webhook"),
        _json("webhook_events"),
        _large("estimate"),
        _whole("day"),
        _words("worker"),
        *map(_whole, ("attempt", "fence", "last_seq")),
        _flag("starred"),
        _large("run_at"),
        _large("lease_until", optional=True),
        _large("created_at"),
        _large("started_at", optional=True),
        _large("finished_at", optional=True),
        _large("paid", optional=True),
        _json("result_keys"),
        _json("result"),
        _json("error", optional=True),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'PROCESSING', 'SUCCESS', 'FAILURE', 'CANCELED')",
            name="ck_records_state",
        ),
    )
    _index("ix_records_history", "records", ["tenant", "id"], where="")
    _index(
        "ix_records_open",
        "records",
        ["state", "key_id", "id"],
        where="state IN ('QUEUED', 'PROCESSING')",
    )
    _index("ix_records_turn", "records", ["key_id", "started_at"], where="")
    _index("ix_records_finished", "records", ["finished_at"], where="")


def _make_what_belongs_to_records() -> None:
    op.create_table(
        "events",
        _owner(),
        _whole("seq"),
        _words("kind"),
        _json("data"),
        _large("at"),
        sa.UniqueConstraint("record_id", "seq", name="uq_events_seq"),
    )
    _index(
        "uq_events_ending",
        "events",
        ["record_id"],
        where="kind IN ('completed', 'failed', 'canceled')",
        unique=True,
    )
    op.create_table(
        "idempotency",
        _words("tenant", key=True),
        _words("key", key=True),
        _words("fingerprint"),
        _owner(),
        _large("created_at"),
    )
    _index("ix_idempotency_record", "idempotency", ["record_id"], where="")
    op.create_table(
        "deliveries",
        _words("id", key=True),
        _owner(),
        *map(_words, ("tenant", "event", "url", "state")),
        _whole("attempt"),
        _large("run_at"),
        _large("created_at"),
        _words("last_error"),
        sa.CheckConstraint("state IN ('DUE', 'SENT', 'GIVEN_UP')", name="ck_deliveries_state"),
        sa.UniqueConstraint("record_id", "event", name="uq_deliveries_event"),
    )
    _index("ix_deliveries_due", "deliveries", ["run_at"], where="state = 'DUE'")


def _make_files() -> None:
    op.create_table(
        "files",
        _words("key", key=True),
        *map(_words, ("tenant", "kind", "record_id", "content_type")),
        _large("size"),
        _words("sha256"),
        _whole("width"),
        _whole("height"),
        _words("original_name"),
        _large("created_at"),
        _large("used_at"),
    )
    _index("ix_files_record", "files", ["record_id"], where="")


def _make_keys() -> None:
    op.create_table(
        "api_keys",
        _words("id", key=True),
        *map(_words, ("tenant", "name", "digest")),
        _json("scopes"),
        sa.Column("rate", sa.Double),
        _whole("share", optional=True),
        _large("quota", optional=True),
        _flag("allow_unsafe"),
        _large("created_at"),
        _large("expires_at", optional=True),
        _large("revoked_at", optional=True),
        _large("last_used_at", optional=True),
    )
    op.create_table(
        "usage",
        _words("key_id", key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        _large("reserved_ms"),
        _large("used_ms"),
    )


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    for table in (
        "turns", "usage", "api_keys", "files", "deliveries", "idempotency", "events", "records",
    ):  # fmt: skip
        op.drop_table(table)
