"""The data folder: made, closed to others, one server at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from linocut.errors import Conflict, OutputError
from linocut.jobs.folder import DataFolder, held, open_folder

HOLD = """
import sys, time
from pathlib import Path
from linocut.jobs.folder import held, open_folder
with held(open_folder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_made_and_closed_to_other_users(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "deep" / "data")
    for place in (folder.path, folder.pictures, folder.backups):
        assert place.is_dir()
        assert place.stat().st_mode & 0o077 == 0
    names = {folder.database.name, folder.secrets.name, folder.lock.name}
    assert names == {"linocut.db", "secrets.json", "lock"}
    assert open_folder(folder.path) == folder


def test_a_folder_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="data folder") as refused:
            open_folder(path)
        assert "LINOCUT_DATA_DIR" in refused.value.hint


def test_a_second_server_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        try:
            assert first.stdout.readline() == "held\n"
            with (
                pytest.raises(Conflict, match=f"process {first.pid}") as refused,
                held(open_folder(tmp_path)),
            ):
                raise AssertionError("two servers hold one folder")
            assert str(tmp_path) in refused.value.message
        finally:
            first.kill()
    with held(open_folder(tmp_path)):
        pass  # a server that was killed holds nothing


def test_the_lock_is_free_again_after_use(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    for _ in range(2):
        with held(folder):
            assert folder.lock.stat().st_mode & 0o077 == 0
            with pytest.raises(Conflict), held(folder):
                raise AssertionError("one process holds it twice")
    assert folder.lock.read_text() == ""


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("x")
    folder = DataFolder(tmp_path / "data")
    open_folder(folder.path).lock.symlink_to(target)
    with pytest.raises(OutputError), held(folder):
        raise AssertionError("a link was followed")
    assert target.read_text() == "x"
