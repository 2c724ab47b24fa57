"""`python -m linocut_training --work DIR --out DIR`: from nothing to a checkpoint, resumable.

Every stage leaves its result in the work folder and is skipped when that is there; the long ones
also go on in the middle. Run the same command again after an interruption.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from linocut_training import (
    autoencoder,
    card,
    classifier,
    evaluate,
    export,
    fetch,
    parallel,
    rasterise,
    text_encoder,
    transformer,
    views,
)
from linocut_training.concepts import STYLES

PROCESSES = 2


def main() -> None:
    """Run every stage that has not run yet."""
    parser = argparse.ArgumentParser(prog="python -m linocut_training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and states")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--until", choices=[name for name, _ in STAGES], default=STAGES[-1][0])
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES:
        began = time.monotonic()
        print(f"{name}: started", flush=True)
        stage(chosen.work, chosen.out)
        print(f"{name}: done, {time.monotonic() - began:.0f} s", flush=True)
        if name == chosen.until:
            break


def draw_data(work: Path, _out: Path) -> None:
    """Fetch the packages and rasterise them, the object cut-outs and the variety."""
    tarballs = fetch.fetch(work)
    for missing in (
        *rasterise.make_cutouts(tarballs, work),
        *rasterise.make_variety(tarballs, work),
    ):
        print(f"  not drawn: {missing.source} {missing.name}: {missing.reason}", flush=True)


def train_autoencoder(work: Path, _out: Path) -> None:
    """Pack the pictures into arrays and train on their crops."""
    drawn = [work / "cutouts" / style.source for style in STYLES.values()]
    autoencoder.pack(drawn, work / "objects.npy", side=384)
    autoencoder.pack([work / "variety"], work / "variety.npy", side=256)
    parallel.launch(autoencoder.train, work, autoencoder.Plan(), processes=PROCESSES)


def train_text_encoder(work: Path, _out: Path) -> None:
    """Make the tokenizer and distil the text encoder."""
    if not (work / "text_encoder.pt").exists():
        torch.set_num_threads(1)
        text_encoder.train(work, text_encoder.Plan())


def encode_views(work: Path, _out: Path) -> None:
    """Latents of every view, on every grid."""
    if all(views.latents_file(work, grid).exists() for grid in views.grids()):
        return
    parallel.launch(_encode, work, processes=PROCESSES)
    views.join(work, PROCESSES)


def _encode(rank: int, processes: int, work: Path) -> None:
    model = autoencoder.trained(work)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    views.encode(rank, processes, work, model)


def train_transformer(work: Path, _out: Path) -> None:
    """Both stages of the velocity network."""
    parallel.launch(transformer.train, work, transformer.Plan(), processes=PROCESSES)


def train_classifier(work: Path, _out: Path) -> None:
    """The judge of the evaluation, from real cut-outs alone."""
    classifier.train(work)


def write_checkpoint(work: Path, out: Path) -> None:
    """The averaged networks as a diffusers folder."""
    network = transformer.averaged(work)
    export.export(
        out,
        transformer=network.transformer,
        text_state=network.text_encoder.state_dict(),
        autoencoder=autoencoder.trained(work),
        tokenizer=work / "tokenizer",
    )


def judge(work: Path, out: Path) -> None:
    """The tables and sheets of the evaluation, and the model card that quotes them."""
    evaluate.evaluate(out, work, work / "evaluation")
    card.write(work, out)


Stage = Callable[[Path, Path], None]
STAGES: tuple[tuple[str, Stage], ...] = (
    ("data", draw_data),
    ("autoencoder", train_autoencoder),
    ("text-encoder", train_text_encoder),
    ("views", encode_views),
    ("classifier", train_classifier),
    ("transformer", train_transformer),
    ("export", write_checkpoint),
    ("evaluation", judge),
)

if __name__ == "__main__":
    main()
