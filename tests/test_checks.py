"""The checks themselves: skips are refused, make says what it can, CI names what it lacks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
SKIPS: Final = """
import pytest
def test_skips(): pytest.skip("no such thing here")
@pytest.mark.skip(reason="no such thing here")
def test_is_marked(): pass
@pytest.mark.xfail
def test_is_expected_to_fail(): assert False
def test_passes(): pass
"""


def run(
    *command: str, folder: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command's end and everything it said."""
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120
    )


def pytest_in(folder: Path, text: str, *options: str) -> str:
    """What pytest prints about a file of tests beside a copy of our conftest.py."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "test_planted.py").write_text(text, encoding="utf-8")
    pytest_here = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.")
    return run(*pytest_here, *options, folder=folder, env={}).stdout


def test_a_skip_is_a_failure_where_skips_are_refused(tmp_path: Path) -> None:
    said = pytest_in(tmp_path, SKIPS, "--refuse-skips")
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in said
    assert "skips are refused here: Skipped: no such thing here" in said


def test_a_file_that_skips_is_an_error_where_skips_are_refused(tmp_path: Path) -> None:
    said = pytest_in(tmp_path, "import pytest\npytest.importorskip('no_such')", "--refuse-skips")
    assert "1 error" in said
    assert "skips are refused here" in said


def test_a_skip_stays_one_elsewhere(tmp_path: Path) -> None:
    assert "1 passed, 2 skipped, 1 xfailed" in pytest_in(tmp_path, SKIPS)


def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (declared,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    listed = re.findall(
        r"^make (\S+) +\S", run("make", "--no-print-directory").stdout, re.MULTILINE
    )
    assert set(listed) == set(declared.split()) - {"prompt"}


def test_make_image_asks_for_a_prompt_before_it_installs_anything(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = run("make", "image", folder=tmp_path)
    assert done.returncode != 0
    assert 'make image PROMPT="a red apple"' in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_serve_starts_the_server_with_what_was_added() -> None:
    done = run("make", "--dry-run", "serve", "ARGS=--port 8123")
    assert done.stdout.rstrip().endswith("linocut serve --port 8123")


def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n', encoding="utf-8")
    old.chmod(0o755)
    done = run("make", "setup", f"PYTHON={old}", folder=tmp_path)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.9.2" in done.stderr


@pytest.mark.parametrize("has_apt", [True, False])
def test_ci_names_what_it_could_not_get(tmp_path: Path, has_apt: bool) -> None:
    for tool in ("bash", "dirname", "id", "git", "make"):
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / tool).symlink_to(found)
    if has_apt:
        apt = tmp_path / "apt-get"
        apt.write_text('#!/bin/sh\n[ "$1" = update ]\n', encoding="utf-8")
        apt.chmod(0o755)
    done = run("bash", str(ROOT / ".ci" / "run"), env={"PATH": str(tmp_path)})
    assert done.returncode != 0
    assert "CI could not get: python3" in done.stderr
