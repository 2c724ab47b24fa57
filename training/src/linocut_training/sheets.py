"""Contact sheets for people: `python -m linocut_training.sheets CHECKPOINT FOLDER`.

The prompts of training/evaluation/everyday.txt are what people might type; they were written before
the training, no checkpoint was ever chosen by them, and some ask for what it was not taught.
Another sheet goes from pictures to what is asked instead of them, by `prompt_strength`. Every
picture is the first that comes: seed 1.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from linocut.request import ImageRequest
from linocut_training import gates
from linocut_training.drawing import Draw, draw_in_processes, draw_share, read, to_picture
from linocut_training.evaluate import INK, save_sheet
from linocut_training.gates import Pixels

SEED: Final = 1
SIZES: Final = (512, 1024)
STEPS: Final = (4, 12, 28)
STRENGTHS: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
# What is drawn first, and what is asked for with that picture as the reference.
CHANGES: Final = (
    ("a red apple, blue background", "turn it into a doughnut"),
    ("a cat face, 3D style", "turn it into a sticker"),
    ("a flat icon of a house, yellow background", "make the background purple"),
    ("a cartoon owl, green background", "replace the owl with a penguin"),
    ("a sticker of a bicycle", "make the background light blue"),
    ("a rocket, 3D style, gray background", "turn it into a flat icon"),
)
TILE: Final = 150
LINE: Final = 12
LINE_LETTERS: Final = 24
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
    """everyday-<size>-<steps>.webp and strengths.webp in `folder`, the pictures in folder/everyday.

    `draw` draws in the engine's place, in this process.
    """
    pictures = folder / "everyday"
    for size, steps in product(SIZES, STEPS):
        (pictures / f"{size}-{steps}").mkdir(parents=True, exist_ok=True)

    def draw_all(asked: dict[str, ImageRequest]) -> None:
        if draw is None:
            draw_in_processes(checkpoint, asked, pictures, processes)
        else:
            draw_share(draw, asked, pictures)

    draw_all(requests())
    for size, steps in product(SIZES, STEPS):
        tiles = [
            tile(read(pictures / f"{size}-{steps}" / f"{number:02}.png"), prompt)
            for number, prompt in enumerate(prompts(), 1)
        ]
        save_sheet(folder / f"everyday-{size}-{steps}.webp", tiles, COLUMNS)
    save_sheet(folder / "strengths.webp", list(_changes(pictures, draw_all)), 1 + len(STRENGTHS))


def _changes(
    pictures: Path, draw_all: Callable[[dict[str, ImageRequest]], None]
) -> Iterator[Image.Image]:
    """Row by row a picture, and what becomes of it with more and more of the prompt's strength."""
    guidance = gates.read_rules()["drawing"]["guidance"]
    small = partial(ImageRequest, seed=SEED, width=512, height=512, guidance=guidance)
    sources = {f"source-{n}": small(prompt=prompt) for n, (prompt, _) in enumerate(CHANGES)}
    draw_all(sources)
    changed = {}
    for (name, _), (_, words) in zip(sources.items(), CHANGES, strict=True):
        source = (to_picture(read(pictures / f"{name}.png")),)
        for strength in STRENGTHS:
            request = small(prompt=words, references=source, prompt_strength=strength)
            changed[f"{name}-{strength}"] = request
    draw_all(changed)
    for (name, request), (_, words) in zip(sources.items(), CHANGES, strict=True):
        yield tile(read(pictures / f"{name}.png"), request.prompt)
        for strength in STRENGTHS:
            yield tile(read(pictures / f"{name}-{strength}.png"), f"{words} ({strength})")


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
