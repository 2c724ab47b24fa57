"""How much the autoencoder loses: `python -m linocut_training.fidelity WORK CHECKPOINT`.

The pictures are of sources that it never saw, on the backgrounds and at the scales that things are
drawn at, 512 x 512.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from PIL import Image

from linocut.model.autoencoder import Autoencoder
from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_autoencoder
from linocut_training import gates, scenes
from linocut_training.concepts import BACKGROUNDS, EXTRA_SOURCES
from linocut_training.drawing import fingerprint
from linocut_training.gates import Pixels
from linocut_training.views import to_tensor

SIDE: Final = 512
OF_EACH_SOURCE: Final = 24


def pictures(work: Path) -> Iterator[tuple[str, Pixels]]:
    """(source, pixels) of sources that no part of the checkpoint has seen; `work` has cutouts/."""
    for source in EXTRA_SOURCES:
        files = sorted((work / "cutouts" / source).glob("*.png"))
        rng = Random(f"fidelity/{source}")
        for file in rng.sample(files, min(OF_EACH_SOURCE, len(files))):
            colour = BACKGROUNDS[rng.choice(list(BACKGROUNDS))]
            placed = asdict(scenes.any_placement(rng))
            with Image.open(file) as cutout:
                yield source, scenes.compose(cutout, colour, width=SIDE, height=SIDE, **placed)


@torch.inference_mode()
def psnr(model: Autoencoder, pixels: Pixels) -> float:
    """Peak signal-to-noise ratio of a picture, in dB, after it was encoded and decoded."""
    picture = to_tensor(pixels)[None]
    error = (model.decode(model.encode(picture)).clamp(-1, 1) - picture).square().mean().item()
    return 10 * math.log10(4 / max(error, 1e-12))  # the range is from -1 to 1


def measure(checkpoint: Path, work: Path) -> dict[str, Any]:
    """What work/evaluation/fidelity.json says afterwards: the PSNR of all, and of each source."""
    model = load_autoencoder(open_checkpoint(str(checkpoint)), device="cpu", dtype=torch.float32)
    by_source: dict[str, list[float]] = {}
    for source, pixels in pictures(work):
        by_source.setdefault(source, []).append(psnr(model, pixels))
    every = [one for some in by_source.values() for one in some]
    least = gates.read_rules()["autoencoder"]["psnr"]
    mean = sum(every) / len(every)
    found = {
        "weights_sha256": fingerprint(checkpoint),
        "side": SIDE,
        "pictures": len(every),
        "psnr": round(mean, 2),
        "sources": {source: round(sum(some) / len(some), 2) for source, some in by_source.items()},
        "least": least,
        "passed": mean >= least,
    }
    file = work / "evaluation" / "fidelity.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main() -> None:
    """Measure, write it down, and print it; exit code 1 if the gate is missed."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("work", type=Path, help="folder with cutouts/")
    parser.add_argument("checkpoint", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(chosen.checkpoint, chosen.work)
    print(json.dumps(found, indent=1))
    raise SystemExit(not found["passed"])


if __name__ == "__main__":
    main()
