"""Standard input and output as shells leave them: full, closed, or without a reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SOURCES: Final = Path(__file__).parents[2] / "src"
SMALL: Final = "--width 64 --height 64 --disable-safety-checker"
# The command with an engine that draws black at once.
FAKE: Final = """
import sys, types
import linocut.cli.generate as command
from linocut.cli.main import run
from linocut.events import Done
from linocut.request import Picture
class Fake:
    placement = types.SimpleNamespace(default_mode="exact")
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def run(self, r):
        yield Done(Picture(64, 64, bytes(12288)), 1, 64, 64, "exact", "x", False)
command.open_engine = lambda _: Fake()
sys.argv = ["linocut", *sys.argv[1:]]
run()
"""


def shell(line: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of the line, in which `linocut` is the command with a fake engine."""
    (folder / "fake.py").write_text(FAKE)
    start = f'linocut() {{ "{sys.executable}" "{folder / "fake.py"}" "$@"; }}\n'
    return subprocess.run(
        ["sh", "-c", start + line],
        env={**os.environ, "HOME": str(folder), "PYTHONPATH": str(SOURCES), **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def check_two_lines(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with the code and, last, an error and a hint that say these words."""
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-2:]
    assert last[0].startswith("error: ")
    assert last[1].startswith("hint: ")
    for word in words:
        assert word in "\n".join(last)
    for unexpected in ("Traceback", "ignored", "should not have happened"):
        assert unexpected not in done.stderr


@pytest.mark.parametrize(
    ("line", "unbuffered"),
    [("ls", ""), ("ls", "1"), ("ls --json", ""), ("--help", ""), (f"generate x -o - {SMALL}", "")],
)
def test_a_full_disk_behind_standard_output_is_told(
    tmp_path: Path, line: str, unbuffered: str
) -> None:
    done = shell(f"linocut {line} >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    check_two_lines(done, 7, "standard output takes no more: No space left on device", "make room")


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_picture_whose_path_cannot_be_printed_is_saved_and_told(
    tmp_path: Path, flags: str
) -> None:
    done = shell(f"linocut generate x --seed 1 {SMALL} {flags} >/dev/full", tmp_path)
    check_two_lines(done, 7, "No space left", "the picture is saved all the same: x-1.webp")
    assert (tmp_path / "x-1.webp").read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_picture_is_not_cut_where_a_disk_takes_only_a_part_of_it(
    tmp_path: Path, unbuffered: str
) -> None:
    line = f"ulimit -f 1; linocut generate x -o - --output-format png {SMALL} >>rest"
    (tmp_path / "rest").write_bytes(bytes(480))
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered, PYTHONDONTWRITEBYTECODE="1")
    check_two_lines(done, 7, "standard output takes no more")


@pytest.mark.parametrize(
    ("line", "unbuffered"),
    [("ls", ""), ("ls", "1"), ("--help", ""), (f"generate x -o - {SMALL}", "")],
)
def test_a_reader_that_went_away_ends_it_quietly(
    tmp_path: Path, line: str, unbuffered: str
) -> None:
    reader = "{ exec <&-; while [ ! -s code ]; do sleep .1; done; }"
    writer = f"{{ linocut {line}; echo $? >code; }}"
    done = shell(f"{writer} | {reader}", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (tmp_path / "code").read_text() == "1\n"
    for word in ("Traceback", "Exception", "error: "):
        assert word not in done.stderr


def test_a_closed_standard_output_cannot_take_a_picture(tmp_path: Path) -> None:
    done = shell(f"linocut generate x -o - {SMALL} >&-", tmp_path)
    check_two_lines(done, 7, "standard output is closed", "use -o FILE")


@pytest.mark.parametrize("flags", ["", "--json"])
def test_with_standard_output_closed_a_picture_is_saved(tmp_path: Path, flags: str) -> None:
    done = shell(f"linocut generate x --seed 1 {SMALL} {flags} >&-", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x-1.webp").read_bytes().startswith(b"RIFF")


def test_a_closed_standard_input_has_no_prompt(tmp_path: Path) -> None:
    done = shell(f"linocut generate - {SMALL} <&-", tmp_path)
    check_two_lines(done, 2, "standard input is closed", 'linocut generate "a red apple"')


def test_a_standard_input_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    done = shell(f"linocut generate - {SMALL} 0>written", tmp_path)
    check_two_lines(done, 2, "standard input cannot be read", 'linocut generate "a red apple"')
