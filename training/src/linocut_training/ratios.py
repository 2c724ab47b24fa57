"""How well a checkpoint draws on canvases that are not square: `python -m linocut_training.ratios`.

The judge of the evaluation names every thing once in each shape; it frames what it looks at, so
that a small object counts like a large one.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from linocut.engine import Engine
from linocut.request import ImageRequest, Picture
from linocut.sizes import ASPECT_RATIOS, size_of
from linocut_training import gates
from linocut_training.classifier import Judge
from linocut_training.evaluate import fingerprint, request_of
from linocut_training.gates import Prompt

SEED: Final = 1
SHAPES: Final[Mapping[str, tuple[int, int]]] = {
    **{ratio: size_of(ratio, "0.25") for ratio in ASPECT_RATIOS},
    "2:1": (512, 256),
    "4:1": (1024, 256),
}


def measure(work: Path, draw: Callable[[ImageRequest], Picture]) -> dict[str, dict[str, float]]:
    """The shares of `gates.shares` for each shape; `work` holds the trained classifier."""
    judge, how = Judge.open(work), gates.read_rules()["drawing"]
    prompts = [prompt for prompt in gates.prompts() if prompt.seed == SEED]
    return {shape: _shares(judge, prompts, size, how, draw) for shape, size in SHAPES.items()}


def _shares(
    judge: Judge,
    prompts: list[Prompt],
    size: tuple[int, int],
    how: Mapping[str, object],
    draw: Callable[[ImageRequest], Picture],
) -> dict[str, float]:
    asked = [request_of(prompt, Path(), dict(how)) for prompt in prompts]
    shaped = [replace(request, width=size[0], height=size[1]) for request in asked]
    drawn = [draw(request) for request in shaped]
    pixels = [np.frombuffer(it.rgb, np.uint8).reshape(it.height, it.width, 3) for it in drawn]
    return gates.shares(prompts, judge.look(pixels))


def main() -> None:
    """Draw, look, and write the shares down."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the trained classifier")
    parser.add_argument("checkpoint", type=Path)
    chosen = parser.parse_args()
    with Engine.open(chosen.checkpoint, device="cpu") as engine:
        shapes = measure(chosen.work, lambda request: engine.draw(request).picture)
    found = {"weights_sha256": fingerprint(chosen.checkpoint), "seed": SEED, "shapes": shapes}
    text = json.dumps(found, indent=1) + "\n"
    (gates.FOLDER / "ratios.json").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
