"""Brings a database to this version's tables, after a copy if it is a file.

Revisions are numbered: "0001", "0002". Each only adds, so that the version before still runs on
the tables of this one: that is how servers are replaced one after another.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from linocut.errors import Conflict

HEAD: Final = "0001"
_FOLDER: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x6C696E6F  # one server at a time migrates; the number is "lino"


def migrate(url: URL, *, backups: Path | None = None, to: str = HEAD) -> None:
    """The database at `url` has the tables of revision `to`; "base" is none at all.

    Conflict if a version of linocut that is more than one step newer has been here.
    """
    with _connected(url) as connection:
        current = revision(connection)
        if current == to or (to == HEAD and _is_next(current)):
            return
        if current > HEAD:
            raise Conflict(
                f"the database has schema {current}; this linocut knows {HEAD}",
                hint="run the newer linocut again, or restore the copy made before it came",
            )
        if backups is not None and current:
            _copy(connection, backups, current)
        _walk(connection, current, to)


def revision(connection: Connection) -> str:
    """The revision that a database has; "" for a new one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _is_next(current: str) -> bool:
    return current.isdecimal() and int(current) == int(HEAD) + 1


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    if url.get_backend_name() == "sqlite" and url.database:
        _close_to_others(Path(url.database))
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                # Held by the session, and so until this connection closes.
                connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
                connection.commit()
            yield connection
    finally:
        engine.dispose()


def _close_to_others(database: Path) -> None:
    """A new file is its owner's alone; SQLite gives what it writes beside it the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _walk(connection: Connection, current: str, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("version_locations", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)
    down = to == "base" or to < current

    def steps(revision: Any, _context: MigrationContext) -> Any:
        if down:
            return script._downgrade_revs(to, revision)
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
    connection.commit()


def _copy(connection: Connection, backups: Path, current: str) -> None:
    database = connection.engine.url.database
    if connection.dialect.name != "sqlite" or not database:
        return
    stamp = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
    backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = backups / f"linocut_{stamp}_schema_{current}.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    target.chmod(0o600)
