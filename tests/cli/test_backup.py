"""A backup and the way back, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_what_was_backed_up_comes_back(linocut: Run, tmp_path: Path) -> None:
    linocut("keys", "add", "app")
    secret = linocut("webhooks", "secret").lines
    done = linocut("backup", tmp_path / "copy.tar.gz")
    assert (done.code, done.lines) == (0, [str(tmp_path / "copy.tar.gz")])
    assert "0 records and 0 files, checked" in done.err

    other = ("--data-dir", tmp_path / "other")
    assert linocut("restore", tmp_path / "copy.tar.gz", *other).code == 0
    keys = json.loads(linocut("keys", "ls", "--json", *other).out)["keys"]
    assert [key["name"] for key in keys] == ["app"]
    assert linocut("webhooks", "secret", *other).lines == secret


def test_a_folder_that_holds_something_is_not_overwritten(linocut: Run, tmp_path: Path) -> None:
    linocut("keys", "add", "app")
    linocut("backup", tmp_path / "copy")
    done = linocut("restore", tmp_path / "copy")
    assert done.code == 1
    assert done.err.startswith("error: ")


def test_without_a_database_there_is_nothing_to_copy(linocut: Run, tmp_path: Path) -> None:
    done = linocut("backup", tmp_path / "copy")
    assert done.code == 1
    assert "there is no linocut.db" in done.err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("variable", ["LINOCUT_DATABASE_URL", "DATABASE_URL"])
@pytest.mark.parametrize("url", ["postgresql://ann:secret@db/linocut", "sqlite:////srv/other.db"])
def test_another_database_than_the_folders_is_not_passed_over(
    linocut: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    linocut("keys", "add", "app")
    linocut("backup", tmp_path / "copy")
    monkeypatch.setenv(variable, url)
    for done in (
        linocut("backup", tmp_path / "stale"),
        linocut("restore", tmp_path / "copy", "--data-dir", tmp_path / "other"),
    ):
        assert (done.code, done.out) == (1, b"")
        assert f"{variable} names another database than " in done.err
        assert "pg_dump" in done.err
        assert "secret@" not in done.err
    assert not (tmp_path / "stale").exists()
    assert not (tmp_path / "other").exists()


def test_the_folders_own_database_may_be_named(
    linocut: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    linocut("keys", "add", "app", "--data-dir", data)
    monkeypatch.setenv("LINOCUT_DATABASE_URL", f"sqlite:///{data / 'linocut.db'}")
    assert linocut("backup", tmp_path / "copy", "--data-dir", data).code == 0
