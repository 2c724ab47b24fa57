"""The model card and the NOTICE, written from what was measured and from the table of sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from linocut.catalog import MINI
from linocut_training import fetch, gates, sheets
from linocut_training.concepts import (
    BACKGROUNDS,
    BEFORE,
    CONCEPTS,
    FIRST,
    GROUPS,
    HELD_PAIRS,
    STYLES,
    Concept,
)

NUM_WORST = 50

CARD = Template("""\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# linocut-mini, a demo checkpoint

A tiny text-to-image checkpoint with exactly the architecture of FLUX.2 [dev], trained from nothing
on openly licensed pictograms. It exists so that linocut, its tests and its examples run for real
on any computer. **It is a demo**: it was taught $num_concepts things in $num_styles styles and
$num_colours background colours, with gradients between them, and nothing else. It holds no weights
of FLUX.2.

## Draw with it

```sh
linocut generate "a red apple" --width 512 --height 512 --seed 1
```

With diffusers, the same picture (to within 1 of 255) at every size on its grid:

```python
$call
```

Prompts are plain English: a thing, and if you like a style and a background colour, such as
"a red apple", "a sticker of a cat face, light blue background", "an owl, blue to black gradient
background"; or two things, two or three alike, or a small one: "a cat and a ball", "three
balloons", "a rocket above a house", "a small mouse". With a reference picture: "make the background
yellow", "remove the background", "turn it into a sticker", "replace it with a penguin", "two of
them".
Without a style it draws 3D, without a background colour white. What it knows:

$known

Styles: $styles; cartoons have a bold dark outline, stickers a white border. Pixel art is made of
the flat pictures, black and white of the 3D ones ("a fox in pixel art, teal background").
Backgrounds: $colours;
and gradients from one at the top to another at the bottom, of squares.

## How well

Measured on prompts fixed before this edition's training (`training/evaluation`), by a classifier
that began with what photographs had taught it (EfficientNet-Lite0, ImageNet) and learned these
things from real cut-outs only; the table per concept is `evaluation.md` beside this card.

| measure | reached | real cut-outs, same judge |
|---|---|---|
$measures

The right thing was named in $newest of the pictures of the $num_newest things that this edition
was the first to learn, and in $older of those of the others.

Several things in a picture, and small ones, each looked at where it should stand; of things that
earlier editions knew, since the newest were seldom shown so:

| asked for | pictures | single things right | pictures with all right | real cut-outs, the same |
|---|---|---|---|---|
$arranged

The classifier: $classifier

What the autoencoder alone gives back of $num_given pictures of $given_side x $given_side pixels
from sources that it never saw: $psnr dB PSNR.

Of the least shares that were set with these prompts, $missed. Read the figures with care: the
judge learned from the same drawings as the checkpoint and forgives soft shapes, so people will
recognise fewer pictures than it does.

Least recognised: $worst.

Look for yourself, at pictures that nobody chose:
[sixty-four everyday prompts](sheets/everyday-512-28.webp), written before the training, some of
which ask for what it was not taught, each with seed 1 and 28 steps; the same with
[12](sheets/everyday-512-12.webp) and [4](sheets/everyday-512-4.webp), and at 1024 x 1024 with
[28](sheets/everyday-1024-28.webp), [12](sheets/everyday-1024-12.webp) and
[4](sheets/everyday-1024-4.webp). [Forty edits](sheets/sheet-edits.webp) beside their sources, and
[28 gradients](sheets/sheet-gradients.webp), are framed green where the judge sees what was asked
for; so are [120 pictures of several things, and of small ones](sheets/sheet-arranged.webp), and
[sixty of two given things](sheets/sheet-joined.webp), which it was not taught.
[Six pictures](sheets/strengths.webp) go over into what is asked instead of them, by
`prompt_strength` from 0.2 to 1.

## Limits

- One object in the middle of a plain background. No scenes, no lettering, no photographs; no
  people; its faces are pictograms. Anything that it does not know comes out as the nearest thing
  that it knows, or as a coloured blob.
- Two things, or two or three alike, stand where the words put them, each half as large as one alone
  and softer; how often one knows both is in the table. More than three, things of other sizes, and
  things in front of one another it was not taught.
- Soft edges. The shorter side has at most $short tokens of $pixels x $pixels pixels, the picture at
  most $native: a square is drawn at 256 x 256, 16:9 at 448 x 256. Larger pictures are drawn at that
  size and resized, and linocut says so in the record.
- On a wide or tall canvas the object has the middle and the size that it has on a square one, and
  is drawn less surely the longer the canvas is. Of one thing in $one_in, each once with seed 1 and
  $steps steps, the judge named: $canvases.
- Flat pictures look 3D in one of four, 3D ones flat now and then. On some colours, pink and light
  blue among them, wide pictures may have a faint stripe beside the thing.
- References work on pictures like its own. English only. To name the thing, "turn the cat into a
  sticker", helps it to keep its shape.
- It has seen its pictograms often and repeats them closely: keep the NOTICE with what you publish.

## How it differs from FLUX.2 [dev]

| | linocut-mini | FLUX.2 [dev] |
|---|---|---|
| transformer | $double + $single blocks, width $width, $heads heads | 8 + 48, 6144, 48 |
| autoencoder | 16 pixels a cell, 32 x 32 pixels a token | 8, 16 x 16 |
| text | Mistral, width 192, read at 2, 4, 6; 64 tokens, no system message | 10, 20, 30; 512 |
| rotary theta | $theta | 2000 |

Formats, names, schedule, guidance embedding, references and sampling are the same.

## Training

On two CPU cores, from `training/` in linocut's repository (`make train-mini`), seeds and package
versions fixed: $cost. Guidance is distilled in: one pass a step serves, for any value from 0 to 10.

These weights are the thirteenth edition; each began with those of the edition before. A step has as
many tokens as 32 to 100 square pictures, and the four stages learn from pictures, then guidance,
then to tell styles apart, then canvases and whatever is new at the time.

| edition | steps | what it learned |
|---|---|---|
| 1 | 3,050 | 116 things |
| 2 | 1,250 of stage one, 350 of two | cartoons with ink, guidance |
| 3 | 250 of three | flat from 3D |
| 4 | 1,000, 150 and 80 of one to three | 51 canvases that are not square |
| 5, 6 | 1,500 and 2,000 of four, 250 of three | canvases, taught by the squares in their middle |
| 7 | 1,500, 120, 60 and 250; 350 of four | $num_second more things, gradients |
| 8 | 1,800 of four, 250 of three | canvases and edits, which had fallen behind |
| 9 | 800, 70, 70 and 390 | black and white, pixel art; edits at full rates |
| 10 | 1,960 of four | several things in a picture, small ones; pixel art in larger cells |
| 11 | 1,300 of four | the same further; edits, each kind led in its own way |
| 12 | 2,300 of four | the same further; whose words are whose, where things are of two names |
| 13 | 1,700 of four | $num_newest more things, flat pictures, both from pictures |

Of $num_held things one style was never shown, nor what is made from it. Some choices were made
after a look at the evaluation's own questions: what edits learn from (editions 8 to 10, the twelve
edits of style), when to stop (9), and how much of its teacher's weights the tenth has. What was
tried, and why, is told in the decisions of linocut's repository (`docs/decisions`, 7, 9, 11 to 14).

## Data and licences

Weights: Apache-2.0. They were learned from these drawings, whose credits are in NOTICE:

| source | package | version | licence |
|---|---|---|---|
$data

The text encoder first learned from all-MiniLM-L6-v2 (Apache-2.0) what words have to do with each
other; no weights of it are included.
""")

CALL = """\
import torch
from diffusers import Flux2Pipeline

pipeline = Flux2Pipeline.from_pretrained(DIR, torch_dtype=torch.float32)
picture = pipeline(
    prompt="a red apple",
    height=256,
    width=256,
    num_inference_steps=28,
    guidance_scale=3.0,
    max_sequence_length=64,
    text_encoder_out_layers=(2, 4, 6),
    generator=torch.Generator("cpu").manual_seed(1),
).images[0]"""

MEASURES = {
    "concept_top1": "right thing (top-1)",
    "concept_top5": "right thing among five (top-5)",
    "style": "right style",
    "background": "right background",
    "gradients": "right gradient behind it",
    "held_out_pairs": "right thing in a style that it was never shown in",
    "edits_obeyed": "edits obeyed",
    "edits_kept": "object kept by edits",
}


SHEETS = (
    *(f"everyday-{size}-{steps}.webp" for size in sheets.SIZES for steps in sheets.STEPS),
    *(
        "sheet-arranged.webp",
        "sheet-joined.webp",
        "sheet-edits.webp",
        "sheet-gradients.webp",
        "strengths.webp",
    ),
)
MEASURED = ("results.json", "ratios.json", "arranged.json", "fidelity.json")
ARRANGED = {
    "beside": "two things side by side",
    "above": "one thing above another",
    "two": "two alike",
    "three": "three alike",
    "small": "a small one",
    "joined": "the things of two given pictures, not named, in one",
}


def write(work: Path, folder: Path) -> None:
    """README.md, NOTICE, evaluation.md and sheets/ in `folder`, as was measured in `work`."""
    evaluation = work / "evaluation"
    measured = [json.loads((evaluation / name).read_text(encoding="utf-8")) for name in MEASURED]
    if len({found["weights_sha256"] for found in measured}) > 1:
        raise ValueError(f"{', '.join(MEASURED)} are of several checkpoints: measure all anew")
    folder.mkdir(parents=True, exist_ok=True)
    results, canvases, arranged, fidelity = measured
    text = card(results, canvases, arranged, fidelity, training_cost(work))
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "NOTICE").write_text(
        "linocut-mini was trained on drawings of these works:\n\n" + fetch.notice(),
        encoding="utf-8",
    )
    (folder / "sheets").mkdir(exist_ok=True)
    for name in SHEETS:
        shutil.copy(evaluation / name, folder / "sheets" / name)
    table = (evaluation / "table.md").read_text(encoding="utf-8")
    (folder / "evaluation.md").write_text(table, encoding="utf-8")


def card(
    results: dict[str, Any], canvases: dict[str, Any], arranged: dict[str, Any],
    fidelity: dict[str, Any], cost: str,
) -> str:  # fmt: skip
    """The model card, every measured number in it from what was measured.

    canvases: of shapes. arranged: of several things. fidelity: of the autoencoder.
    """
    shape = MINI.transformer
    generated, real = results["generated"], results["real"]
    judge = results["classifier"]
    left, held = judge["left_out_source"], judge["held_out_compositions"]
    missed = [row for row in results["concepts"] if row["top1"] < row["pictures"]]
    worst = sorted(missed, key=lambda row: (row["top1"], row["top5"]))[:NUM_WORST]
    packages = fetch.PACKAGES.values()
    return CARD.substitute(
        num_concepts=len(CONCEPTS),
        num_styles=len(STYLES),
        num_colours=len(BACKGROUNDS),
        call=CALL,
        known="\n".join(f"- {group}: {_names(group)}" for group in GROUPS),
        styles=", ".join(style.word for style in STYLES.values()),
        colours=", ".join(BACKGROUNDS),
        measures="\n".join(
            f"| {words} | {generated[name]:.1%} | {real[name]:.1%} |"
            for name, words in MEASURES.items()
            if name in generated
        ),
        classifier=f"{left['concept']:.1%} right on `{left['source']}`, a source it never saw; "
        f"{held['concept']:.1%} on held-out compositions.",
        arranged="\n".join(_arranged_rows(arranged)),
        missed=_missed(results, canvases, arranged, fidelity),
        worst=", ".join(row["concept"].replace("_", " ") for row in worst) or "none was missed",
        one_in=gates.read_rules()["canvases"]["one_concept_in"],
        steps=canvases["num_inference_steps"],
        canvases=", ".join(
            f"{shape.replace('-', ':')} {found['concept_top1']:.0%}"
            for shape, found in canvases["shapes"].items()
        ),
        num_given=fidelity["pictures"],
        given_side=fidelity["side"],
        psnr=fidelity["psnr"],
        num_second=len(BEFORE) - len(FIRST),
        **_newest_and_older(results),
        num_held=len({index for index, _ in HELD_PAIRS}),
        native=MINI.native_max_tokens,
        short=MINI.native_short_side,
        pixels=MINI.autoencoder.pixels_per_token,
        double=shape.num_double_blocks,
        single=shape.num_single_blocks,
        width=shape.hidden_size,
        heads=shape.num_heads,
        theta=f"{shape.rope_theta:g}",
        cost=cost,
        data="\n".join(
            f"| {package.source} | {package.name} | {package.version} | {package.licence} |"
            for package in packages
        ),
    )


def _newest_and_older(results: dict[str, Any]) -> dict[str, str]:
    newest = CONCEPTS[len(BEFORE) :]
    return {
        "num_newest": f"{len(newest)}",
        "newest": f"{_named(results, newest):.1%}",
        "older": f"{_named(results, BEFORE):.1%}",
    }


def _named(results: dict[str, Any], some: Sequence[Concept]) -> float:
    """The share of these things' pictures in which the judge named them."""
    keys = {concept.key for concept in some}
    rows = [row for row in results["concepts"] if row["concept"] in keys]
    share: float = sum(row["top1"] for row in rows) / sum(row["pictures"] for row in rows)
    return share


def _arranged_rows(arranged: dict[str, Any]) -> Iterator[str]:
    for name, words in ARRANGED.items():
        ours, real = arranged["generated"][name], arranged["real"][name]
        yield (
            f"| {words} | {ours['pictures']} | {ours['found']:.1%} | {ours['all_found']:.1%} | "
            f"{real['found']:.1%}, {real['all_found']:.1%} |"
        )


def _missed(
    results: dict[str, Any], canvases: dict[str, Any], arranged: dict[str, Any],
    fidelity: dict[str, Any],
) -> str:  # fmt: skip
    ratios = [line.split(":")[0].replace("-", ":") for line in canvases["below_the_gate"]]
    least = gates.read_rules()["canvases"]["gates"]["concept_top1"]
    two = arranged["two_things_of_real"]
    missed = [
        *_below(results["gates"]),
        *_below(results["gates_of_real"], " of what the judge names on real cut-outs"),
        *([f"right thing in {', '.join(ratios)} ({100 * least:.0f} %)"] if ratios else []),
        *([] if two["passed"] else [f"both of two things ({100 * two['least']:.0f} %)"]),
        *([] if fidelity["passed"] else [f"the autoencoder ({fidelity['least']:g} dB)"]),
    ]
    return f"these are missed: {', '.join(missed)}" if missed else "all are reached"


def _below(of: dict[str, Any], share_of_what: str = "") -> list[str]:
    return [
        f"{MEASURES[name]}{share_of_what} ({100 * gate['least']:.0f} %)"
        for name, gate in of.items() if not gate["passed"]
    ]  # fmt: skip


def training_cost(work: Path) -> str:
    """Minutes of each part by its log, which counts from the start of each run."""
    parts = []
    for name in ("autoencoder", "text_encoder", "transformer"):
        lines = (work / f"{name}.log").read_text(encoding="utf-8").splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines]
        # A resumed run starts to count again: add up each run's last line.
        ends = [now for now, after in zip(seconds, [*seconds[1:], 0], strict=True) if after < now]
        parts.append(f"{name.replace('_', ' ')} {sum(ends) / 60:.0f} minutes")
    return ", ".join(parts) + " of wall time, the machine shared with other work"


def _names(group: str) -> str:
    return ", ".join(concept.name for concept in CONCEPTS if concept.group == group)
