"""Cut-outs: every drawing as an RGBA picture, trimmed, centred and of one size.

work/cutouts/<source>/<concept key>.png   512 x 512, what pictures are composed from
work/variety/<source>/<code point>.png    256 x 256, everything else an autoencoder may see
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .concepts import (
    BORDERS,
    CONCEPTS,
    DRAWN_SOURCES,
    EXTRA_SOURCES,
    STYLES,
    Border,
    Colour,
    Concept,
)
from .effects import EFFECTS
from .icons import (
    Drawing,
    drawings_by_code,
    drawings_by_name,
    is_ordinary,
    names_by_code,
    names_of,
)

CUTOUT_SIDE: Final = 512
VARIETY_SIDE: Final = 256
FILL: Final = 0.92  # of the square, by the object's longer side
VISIBLE: Final = 8  # of 255: fainter alpha is a renderer's haze and does not count as the object
CHILDREN: Final = 2
CHUNK: Final = 8

NAMING_SOURCE: Final = "noto"  # its names are the ones the packages without code points use


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to make."""

    drawing: Drawing
    path: Path
    side: int
    border: Border | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A picture that could not be made, and why."""

    source: str
    name: str
    reason: str


def make_cutouts(tarballs: Mapping[str, Path], work: Path) -> tuple[Missing, ...]:
    """Every concept in every style and extra source under work/cutouts; what is there stays."""
    names = names_by_code(tarballs[NAMING_SOURCE])
    missing: list[Missing] = []
    for source in (*DRAWN_SOURCES, *EXTRA_SOURCES):
        jobs: list[Job] = []
        drawings = (drawings_by_code if source in DRAWN_SOURCES else drawings_by_name)(
            tarballs[source]
        )
        for concept in CONCEPTS:
            name = names.get(concept.codepoint, concept.key)
            drawing = _find(concept, source, drawings, iconify_name=name)
            if drawing is None:
                missing.append(Missing(source, concept.key, "not in the package"))
            else:
                path = work / "cutouts" / source / f"{concept.key}.png"
                jobs.append(Job(drawing, path, CUTOUT_SIDE, BORDERS.get(source)))
        missing += [Missing(source, job.path.stem, reason) for job, reason in draw_all(jobs)]
    make_derived(work)
    return tuple(missing)


def make_derived(work: Path) -> None:
    """The cut-outs of the styles that are made from another one's; what is there stays."""
    for style in STYLES.values():
        if style.made_from is None:
            continue
        folder = work / "cutouts" / style.source
        folder.mkdir(parents=True, exist_ok=True)
        for drawn in sorted((work / "cutouts" / style.made_from).glob("*.png")):
            if not (folder / drawn.name).exists():
                with Image.open(drawn) as cutout:
                    _save(EFFECTS[style.source](cutout), folder / drawn.name)


def make_variety(tarballs: Mapping[str, Path], work: Path) -> tuple[Missing, ...]:
    """Every ordinary emoji of the drawn styles under work/variety; what is there stays."""
    missing: list[Missing] = []
    for source in DRAWN_SOURCES:
        jobs = [
            Job(
                drawing,
                work / "variety" / source / f"{code}.png",
                VARIETY_SIDE,
                BORDERS[source],
            )
            for code, drawing in drawings_by_code(tarballs[source]).items()
            if is_ordinary(code)
        ]
        missing += [Missing(source, job.path.stem, reason) for job, reason in draw_all(jobs)]
    return tuple(missing)


def draw_all(jobs: Iterable[Job]) -> list[tuple[Job, str]]:
    """The jobs that failed, with reasons; the others' files are there, made by child processes.

    The SVG renderer can abort the process it runs in: what is left then is halved until the bad
    drawing stands alone.
    """
    left = [job for job in jobs if not job.path.exists()]
    if not left:
        return []
    for folder in {job.path.parent for job in left}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with ProcessPoolExecutor(CHILDREN, get_context("spawn")) as pool:
            reasons = pool.map(_draw_to_file, left, chunksize=CHUNK)
            return [(job, reason) for job, reason in zip(left, reasons, strict=True) if reason]
    except BrokenProcessPool:
        if len(left) == 1:
            return [(left[0], "the SVG renderer aborted")]
        half = len(left) // 2
        return draw_all(left[:half]) + draw_all(left[half:])


def draw(drawing: Drawing, *, side: int, border: Border | None) -> Image.Image:
    """A drawing as RGBA, trimmed and centred in a square; its border counts as object."""
    if isinstance(drawing.content, bytes):
        with Image.open(io.BytesIO(drawing.content)) as picture:
            rgba = picture.convert("RGBA")
    else:
        import resvg_py  # noqa: PLC0415 - a machine that only trains has no renderer

        png = resvg_py.svg_to_bytes(
            svg_string=drawing.content, width=side, height=side, skip_system_fonts=True
        )
        with Image.open(io.BytesIO(bytes(png))) as picture:
            rgba = picture.convert("RGBA")
    if border is None:
        return centred(rgba, side=side, fill=FILL)
    return outlined(centred(rgba, side=side, fill=FILL - 2 * border.whole), border)


def centred(picture: Image.Image, *, side: int, fill: float) -> Image.Image:
    """The object trimmed of empty margins, its longer side `fill` of a square, in the middle."""
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > VISIBLE)).getbbox()
    if box is None:
        raise ValueError("the drawing is empty")
    trimmed = picture.crop(box)
    scale = side * fill / max(trimmed.size)
    width, height = (max(1, round(length * scale)) for length in trimmed.size)
    square = Image.new("RGBA", (side, side))
    # RGBa is premultiplied: else the colour of invisible pixels bleeds into the edges.
    resized = trimmed.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS)
    square.paste(resized.convert("RGBA"), ((side - width) // 2, (side - height) // 2))
    return square


def outlined(picture: Image.Image, border: Border) -> Image.Image:
    """The object with a border around it, and the border's soft rim around that."""
    side, alpha = picture.width, picture.getchannel("A")
    drawn = _filled(_grown(alpha, border.width * side), border.colour, blur=side / 640)
    if border.rim:
        rim = _filled(_grown(alpha, border.whole * side), border.rim_colour, blur=side / 256)
        drawn = Image.alpha_composite(rim, drawn)
    return Image.alpha_composite(drawn, picture)


def _filled(shape: Image.Image, colour: Colour, *, blur: float) -> Image.Image:
    """A shape of one colour, its edge softened by `blur` pixels."""
    area = Image.new("RGBA", shape.size, (*colour, 0))
    area.putalpha(shape.filter(ImageFilter.GaussianBlur(blur)))
    return area


def _grown(alpha: Image.Image, radius: float) -> Image.Image:
    """The shape with every point grown to a disc: Pillow's own MaxFilter would grow squares."""
    solid: NDArray[np.float64] = (np.asarray(alpha) > 127).astype(np.float64)
    rows, columns = (np.fft.fftfreq(length, 1 / length) for length in solid.shape)
    disc = (rows[:, None] ** 2 + columns[None, :] ** 2 <= radius**2).astype(np.float64)
    reached = np.fft.irfft2(np.fft.rfft2(solid) * np.fft.rfft2(disc), solid.shape)
    return Image.fromarray(np.where(reached > 0.5, 255, 0).astype(np.uint8))


def _draw_to_file(job: Job) -> str | None:
    """None, or why the picture could not be made."""
    try:
        picture = draw(job.drawing, side=job.side, border=job.border)
    except (ValueError, OSError) as error:
        return str(error)
    _save(picture, job.path)
    return None


def _save(picture: Image.Image, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    picture.save(unfinished, format="PNG", compress_level=3)
    unfinished.replace(path)


def _find(
    concept: Concept, source: str, drawings: Mapping[str, Drawing], *, iconify_name: str
) -> Drawing | None:
    if concept.codepoint in drawings:
        return drawings[concept.codepoint]
    names = names_of(concept, source, iconify_name)
    return next((drawings[name] for name in names if name in drawings), None)
