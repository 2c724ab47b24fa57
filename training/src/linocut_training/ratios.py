"""How well a checkpoint draws on canvases that are not square: `python -m linocut_training.ratios`.

The judge of the evaluation names some things once in each shape; it frames what it looks at, so
that a small object counts like a large one, and one that is there twice like none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from linocut.request import ImageRequest
from linocut.sizes import ASPECT_RATIOS, size_of
from linocut_training import gates
from linocut_training.classifier import Judge
from linocut_training.drawing import draw_in_processes, fingerprint, read
from linocut_training.evaluate import arguments, name_of, request_of
from linocut_training.gates import Prompt

SEED: Final = 1


def _named(ratio: str) -> str:
    return ratio.replace(":", "-")


SHAPES: Final[Mapping[str, tuple[int, int]]] = {
    **{_named(ratio): size_of(ratio, "0.25") for ratio in ASPECT_RATIOS},
    "2-1": (512, 256),
    "4-1": (1024, 256),
}


def requests() -> dict[str, ImageRequest]:
    """Every thing asked for in every shape, by shape and thing."""
    rules = gates.read_rules()
    how = rules["drawing"] | {"num_inference_steps": rules["canvases"]["num_inference_steps"]}
    return {
        f"{shape}/{name_of(prompt)}": replace(request_of(prompt, Path(), how), width=w, height=h)
        for shape, (w, h) in SHAPES.items()
        for prompt in asked()
    }


def asked(seed: int = SEED) -> list[Prompt]:
    """The evaluation's prompts with a seed, of one concept in so many."""
    of_one_seed = [prompt for prompt in gates.prompts() if prompt.seed == seed]
    return of_one_seed[:: gates.read_rules()["canvases"]["one_concept_in"]]


def judged(work: Path, folder: Path) -> dict[str, dict[str, float]]:
    """The shares of `gates.shares` for each shape; `work` holds the trained classifier.

    folder: of the pictures, as `evaluate.draw_in_processes` leaves them.
    """
    judge, prompts = Judge.open(work), asked()
    return {
        shape: gates.shares(
            prompts, judge.look([read(folder / shape / f"{name_of(it)}.png") for it in prompts])
        )
        for shape in SHAPES
    }


def below(shapes: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The API's ratios, and what they miss, that do not reach the gates of `canvases`."""
    least = gates.read_rules()["canvases"]["gates"]
    return [
        f"{shape}: {gate.name} {gate.reached:.3f} < {gate.least}"
        for shape in map(_named, ASPECT_RATIOS)
        for gate in gates.checked(least, shapes[shape])
        if not gate.passed
    ]


def measure(checkpoint: Path, work: Path, *, processes: int = 2) -> dict[str, Any]:
    """What work/evaluation/ratios.json says afterwards; `work` holds the trained classifier."""
    folder = work / "evaluation" / "ratios"
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
    draw_in_processes(checkpoint, requests(), folder, processes)
    shapes = judged(work, folder)
    found = {
        "weights_sha256": fingerprint(checkpoint),
        "num_inference_steps": gates.read_rules()["canvases"]["num_inference_steps"],
        "seed": SEED,
        "shapes": shapes,
        "below_the_gate": below(shapes),
    }
    text = json.dumps(found, indent=1) + "\n"
    folder.with_suffix(".json").write_text(text, encoding="utf-8")
    return found


def main() -> None:
    """Draw, look, write the shares down, and print them."""
    chosen = arguments(__doc__).parse_args()
    found = measure(chosen.checkpoint, chosen.work, processes=chosen.processes)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
