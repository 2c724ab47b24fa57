"""Contact sheets for people: `python -m linocut_training.sheets CHECKPOINT FOLDER`.

The prompts of training/evaluation/everyday.txt are what people might type; they were written before
the training, no checkpoint was ever chosen by them, and some ask for what it was not taught. Every
picture is the first that comes: seed 1.
"""

from __future__ import annotations

from argparse import ArgumentParser
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from linocut.request import ImageRequest
from linocut_training import gates
from linocut_training.evaluate import INK, Draw, draw_in_processes, draw_share, read, save_sheet
from linocut_training.gates import Pixels

SEED: Final = 1
SIZES: Final = (512, 1024)
STEPS: Final = (4, 12, 28)
TILE: Final = 150
LINE: Final = 12
LINE_LETTERS: Final = 26
COLUMNS: Final = 8


def prompts() -> list[str]:
    """The everyday prompts, one a line of the file."""
    text = (gates.FOLDER / "everyday.txt").read_text(encoding="utf-8")
    return text.splitlines()


def requests() -> dict[str, ImageRequest]:
    """Every prompt at every size and number of steps, by size, steps and line of the file."""
    guidance = gates.read_rules()["drawing"]["guidance"]
    return {
        f"{size}-{steps}/{number:02}": ImageRequest(
            prompt=prompt, seed=SEED, width=size, height=size,
            num_inference_steps=steps, guidance=guidance,
        )
        for size, steps in product(SIZES, STEPS)
        for number, prompt in enumerate(prompts(), 1)
    }  # fmt: skip


def make(checkpoint: Path, folder: Path, *, processes: int = 2, draw: Draw | None = None) -> None:
    """everyday-<size>-<steps>.webp in `folder`, the pictures themselves in folder/everyday.

    `draw` draws in the engine's place, in this process.
    """
    pictures = folder / "everyday"
    for size, steps in product(SIZES, STEPS):
        (pictures / f"{size}-{steps}").mkdir(parents=True, exist_ok=True)
    if draw is None:
        draw_in_processes(checkpoint, requests(), pictures, processes)
    else:
        draw_share(draw, requests(), pictures)
    for size, steps in product(SIZES, STEPS):
        tiles = [
            tile(read(pictures / f"{size}-{steps}" / f"{number:02}.png"), prompt)
            for number, prompt in enumerate(prompts(), 1)
        ]
        save_sheet(folder / f"everyday-{size}-{steps}.webp", tiles, COLUMNS)


def tile(pixels: Pixels, prompt: str) -> Image.Image:
    """A picture over the prompt that it answers."""
    image = Image.new("RGB", (TILE, TILE + 2 * LINE + 4), "white")
    side = TILE - 6
    small = Image.fromarray(np.asarray(pixels)).resize((side, side), Image.Resampling.LANCZOS)
    image.paste(small, (3, 3))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for row, words in enumerate(wrap(prompt, LINE_LETTERS)[:2]):
        pen.text((4, TILE + row * LINE), words, INK, font)
    return image


def main() -> None:
    """Draw every sheet."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    chosen = parser.parse_args()
    make(chosen.checkpoint, chosen.folder, processes=chosen.processes)


if __name__ == "__main__":
    main()
