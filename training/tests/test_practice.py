"""What is practised on: everything but what is held out, and spoilt only a little."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linocut_training import classifier, gates, practice
from linocut_training.concepts import CONCEPTS, DRAWN_SOURCES, STYLES
from linocut_training.gates import HELD_SCALES, held_colours, nearest_colours
from linocut_training.practice import (
    LEFT_OUT,
    NONE,
    SCALES,
    SOURCES,
    Practice,
    other_codes,
    peeled,
    placements,
    practised_scales,
    recoloured,
    spoilt,
)
from linocut_training.rasterise import outlined


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def draw_disc(file: Path, colour: tuple[int, int, int]) -> None:
    """A cut-out."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    rgba = np.zeros((64, 64, 4), dtype=np.uint8)
    rgba[rows**2 + columns**2 < 24**2] = (*colour, 255)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba).save(file)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A training folder: three concepts from three sources, and two other emoji that all drew."""
    for source in ("noto", "twemoji", "fxemoji", LEFT_OUT):
        for number, concept in enumerate(CONCEPTS[:3]):
            draw_disc(tmp_path / "cutouts" / source / f"{concept.key}.png", (80 * number, 0, 0))
    for source in DRAWN_SOURCES:
        for code in ("1f0aa", "1f0bb", CONCEPTS[0].codepoint, f"only-{source}"):
            draw_disc(tmp_path / "variety" / source / f"{code}.png", (0, 0, 200))
    return tmp_path


def test_the_source_left_out_is_not_practised(work) -> None:
    batches = Practice(work, batch=8, seed=0)
    assert LEFT_OUT not in SOURCES
    assert batches.num_concepts == 2 * 3 + 3 + 2 * 3  # cartoon and sticker count twice, once peeled
    assert gates.read_rules()["classifier"] == {
        "left_out_source": LEFT_OUT,
        "least_concept_accuracy": classifier.LEAST_ACCURACY,
    }


def test_other_emoji_are_those_that_every_artist_drew_and_that_are_no_concept(work) -> None:
    assert other_codes(work) == ["1f0aa", "1f0bb"]
    batches = Practice(work, batch=8, seed=0)
    assert batches.num_others == 2
    assert len(batches.cutouts) == batches.num_concepts + 2 * len(DRAWN_SOURCES)


def test_five_eighths_of_a_batch_teach_concepts_and_three_the_rest(work) -> None:
    batch = Practice(work, batch=16, seed=0).batch(3, 32)
    assert batch.pictures.shape == (16, 3, 32, 32)
    assert (batch.concepts[:10] != NONE).all()
    assert (batch.others[:10] == NONE).all()
    assert (batch.concepts[10:] == NONE).all()
    assert (batch.others[10:] != NONE).all()


def test_concepts_alone_will_do(work) -> None:
    for folder in (work / "variety").iterdir():
        folder.rename(work / folder.name)
    batch = Practice(work, batch=6, seed=0).batch(0, 16)
    assert len(batch.concepts) == 6
    assert (batch.concepts != NONE).all()


def test_a_style_is_taught_by_its_source_alone(work) -> None:
    batches = Practice(work, batch=8, seed=0)
    found = {
        source: batches.styles[: batches.num_concepts][start : start + count].tolist()
        for source, start, count in (("noto", 0, 6), ("twemoji", 6, 6), ("fxemoji", 12, 3))
    }
    cartoon, sticker = (list(STYLES).index(style) for style in ("cartoon", "sticker"))
    assert found == {
        "noto": [cartoon, NONE] * 3, "twemoji": [sticker, NONE] * 3, "fxemoji": [NONE] * 3
    }  # fmt: skip


def test_without_cutouts_the_message_says_what_to_do(tmp_path) -> None:
    with pytest.raises(SystemExit, match="rasterise first"):
        Practice(tmp_path, batch=8, seed=0)


def test_a_batch_is_decided_by_its_number(work) -> None:
    first, again, other = (
        Practice(work, batch=8, seed=0).batch(number, 24) for number in (7, 7, 8)
    )
    assert torch.equal(first.pictures, again.pictures)
    assert torch.equal(first.concepts, again.concepts)
    assert not torch.equal(first.pictures, other.pictures)


def test_held_out_scales_are_never_practised() -> None:
    scales = practised_scales(10_000, seeded())
    assert SCALES[0] <= scales.min() < SCALES[0] + 0.01
    assert SCALES[1] - 0.01 < scales.max() <= SCALES[1]
    for low, high in HELD_SCALES:
        assert not ((scales > low) & (scales < high)).any()


def test_held_out_backgrounds_are_never_practised(work) -> None:
    concepts = torch.arange(400) % len(CONCEPTS)
    behind = Practice(work, batch=8, seed=0).backgrounds(concepts, 4, seeded())
    plain = behind.flatten(2).std(2).sum(1) < 1e-4
    assert 0.6 < plain.float().mean() < 0.9
    named = nearest_colours(behind[plain][:, :, 0, 0].numpy() * 255)
    for concept, colour in zip(concepts[plain].tolist(), named.tolist(), strict=True):
        assert colour not in held_colours(concept)


def test_a_placement_covers_what_its_scale_says(monkeypatch) -> None:
    # Without wobble an object of scale s covers s² of the canvas: turning and shearing keep areas.
    monkeypatch.setattr(torch, "randn", lambda *size, generator: torch.zeros(size))
    at = placements(64, 96, seeded(3))
    scales = practised_scales(64, seeded(3))
    covered = (at.abs() < 1).all(-1).float().mean((1, 2))
    inside = covered > 0.97 * scales**2  # corners that were turned out of the canvas are lost
    assert inside.float().mean() > 0.6
    assert (covered < 1.03 * scales**2 + 0.01).all()


def test_a_peeled_sticker_has_lost_its_border_and_nothing_else() -> None:
    disc, border = np.zeros((96, 96, 4), dtype=np.uint8), STYLES["sticker"].border
    rows, columns = np.mgrid[:96, :96] - 47.5
    disc[rows**2 + columns**2 < 30**2] = (200, 30, 30, 255)
    sticker = outlined(Image.fromarray(disc), border).convert("RGBa")
    before, after = np.asarray(sticker), np.asarray(peeled(sticker, border))
    white = (before[..., :3] > 180).all(-1)
    assert white.sum() > 500
    assert (after[..., :3] > 180).all(-1).sum() < 0.2 * white.sum()
    inner = rows**2 + columns**2 < 26**2
    assert np.array_equal(after[inner], disc[inner])


def test_recolouring_keeps_the_shape_and_stays_premultiplied() -> None:
    objects = torch.rand(32, 4, 8, 8, generator=seeded())
    objects[:, :3] *= objects[:, 3:]
    changed, _ = recoloured(objects, seeded(1))
    assert torch.equal(changed[:, 3], objects[:, 3])
    assert (changed[:, :3] >= 0).all()
    assert (changed[:, :3] <= changed[:, 3:]).all()
    assert not torch.allclose(changed, objects)


def test_a_picture_that_has_lost_its_colours_is_of_no_style(work, monkeypatch) -> None:
    objects = torch.rand(400, 4, 4, 4, generator=seeded())
    objects[:, :3] *= 0.5 * objects[:, 3:]
    changed, is_gray = recoloured(objects, seeded(1))
    colour = (changed[:, :3].amax(1) - changed[:, :3].amin(1)).amax((1, 2))
    assert torch.equal(colour < 1e-4, is_gray)
    assert 0.05 < is_gray.float().mean() < 0.12
    batches = Practice(work, batch=8, seed=0)
    first = batches.styles[: batches.num_concepts]
    assert (first != NONE).any()
    gray = torch.ones(8, dtype=torch.bool)
    monkeypatch.setattr(practice, "recoloured", lambda objects, rng: (objects, gray))
    assert (batches.batch(0, 16).styles == NONE).all()
    monkeypatch.setattr(practice, "recoloured", lambda objects, rng: (objects, ~gray))
    assert (batches.batch(0, 16).styles != NONE).any()


def test_spoilt_pictures_are_pictures() -> None:
    pictures = torch.rand(16, 3, 40, 40, generator=seeded())
    result = spoilt(pictures.clone(), seeded(2))
    assert result.shape == pictures.shape
    assert result.min() >= 0
    assert result.max() <= 1


def test_a_few_pictures_pass_through_jpeg() -> None:
    smooth = torch.linspace(0, 1, 40).expand(3, 40, 40)
    again = practice._as_jpeg(smooth, quality=90)
    assert not torch.equal(again, smooth)
    assert (again - smooth).abs().max() < 0.1
