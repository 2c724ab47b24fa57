"""A file is there whole or not at all: written beside its place, flushed to the disk, then moved.

OutputError says in words what stood in the way, and nothing half-written is left behind.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from linocut.errors import OutputError

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_REASONS: Final = {
    errno.ENOSPC: ("the disk is full", "make room, or save to another disk with -o"),
    errno.EDQUOT: ("your share of the disk is used up", "make room, or save elsewhere with -o"),
    errno.EFBIG: ("the file would be larger than is allowed here", "check `ulimit -f`"),
    errno.EROFS: ("the disk is read-only", "save elsewhere with -o"),
    errno.EACCES: ("no permission to write there", "save to a folder of your own with -o"),
    errno.EPERM: ("no permission to write there", "save to a folder of your own with -o"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one with -o"),
    errno.EISDIR: ("it is a folder", "name a file in it"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path"),
}


def check_target(path: Path) -> None:
    """Nothing, or OutputError: what can be known about saving there before anything is drawn."""
    path = _behind_links(path)
    try:
        if path.is_dir():
            raise OutputError(
                f"{path} is a folder", hint=f"name a file in it, like {path / 'picture.webp'}"
            )
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {path.parent}", hint="make it first")
        target = path if path.exists() and not path.is_file() else path.parent
    except OSError as error:
        raise _in_words(path, error) from error
    if not os.access(target, os.W_OK):
        raise _in_words(path, PermissionError(errno.EACCES, "no permission"))


def save(path: Path, data: bytes) -> None:
    """The bytes under this name, in place of what may have stood there; OutputError if not."""
    path = _behind_links(path)
    check_target(path)
    try:
        if _is_device(path):
            path.write_bytes(data)
            return
        with _written_beside(path, data) as temporary:
            temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _in_words(path, error) from error


def save_new(path: Path, data: bytes) -> Path:
    """The path that the bytes were saved under: this one, or with -2, -3… where it is taken."""
    check_target(path)
    try:
        with _written_beside(path, data) as temporary:
            free = next(name for name in _numbered(path) if _claim(temporary, name))
        _flush_folder(path.parent)
    except OSError as error:
        raise _in_words(path, error) from error
    return free


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _claim(temporary: Path, path: Path) -> bool:
    """Whether `temporary` is now `path` too: a link is refused where the name is taken."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        temporary.rename(path)
    return True


@contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """A finished file in the same folder; it is gone afterwards unless it was moved."""
    temporary = path.with_name(f".linocut-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _flush_folder(folder: Path) -> None:
    """The new name survives a power cut too, where the system can promise that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _behind_links(path: Path) -> Path:
    """The path itself, and not a link to it; OutputError if the folder we are in is gone."""
    try:
        return Path(os.path.realpath(path))
    except OSError as error:
        raise _in_words(path, error) from error


def _is_device(path: Path) -> bool:
    """Whether it is a pipe, a terminal or the like: written to, never replaced."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode)


def _in_words(path: Path, error: OSError) -> OutputError:
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
    return OutputError(f"{path} was not saved: {reason}", hint=hint)
