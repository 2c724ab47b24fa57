"""`linocut openapi` writes docs/openapi.json anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.cli.main import main

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_it_prints_the_committed_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi"]) == 0
    printed = capsys.readouterr().out
    assert printed == COMMITTED.read_text(encoding="utf-8"), "linocut openapi > docs/openapi.json"
