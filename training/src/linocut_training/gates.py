"""What the trained checkpoint is asked for, what counts as obeyed, and how much is enough.

The questions and the gates stand in training/evaluation, committed before the training that they
judge. `python -m linocut_training.gates FOLDER` writes the tables of questions anew.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from linocut_training import scenes
from linocut_training.captions import (
    EditKind,
    ends,
    evaluation_instruction,
    evaluation_prompt,
    gradient_name,
)
from linocut_training.concepts import (
    BACKGROUNDS,
    CONCEPT_OF,
    CONCEPTS,
    DRAWN,
    HELD_PAIRS,
    STYLES,
)

Pixels = NDArray[np.uint8]

FOLDER: Final = Path(__file__).resolve().parents[2] / "evaluation"
SEEDS: Final = (1, 2, 3, 4)
SIDE: Final = 256
NUM_EDITS: Final = 40
STYLE_EDIT_PLACES: Final = (2, 5, 8)  # of every ten edits
STYLES_AWAY: Final = (1, 4)  # in the order of the styles, from the given to the wanted one
COLOURS: Final = tuple(BACKGROUNDS)
STYLE_KEYS: Final = tuple(STYLES)
HELD_SCALES: Final = ((0.66, 0.70), (0.80, 0.84))  # of the canvas's side: never practised
HELD_COLOURS: Final = 4  # backgrounds of each concept that are never practised with it
GRADED: Final = 10  # units of CIE L*a*b* between upper and lower edge: less is a plain background
BORDER: Final = 64  # the border's width is this part of the side


@dataclass(frozen=True, slots=True)
class Prompt:
    """One picture asked for in words alone."""

    concept: str
    seed: int
    style: str
    background: str
    text: str

    @property
    def is_graded(self) -> bool:
        """Whether it asks for a gradient behind the thing."""
        top, bottom = ends(self.background)
        return top != bottom


@dataclass(frozen=True, slots=True)
class Edit:
    """One change asked for of a real picture of concept, style and background."""

    number: int
    kind: EditKind
    concept: str
    style: str
    background: str
    wanted: str
    seed: int
    text: str

    @property
    def wanted_style(self) -> str:
        """The style of the picture that the edit asks for."""
        return self.wanted if self.kind == "style" else self.style

    @property
    def wanted_background(self) -> str:
        """Its background."""
        return self.wanted if self.kind == "background" else self.background


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture is taken for; `concepts` are the five likeliest, the likeliest first."""

    concepts: tuple[str, ...]
    style: str
    background: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A share that has to be reached."""

    name: str
    least: float
    reached: float

    @property
    def passed(self) -> bool:
        """Whether it was."""
        return self.reached >= self.least


def prompts() -> list[Prompt]:
    """Every concept and seed: each time another style, the styles and backgrounds in turn.

    Where a concept was never shown in a style, that comes first, so that none is left out.
    """
    held = {index: STYLE_KEYS.index(style) for index, style in HELD_PAIRS if style in DRAWN}
    asked = []
    for index, concept in enumerate(CONCEPTS):
        for turn, seed in enumerate(SEEDS):
            style = STYLE_KEYS[(held.get(index, index) + turn) % len(STYLE_KEYS)]
            background = COLOURS[(len(SEEDS) * index + turn) % len(COLOURS)]
            text = evaluation_prompt(concept, style, background)
            asked.append(Prompt(concept.key, seed, style, background, text))
    return asked


def graded() -> list[Prompt]:
    """Every colour at the top of two gradients, and at the bottom of two."""
    count = len(COLOURS)
    asked = []
    for number in range(2 * count):
        concept = CONCEPTS[number * len(CONCEPTS) // (2 * count)]
        style = STYLE_KEYS[number % len(STYLE_KEYS)]
        top, away = number % count, 3 + 4 * (number // count)
        background = gradient_name(COLOURS[top], COLOURS[(top + away) % count])
        text = evaluation_prompt(concept, style, background)
        asked.append(Prompt(concept.key, number + 1, style, background, text))
    return asked


def edits() -> list[Edit]:
    """28 changes to each background twice, and 12 from each style and to each style twice."""
    style_changes = [(given, STYLE_KEYS[(place + away) % len(STYLE_KEYS)])
                     for away in STYLES_AWAY for place, given in enumerate(STYLE_KEYS)]  # fmt: skip
    asked: list[Edit] = []
    for number in range(NUM_EDITS):
        concept = CONCEPTS[number * len(CONCEPTS) // NUM_EDITS].key
        restyled = sum(edit.kind == "style" for edit in asked)
        kind: EditKind
        if number % 10 in STYLE_EDIT_PLACES:
            kind, (style, wanted) = "style", style_changes[restyled]
            background = COLOURS[5 * restyled % len(COLOURS)]
            text = evaluation_instruction(kind, wanted, background)
        else:
            turn, kind = number - restyled, "background"
            style, wanted = STYLE_KEYS[turn % len(STYLE_KEYS)], COLOURS[turn % len(COLOURS)]
            away = 3 + 4 * (turn // len(COLOURS))
            background = COLOURS[(turn + away) % len(COLOURS)]
            text = evaluation_instruction(kind, style, wanted)
        asked.append(Edit(number + 1, kind, concept, style, background, wanted, number + 1, text))
    return asked


Row = TypeVar("Row")


def write_table(file: Path, rows: Sequence[Any]) -> None:
    """The rows, values of one dataclass, as tab-separated text under the names of its fields."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(field.name for field in fields(rows[0]))
        writer.writerows(astuple(row) for row in rows)


def read_table(file: Path, kind: type[Row]) -> list[Row]:
    """The rows that `write_table` wrote."""
    numbers = {field.name for field in fields(cast(Any, kind)) if field.type in ("int", int)}
    with file.open(encoding="utf-8", newline="") as stream:
        table: list[dict[str, Any]] = list(csv.DictReader(stream, delimiter="\t"))
    return [kind(**row | {name: int(row[name]) for name in numbers}) for row in table]


def read_rules(folder: Path = FOLDER) -> dict[str, Any]:
    """gates.json: "drawing", "gates" (least shares by name), "canvases" and "classifier".

    "of_real" has the least shares of what the classifier reaches on real cut-outs.
    """
    rules: dict[str, Any] = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    return rules


def checked(rules: Mapping[str, float], shares: Mapping[str, float]) -> list[Gate]:
    """Every gate with what was reached."""
    return [Gate(name, least, shares[name]) for name, least in rules.items()]


def of_real(generated: Mapping[str, float], real: Mapping[str, float]) -> dict[str, float]:
    """What was drawn as shares of the same measured on real cut-outs, as far as both are shares.

    None of what the judge does not even see in real ones.
    """
    return {
        name: round(share / real[name], 4) if real[name] else 0.0
        for name, share in generated.items()
        if isinstance(share, float) and isinstance(real.get(name), float)
    }


def real_picture(work: Path, place: str, concept: str, style: str, background: str) -> Pixels:
    """A cut-out on a background at 256 x 256; `place` decides where, and nothing else does."""
    placed = scenes.placed_as(style, scenes.any_placement(Random(f"evaluation/{place}")))
    source = STYLES[style].source
    with Image.open(work / "cutouts" / source / f"{CONCEPT_OF[concept].key}.png") as cutout:
        behind = scenes.background(background, width=SIDE, height=SIDE)
        return scenes.compose(cutout, behind, width=SIDE, height=SIDE, **asdict(placed))


def real_answer(work: Path, asked: Prompt | Edit) -> Pixels:
    """What a perfect model would draw: the ceiling that a judge of these pictures can reach."""
    if isinstance(asked, Prompt):
        place = f"{asked.concept}/{asked.seed}"
        return real_picture(work, place, asked.concept, asked.style, asked.background)
    place = f"edit/{asked.number}"
    return real_picture(work, place, asked.concept, asked.wanted_style, asked.wanted_background)


def reference_of(work: Path, edit: Edit) -> Pixels:
    """The picture that an edit starts from."""
    return real_picture(work, f"edit/{edit.number}", edit.concept, edit.style, edit.background)


def held_colours(concept: int) -> tuple[int, ...]:
    """Indices of the backgrounds that are never practised with this concept."""
    return tuple(c for c in range(len(COLOURS)) if (5 * c + concept) % len(COLOURS) < HELD_COLOURS)


def held_out(
    work: Path, sources: Sequence[str], each: int
) -> Iterator[tuple[Pixels, int, str, str]]:
    """(pixels, concept, source, background): compositions that practice never makes."""
    for source in sources:
        for index, concept in enumerate(CONCEPTS):
            file = work / "cutouts" / source / f"{concept.key}.png"
            if not file.exists():
                continue
            rng = Random(f"held out/{source}/{concept.key}")
            with Image.open(file) as opened:
                cutout = opened.convert("RGBa")
            for name in rng.sample([COLOURS[c] for c in held_colours(index)], each):
                pixels = scenes.compose(
                    cutout, BACKGROUNDS[name], width=256, height=256,
                    scale=rng.uniform(*rng.choice(HELD_SCALES)),
                    dx=rng.uniform(-1, 1), dy=rng.uniform(-1, 1),
                )  # fmt: skip
                yield pixels, index, source, name


def shares(prompts: Sequence[Prompt], seen: Sequence[Seen]) -> dict[str, float]:
    """How often concept, style and background are what was asked for."""
    pairs = list(zip(prompts, seen, strict=True))
    return {
        "pictures": len(pairs),
        "concept_top1": _share(it.concepts[0] == one.concept for one, it in pairs),
        "concept_top5": _share(one.concept in it.concepts for one, it in pairs),
        "style": _share(it.style == one.style for one, it in pairs),
        "background": _share(it.background == one.background for one, it in pairs),
        "held_out_pairs": _share(
            it.concepts[0] == one.concept for one, it in pairs if is_held_out(one)
        ),
    }


def is_held_out(prompt: Prompt) -> bool:
    """Whether its concept was never shown in its style."""
    index = list(CONCEPT_OF).index(prompt.concept)
    return (index, prompt.style) in HELD_PAIRS


def edit_shares(edits: Sequence[Edit], seen: Sequence[Seen]) -> dict[str, float]:
    """How often the change is there (obeyed), and how often the object still is (kept)."""
    pairs = list(zip(edits, seen, strict=True))
    result = {
        "edits": len(pairs),
        "edits_obeyed": _share(obeyed(one, it) for one, it in pairs),
        "edits_kept": _share(it.concepts[0] == one.concept for one, it in pairs),
        "edits_obeyed_and_kept": _share(
            obeyed(one, it) and it.concepts[0] == one.concept for one, it in pairs
        ),
    }
    for kind in ("background", "style"):
        some = [(one, it) for one, it in pairs if one.kind == kind]
        result[f"{kind}_edits"] = len(some)
        result[f"{kind}_edits_obeyed"] = _share(obeyed(one, it) for one, it in some)
        result[f"{kind}_edits_kept"] = _share(it.concepts[0] == one.concept for one, it in some)
    return result


def obeyed(edit: Edit, seen: Seen) -> bool:
    """Whether what the edit asks for is what is seen."""
    return (seen.style if edit.kind == "style" else seen.background) == edit.wanted


def by_concept(prompts: Sequence[Prompt], seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """One row a concept, in alphabetical order: how many of its pictures are right, and in what."""
    rows = []
    for concept in sorted(CONCEPTS, key=lambda concept: concept.key):
        pairs = [(p, s) for p, s in zip(prompts, seen, strict=True) if p.concept == concept.key]
        others = Counter(s.concepts[0] for _, s in pairs if s.concepts[0] != concept.key)
        rows.append(
            {
                "concept": concept.key,
                "group": concept.group,
                "pictures": len(pairs),
                "top1": sum(s.concepts[0] == p.concept for p, s in pairs),
                "top5": sum(p.concept in s.concepts for p, s in pairs),
                "style": sum(s.style == p.style for p, s in pairs),
                "background": sum(s.background == p.background for p, s in pairs),
                "taken_for": [key for key, _ in others.most_common()],
            }
        )
    return rows


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return round(sum(counted) / max(len(counted), 1), 4)


def background_of(pixels: Pixels) -> str:
    """The name of a picture's background by its border: a colour's, or a gradient's.

    Which colours is by the median as eyes measure it. It is a gradient where the upper edge is
    nearer to another colour than the lower one and both differ plainly.
    """
    width = max(1, min(pixels.shape[:2]) // BORDER)
    upper, lower = pixels[:width].reshape(-1, 3), pixels[-width:].reshape(-1, 3)
    top, bottom = np.median(upper, axis=0), np.median(lower, axis=0)
    names = [COLOURS[index] for index in nearest_colours(np.stack((top, bottom)))]
    if names[0] != names[1] and np.linalg.norm(lab(top) - lab(bottom)) > GRADED:
        return gradient_name(*names)
    sides = (pixels[:, :width].reshape(-1, 3), pixels[:, -width:].reshape(-1, 3))
    border = np.concatenate((upper, lower, *sides))
    return COLOURS[int(nearest_colours(np.median(border, axis=0)))]


def nearest_colours(rgb: NDArray[Any]) -> NDArray[np.intp]:
    """Indices of the nearest named backgrounds; colours are [..., 3] in 0 to 255."""
    named = lab(np.asarray(list(BACKGROUNDS.values())))
    away = np.linalg.norm(lab(rgb)[..., None, :] - named, axis=-1)
    nearest: NDArray[np.intp] = away.argmin(-1)
    return nearest


def lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """CIE L*a*b* of sRGB in 0 to 255, white point D65. [..., 3]"""
    share = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def main() -> None:
    """Write prompts.tsv, graded.tsv and edits.tsv."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder: Path = parser.parse_args().folder
    write_table(folder / "prompts.tsv", prompts())
    write_table(folder / "graded.tsv", graded())
    write_table(folder / "edits.tsv", edits())


if __name__ == "__main__":
    main()
