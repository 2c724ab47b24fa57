"""What the classifier practises on: real cut-outs on backgrounds, spoilt as drawn pictures are.

Concepts come from the styles and from other sources, all but one; every other emoji of the drawn
styles is practised beside them, so that the network learns what one thing has in common when
different people draw it.

B batch   C channels   S side of a square picture
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

from linocut_training.concepts import (
    BACKGROUNDS,
    BORDERS,
    CONCEPTS,
    DRAWN_SOURCES,
    EXTRA_SOURCES,
    STYLES,
    Border,
)
from linocut_training.gates import COLOURS, HELD_SCALES, held_colours, nearest_colours

LEFT_OUT: Final = "emojione"  # another artist's, and complete; chosen before the first training
STYLE_SOURCES: Final = tuple(style.source for style in STYLES.values())
SOURCES: Final = tuple(s for s in (*STYLE_SOURCES, *EXTRA_SOURCES) if s != LEFT_OUT)

CUTOUT_SIDE: Final = 96
SCALES: Final = (0.72, 1.0)  # of a picture that the judge has framed
OTHER_SHARE: Final = 3 / 8  # of a batch
NONE: Final = -1  # the label of what a picture does not teach


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures [B, 3, S, S] in [0, 1] and what they show; NONE where that is not to be learnt."""

    pictures: Tensor
    concepts: Tensor
    styles: Tensor
    others: Tensor


class Practice:
    """Batches of compositions. A batch is decided by its number alone, so that it can be resumed.

    `num_others` is how many emoji there are besides the concepts.
    """

    def __init__(self, work: Path, *, batch: int, seed: int) -> None:
        self.count, self.seed = batch, seed
        shown = list(_concept_cutouts(work))
        if not shown:
            raise SystemExit(f"no cut-outs below {work / 'cutouts'}: rasterise first")
        self.num_concepts = len(shown)
        codes = other_codes(work)
        self.num_others = len(codes)
        shown += _other_cutouts(work, codes)
        self.cutouts = torch.stack([cutout for cutout, *_ in shown])
        self.concepts, self.styles, self.others = torch.tensor([row[1:] for row in shown]).T
        self.held = torch.zeros(len(CONCEPTS) + 1, len(COLOURS), dtype=torch.bool)  # last: NONE
        for index in range(len(CONCEPTS)):
            self.held[index, list(held_colours(index))] = True
        self.named = torch.tensor(list(BACKGROUNDS.values())) / 255

    def batch(self, number: int, side: int) -> Batch:
        """Concepts, and other emoji in their share; concepts alone where there is nothing else."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        others = int(self.count * OTHER_SHARE) if self.num_others else 0
        chosen = torch.cat((
            torch.randint(self.num_concepts, (self.count - others,), generator=rng),
            torch.randint(self.num_concepts, max(len(self.cutouts), self.num_concepts + 1),
                          (others,), generator=rng),
        ))  # fmt: skip
        objects, is_gray = recoloured(self.cutouts[chosen].float() / 255, rng)
        objects = F.grid_sample(
            objects, placements(len(chosen), side, rng), padding_mode="zeros", align_corners=False
        )
        behind = self.backgrounds(self.concepts[chosen], side, rng)
        pictures = objects[:, :3] + (1 - objects[:, 3:]) * behind
        # Without its colours a picture of another style looks like the style that has none.
        styles = torch.where(is_gray, NONE, self.styles[chosen])
        return Batch(spoilt(pictures, rng), self.concepts[chosen], styles, self.others[chosen])

    def backgrounds(self, concepts: Tensor, side: int, rng: torch.Generator) -> Tensor:
        """Named and random colours, plain and graded, none that is held out. [B, 3, S, S]"""
        count = len(concepts)
        ends = torch.rand(count, 2, 3, generator=rng)
        near = torch.from_numpy(nearest_colours(ends.numpy() * 255))
        allowed = (~self.held).float()[concepts]
        named = torch.multinomial(allowed, 2, replacement=True, generator=rng)
        use_name = torch.rand(count, 1, generator=rng) < 0.6
        use_name = use_name | self.held[concepts[:, None], near]
        ends = torch.where(use_name[..., None], self.named[named], ends)
        graded = torch.rand(count, generator=rng) < 0.25
        ends[:, 1] = torch.where(graded[:, None], ends[:, 1], ends[:, 0])
        angle = 2 * math.pi * torch.rand(count, 1, 1, generator=rng)
        line = torch.linspace(-0.35, 0.35, side)
        along = 0.5 + angle.cos() * line + angle.sin() * line[:, None]
        return torch.lerp(ends[:, 0, :, None, None], ends[:, 1, :, None, None], along[:, None])


Row = tuple[Tensor, int, int, int]  # cut-out, concept, style, other


def _concept_cutouts(work: Path) -> Iterator[Row]:
    """Every concept of every source but the one left out; those with a border without it too."""
    for source in SOURCES:
        style = STYLE_SOURCES.index(source) if source in STYLE_SOURCES else NONE
        for index, concept in enumerate(CONCEPTS):
            file = work / "cutouts" / source / f"{concept.key}.png"
            if file.exists():
                cutout = _small(file)
                yield _tensor(cutout), index, style, NONE
                if border := BORDERS.get(source):
                    yield _tensor(peeled(cutout, border)), index, NONE, NONE


def other_codes(work: Path) -> list[str]:
    """Code points that every artist of a style has drawn and that are no concept's."""
    folders = [work / "variety" / source for source in DRAWN_SOURCES]
    drawn = [{file.stem for file in folder.glob("*.png")} for folder in folders]
    return sorted(set.intersection(*drawn) - {concept.codepoint for concept in CONCEPTS})


def _other_cutouts(work: Path, codes: list[str]) -> Iterator[Row]:
    for source in DRAWN_SOURCES:
        border = BORDERS[source]
        for index, code in enumerate(codes):
            cutout = _small(work / "variety" / source / f"{code}.png")
            plain = peeled(cutout, border) if border and index % 2 else cutout
            # Styles are told by the concepts alone: many an emoji looks the same in two styles.
            yield _tensor(plain), NONE, NONE, index


def _small(file: Path) -> Image.Image:
    """A cut-out, premultiplied, of CUTOUT_SIDE."""
    with Image.open(file) as picture:
        size = (CUTOUT_SIDE, CUTOUT_SIDE)
        return picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS)


def peeled(cutout: Image.Image, border: Border) -> Image.Image:
    """A premultiplied cut-out without its border."""
    bands = cutout.split()
    inner = bands[3].filter(ImageFilter.MinFilter(2 * int(border.whole * cutout.width) + 1))
    return Image.merge("RGBa", [ImageChops.multiply(band, inner) for band in bands])


def _tensor(cutout: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(cutout).copy()).permute(2, 0, 1)


def practised_scales(count: int, rng: torch.Generator) -> Tensor:
    """Scales that are not held out: those that would be are mirrored out of their band. [B]"""
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * torch.rand(count, generator=rng)
    for low, high in HELD_SCALES:
        aside = torch.where(scale < (low + high) / 2, 2 * low - scale, 2 * high - scale)
        scale = torch.where((scale > low) & (scale < high), aside, scale)
    return scale


def placements(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Where each output pixel looks in the cut-out, for `F.grid_sample`. [B, S, S, 2]"""

    def even(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=rng)

    scale = practised_scales(count, rng)
    turn, shear, stretch = even(-0.3, 0.3), even(-0.12, 0.12), even(-0.14, 0.14).exp()
    cos, sin = turn.cos(), turn.sin()
    # output = scale · turn · shear · stretch · input + shift, so that areas keep their scale.
    mirrored = 1 - 2 * torch.randint(2, (count,), generator=rng)  # artists face things as they like
    across = torch.stack((cos, sin), -1) * (mirrored * stretch)[:, None]
    down = torch.stack((shear * cos - sin, shear * sin + cos), -1) / stretch[:, None]
    forward = torch.stack((across, down), -1) * scale[:, None, None]
    shift = torch.stack((even(-1, 1), even(-1, 1)), -1) * (1 - scale)[:, None]
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    at = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    looked: Tensor = (at - shift[:, None, None]) @ torch.linalg.inv(forward).mT[:, None]
    wobble = torch.randn(count, 2, 5, 5, generator=rng) * even(0, 0.07)[:, None, None, None]
    wobble = F.interpolate(wobble, size=(20, 20), mode="bicubic", align_corners=True)
    wobble = F.interpolate(wobble, size=(side, side), mode="bilinear")
    looked += wobble.permute(0, 2, 3, 1)
    return looked


def recoloured(objects: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Premultiplied RGBA with other hues, saturation and brightness: the shape has to tell.

    Also which have lost all colour. [B]
    """
    count = len(objects)
    turn = 0.25 * torch.randn(count, generator=rng)
    grey = torch.rand(count, generator=rng) < 0.08
    saturation = torch.where(grey, 0.0, 0.6 + 0.8 * torch.rand(count, generator=rng))
    brightness = 0.75 + 0.4 * torch.rand(count, generator=rng)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213],
                           [0.2115, -0.5227, 0.3112]])  # fmt: skip
    change = torch.zeros(count, 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * turn.cos()
    change[:, 2, 1] = saturation * turn.sin()
    change[:, 1, 2] = -change[:, 2, 1]
    matrix = torch.linalg.inv(to_yiq) @ change @ to_yiq * brightness[:, None, None]
    rgb = torch.einsum("bij,bjhw->bihw", matrix, objects[:, :3])
    changed = torch.cat((torch.minimum(rgb.clamp(min=0), objects[:, 3:]), objects[:, 3:]), 1)
    return changed, grey


def spoilt(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Blurred, shrunk and enlarged, smudged, noisy, or as a poor JPEG: each picture a little."""
    count, size = len(pictures), pictures.shape[-2:]

    def some(share: float, most: float) -> Tensor:
        strength = most * torch.rand(count, generator=rng)
        return (strength * (torch.rand(count, generator=rng) < share))[:, None, None, None]

    def enlarged(small: Tensor) -> Tensor:
        return F.interpolate(small, size=size, mode="bilinear")

    shrunk = int(size[0] * (0.35 + 0.35 * torch.rand((), generator=rng)))
    fewer = F.interpolate(pictures, size=(shrunk, shrunk), mode="bilinear", antialias=True)
    pictures = pictures.lerp(enlarged(fewer), some(0.6, 1))
    smudges = torch.randn(count, 3, 10, 10, generator=rng) * some(0.5, 0.06)
    noise = torch.randn(count, 1, *size, generator=rng) * some(0.4, 0.05)
    pictures = pictures + enlarged(smudges) + noise
    light = 1 + 0.12 * torch.randn(count, 1, 1, 1, generator=rng)
    pictures = ((pictures - 0.5) * light + 0.5).clamp(0, 1)
    for index in range(0, count, 8):
        pictures[index] = _as_jpeg(pictures[index], quality=25 + index)
    return pictures


def _as_jpeg(picture: Tensor, *, quality: int) -> Tensor:
    stream = io.BytesIO()
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=min(quality, 95))
    with Image.open(stream) as again:
        return torch.from_numpy(np.asarray(again).copy()).permute(2, 0, 1).float() / 255
