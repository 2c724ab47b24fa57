"""The benchmark of README's first command: a Makefile of its own stands in for the long install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MAKEFILE = """
image:
\t@test -n "$(PROMPT)" && cp picture.png "$(PROMPT).png" && echo "$(PROMPT).png"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository whose `make image` leaves a picture at once."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    Image.new("RGB", (24, 16), "red").save(folder / "picture.png")
    git = ("git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run((*git, "init", "--quiet"), check=True)
    subprocess.run((*git, "add", "."), check=True)
    subprocess.run((*git, "commit", "--quiet", "-m", "a picture"), check=True)
    return folder


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The benchmark as a person starts it."""
    program = ROOT / "benchmarks" / "bench_first_picture.py"
    return subprocess.run(
        [sys.executable, program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_it_draws_once_with_the_install_and_then_again(source: Path) -> None:
    ran = bench("--runs", 2, "--source", source)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["command"] == "make --no-print-directory image PROMPT=a red apple"
    assert report["size"] == [24, 16]
    assert len(report["after_install"]) == 2
    assert min(report["after_install"]) > 0
    assert report["with_install"] > 0
    assert list((source).glob("a red apple*")) == []


def test_a_picture_that_could_not_be_drawn_is_no_measurement(source: Path) -> None:
    (source / "Makefile").write_text("image:\n\t@echo no room >&2; exit 3\n")
    subprocess.run(
        ("git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.c", "commit",
         "--quiet", "-am", "broken"),
        check=True,
    )  # fmt: skip
    ran = bench("--source", source)
    assert ran.returncode == 1
    assert "no room" in ran.stderr
    assert not ran.stdout
