"""The data folder: database, pictures, secrets and copies; one server at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from linocut.errors import Conflict, NotFound, OutputError


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where things lie below the folder that the operator named."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "linocut.db"

    @property
    def pictures(self) -> Path:
        """The root of the image store."""
        return self.path / "pictures"

    @property
    def secrets(self) -> Path:
        """What links and keys are signed with; for the owner's eyes alone."""
        return self.path / "secrets.json"

    @property
    def backups(self) -> Path:
        """Copies of the database from before its tables were changed."""
        return self.path / "backups"

    @property
    def lock(self) -> Path:
        """Held by the server that runs on this folder; says its process number."""
        return self.path / "lock"


def open_folder(path: Path) -> DataFolder:
    """The folder, made if need be, closed to other users; OutputError if it cannot be written."""
    folder = DataFolder(path.absolute())
    try:
        for place in (folder.path, folder.pictures, folder.backups):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error
    if not os.access(folder.path, os.W_OK | os.X_OK):
        raise OutputError(f"the data folder {folder.path} cannot be written", hint=_HINT)
    return folder


def existing_folder(path: Path) -> DataFolder:
    """The folder that a server or `keys add` has made; NotFound if there is none."""
    folder = DataFolder(path.absolute())
    if not folder.secrets.exists():
        raise NotFound(
            f"{folder.path} is no data folder: no server has run there",
            hint="name the server's own with --data-dir or LINOCUT_DATA_DIR",
        )
    return open_folder(path)


_HINT = "set LINOCUT_DATA_DIR to a folder that this user may write"


def _unusable(folder: DataFolder, error: OSError) -> OutputError:
    why = error.strerror or type(error).__name__
    return OutputError(f"the data folder {folder.path} cannot be used: {why}", hint=_HINT)


@contextmanager
def held(folder: DataFolder) -> Iterator[None]:
    """This process alone serves from the folder; Conflict if another does.

    The system lets go of the lock when the process ends, however it ends.
    """
    try:
        lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        _take(lock, folder)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _take(lock: int, folder: DataFolder) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        who = f"process {holder}" if holder.isdecimal() else "another process"
        raise Conflict(
            f"a server is running on {folder.path} already ({who})",
            hint="stop it first, or set LINOCUT_DATA_DIR to another folder",
        ) from error
    except OSError as error:
        raise _unusable(folder, error) from error
