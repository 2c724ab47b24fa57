"""Where pictures are kept: a seam, and the folder that stands behind it on one machine.

A picture is there whole or not at all, under a key that is taken once and never rewritten. Every
step from the root down is made by descriptor and follows no link, so that no key and nothing that
was planted in the folder leads out of it. What the disk cannot do is StorageUnavailable.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from linocut.errors import Conflict, NotFound, StorageUnavailable
from linocut.images.keys import parts_of
from linocut.images.threads import Threads

CHUNK: Final = 256 * 1024
RETRY_AFTER: Final = 10.0
_PART_START: Final = ".linocut-"  # no key begins with a dot
_PART_END: Final = ".part"
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the share of the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}


class PictureStore(Protocol):
    """The seam: a folder here, a bucket elsewhere. Raises NotFound and StorageUnavailable.

    A call may take as long as what stands behind it does; whoever is canceled lets go of it at
    once. `BoundedStore` gives each call an end.
    """

    async def put(self, key: str, data: bytes) -> None:
        """The picture is stored for good; Conflict if the key is taken by other bytes.

        Storing the same bytes again is fine: so a put whose answer was lost can be repeated.
        """
        ...

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to and without `end`, fewer where the file is shorter."""
        ...

    def open_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to and without `end`, piece by piece; holds nothing open."""
        ...

    async def size(self, key: str) -> int:
        """The picture's length in bytes."""
        ...

    async def delete(self, key: str) -> bool:
        """Whether it was there; it is gone now."""
        ...

    async def keys(self, older_than: float) -> list[str]:
        """The keys of everything stored that is older than this many seconds."""
        ...

    async def sweep(self, older_than: float) -> int:
        """How many leftovers of interrupted puts, older than this many seconds, were removed."""
        ...

    async def ping(self) -> None:
        """Nothing, or StorageUnavailable: whether pictures can be stored now."""
        ...


class FolderStore:
    """Pictures as files below one folder, readable by their owner alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Of their own, so that a disk that hangs holds up no other work in threads.
        self._threads = Threads(_silent)
        with _in_words("stored"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, key: str, data: bytes) -> None:
        """The picture is on the disk, whole; Conflict if the key is taken by other bytes."""
        await self._threads.run(_put, self.root, key, data)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to and without `end`, fewer where the file is shorter."""
        return await self._threads.run(_read, self.root, key, start, end)

    async def open_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to and without `end`, piece by piece; holds nothing open."""
        for at in range(start, end, CHUNK):
            yield await self.read(key, at, min(at + CHUNK, end))

    async def size(self, key: str) -> int:
        """The picture's length in bytes."""
        return await self._threads.run(_size, self.root, key)

    async def delete(self, key: str) -> bool:
        """Whether it was there; it is gone now."""
        return await self._threads.run(_delete, self.root, key)

    async def keys(self, older_than: float) -> list[str]:
        """The keys of everything stored that is older than this many seconds."""
        return await self._threads.run(_keys, self.root, older_than)

    async def sweep(self, older_than: float) -> int:
        """How many leftovers of interrupted puts, older than this many seconds, were removed."""
        return await self._threads.run(_sweep, self.root, older_than)

    async def ping(self) -> None:
        """Nothing, or StorageUnavailable: whether pictures can be stored now."""
        await self._threads.run(_ping, self.root)


async def forget(pictures: PictureStore, keys: Iterable[str]) -> None:
    """They are gone, or left for the sweeper from the first on that cannot be taken away now."""
    with suppress(StorageUnavailable):
        for key in keys:
            await pictures.delete(key)


def unavailable(done: str, reason: str) -> StorageUnavailable:
    """What is said where pictures cannot be `done` now; without any path, callers are strangers."""
    return StorageUnavailable(
        f"pictures cannot be {done} now: {reason}",
        retry_after=RETRY_AFTER,
        hint="try again later; whoever runs this server finds the cause in its log",
    )


def _silent() -> StorageUnavailable:
    return unavailable("stored or read", "the disk has not answered for a long time")


def _put(root: Path, key: str, data: bytes) -> None:
    *folders, name = parts_of(key)
    with _in_words("stored"), _folder(root, folders, make=True) as folder:
        with _written(folder, data) as part:
            if not _claim(part, name, folder) and not _holds(root, key, data):
                raise Conflict(f"another picture is already stored as {key}")
        os.fsync(folder)


def _claim(part: str, name: str, folder: int) -> bool:
    """Whether the file has this name now too: a link is refused where the name is taken."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _exists(name, folder):
            return False
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _holds(root: Path, key: str, data: bytes) -> bool:
    try:
        return _read(root, key, 0, None) == data
    except NotFound:  # a link or a folder has the name
        return False


def _read(root: Path, key: str, start: int, end: int | None) -> bytes:
    with _reading(root, key) as descriptor:
        last = os.fstat(descriptor).st_size if end is None else end
        pieces = []
        while start < last and (piece := os.pread(descriptor, last - start, start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


def _size(root: Path, key: str) -> int:
    with _reading(root, key) as descriptor:
        return os.fstat(descriptor).st_size


def _delete(root: Path, key: str) -> bool:
    try:
        *folders, name = parts_of(key)
        with _in_words("deleted", may_be_absent=True), _folder(root, folders) as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
    except NotFound:
        return False
    return True


def _keys(root: Path, older_than: float) -> list[str]:
    return [
        "/".join([*folders, name])
        for folders, name, _ in _walk(root, older_than)
        if not name.startswith(".")
    ]


def _sweep(root: Path, older_than: float) -> int:
    removed = 0
    with _in_words("swept"):
        for _, name, folder in _walk(root, older_than):
            if _is_part(name):
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed


def _ping(root: Path) -> None:
    with _in_words("stored"), _folder(root, []) as folder, _written(folder, b"."):
        pass


def _walk(root: Path, older_than: float) -> Iterator[tuple[list[str], str, int]]:
    """(folders, name, the folder's descriptor) of the ordinary files of this age."""
    now = time.time()
    with _in_words("listed"):
        for path, _, names, folder in os.fwalk(root, follow_symlinks=False):
            for name in names:
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and now - found.st_mtime > older_than:
                        yield list(Path(path).relative_to(root).parts), name, folder


@contextmanager
def _folder(root: Path, folders: list[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder below the root; made, durably, where that is asked for."""
    with _in_words("reached"):  # a root that is not there is no missing picture
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folders:
            if make:
                _make(name, here)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _make(name: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)


@contextmanager
def _reading(root: Path, key: str) -> Iterator[int]:
    """A descriptor of a stored file; NotFound for everything that is no ordinary file."""
    *folders, name = parts_of(key)
    with _in_words("read", may_be_absent=True), _folder(root, folders) as folder:
        # Without O_NONBLOCK, opening a planted pipe would wait for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _absent()
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def _written(folder: int, data: bytes) -> Iterator[str]:
    """The name of a whole file of these bytes, flushed to the disk; it is gone afterwards."""
    name = f"{_PART_START}{secrets.token_hex(8)}{_PART_END}"
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(name, how, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _is_part(name: str) -> bool:
    return name.startswith(_PART_START) and name.endswith(_PART_END)


def _absent() -> NotFound:
    return NotFound("there is no such picture", hint="it may have been deleted, or have expired")


@contextmanager
def _in_words(done: str, *, may_be_absent: bool = False) -> Iterator[None]:
    """OSErrors as what they mean for a caller."""
    try:
        yield
    except OSError as error:
        if may_be_absent and error.errno in _ABSENT:
            raise _absent() from error
        reason = _REASONS.get(error.errno or 0, "the disk reports an error")
        raise unavailable(done, reason) from error
