"""`python -m linocut_training --work DIR --out DIR --card DIR`: from nothing to a checkpoint.

Every stage leaves its result in the work folder and is skipped when that is there; the long ones
also go on in the middle. Run the same command again after an interruption.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from linocut_training import (
    arranged,
    autoencoder,
    card,
    classifier,
    evaluate,
    export,
    fetch,
    fidelity,
    parallel,
    parameters,
    rasterise,
    ratios,
    record,
    sheets,
    shipped,
    text_encoder,
    tiles,
    transformer,
    views,
)
from linocut_training.concepts import STYLES
from linocut_training.plans import PLANS, Plan, on_gpu
from linocut_training.state import Stretch

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things go: data and states, the checkpoint, and its model card with the NOTICE.

    stretch: where the transformer's training runs, and how long. processes: how many train.
    plan: how long; on a GPU with larger batches.
    """

    work: Path
    out: Path
    card: Path
    stretch: Stretch
    processes: int
    plan: Plan


def main() -> None:
    """Run every stage that has not run yet."""
    parser = argparse.ArgumentParser(prog="python -m linocut_training", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and states")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--card", type=Path, required=True, help="folder of its model card")
    parser.add_argument(
        "--from", type=Path, dest="start", metavar="DIR",
        help="go on from a finished checkpoint: its networks, and new optimisers; a work folder "
        "that has a training already goes on with that one",
    )  # fmt: skip
    parser.add_argument(
        "--plan", choices=PLANS,
        help="how long: whole, from nothing; going-on, the default with --from; growing, with "
        "things that it does not know; restyling, reshaping, recalling, enriching, widening, "
        "practising or editing, only stage three or four, from one that guidance is distilled into",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="where the transformer learns: cpu or cuda")
    parser.add_argument(
        "--minutes", type=float, default=math.inf,
        help="stop the transformer's training so long after the start, and what would follow, to "
        "go on another time; stages named by --only follow all the same",
    )  # fmt: skip
    names = [name for name, _ in STAGES]
    parser.add_argument("--only", choices=names, nargs="+", help="these stages")
    parser.add_argument("--until", choices=names, default=names[-1], help="the last stage")
    parser.add_argument(
        "--processes", type=int, default=PROCESSES, help="of one thread each: one a core"
    )
    chosen = parser.parse_args()
    is_cpu = chosen.device == "cpu"
    stretch = Stretch(
        chosen.device,
        until=time.time() + 60 * chosen.minutes,
        bf16=not is_cpu or parallel.has_bf16(),
        compiled=is_cpu and _can_compile(),
    )
    plan = PLANS[chosen.plan or ("going-on" if chosen.start else "whole")]
    folders = Folders(chosen.work, chosen.out, chosen.card, stretch, chosen.processes, plan)
    folders.work.mkdir(parents=True, exist_ok=True)
    if chosen.start:
        shipped.go_on_from(chosen.start, folders.work)
    for name, stage in (each for each in STAGES if each[0] in (chosen.only or names)):
        began = time.monotonic()
        print(f"{name}: started", flush=True)
        stage(folders)
        print(f"{name}: done, {time.monotonic() - began:.0f} s", flush=True)
        if name == chosen.until:
            break
        # What is unfinished must not take the place of a finished checkpoint unasked.
        if name == "transformer" and stretch.is_over and not chosen.only:
            print("time is up: the same command goes on from here", flush=True)
            break


def _can_compile() -> bool:
    """Whether what `torch.compile` builds with is here: a C++ compiler and Python's headers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.exists()


def draw_data(folders: Folders) -> None:
    """Fetch the packages and rasterise them, the object cut-outs and the variety."""
    tarballs = fetch.fetch(folders.work)
    for missing in (
        *rasterise.make_cutouts(tarballs, folders.work),
        *rasterise.make_variety(tarballs, folders.work),
    ):
        print(f"  not drawn: {missing.source} {missing.name}: {missing.reason}", flush=True)


def train_autoencoder(folders: Folders) -> None:
    """Pack the pictures into arrays and train on their crops."""
    drawn = [folders.work / "cutouts" / style.source for style in STYLES.values()]
    autoencoder.pack(drawn, folders.work / "objects.npy", side=384)
    autoencoder.pack([folders.work / "variety"], folders.work / "variety.npy", side=256)
    parallel.launch(
        autoencoder.train, folders.work, autoencoder.Plan(), processes=folders.processes
    )


def train_text_encoder(folders: Folders) -> None:
    """Make the tokenizer and distil the text encoder."""
    if not (folders.work / "text_encoder.pt").exists():
        torch.set_num_threads(1)
        text_encoder.train(folders.work, text_encoder.Plan())


def encode_views(folders: Folders) -> None:
    """Latents of every view, on every grid, and of the tiles."""
    rasterise.make_derived(folders.work)  # what came in a parcel has only what was drawn
    if views.not_encoded(folders.work):
        parallel.launch(views.encode_share, folders.work, processes=folders.processes)
        views.join(folders.work, folders.processes)
        views.spread(folders.work, autoencoder.trained(folders.work))
    if not tiles.are_encoded(folders.work):
        parallel.launch(tiles.encode_share, folders.work, processes=folders.processes)
        tiles.finish(folders.work, autoencoder.trained(folders.work), folders.processes)


def train_transformer(folders: Folders) -> None:
    """All stages of the velocity network."""
    stretch, is_cpu = folders.stretch, folders.stretch.device == "cpu"
    how = ("in bf16" if stretch.bf16 else "in fp32", "compiled" if stretch.compiled else "eager")
    print(f"  on {stretch.device}, {', '.join(how)}", flush=True)
    processes, plan = (folders.processes, folders.plan) if is_cpu else (1, on_gpu(folders.plan))
    parallel.launch(transformer.train, folders.work, plan, stretch, processes=processes)


def train_classifier(folders: Folders) -> None:
    """The judge of the evaluation, from real cut-outs alone."""
    classifier.train(folders.work)


def write_checkpoint(folders: Folders) -> None:
    """The averaged networks as a diffusers folder."""
    export.export_network(folders.out, transformer.averaged(folders.work), folders.work)


def judge(folders: Folders) -> None:
    """The tables and sheets of the evaluation, the card that quotes them, and the log."""
    evaluate.evaluate(folders.out, folders.work, folders.work / "evaluation")
    ratios.measure(folders.out, folders.work)
    arranged.measure(folders.out, folders.work)
    fidelity.measure(folders.out, folders.work)
    parameters.measure(folders.out, folders.work)
    sheets.make(folders.out, folders.work / "evaluation")
    card.write(folders.work, folders.card)
    record.write(folders.work, folders.plan, folders.out, folders.card)


Stage = Callable[[Folders], None]
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
