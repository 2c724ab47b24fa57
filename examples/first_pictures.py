"""Draws the README's illustration: ten pictures in two rows, as `make image` draws each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from linocut import Engine, ImageRequest

ROOT: Final = Path(__file__).parents[1]
EVERYDAY: Final = ROOT / "training" / "evaluation" / "everyday.txt"
PROMPTS: Final = tuple(EVERYDAY.read_text(encoding="utf-8").splitlines()[:10])  # none is chosen
COLUMNS: Final = 5
SIDE: Final = 512
TARGET: Final = ROOT / "docs" / "images" / "first-pictures.png"


def corner(place: int) -> tuple[int, int]:
    """The upper left corner of a picture's tile, x and y in pixels."""
    row, column = divmod(place, COLUMNS)
    return SIDE * column, SIDE * row


def drawn() -> Image.Image:
    """The pictures in rows, 512 x 512 each, in exact mode on a CPU with seed 1."""
    rows = Image.new("RGB", (SIDE * COLUMNS, SIDE * (len(PROMPTS) // COLUMNS)))
    with Engine.open("linocut-mini", device="cpu") as engine:
        for place, prompt in enumerate(PROMPTS):
            request = ImageRequest(prompt=prompt, width=SIDE, height=SIDE, seed=1)
            picture = engine.draw(request).picture
            rows.paste(Image.frombytes("RGB", (SIDE, SIDE), picture.rgb), corner(place))
    return rows


if __name__ == "__main__":
    drawn().save(TARGET, optimize=True)
