"""A copy while the server runs, and the way back."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from linocut.errors import Conflict, InvalidRequest, NotFound, OutputError
from linocut.jobs.backup import backup, restore
from linocut.jobs.folder import DataFolder, open_folder
from linocut.jobs.store import Store


def with_store(folder: DataFolder, story: Callable[[Store], Awaitable[Any]]) -> Any:
    """What a story on the folder's database answers; the store is closed."""

    async def told() -> Any:
        store = await Store.open(f"sqlite:///{folder.database}")
        try:
            return await story(store)
        finally:
            await store.close()

    return asyncio.run(told())


async def draw(store: Store, folder: DataFolder, jobs: Any, key: str) -> str:
    """A record that succeeded, with its picture in the folder."""
    data = key.encode() * 50
    place = folder.pictures / key
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)
    id: str = (await store.submit(jobs.submission(), jobs.wide)).record.id
    await store.claim("lane", 30)
    file = jobs.file(key, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert await store.succeed(id, 1, [file], {}, 1.0)
    return id


@pytest.fixture
def lived_in(tmp_path: Path, jobs: Any) -> DataFolder:
    """A folder with two pictures and secrets."""
    folder = open_folder(tmp_path / "data")
    folder.secrets.write_text("{}")
    folder.secrets.chmod(0o600)

    async def story(store: Store) -> None:
        await draw(store, folder, jobs, "images/a.webp")
        await draw(store, folder, jobs, "images/b.webp")

    with_store(folder, story)
    return folder


@pytest.mark.parametrize("name", ["copy", "copy.tar", "copy.tar.gz", "copy.tgz"])
def test_what_was_copied_comes_back(lived_in: DataFolder, tmp_path: Path, name: str) -> None:
    target = tmp_path / "copies" / name
    made = backup(lived_in.path, target)
    assert (made.path, made.records, made.files, made.missing) == (target, 2, 2, ())
    assert target.stat().st_mode & 0o077 == 0
    assert [path.name for path in target.parent.iterdir()] == [name], "nothing is left over"
    back = restore(target, tmp_path / "back")
    assert (back.records, back.files, back.missing) == (2, 2, ())
    folder = DataFolder(tmp_path / "back")
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "linocut.db",
        "pictures",
        "secrets.json",
    ]
    for place in (folder.secrets, folder.pictures, folder.database):
        assert place.stat().st_mode & 0o077 == 0, place
    for key in ("images/a.webp", "images/b.webp"):
        assert (folder.pictures / key).read_bytes() == (lived_in.pictures / key).read_bytes()

    async def history(store: Store) -> Any:
        return await store.records("ann", limit=10)

    assert with_store(folder, history) == with_store(lived_in, history)
    assert (lived_in.database).is_file()


def test_a_copy_of_a_running_server_is_whole(tmp_path: Path, jobs: Any) -> None:
    folder = open_folder(tmp_path / "data")

    async def story(store: Store) -> None:
        for number in range(5):
            await draw(store, folder, jobs, f"images/{number}")
        copying = asyncio.create_task(asyncio.to_thread(backup, folder.path, tmp_path / "copy"))
        number = 5
        while not copying.done():
            await draw(store, folder, jobs, f"images/{number}")
            number += 1
        made = await copying
        assert made.missing == ()
        assert 5 <= made.records <= number

    with_store(folder, story)
    assert restore(tmp_path / "copy", tmp_path / "back").missing == ()


def test_pictures_that_are_not_there_or_not_whole_are_named(
    lived_in: DataFolder, tmp_path: Path
) -> None:
    (lived_in.pictures / "images/a.webp").unlink()
    (lived_in.pictures / "images/b.webp").write_bytes(b"cut")
    made = backup(lived_in.path, tmp_path / "copy")
    assert (made.records, made.files) == (2, 0)
    assert (made.missing, made.damaged) == (("images/a.webp",), ("images/b.webp",))


@pytest.mark.parametrize("name", ["copy", "copy.tar.gz"])
def test_a_picture_of_the_same_size_but_other_bytes_is_damaged(
    lived_in: DataFolder, tmp_path: Path, name: str
) -> None:
    path = lived_in.pictures / "images/b.webp"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    made = backup(lived_in.path, tmp_path / name)
    back = restore(tmp_path / name, tmp_path / "back")
    for found in (made, back):
        assert (found.files, found.missing, found.damaged) == (1, (), ("images/b.webp",))


def test_a_link_among_the_pictures_is_not_followed(lived_in: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("x")
    (lived_in.pictures / "images/link").symlink_to(tmp_path / "private")
    backup(lived_in.path, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy/pictures/images").iterdir()) == [
        "a.webp",
        "b.webp",
    ]


def test_nothing_is_written_over(lived_in: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(Conflict, match="there already"):
        backup(lived_in.path, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    backup(lived_in.path, tmp_path / "copy")
    with pytest.raises(Conflict, match="not empty"):
        restore(tmp_path / "copy", lived_in.path)
    with pytest.raises(NotFound):
        restore(tmp_path / "nothing", tmp_path / "back")


def test_an_empty_volume_may_hold_what_every_volume_holds(
    lived_in: DataFolder, tmp_path: Path
) -> None:
    backup(lived_in.path, tmp_path / "copy")
    (tmp_path / "back" / "lost+found").mkdir(parents=True)
    assert restore(tmp_path / "copy", tmp_path / "back").records == 2


def test_there_must_be_a_database_to_copy(tmp_path: Path) -> None:
    open_folder(tmp_path / "data")
    with pytest.raises(NotFound, match=r"linocut\.db") as refused:
        backup(tmp_path / "data", tmp_path / "copy")
    assert "pg_dump" in refused.value.hint
    assert not (tmp_path / "copy").exists()


def _cut_tar(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])


def _no_tar(copy: Path) -> None:
    copy.write_bytes(b"something else")


def _flipped(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 64):
        data[at] ^= 0xFF
    copy.write_bytes(data)


def _other_checksum(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[-8] ^= 0xFF  # gzip ends with a checksum and a size, four bytes each
    copy.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("copy.tar", _cut_tar),
        ("copy.tar", _no_tar),
        ("copy.tar.gz", _cut_tar),
        ("copy.tar.gz", _flipped),
        ("copy.tar.gz", _other_checksum),
    ],
)
def test_a_damaged_tar_is_refused_and_leaves_nothing_behind(
    lived_in: DataFolder, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    copy = tmp_path / name
    backup(lived_in.path, copy)
    damage(copy)
    with pytest.raises(InvalidRequest):
        restore(copy, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_in_words(
    lived_in: DataFolder, tmp_path: Path
) -> None:
    backup(lived_in.path, tmp_path / "copy")
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="could not be restored"):
            restore(tmp_path / "copy", place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_damaged_database_is_refused(lived_in: DataFolder, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    backup(lived_in.path, copy)
    database = copy / "linocut.db"
    whole = database.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    for damaged in (
        b"no database at all",
        whole[:4096] + b"\xff" * (len(whole) - 4096),
        whole[:middle] + b"\xff" * 4096 + whole[middle + 4096 :],
    ):
        database.write_bytes(damaged)
        with pytest.raises(InvalidRequest, match="damaged"):
            restore(copy, tmp_path / "back")
    database.unlink()
    with pytest.raises(InvalidRequest, match="no linocut"):
        restore(copy, tmp_path / "back")


def test_rows_that_point_nowhere_are_damage(lived_in: DataFolder, tmp_path: Path) -> None:
    backup(lived_in.path, tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy" / "linocut.db")) as database:
        database.execute("DELETE FROM records")
        database.commit()
    with pytest.raises(InvalidRequest, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "back")
