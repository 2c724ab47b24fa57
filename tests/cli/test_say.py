"""What is printed: nothing that a terminal obeys, and data on standard output only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.cli import say


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = say.printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or "\u202a" <= c <= "\u202e" for c in shown)
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, even [bold]", "plain, even [bold]"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines", "two\\nlines"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("\U0001f468\u200d\U0001f469 caf\u00e9", "\U0001f468\u200d\U0001f469 caf\u00e9"),
    ],
)
def test_unsafe_characters_are_spelled_out(text: str, shown: str) -> None:
    assert say.printable(text) == shown


def test_an_error_is_two_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say.error("no [red]disk[/red]\nhere \x1b[1m" + "x" * 200, "make room")
    out, err = capsys.readouterr()
    lines = ("error: no [red]disk[/red]\\nhere \\x1b[1m" + "x" * 200, "hint: make room")
    assert (out, err) == ("", "\n".join(lines) + "\n")


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say.error("no")
    assert capsys.readouterr().err == "error: no\n"


def test_warnings_and_notes_are_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say.warning("it was cut")
    say.note("64 x 64")
    assert capsys.readouterr() == ("", "warning: it was cut\n64 x 64\n")


def test_a_path_is_printed_byte_for_byte(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    raw = b"caf\xe9/\xff.webp"
    say.path(Path(os.fsdecode(raw)))
    assert capsysbinary.readouterr().out == raw + b"\n"


def test_json_is_ascii_on_one_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    say.values({"path": Path("a\udcff"), "prompt": "\u732b\n"})
    out = capsysbinary.readouterr().out
    assert out.isascii()
    assert out.count(b"\n") == 1
    assert json.loads(out) == {"path": "a\udcff", "prompt": "\u732b\n"}


def test_rows_leave_out_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    say.rows({"name": "tiny", "licence": None, "a long one": "x\x1b", "references": 0})
    assert capsys.readouterr().out == ("name        tiny\na long one  x\\x1b\nreferences  0\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.126, "0.13 s"), (2.04, "2.0 s"), (12.4, "12 s"), (125, "2 min 05 s"),
     (59.7, "60 s"), (7260, "2 h 01 min")],
)  # fmt: skip
def test_times_are_for_people(seconds: float, words: str) -> None:
    assert say.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(64.446e9, "64.4 GB"), (58_300_000, "58.3 MB"), (0, "0.0 MB")]
)
def test_sizes_are_for_people(count: float, words: str) -> None:
    assert say.gigabytes(count) == words
