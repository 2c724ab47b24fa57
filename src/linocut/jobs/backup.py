"""A copy of the data folder, made while the server runs, and the way back.

The database comes first and the pictures after it: a picture is stored before its record says so,
so whatever the copied records speak of is there to be copied. A copy holds the secrets, and is
closed to other users.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linocut.errors import Conflict, InvalidRequest, NotFound, OutputError
from linocut.jobs.folder import DataFolder

ELSEWHERE: Final = (
    "a PostgreSQL database is copied with pg_dump and comes back with pg_restore; "
    "after it, copy pictures and secrets.json of the data folder"
)
_TARS: Final = (".tar", ".tar.gz", ".tgz")
_PIECE: Final = 1 << 20
_NOTHING: Final = frozenset({"lost+found"})  # what an empty volume may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied. files: how many of those that records speak of are whole.

    missing, damaged: keys of the others, that are not there or are not what was stored.
    """

    path: Path
    records: int
    files: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]


def backup(data_dir: Path, target: Path) -> Copied:
    """A checked copy of the data folder: a folder, or a tar file if `target` is named like one.

    Conflict if the target is there already; NotFound if there is no SQLite database to copy.
    """
    source = DataFolder(data_dir)
    if not source.database.is_file():
        raise NotFound(
            f"there is no {source.database.name} in {data_dir}",
            hint=ELSEWHERE,
        )
    if target.exists():
        raise Conflict(f"{target} is there already", hint="name a new file or folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".linocut-backup-") as scratch:
            copy = DataFolder(Path(scratch) / "linocut")
            copy.path.mkdir(mode=0o700)
            _copy(source, copy)
            found = _checked(copy, target)
            os.sync()
            if target.name.endswith(_TARS):
                _pack(copy.path, Path(scratch) / "packed", target)
            else:
                copy.path.rename(target)
            return found
    except OSError as error:
        raise OutputError(f"the backup could not be written: {error}") from error


def restore(source: Path, data_dir: Path) -> Copied:
    """The backup at `source`, checked and put into an empty data folder.

    Conflict if the folder holds anything; InvalidRequest if the backup is damaged or is none.
    """
    if not source.exists():
        raise NotFound(f"there is no backup at {source}")
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if {path.name for path in data_dir.iterdir()} - _NOTHING:
            raise Conflict(
                f"{data_dir} is not empty; a backup is restored into an empty folder only",
                hint="move what is there away, or set LINOCUT_DATA_DIR to another folder",
            )
        # Inside of the folder, because that may be a volume of its own.
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".restore-") as scratch:
            copy = DataFolder(_unpacked(source, Path(scratch)))
            found = _checked(copy, data_dir)
            if copy.pictures.is_dir():
                copy.pictures.chmod(0o700)  # tar keeps modes of files, not of folders
            for place in (copy.pictures, copy.secrets, copy.database):  # the database says: whole
                if place.exists():
                    place.rename(data_dir / place.name)
            os.sync()
            return found
    except OSError as error:
        raise OutputError(f"the backup could not be restored: {error}") from error


def _copy(source: DataFolder, copy: DataFolder) -> None:
    _copy_database(source.database, copy.database)
    if source.secrets.is_file():
        shutil.copy2(source.secrets, copy.secrets)
        copy.secrets.chmod(0o600)
    copy.pictures.mkdir(mode=0o700)
    for path in sorted(source.pictures.rglob("*")) if source.pictures.is_dir() else ():
        if path.is_symlink() or not path.is_file():
            continue
        place = copy.pictures / path.relative_to(source.pictures)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted meanwhile, by its owner
            shutil.copy2(path, place)


def _copy_database(source: Path, copy: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    except sqlite3.Error as error:
        raise OutputError(f"the database could not be copied: {error}") from error
    copy.chmod(0o600)


def _checked(copy: DataFolder, path: Path) -> Copied:
    """What a copy holds; InvalidRequest if its database is damaged."""
    if not copy.database.is_file():
        raise InvalidRequest(f"there is no {copy.database.name} in the backup", field="source")
    try:
        with closing(sqlite3.connect(copy.database)) as database:
            said = database.execute("PRAGMA integrity_check").fetchone()[0]
            broken = database.execute("PRAGMA foreign_key_check").fetchone()
            records = database.execute("SELECT count(*) FROM records").fetchone()[0]
            files = database.execute("SELECT key, sha256 FROM files ORDER BY key").fetchall()
    except sqlite3.Error as error:
        raise InvalidRequest(
            f"the backup's database is damaged: {error}", field="source"
        ) from error
    if said != "ok" or broken:
        raise InvalidRequest(f"the backup's database is damaged: {said}", field="source")
    stored = {key: sha256 for key, sha256 in files if (copy.pictures / key).is_file()}
    missing = tuple(key for key, _ in files if key not in stored)
    damaged = tuple(key for key, said in stored.items() if _sha256(copy.pictures / key) != said)
    return Copied(
        path=path,
        records=records,
        files=len(stored) - len(damaged),
        missing=missing,
        damaged=damaged,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(folder: Path, packed: Path, target: Path) -> None:
    # Pictures are compressed already.
    with tarfile.open(packed, "w:gz" if target.suffix in {".gz", ".tgz"} else "w") as tar:
        tar.add(folder, arcname="linocut")
    packed.chmod(0o600)
    with packed.open("rb") as written:
        os.fsync(written.fileno())
    packed.rename(target)


def _unpacked(source: Path, scratch: Path) -> Path:
    if source.is_dir():
        copy = scratch / "linocut"
        shutil.copytree(source, copy, symlinks=True)
        return copy
    try:
        with tarfile.open(source, "r:*") as tar:
            tar.extractall(scratch, filter="data")
            while tar.fileobj is not None and tar.fileobj.read(_PIECE):
                pass  # gzip's checksum stands behind what a tar reads
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise InvalidRequest(
            f"{source} is no backup: neither a folder nor a whole tar file", field="source"
        ) from error
    return scratch / "linocut"
