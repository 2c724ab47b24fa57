"""The model card and the NOTICE, written from what was measured and from the table of sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from linocut.catalog import MINI
from linocut_training import fetch, gates, sheets, views
from linocut_training.concepts import (
    BACKGROUNDS,
    BEFORE,
    CONCEPTS,
    DRAWN_SOURCES,
    FIRST,
    GROUPS,
    HELD_PAIRS,
    STYLES,
    Concept,
)
from linocut_training.practice import LEFT_OUT

NUM_WORST = 50

CARD = Template(resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8"))

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
    "background_edits_obeyed": "those of the background: obeyed",
    "background_edits_kept": "those of the background: object kept",
    "style_edits_obeyed": "those of style: obeyed",
    "style_edits_kept": "those of style: object kept",
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
MEASURED = ("results.json", "ratios.json", "arranged.json", "fidelity.json", "parameters.json")
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
    text = card(*measured, cost=training_cost(work))
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "NOTICE").write_text(
        "linocut-mini and the judge of its pictures learned from drawings of these works:\n\n"
        + fetch.notice(),
        encoding="utf-8",
    )
    (folder / "sheets").mkdir(exist_ok=True)
    for name in SHEETS:
        shutil.copy(evaluation / name, folder / "sheets" / name)
    table = (evaluation / "table.md").read_text(encoding="utf-8")
    (folder / "evaluation.md").write_text(table, encoding="utf-8")


def card(
    results: dict[str, Any], canvases: dict[str, Any], arranged: dict[str, Any],
    fidelity: dict[str, Any], parameters: dict[str, Any], *, cost: str,
) -> str:  # fmt: skip
    """The model card, every measured number in it from what was measured.

    canvases: of shapes. arranged: of several things. fidelity: of the autoencoder. parameters: of
    other steps and guidance.
    """
    shape = MINI.transformer
    generated, real = results["generated"], results["real"]
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
        classifier=_worth_of_the_judge(results["classifier"]),
        arranged="\n".join(_arranged_rows(arranged)),
        num_set=parameters["settings"][0]["pictures"],
        parameters="\n".join(_parameter_rows(parameters)),
        judge_of_parameters=f"{parameters['classifier']['left_out_source']['concept']:.1%}",
        missed=_missed(results, canvases, arranged, fidelity),
        worst=", ".join(_worst(results)) or "none was missed",
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
        newest_and_older=_newest_and_older(results),
        styles_measured="\n".join(_style_rows(results)),
        num_held=len({index for index, _ in HELD_PAIRS}),
        side=views.SQUARE[0] * views.PIXELS,
        longest=MINI.most_tokens // views.SQUARE[0] * views.PIXELS,
        pixels=views.PIXELS,
        double=shape.num_double_blocks,
        single=shape.num_single_blocks,
        width=shape.hidden_size,
        heads=shape.num_heads,
        theta=f"{shape.rope_theta:g}",
        cost=cost,
        data="\n".join(
            f"| {package.source} | {package.name} | {package.version} | {package.licence} | "
            f"{_learner(package.source)} |"
            for package in packages
        ),
    )


def _worth_of_the_judge(judge: dict[str, Any]) -> str:
    left, held = judge["left_out_source"], judge["held_out_compositions"]
    return (
        f"{left['concept']:.1%} right on `{left['source']}`, a source it never saw; "
        f"{held['concept']:.1%} on the others' drawings on backgrounds and at sizes it never saw."
    )


def _worst(results: dict[str, Any]) -> list[str]:
    missed = [row for row in results["concepts"] if row["top1"] < row["pictures"]]
    worst = sorted(missed, key=lambda row: (row["top1"], row["top5"]))[:NUM_WORST]
    return [row["concept"].replace("_", " ") for row in worst]


def _newest_and_older(results: dict[str, Any]) -> str:
    """A paragraph that tells them apart; none where all are of earlier editions."""
    newest = CONCEPTS[len(BEFORE) :]
    if not newest:
        return ""
    return (
        f"The right thing was named in {_named(results, newest):.1%} of the pictures of the "
        f"{len(newest)} things\nthat this edition was the first to learn, and in "
        f"{_named(results, BEFORE):.1%} of those of the others.\n\n"
    )


def _style_rows(results: dict[str, Any]) -> Iterator[str]:
    """Of the pictures that words alone asked for, on plain backgrounds."""
    asked = [row for row in results["pictures"] if row["name"].startswith(f"{row['concept']}-")]
    for key, style in STYLES.items():
        some = [row for row in asked if row["style"] == key]
        right = sum(row["seen"][0] == row["concept"] for row in some)
        in_style = sum(row["seen_style"] == key for row in some)
        yield (
            f"| {style.word} | {len(some)} | {right / len(some):.1%} | {in_style / len(some):.1%} |"
        )


def _named(results: dict[str, Any], some: Sequence[Concept]) -> float:
    """The share of these things' pictures in which the judge named them."""
    keys = {concept.key for concept in some}
    rows = [row for row in results["concepts"] if row["concept"] in keys]
    share: float = sum(row["top1"] for row in rows) / sum(row["pictures"] for row in rows)
    return share


def _learner(source: str) -> str:
    if source in DRAWN_SOURCES:
        return "the checkpoint, the judge"
    return "nobody: the judge was tested with it" if source == LEFT_OUT else "the judge"


def _arranged_rows(arranged: dict[str, Any]) -> Iterator[str]:
    for name, words in ARRANGED.items():
        ours, real = arranged["generated"][name], arranged["real"][name]
        yield (
            f"| {words} | {ours['pictures']} | {ours['found']:.1%} | {ours['all_found']:.1%} | "
            f"{real['found']:.1%}, {real['all_found']:.1%} |"
        )


def _parameter_rows(parameters: dict[str, Any]) -> Iterator[str]:
    for found in parameters["settings"]:
        yield (
            f"| {found['num_inference_steps']} | {found['guidance']:g} | "
            f"{found['concept_top1']:.1%} | {found['concept_top5']:.1%} | {found['style']:.1%} |"
        )


def _missed(
    results: dict[str, Any], canvases: dict[str, Any], arranged: dict[str, Any],
    fidelity: dict[str, Any],
) -> str:  # fmt: skip
    ratios = [line.split(":")[0].replace("-", ":") for line in canvases["below_the_gate"]]
    rules = gates.read_rules()
    least = rules["canvases"]["gates"]["concept_top1"]
    two = arranged["two_things_of_real"]
    sure, known = rules["classifier"]["least_concept_accuracy"], results["classifier"]
    missed = [
        *_below(results["gates"]),
        *_below(results["gates_of_real"], ", as a share of what the source drawings reach"),
        *([f"right thing in {', '.join(ratios)} ({100 * least:.0f} %)"] if ratios else []),
        *([] if two["passed"] else [f"both of two things ({100 * two['least']:.0f} %)"]),
        *([] if fidelity["passed"] else [f"the autoencoder ({fidelity['least']:g} dB)"]),
        *(
            [f"the judge's own, of the source it never saw ({100 * sure:.0f} %)"]
            if known["left_out_source"]["concept"] < sure
            else []
        ),
    ]
    return f"these are missed: {', '.join(missed)}" if missed else "all are reached"


def _below(of: dict[str, Any], share_of_what: str = "") -> list[str]:
    return [
        f"{MEASURES[name]}{share_of_what} ({100 * gate['least']:.0f} %)"
        for name, gate in of.items() if not gate["passed"]
    ]  # fmt: skip


def training_cost(work: Path) -> str:
    """Minutes of each part by its log, which counts from the start of each run.

    Parts that came from a finished checkpoint have none.
    """
    parts = []
    for name in ("autoencoder", "text_encoder", "transformer"):
        if not (file := work / f"{name}.log").exists():
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        seconds = [json.loads(line)["seconds"] for line in lines]
        # A resumed run starts to count again: add up each run's last line.
        ends = [now for now, after in zip(seconds, [*seconds[1:], 0], strict=True) if after < now]
        parts.append(f"{name.replace('_', ' ')} {sum(ends) / 60:.0f} minutes")
    return ", ".join(parts) + " of wall time, the machine shared with other work"


def _names(group: str) -> str:
    return ", ".join(concept.name for concept in CONCEPTS if concept.group == group)
