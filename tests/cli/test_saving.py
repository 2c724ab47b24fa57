"""Where `linocut generate` puts a picture: under a name, under a new one, or into a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]
SMALL = ("--width", "64", "--height", "64", "--num-inference-steps", "4")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.webp", "WEBP"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a", "WEBP")],
)
def test_the_name_decides_the_format(
    linocut: Run, fake: Any, folder: Path, name: str, format: str
) -> None:
    assert linocut("generate", "x", *SMALL, "-o", name).lines == [name]
    with Image.open(folder / name) as image:
        assert image.format == format


def test_the_flag_decides_the_format(linocut: Run, fake: Any, folder: Path) -> None:
    assert linocut("generate", "x", *SMALL, "--output-format", "png").lines[0].endswith(".png")
    linocut("generate", "x", *SMALL, "--output-format", "jpg", "-o", "picture.bin")
    with Image.open(folder / "picture.bin") as image:
        assert image.format == "JPEG"


def test_a_made_up_name_never_overwrites(linocut: Run, fake: Any, folder: Path) -> None:
    names = [linocut("generate", "an apple", *SMALL, "--seed", "1").lines[0] for _ in range(3)]
    assert names == ["an-apple-1.webp", "an-apple-1-2.webp", "an-apple-1-3.webp"]


def test_a_name_that_was_given_is_overwritten(linocut: Run, fake: Any, folder: Path) -> None:
    (folder / "a.webp").write_bytes(b"old")
    assert linocut("generate", "x", *SMALL, "-o", "a.webp").code == 0
    assert (folder / "a.webp").read_bytes().startswith(b"RIFF")
    assert listing(folder) == ["a.webp"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("../../etc/passwd", "etc-passwd-1.webp"),
        ("Äpfel & Birnen", "apfel-birnen-1.webp"),
        ("\U0001f34e", "picture-1.webp"),
        (
            "one two three four five six seven eight",
            "one-two-three-four-five-six-seven-eight-1.webp",
        ),
        (
            "one two three four five six seven eighty",
            "one-two-three-four-five-six-seven-eighty-1.webp",
        ),
        ("one two three four five six seven eighteen", "one-two-three-four-five-six-seven-1.webp"),
        ("x" * 300, "x" * 40 + "-1.webp"),
    ],
)
def test_a_made_up_name_is_short_and_plain(linocut: Run, fake: Any, prompt: str, name: str) -> None:
    assert linocut("generate", prompt, *SMALL, "--seed", "1").lines == [name]


def test_bytes_go_to_standard_output(linocut: Run, fake: Any, folder: Path) -> None:
    done = linocut("generate", "x", *SMALL, "-o", "-", "--output-format", "png")
    with Image.open(io.BytesIO(done.out)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    assert listing(folder) == []


def test_bytes_are_not_poured_into_a_terminal(
    linocut: Run, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = linocut("generate", "x", *SMALL, "-o", "-")
    assert (done.code, done.out) == (2, b"")
    assert "would garble the terminal" in done.err


@pytest.mark.parametrize(
    ("output", "message"),
    [(".", "is a folder"), ("missing/a.webp", "there is no folder"), ("x" * 300, "too long")],
)
def test_a_place_that_cannot_be_is_told_before_drawing(
    linocut: Run, fake: Any, folder: Path, output: str, message: str
) -> None:
    done = linocut("generate", "x", *SMALL, "-o", output, "--output-format", "webp")
    assert (done.code, done.out) == (7, b"")
    assert message in done.err
    assert listing(folder) == []


def test_a_full_disk_is_told_after_drawing(linocut: Run, fake: Any) -> None:
    done = linocut("generate", "x", *SMALL, "-o", "/dev/full")
    assert (done.code, done.out) == (7, b"")
    assert "error: /dev/full was not saved: the disk is full\nhint: make room" in done.err
