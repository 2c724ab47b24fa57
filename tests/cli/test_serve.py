"""What a person sees of a server; its life is in tests/server/test_run.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linocut.catalog import MINI
from linocut.cli.serve import KEY_FILE, announcer
from linocut.server.keys import new_key
from linocut.server.run import Draws, Leaves, Listening, Waits
from linocut.server.settings import Settings
from linocut.workers.protocol import Ready

URL = "http://127.0.0.1:8000"


def greeting(
    capsys: pytest.CaptureFixture[str], settings: Settings, news: Any
) -> tuple[str, list[str]]:
    """What is printed, and its `curl` as a shell understands it."""
    announcer(settings)(news)
    said = capsys.readouterr().out
    command = said[said.index("curl") : said.index("}'\n") + 3]
    shell = f'curl() {{ printf "%s\\0" "$@"; }}; KEY=mine; {command}'
    words = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    return said, words.split("\0")


def test_on_a_terminal_the_first_key_is_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    key = new_key()
    said, words = greeting(capsys, Settings(data_dir=tmp_path), Listening(URL, key))
    assert said.count(f"Key         {key.text}") == 1
    assert f"API-KEY: {key.text}" in words
    assert f"{URL}/api/features" in words
    assert not (tmp_path / KEY_FILE).exists()


def test_elsewhere_it_goes_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = new_key()
    said, words = greeting(capsys, Settings(data_dir=tmp_path), Listening(URL, key))
    assert key.text not in said
    assert (tmp_path / KEY_FILE).read_text(encoding="ascii") == f"{key.text}\n"
    assert f"API-KEY: {key.text}" in words


@pytest.mark.parametrize("is_link", [False, True], ids=["an old file", "a link"])
def test_the_keys_file_is_made_anew_for_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_link: bool
) -> None:
    path, target = tmp_path / KEY_FILE, tmp_path / "elsewhere"
    target.write_text("as it was")
    if is_link:
        path.symlink_to(target)
    else:
        path.write_text("old")
        path.chmod(0o644)
    key = new_key()
    greeting(capsys, Settings(data_dir=tmp_path), Listening(URL, key))
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="ascii") == f"{key.text}\n"
    assert target.read_text() == "as it was"


def test_a_folder_with_a_space_is_pasted_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my data's"
    folder.mkdir()
    key = new_key()
    _, words = greeting(capsys, Settings(data_dir=folder), Listening(URL, key))
    assert f"API-KEY: {key.text}" in words


def test_later_it_asks_for_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, words = greeting(capsys, Settings(data_dir=tmp_path), Listening(URL, None))
    assert f"linocut keys add NAME --data-dir {tmp_path} makes a key" in said
    assert "API-KEY: mine" in words
    usual, _ = greeting(capsys, Settings(), Listening(URL, None))
    assert "linocut keys add NAME makes a key; linocut keys ls lists them" in usual


def test_the_next_command_is_one_that_the_shell_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "bin" / "linocut"
    installed.parent.mkdir()
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(installed), "serve"])
    found = f"{installed.parent}{os.pathsep}{os.defpath}"
    for path, command in ((os.defpath, str(installed)), (found, "linocut")):
        monkeypatch.setenv("PATH", path)
        said, _ = greeting(capsys, Settings(), Listening(URL, None))
        assert f"Next: {command} keys add NAME makes a key" in said


def test_without_auth_it_asks_for_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data_dir=tmp_path, auth=False)
    said, _ = greeting(capsys, settings, Listening(URL, None))
    assert "none is needed" in said


def test_the_example_is_one_that_the_checkpoint_can_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo, _ = greeting(capsys, Settings(data_dir=tmp_path), Listening(URL, None))
    real = Settings(data_dir=tmp_path, checkpoint="flux-2-dev")
    whole, _ = greeting(capsys, real, Listening(URL, None))
    assert '"prompt": "a red apple"' in demo
    assert '"prompt": "A cozy coffee shop interior in the morning, ' in whole


def test_the_rest_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    ready = Ready(checkpoint="linocut-mini", demo=True, device="cpu", modes=(), fast=None,
                  config=MINI, rates={})  # fmt: skip
    tell = announcer(Settings())
    for news in (Draws(ready, 3.2), Waits("it crashed"), Leaves(30), Leaves(0)):
        tell(news)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Ready after 3.2 s: linocut-mini (a demo) draws on cpu.")
    assert lines[1].startswith("Not ready yet: it crashed.")
    assert lines[2].startswith("Stopping. What is being drawn has 30 s to end. ")
    assert lines[3].startswith("Stopping. ")


@pytest.mark.parametrize(
    ("module", "what", "extras"),
    [
        ("sqlalchemy", "the server", "engine,server,mini"),
        ("psycopg", "what speaks to PostgreSQL", "engine,server,mini,postgres"),
    ],
)
def test_what_is_not_installed_is_said_and_how_to(
    tmp_path: Path, module: str, what: str, extras: str
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from linocut.cli.main import main; sys.exit(main(['keys', 'add', 'a']))"
    )
    sources = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PYTHONPATH": sources,
            "PATH": os.defpath,
            "LINOCUT_DATA_DIR": str(tmp_path),
            "LINOCUT_DATABASE_URL": "postgresql://somebody@127.0.0.1:1/nothing",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"error: {what} is not installed: there is no module {module}" in done.stderr
    assert f"pip install 'linocut[{extras}]'" in done.stderr
