"""`save`: whole or not at all, and in words when it could not be."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from linocut.errors import OutputError
from linocut.images.files import check_target, save, save_new

SOURCES = Path(__file__).parents[2] / "src"
BYTES = b"picture" * 1000


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "a.png", BYTES)
    assert listing(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == BYTES


def test_what_stood_there_is_replaced(tmp_path: Path) -> None:
    save(tmp_path / "a.png", b"old")
    save(tmp_path / "a.png", BYTES)
    assert (tmp_path / "a.png").read_bytes() == BYTES


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path / "a.png", BYTES)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    save(tmp_path / "link.png", BYTES)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real" / "a.png").read_bytes() == BYTES


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(pipe.read_bytes()))
    reader.start()
    save(pipe, BYTES)
    reader.join(timeout=30)
    assert seen == [BYTES]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_never_replaced() -> None:
    save(Path(os.devnull), BYTES)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_full_device_is_told_in_words() -> None:
    with pytest.raises(OutputError, match="was not saved: the disk is full") as caught:
        save(Path("/dev/full"), BYTES)
    assert "make room" in caught.value.hint
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def saved_in_a_child(folder: Path, name: str) -> str:
    """What a process that may write 4 kB files only says when it saves 7 kB."""
    code = (
        "import resource; from pathlib import Path\n"
        "from linocut.errors import OutputError\n"
        "from linocut.images.files import save, save_new\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try:\n    {name}(Path({str(folder)!r}) / 'a.png', b'picture' * 1000)\n"
        "except OutputError as error:\n    print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", ["save", "save_new"])
def test_a_write_that_breaks_off_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    assert "a.png was not saved: the file would be larger" in saved_in_a_child(tmp_path, name)
    assert listing(tmp_path) == []


def test_a_write_that_breaks_off_leaves_the_old_file_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    assert "was not saved" in saved_in_a_child(tmp_path, "save")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert listing(tmp_path) == ["a.png"]


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "a.png", BYTES)
    assert listing(tmp_path) == []


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder") as caught:
        save(tmp_path, BYTES)
    assert "name a file in it" in caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=re.escape(f"there is no folder {tmp_path / 'new'}")):
        save(tmp_path / "new" / "a.png", BYTES)


def test_a_name_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the name is too long"):
        save(tmp_path / ("x" * 300), BYTES)


def test_a_file_in_the_path_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OutputError, match="there is no folder"):
        save(tmp_path / "a" / "b.png", BYTES)


def test_a_folder_without_permission_is_refused_before_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="no permission to write there"):
        check_target(tmp_path / "a.png")


def test_a_read_only_file_system_is_told_in_words() -> None:
    with pytest.raises(OutputError, match=r"was not saved|there is no folder"):
        save(Path("/proc/a.png"), BYTES)


def test_a_folder_that_was_removed_under_us_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for write in (save, save_new):
        with pytest.raises(OutputError, match=r"a\.png was not saved: No such file"):
            write(Path("a.png"), BYTES)


def test_a_good_target_is_good(tmp_path: Path) -> None:
    check_target(tmp_path / "a.png")
    check_target(Path(os.devnull))


def test_a_new_file_takes_the_next_free_name(tmp_path: Path) -> None:
    names = [save_new(tmp_path / "apple-1.webp", BYTES).name for _ in range(3)]
    assert names == ["apple-1.webp", "apple-1-2.webp", "apple-1-3.webp"]
    assert listing(tmp_path) == sorted(names)
    assert (tmp_path / "apple-1-3.webp").stat().st_nlink == 1


def test_a_new_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a.webp").symlink_to(tmp_path / "elsewhere")
    assert save_new(tmp_path / "a.webp", BYTES).name == "a-2.webp"


def test_a_disk_without_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    names = [save_new(tmp_path / "a.webp", BYTES).name for _ in range(2)]
    assert names == ["a.webp", "a-2.webp"]
    assert listing(tmp_path) == ["a-2.webp", "a.webp"]


def test_two_at_once_get_two_names(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=save_new, args=(tmp_path / "a.webp", BYTES)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listing(tmp_path)) == 8
