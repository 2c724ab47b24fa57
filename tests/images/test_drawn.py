"""A drawn picture is saved in one call, and its file says how it was drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from linocut.errors import InvalidRequest, OutputError
from linocut.events import Done
from linocut.images.decode import read_picture
from linocut.images.drawn import described, own_version, save_picture
from linocut.images.metadata import read_metadata
from linocut.request import ImageRequest, Picture

PICTURE = Picture(64, 96, bytes(range(256)) * 72)
REQUEST = ImageRequest(
    prompt="a red apple", width=64, height=96, seed=7, references=(PICTURE,), prompt_strength=0.5
)
DONE = Done(
    picture=PICTURE,
    seed=7,
    drawn_width=128,
    drawn_height=192,
    mode="exact",
    checkpoint="linocut-mini",
    demo=True,
    threads=4,
)


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.JPEG", "a.png"])
def test_the_file_says_how_it_was_drawn(tmp_path: Path, name: str) -> None:
    path = save_picture(tmp_path / name, REQUEST, DONE)
    assert path == tmp_path / name
    assert read_metadata(path.read_bytes()) == described(REQUEST, DONE)
    assert (read_picture(path).width, read_picture(path).height) == (64, 96)


def test_a_png_keeps_every_pixel(tmp_path: Path) -> None:
    assert read_picture(save_picture(str(tmp_path / "a.png"), REQUEST, DONE)) == PICTURE


def test_every_value_is_described() -> None:
    values = described(REQUEST, DONE).to_json()
    assert values.pop("software") == f"linocut {own_version()}"
    assert values == {
        "prompt": "a red apple",
        "seed": 7,
        "width": 64,
        "height": 96,
        "drawn_width": 128,
        "drawn_height": 192,
        "num_inference_steps": 28,
        "guidance": 3.0,
        "prompt_strength": 0.5,
        "references": 1,
        "checkpoint": "linocut-mini",
        "mode": "exact",
        "demo": True,
        "threads": 4,
        "ai_generated": True,
    }


@pytest.mark.parametrize("name", ["a", "a.gif", "a.png.bak"])
def test_a_name_that_says_no_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="no picture is written as"):
        save_picture(tmp_path / name, REQUEST, DONE)
    assert not list(tmp_path.iterdir())


def test_a_quality_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="output_quality=101"):
        save_picture(tmp_path / "a.jpg", REQUEST, DONE, quality=101)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        save_picture(tmp_path / "nowhere" / "a.png", REQUEST, DONE)
