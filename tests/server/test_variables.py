"""What a variable says, in itself or in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.errors import InvalidRequest
from linocut.server.variables import LARGEST_FILE, said


@pytest.mark.parametrize("environ", [{}, {"A": ""}, {"A": "  "}, {"A_FILE": " "}, {"B": "x"}])
def test_nothing_is_said(environ: dict[str, str]) -> None:
    assert said(environ, "A") is None


def test_it_says_itself_or_what_its_file_holds(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("  of the file\n", encoding="utf-8")
    in_file = {"A_FILE": f" {tmp_path / 'a'} "}
    assert said({"A": " its own "}, "A") == ("A", "its own")
    assert said(in_file, "A") == ("A_FILE", "of the file")
    assert said({"A": "", **in_file}, "A") == ("A_FILE", "of the file")
    with pytest.raises(InvalidRequest, match="A and A_FILE are both set"):
        said({"A": "its own", **in_file}, "A")


def test_a_file_says_nothing_at_all_or_only_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n")
    assert said({"A_FILE": str(tmp_path / "a")}, "A") == ("A_FILE", "")
    (tmp_path / "a").write_text("a" * (LARGEST_FILE + 1))
    assert said({"A_FILE": str(tmp_path / "a")}, "A") == ("A_FILE", "a" * LARGEST_FILE)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    reason = "No such file" if content is None else "it is no text"
    with pytest.raises(InvalidRequest, match=rf"A_FILE=.*a: {reason}"):
        said({"A_FILE": str(tmp_path / "a")}, "A")
