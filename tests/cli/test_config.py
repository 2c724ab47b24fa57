"""`linocut config` prints what is in force, and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from linocut.server.settings import Settings

Run = Callable[..., Any]


def test_every_setting_has_a_line_with_its_source(
    linocut: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINOCUT_PORT", "9000")
    done = linocut("config")
    assert done.code == 0
    assert [line.split()[0] for line in done.lines] == list(Settings.model_fields)
    rows = {line.split()[0]: line.split()[1:] for line in done.lines}
    assert rows["port"] == ["9000", "LINOCUT_PORT"]
    assert rows["auth"] == ["true", "default"]


def test_secrets_are_stars(linocut: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hushhush@h/x")
    done = linocut("config", "--json")
    found = json.loads(done.out)
    assert found["database_url"] == {"value": "********", "source": "DATABASE_URL"}
    assert "hushhush" not in done.out.decode() + done.err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LINOCUT_PROT", "1", "did you mean LINOCUT_PORT?"),
        ("LINOCUT_LEASE", "1", "too short"),
        ("LINOCUT_PORT", "many", "LINOCUT_PORT='many'"),
    ],
)
def test_what_is_wrong_is_two_lines(
    linocut: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    done = linocut("config")
    assert (done.code, done.out) == (2, b"")
    assert words in done.err
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["error", "hint"]
