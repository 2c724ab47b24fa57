"""Keys from the command line, on a data folder of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linocut.jobs.folder import open_folder
from linocut.server.keys import parse_key
from linocut.server.secrets import open_secrets

Run = Callable[..., Any]


def listed(linocut: Run) -> list[dict[str, Any]]:
    """The keys there are."""
    return list(json.loads(linocut("keys", "ls", "--json").out)["keys"])


def test_a_key_is_the_only_thing_on_standard_output(linocut: Run, folder: Path) -> None:
    done = linocut("keys", "add", "app")
    assert done.code == 0
    assert parse_key(done.lines[0]) is not None
    assert len(done.lines) == 1
    assert "not shown again" in done.err
    assert (folder.parent / "home/.local/share/linocut/linocut.db").exists()


def test_a_key_says_what_it_may(linocut: Run) -> None:
    said = json.loads(
        linocut(
            "keys", "add", "app", "--scopes", "admin", "--rate", "0", "--share", "3",
            "--quota", "60", "--days", "1", "--allow-unsafe", "--tenant", "team", "--json",
        ).out
    )  # fmt: skip
    (kept,) = listed(linocut)
    assert kept == {name: value for name, value in said.items() if name != "key"}
    assert (kept["scopes"], kept["rate"], kept["share"]) == (["admin"], 0, 3)
    assert (kept["quota_seconds"], kept["allow_unsafe"], kept["tenant"]) == (60, True, "team")
    assert kept["expires_at"] > kept["created_at"]
    assert kept["state"] == "works"
    line = linocut("keys", "ls").lines[0]
    for words in (kept["id"], "works", "admin", "app of team", "unlimited requests a minute",
                  "3 places in the queue", "may switch checks off", "never used"):  # fmt: skip
        assert words in line


def test_the_list_never_holds_a_key(linocut: Run) -> None:
    key = linocut("keys", "add", "app").lines[0]
    assert (
        key[14:] not in (linocut("keys", "ls").out + linocut("keys", "ls", "--json").out).decode()
    )


def test_a_name_is_a_tenant_and_a_second_key_for_it_has_to_be_meant(linocut: Run) -> None:
    linocut("keys", "add", "app")
    again = linocut("keys", "add", "app")
    assert (again.code, again.out) == (2, b"")
    assert "app has a key already" in again.err
    assert linocut("keys", "add", "app", "--tenant", "app").code == 0
    assert [key["tenant"] for key in listed(linocut)] == ["app", "app"]


def test_a_revoked_key_stays_in_the_list_as_that(linocut: Run) -> None:
    key = parse_key(linocut("keys", "add", "app").lines[0])
    assert key is not None
    assert linocut("keys", "revoke", key.id).code == 0
    assert listed(linocut)[0]["state"] == "revoked"
    assert "had been revoked before" in linocut("keys", "revoke", key.id).err


def test_a_key_is_revoked_by_its_whole_text_too(linocut: Run) -> None:
    text = linocut("keys", "add", "app").lines[0]
    assert linocut("keys", "revoke", text).code == 0
    assert listed(linocut)[0]["state"] == "revoked"


def test_no_verb_is_help(linocut: Run) -> None:
    assert b"revoke" in linocut("keys").out


def test_no_keys_is_said(linocut: Run, tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "fresh"))
    open_secrets(open_folder(tmp_path / "fresh").path)  # as a server does that nobody used yet
    done = linocut("keys", "ls", *folder)
    assert (done.code, done.out) == (0, b"")
    assert "linocut keys add NAME" in done.err


@pytest.mark.parametrize(
    "command", [["keys", "ls"], ["keys", "revoke", "a"], ["webhooks", "secret"]]
)
def test_a_slip_in_the_folders_name_is_said_and_makes_nothing(
    linocut: Run, tmp_path: Path, command: list[str]
) -> None:
    done = linocut(*command, "--data-dir", str(tmp_path / "typo"))
    assert (done.code, done.out) == (1, b"")
    assert f"{tmp_path / 'typo'} is no data folder" in done.err
    assert not (tmp_path / "typo").exists()


def test_a_key_for_a_server_that_never_ran_says_that_the_folder_is_new(
    linocut: Run, tmp_path: Path
) -> None:
    folder = ("--data-dir", str(tmp_path / "new"))
    assert "is a new data folder" in linocut("keys", "add", "a", *folder).err
    assert "is a new data folder" not in linocut("keys", "add", "b", *folder).err


def test_a_key_that_is_not_there_cannot_be_revoked(linocut: Run) -> None:
    linocut("keys", "add", "another")
    done = linocut("keys", "revoke", "nothing1")
    assert done.code == 1
    assert "there is no key nothing1" in done.err


@pytest.mark.parametrize(
    "arguments",
    [["add", ""], ["add", "x" * 65], ["add", "a\x1bb"], ["add", " a"],
     ["add", "a", "--rate", "nan"], ["add", "a", "--rate", "-1"], ["add", "a", "--days", "inf"],
     ["add", "a", "--days", "0"], ["add", "a", "--days", "-1"], ["add", "a", "--days", "nan"],
     ["add", "a", "--days", "36501"], ["add", "a", "--days", "999999999"],
     ["add", "a", "--scopes", "root"], ["add", "a", "--quota", "0.0009"]],
)  # fmt: skip
def test_what_cannot_be_is_refused(linocut: Run, arguments: list[str]) -> None:
    done = linocut("keys", *arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")


def test_the_longest_life_of_a_key_is_a_hundred_years(linocut: Run) -> None:
    assert linocut("keys", "add", "a", "--days", "36500").code == 0
    assert "works" in linocut("keys", "ls").lines[0]
    assert "use more than 0 and at most 36,500" in linocut("keys", "add", "b", "--days", "1e9").err


def test_another_folder_has_other_keys(linocut: Run, tmp_path: Path) -> None:
    linocut("keys", "add", "there", "--data-dir", tmp_path / "other")
    linocut("keys", "add", "here")
    assert [key["name"] for key in listed(linocut)] == ["here"]
    assert len(linocut("keys", "ls", "--data-dir", tmp_path / "other").lines) == 1
