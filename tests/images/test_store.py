"""`FolderStore`: whole or not at all, once per key, and never outside its folder."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from linocut.errors import Conflict, LinocutError, NotFound, StorageUnavailable
from linocut.images.store import CHUNK, FolderStore, PictureStore

T = TypeVar("T")
KEY = "development/images/2026_03_27_10_00_04_001_x7k2pq_cat.webp"


def run(work: Awaitable[T]) -> T:
    async def wrapped() -> T:
        return await work

    return asyncio.run(wrapped())


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the store's, with a file that nobody may read or change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "canary.webp").write_bytes(b"canary")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "pictures")


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes; links and pipes are named, not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        ordinary = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = path.read_bytes() if ordinary else b"-"
    return found


def parts(store: FolderStore) -> list[Path]:
    return list(store.root.rglob(".linocut-*.part"))


def test_a_folder_is_a_picture_store(store: FolderStore) -> None:
    seam: PictureStore = store
    run(seam.ping())


def test_what_was_put_is_read_back(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    assert run(store.read(KEY)) == b"cat"
    assert run(store.size(KEY)) == 3
    assert everything(store.root)[KEY] == b"cat"
    assert parts(store) == []


def test_only_the_owner_may_look(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    modes = {path.stat().st_mode & 0o777 for path in [store.root, *store.root.rglob("*")]}
    assert modes == {0o700, 0o600}


def test_a_key_is_taken_once(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    with pytest.raises(Conflict, match="already stored"):
        run(store.put(KEY, b"dog"))
    assert run(store.read(KEY)) == b"cat"
    assert parts(store) == []


def test_the_same_bytes_may_be_put_again(store: FolderStore) -> None:
    for _ in range(2):
        run(store.put(KEY, b"cat"))
    assert run(store.read(KEY)) == b"cat"


def test_of_many_who_want_a_key_one_gets_it(store: FolderStore) -> None:
    async def race() -> list[BaseException | None]:
        puts = [store.put(KEY, bytes([i]) * 1000) for i in range(20)]
        return await asyncio.gather(*puts, return_exceptions=True)

    results = run(race())
    assert results.count(None) == 1
    assert all(isinstance(result, Conflict) for result in results if result is not None)
    assert run(store.read(KEY)) == bytes([results.index(None)]) * 1000


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, b"0123456789"), (3, 7, b"3456"), (9, None, b"9"), (10, None, b""), (8, 99, b"89"),
     (50, 99, b""), (5, 5, b"")],
)  # fmt: skip
def test_a_range_of_bytes_is_read(
    store: FolderStore, start: int, end: int | None, expected: bytes
) -> None:
    run(store.put(KEY, b"0123456789"))
    assert run(store.read(KEY, start, end)) == expected


def test_a_long_range_comes_in_pieces(store: FolderStore) -> None:
    data = os.urandom(2 * CHUNK + 77)
    run(store.put(KEY, data))

    async def pieces(start: int, end: int) -> list[bytes]:
        return [piece async for piece in store.open_range(KEY, start, end)]

    whole = run(pieces(0, len(data)))
    assert [len(piece) for piece in whole] == [CHUNK, CHUNK, 77]
    assert b"".join(whole) == data
    assert b"".join(run(pieces(5, CHUNK + 9))) == data[5 : CHUNK + 9]


def test_what_is_absent_is_not_found(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    for key in ("nothing.png", "no/folder.png", f"{KEY}/below.png", "development/images"):
        with pytest.raises(NotFound, match="no such picture"):
            run(store.read(key))
        with pytest.raises(NotFound):
            run(store.size(key))


def test_deleting_twice_is_fine(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    assert [run(store.delete(KEY)) for _ in range(2)] == [True, False]
    assert run(store.delete("never/was.png")) is False
    assert run(store.delete("../outside/canary.webp")) is False
    with pytest.raises(NotFound):
        run(store.read(KEY))


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_keys_are_listed_by_age(store: FolderStore) -> None:
    for key in ("images/old.png", "images/new.png", "old.png"):
        run(store.put(key, b"cat"))
    aged(store.root / "images/old.png", 3600)
    aged(store.root / "old.png", 3600)
    (aged_part := store.root / ".linocut-0.part").write_bytes(b"half")
    aged(aged_part, 3600)
    assert sorted(run(store.keys(60))) == ["images/old.png", "old.png"]
    assert sorted(run(store.keys(-1))) == ["images/new.png", "images/old.png", "old.png"]


def test_leftovers_are_swept_when_they_are_old(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    folder = (store.root / KEY).parent
    old, new = folder / ".linocut-0a.part", folder / ".linocut-0b.part"
    for path in (old, new):
        path.write_bytes(b"half")
    aged(old, 3600)
    aged(store.root / KEY, 3600)
    assert run(store.sweep(60)) == 1
    assert not old.exists()
    assert new.exists()
    assert run(store.read(KEY)) == b"cat"


CRASH = """
import asyncio, os, signal, sys
from contextlib import suppress
from pathlib import Path
from linocut.images.store import FolderStore
step = sys.argv[2]
kept = getattr(os, step)
def crash(*given, **named):
    if len(sys.argv) > 4:
        kept(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, step, crash)
asyncio.run(FolderStore(Path(sys.argv[1])).put(sys.argv[3], b"x" * 100_000))
"""


@pytest.mark.parametrize(
    ("step", "after", "kept"),
    [("link", False, False), ("link", True, True), ("unlink", True, True)],
)
def test_a_crash_leaves_the_whole_picture_or_none(
    store: FolderStore, step: str, *, after: bool, kept: bool
) -> None:
    (store.root / "images").mkdir(mode=0o700)
    command = [sys.executable, "-c", CRASH, str(store.root), step, "images/cat.png"]
    died = subprocess.run([*command, *(["after"] if after else [])], check=False)
    assert died.returncode == -signal.SIGKILL
    assert run(store.keys(-1)) == (["images/cat.png"] if kept else [])
    if kept:
        assert run(store.read("images/cat.png")) == b"x" * 100_000
    left = parts(store)
    assert len(left) == (0 if step == "unlink" else 1)
    assert run(store.sweep(-1)) == len(left)
    run(store.put("images/cat.png", b"x" * 100_000))  # what a second try does
    assert run(store.read("images/cat.png")) == b"x" * 100_000


def test_the_bytes_are_on_the_disk_before_the_name_is(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def told(name: str, call: Callable[..., Any], what: Callable[..., str]) -> None:
        def wrapped(*given: Any, **named: Any) -> Any:
            steps.append(f"{name} {what(*given)}".strip())
            return call(*given, **named)

        monkeypatch.setattr(os, name, wrapped)

    def kind(descriptor: int) -> str:
        return "file" if Path(f"/proc/self/fd/{descriptor}").is_file() else "folder"

    told("fsync", os.fsync, kind)
    told("link", os.link, lambda *_: "")
    run(store.put("images/cat.png", b"cat"))
    assert steps == ["fsync folder", "fsync file", "link", "fsync folder"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("step", ["fsync", "link", "mkdir", "open"])
def test_a_disk_that_fails_leaves_nothing_behind(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StorageUnavailable) as caught:
            run(store.put(KEY, b"cat"))
    assert caught.value.retry_after > 0
    assert str(store.root) not in f"{caught.value.message} {caught.value.hint}"
    assert run(store.keys(-1)) == []
    assert parts(store) == []
    run(store.put(KEY, b"cat"))
    assert run(store.read(KEY)) == b"cat"


def test_a_disk_that_is_full_is_said_in_words(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        run(store.put(KEY, b"cat"))


def test_a_write_that_stops_half_way_leaves_nothing(store: FolderStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageUnavailable):
            run(store.put(KEY, b"x" * 1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(store.keys(-1)) == []
    assert parts(store) == []


def test_a_disk_without_links_keeps_the_promise(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    run(store.put(KEY, b"cat"))
    with pytest.raises(Conflict):
        run(store.put(KEY, b"dog"))
    assert run(store.read(KEY)) == b"cat"
    assert parts(store) == []


def test_a_store_that_is_gone_is_unavailable_not_empty(store: FolderStore) -> None:
    run(store.put(KEY, b"cat"))
    store.root.rename(store.root.with_name("moved"))
    for work in (store.read(KEY), store.size(KEY), store.put(KEY, b"x"), store.ping(),
                 store.delete(KEY)):  # fmt: skip
        with pytest.raises(StorageUnavailable):
            run(work)


def test_a_store_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        FolderStore(tmp_path / "file" / "pictures")


def hostile_keys() -> Iterator[str]:
    """More than 500 ways to say "elsewhere"."""
    ups = ["..", "%2e%2e", "%2E%2E", "..%00", "..\0", "....", ". .", "..;", "\uff0e\uff0e",
           "\u2024\u2024", "\u2025", "%252e%252e", "..%2f..", "..%5c..",
           "%c0%ae%c0%ae"]  # fmt: skip
    slashes = ["/", "\\", "//", "/./", "%2f", "%5c", "\u2215", "\u2044"]
    tails = ["outside/canary.webp", "outside\\canary.webp", "etc/passwd", "canary.webp\0.png"]
    for up, slash, tail in itertools.product(ups, slashes, tails):
        yield f"{up}{slash}{tail}"
        yield f"images{slash}{up}{slash}{up}{slash}{tail}"
    yield from ("", ".", "..", "/", "//", "/etc/passwd", "~/x", "file:///etc/passwd", "C:\\x", "a/",
                "images/", "a" * 5000, "a/" * 300 + "b", "a\nb", "\ud800", "nul\0", "a\r\nb", " a",
                "*", "$(id)", "-rf /", "images/.linocut-0.part", ".linocut-0.part")  # fmt: skip


def test_no_key_leads_outside(store: FolderStore, outside: Path) -> None:
    keys = list(dict.fromkeys(hostile_keys()))
    assert len(keys) > 500
    (store.root / ".linocut-0.part").write_bytes(b"half")
    before = everything(outside.parent)
    answers: dict[str, list[object]] = {key: [] for key in keys}

    async def try_all() -> None:
        for key in keys:
            for work in (store.read(key), store.size(key), store.put(key, b"mine")):
                try:
                    answers[key].append(await work)
                except LinocutError as error:
                    answers[key].append(type(error))
            answers[key].append(await store.delete(key))

    run(try_all())
    refused: list[object] = [NotFound, NotFound, NotFound, False]
    assert {key: answer for key, answer in answers.items() if answer != refused} == {}
    assert everything(outside.parent) == before


def test_a_planted_link_leads_nowhere(store: FolderStore, outside: Path) -> None:
    run(store.put("images/cat.png", b"cat"))
    (store.root / "images/link.webp").symlink_to(outside / "canary.webp")
    (store.root / "images/dangling.webp").symlink_to(outside / "new.webp")
    (store.root / "images/loop.webp").symlink_to("loop.webp")
    (store.root / "folder").symlink_to(outside)
    (store.root / "images/within").symlink_to(store.root / "images")
    os.mkfifo(store.root / "images/pipe.webp")
    before = everything(outside)
    for key in ("images/link.webp", "images/dangling.webp", "images/loop.webp", "images/pipe.webp",
                "folder/canary.webp", "images/within/cat.png"):  # fmt: skip
        with pytest.raises(NotFound):
            run(store.read(key))
        with pytest.raises((Conflict, StorageUnavailable)):
            run(store.put(key, b"mine"))
    assert run(store.keys(-1)) == ["images/cat.png"]
    assert run(store.sweep(-1)) == 0
    assert run(store.delete("folder/canary.webp")) is False
    assert run(store.delete("images/link.webp")) is True  # the link itself
    assert everything(outside) == before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_stays_open(store: FolderStore, outside: Path) -> None:
    (store.root / "folder").symlink_to(outside)
    run(store.put(KEY, b"cat"))
    before = open_files()
    for key in ("folder/canary.webp", "no/such.png", KEY, "development/images"):
        with suppress(LinocutError):
            run(store.read(key))
        with suppress(LinocutError):
            run(store.put(key, b"dog"))
    assert open_files() == before
