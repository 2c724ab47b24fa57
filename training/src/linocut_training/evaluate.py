"""Judges a checkpoint: draws what is asked, lets the classifier look, and writes what it saw.

Into the folder `out` go results.json, table.md and contact sheets; the pictures themselves go to
work/evaluation/pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image, ImageDraw, ImageFont

from linocut.request import ImageRequest, Picture
from linocut_training import gates
from linocut_training.classifier import Judge
from linocut_training.concepts import CONCEPT_OF, GROUPS
from linocut_training.drawing import (
    Draw,
    draw_in_processes,
    draw_share,
    fingerprint,
    read,
    to_picture,
)
from linocut_training.gates import (
    Edit,
    Gate,
    Pixels,
    Prompt,
    Seen,
    by_concept,
    obeyed,
)

Asked = Prompt | Edit

TILE: Final = 144
LABEL: Final = 16
SHEET_COLUMNS: Final = 5
SHEET_BYTES: Final = 300_000
RIGHT: Final = (46, 160, 67)
WRONG: Final = (207, 34, 46)
INK: Final = (31, 35, 40)


def evaluate(
    checkpoint: Path,
    work: Path,
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    processes: int = 2,
    draw: Draw | None = None,
) -> dict[str, Any]:
    """What results.json says afterwards; `work` holds cutouts/ and the trained classifier.

    seeds, steps: instead of those in gates.json. `draw` draws in the engine's place, in this
    process.
    """
    rules = gates.read_rules()
    chosen = tuple(seeds or rules["seeds"])
    prompts = [
        p for p in gates.read_table(gates.FOLDER / "prompts.tsv", Prompt) if p.seed in chosen
    ]
    graded = gates.read_table(gates.FOLDER / "graded.tsv", Prompt)
    edits = gates.read_table(gates.FOLDER / "edits.tsv", Edit)
    asked: list[Asked] = [*prompts, *graded, *edits]
    how = rules["drawing"] | ({"num_inference_steps": steps} if steps else {})
    requests = {name_of(one): request_of(one, work, how) for one in asked}
    folder = work / "evaluation" / "pictures"
    if draw is None:
        draw_in_processes(checkpoint, requests, folder, processes)
    else:
        draw_share(draw, requests, folder)
    drawn = [read(folder / f"{name_of(one)}.png") for one in asked]
    judge = Judge.open(work)
    seen = judge.look(drawn)
    real = judge.look([gates.real_answer(work, one) for one in asked])

    def measured(seen: Sequence[Seen]) -> dict[str, float]:
        of_prompts, of_graded = seen[: len(prompts)], seen[len(prompts) : -len(edits)]
        found = gates.shares(prompts, of_prompts) | gates.edit_shares(edits, seen[-len(edits) :])
        return found | {"gradients": gates.shares(graded, of_graded)["background"]}

    results = {
        "checkpoint": checkpoint.name,
        "weights_sha256": fingerprint(checkpoint),
        "drawing": how,
        "seeds": list(chosen),
        "generated": measured(seen),
        "real": measured(real),
        "classifier": json.loads((work / "classifier.json").read_text(encoding="utf-8")),
        "concepts": by_concept(prompts, seen[: len(prompts)]),
        "pictures": [described(one, it) for one, it in zip(asked, seen, strict=True)],
    }
    reached = gates.checked(rules["gates"], results["generated"])
    results["gates"] = _gated(reached)
    results["of_real"] = gates.of_real(results["generated"], results["real"])
    results["gates_of_real"] = _gated(gates.checked(rules["of_real"], results["of_real"]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "table.md").write_text(table(results, reached), encoding="utf-8")
    sheets(out, work, asked, drawn, seen)
    return results


def _gated(gates: Sequence[Gate]) -> dict[str, dict[str, float]]:
    return {
        gate.name: {"least": gate.least, "reached": gate.reached, "passed": gate.passed}
        for gate in gates
    }


# What is drawn.


def name_of(asked: Asked) -> str:
    """What its picture's file is called."""
    if isinstance(asked, Edit):
        return f"edit-{asked.number:02}"
    if asked.is_graded:
        return f"graded-{asked.seed:02}"
    return f"{asked.concept}-{asked.seed}"


def request_of(asked: Asked, work: Path, how: dict[str, Any]) -> ImageRequest:
    """The request as any user of the engine would make it."""
    references: tuple[Picture, ...] = ()
    if isinstance(asked, Edit):
        references = (to_picture(gates.reference_of(work, asked)),)
    return ImageRequest(prompt=asked.text, seed=asked.seed, references=references, **how)


def described(asked: Asked, seen: Seen) -> dict[str, Any]:
    """One picture for results.json."""
    wanted = {"name": name_of(asked), "text": asked.text, "concept": asked.concept}
    if isinstance(asked, Edit):
        wanted |= {"style": asked.wanted_style, "background": asked.wanted_background}
    else:
        wanted |= {"style": asked.style, "background": asked.background}
    return wanted | {
        "seen": list(seen.concepts), "seen_style": seen.style, "seen_background": seen.background
    }  # fmt: skip


# What is written.


def table(results: dict[str, Any], reached: Sequence[Gate]) -> str:
    """The gates, the summary, the worst concepts, and every concept."""
    return "\n".join(
        (
            "# What linocut-mini draws, as a classifier sees it",
            "",
            *_gate_lines(results, reached),
            "",
            *_worth_lines(results),
            "",
            *_group_lines(results["concepts"]),
            "",
            *_concept_lines(results["concepts"]),
            "",
        )
    )


def _gate_lines(results: dict[str, Any], reached: Sequence[Gate]) -> list[str]:
    generated, real, how = results["generated"], results["real"], results["drawing"]
    ungated = [name for name in generated if name not in results["gates"]]
    return [
        f"Prompts: training/evaluation/prompts.tsv, seeds {', '.join(map(str, results['seeds']))} "
        f"({generated['pictures']} pictures); {generated['edits']} edits: "
        "training/evaluation/edits.tsv; gradients: training/evaluation/graded.tsv.",
        f"Drawn at {how['width']} x {how['height']}, {how['num_inference_steps']} steps, guidance "
        f"{how['guidance']:g}, mode {how['mode']}. Weights: `{results['weights_sha256'][:16]}`.",
        "",
        "| measure | gate | reached | | the same of real cut-outs |",
        "|---|---|---|---|---|",
        *(
            f"| {gate.name} | {gate.least:.0%} | {gate.reached:.1%} | "
            f"{'pass' if gate.passed else '**FAIL**'} | {real[gate.name]:.1%} |"
            for gate in reached
        ),
        *(
            f"| {name} | | {generated[name]:.1%} | | {real[name]:.1%} |"
            for name in ungated
            if isinstance(generated[name], float)
        ),
        "",
        "As shares of what the classifier reaches on real cut-outs under the same prompts:",
        "",
        "| measure | gate | reached | |",
        "|---|---|---|---|",
        *(
            f"| {name} | {gate['least']:.0%} | {gate['reached']:.1%} | "
            f"{'pass' if gate['passed'] else '**FAIL**'} |"
            for name, gate in results["gates_of_real"].items()
        ),
        "",
        "held_out_pairs: things drawn in a style that they were never shown in.",
    ]


def _worth_lines(results: dict[str, Any]) -> list[str]:
    left, held = (
        results["classifier"][name] for name in ("left_out_source", "held_out_compositions")
    )
    return [
        f"The classifier itself: {left['concept']:.1%} of concepts on `{left['source']}`, a source "
        f"left out of its training ({left['pictures']} pictures, top-5 {left['top5']:.1%}); "
        f"{held['concept']:.1%} of concepts, {held['style']:.1%} of styles and "
        f"{held['background']:.1%} of backgrounds on held-out compositions "
        f"({held['pictures']} pictures).",
    ]


def _group_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| group | top-1 | top-5 |", "|---|---|---|"]
    for group in GROUPS:
        some = [row for row in rows if row["group"] == group]
        of = max(sum(row["pictures"] for row in some), 1)
        first, five = (sum(row[name] for row in some) / of for name in ("top1", "top5"))
        lines.append(f"| {group} | {first:.0%} | {five:.0%} |")
    return lines


def _concept_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    never = [row["concept"] for row in rows if not row["top1"]]
    once = [row["concept"] for row in rows if row["top1"] == 1 < row["pictures"]]
    return [
        f"Never recognised ({len(never)}): {', '.join(never) or 'none'}.",
        "",
        f"Recognised once only ({len(once)}): {', '.join(once) or 'none'}.",
        "",
        "| concept | group | top-1 | top-5 | style | background | taken for |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['concept']} | {row['group']} | "
            + " | ".join(
                f"{row[name]}/{row['pictures']}" for name in ("top1", "top5", "style", "background")
            )
            + f" | {', '.join(row['taken_for'])} |"
            for row in rows
        ),
    ]


def sheets(
    out: Path, work: Path, asked: Sequence[Asked], drawn: Sequence[Pixels], seen: Sequence[Seen]
) -> None:
    """sheet-<group>.webp with the first seed of every concept, and of gradients and edits one."""
    shown = list(zip(asked, drawn, seen, strict=True))
    first = min(one.seed for one in asked if isinstance(one, Prompt) and not one.is_graded)
    for group in GROUPS:
        tiles = [
            tile([pixels], one.concept, it.concepts[0], right=it.concepts[0] == one.concept)
            for one, pixels, it in shown
            if isinstance(one, Prompt)
            and one.seed == first
            and not one.is_graded
            and CONCEPT_OF[one.concept].group == group
        ]
        save_sheet(out / f"sheet-{group}.webp", tiles)
    tiles = [
        tile([pixels], one.background.removesuffix(" gradient"), it.background,
             right=it.background == one.background)
        for one, pixels, it in shown
        if isinstance(one, Prompt) and one.is_graded
    ]  # fmt: skip
    save_sheet(out / "sheet-gradients.webp", tiles)
    tiles = [
        tile([gates.reference_of(work, one), pixels], f"{one.number} {one.text}",
             it.style if one.kind == "style" else it.background, right=obeyed(one, it))
        for one, pixels, it in shown
        if isinstance(one, Edit)
    ]  # fmt: skip
    save_sheet(out / "sheet-edits.webp", tiles)


def tile(pictures: Sequence[Pixels], label: str, taken_for: str, *, right: bool) -> Image.Image:
    """Pictures side by side over their label, green if right, red with what was seen if not."""
    image = Image.new("RGB", (TILE * len(pictures), TILE + LABEL), "white")
    for index, pixels in enumerate(pictures):
        small = Image.fromarray(pixels).resize((TILE - 6, TILE - 6), Image.Resampling.LANCZOS)
        image.paste(small, (TILE * index + 3, 3))
    pen = ImageDraw.Draw(image)
    pen.rectangle((1, 1, image.width - 2, TILE - 2), outline=RIGHT if right else WRONG, width=2)
    words = label if right else f"{label}: {taken_for}"
    pen.text((4, TILE), words, INK if right else WRONG, ImageFont.load_default(11))
    return image


def save_sheet(file: Path, tiles: Sequence[Image.Image], most_columns: int = SHEET_COLUMNS) -> None:
    """The tiles in rows, as WebP of at most SHEET_BYTES."""
    width, height = tiles[0].size
    columns = min(most_columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, one in enumerate(tiles):
        sheet.paste(one, (index % columns * width, index // columns * height))
    for quality in (85, 70, 50, 30):
        sheet.save(file, "WEBP", quality=quality, method=6)
        if file.stat().st_size <= SHEET_BYTES:
            return
    raise RuntimeError(f"{file.name}: over {SHEET_BYTES:,} bytes at any quality")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every measurement's command is given: work, checkpoint, processes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", type=Path, help="folder of the trained classifier")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    return parser


def main() -> None:
    """Draw, judge and write; exit code 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("work", type=Path, help="the training's folder")
    parser.add_argument("out", type=Path, help="where results.json, table.md and sheets go")
    parser.add_argument("--quick", action="store_true", help="the first seed only")
    parser.add_argument("--steps", type=int, help="instead of those in gates.json")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = evaluate(
        given.checkpoint, given.work, given.out,
        seeds=gates.SEEDS[:1] if given.quick else None,
        steps=given.steps, processes=given.processes,
    )  # fmt: skip
    both = {name: results[name] for name in ("gates", "gates_of_real")}
    print(json.dumps(both))
    raise SystemExit(not all(gate["passed"] for some in both.values() for gate in some.values()))


if __name__ == "__main__":
    main()
