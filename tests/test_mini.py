"""The demo checkpoint as a package: what is installed is what is in the repository, and small."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import linocut_mini

FOLDER: Final = Path(__file__).parents[1] / "checkpoints" / "linocut-mini"
CHECKPOINT: Final = FOLDER / "src" / "linocut_mini" / "checkpoint"
MB: Final = 1_000_000


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, with the checksum of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_what_is_installed_is_what_is_in_the_repository() -> None:
    installed = contents(linocut_mini.path())
    assert "model_index.json" in installed
    assert installed == contents(CHECKPOINT)


def test_it_is_small_and_comes_in_small_files() -> None:
    sizes = [path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert 0 < sum(sizes) <= 60 * MB
    assert max(sizes) <= 16 * MB


def test_its_card_and_its_credits_come_along() -> None:
    assert "linocut-mini" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "CC-BY" in (FOLDER / "NOTICE").read_text(encoding="utf-8")
