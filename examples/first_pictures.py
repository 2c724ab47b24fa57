"""Draws the README's illustration: five pictures in a row, as `make image` draws each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from linocut import Engine, ImageRequest

PROMPTS: Final = ("a red apple", "a cat face", "a house", "a tree", "a rocket")
SIDE: Final = 512
TARGET: Final = Path(__file__).parents[1] / "docs" / "images" / "first-pictures.png"


def drawn() -> Image.Image:
    """The row of pictures, 512 x 512 each, in exact mode on a CPU with seed 1."""
    row = Image.new("RGB", (SIDE * len(PROMPTS), SIDE))
    with Engine.open("linocut-mini", device="cpu") as engine:
        for place, prompt in enumerate(PROMPTS):
            request = ImageRequest(prompt=prompt, width=SIDE, height=SIDE, seed=1)
            picture = engine.draw(request).picture
            row.paste(Image.frombytes("RGB", (SIDE, SIDE), picture.rgb), (SIDE * place, 0))
    return row


if __name__ == "__main__":
    drawn().save(TARGET, optimize=True)
