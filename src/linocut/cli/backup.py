"""`linocut backup` and `linocut restore`: a copy of the data folder, and the way back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linocut.cli import say
from linocut.cli.flags import DataDir
from linocut.cli.settings import in_force
from linocut.errors import Conflict

if TYPE_CHECKING:
    from linocut.jobs.backup import Copied


def backup(
    target: Annotated[
        Path, typer.Argument(help="A new folder, or a new file ending in .tar or .tar.gz.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Copy database, pictures and secrets, while the server runs, and check the copy."""
    from linocut.jobs import backup as copies  # noqa: PLC0415 - only here

    _tell(copies.backup(_folder(data_dir), target.absolute()))


def restore(
    source: Annotated[Path, typer.Argument(help="What `linocut backup` has made.")],
    data_dir: DataDir = None,
) -> None:
    """Check a backup and put it into the data folder, which has to be empty."""
    from linocut.jobs import backup as copies  # noqa: PLC0415 - only here

    _tell(copies.restore(source.absolute(), _folder(data_dir)))


def _folder(data_dir: Path | None) -> Path:
    """The data folder; Conflict if the settings name another database than the one in it."""
    from linocut.jobs.backup import ELSEWHERE  # noqa: PLC0415 - only here
    from linocut.jobs.database import address  # noqa: PLC0415 - brings SQLAlchemy
    from linocut.jobs.folder import DataFolder  # noqa: PLC0415 - only here

    found = in_force(os.environ, {"data_dir": data_dir})
    folder, named = DataFolder(found.settings.data_folder), address(found.settings.database)
    file = named.database if named.get_backend_name() == "sqlite" else None
    if file is None or Path(file).resolve() != folder.database.resolve():
        raise Conflict(
            f"{found.sources['database_url']} names another database than {folder.database}, "
            "the only one that backup and restore know",
            hint=ELSEWHERE,
        )
    return folder.path


def _tell(copied: Copied) -> None:
    say.path(copied.path)
    say.note(f"{copied.records:,} records and {copied.files:,} files, checked")
    for key in copied.missing:
        say.warning(f"a record speaks of {key}, which is not there")
    for key in copied.damaged:
        say.warning(f"{key} is damaged: it is not what was stored")
