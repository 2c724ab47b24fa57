"""The classifier learns from what it may see, and from nothing that it is tested on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linocut_training import classifier, gates
from linocut_training.classifier import (
    LEFT_OUT,
    SCALES,
    SIDE,
    SOURCES,
    Judge,
    Network,
    Plan,
    Practice,
    placements,
    practised_scales,
    recoloured,
    spoilt,
    to_input,
    train,
)
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, STYLES
from linocut_training.gates import HELD_SCALES, held_colours, nearest_colours

SMALL = Plan(steps=4, batch=8, save_every=2)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A training folder with a square, a disc and a bar in three sources; one is left out."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    shapes = (
        np.maximum(abs(rows), abs(columns)) < 24,
        rows**2 + columns**2 < 24**2,
        (abs(rows) < 8) & (abs(columns) < 28),
    )
    for source, colour in (("noto", (200, 40, 40)), ("fxemoji", (0, 90, 0)), (LEFT_OUT, (9, 9, 9))):
        folder = tmp_path / "cutouts" / source
        folder.mkdir(parents=True)
        for concept, shape in zip(CONCEPTS, shapes, strict=False):
            rgba = np.zeros((64, 64, 4), dtype=np.uint8)
            rgba[shape] = (*colour, 255)
            Image.fromarray(rgba).save(folder / f"{concept.key}.png")
    return tmp_path


def test_the_source_left_out_is_not_practised(work) -> None:
    practice = Practice(work, SMALL)
    assert LEFT_OUT not in SOURCES
    assert len(practice.cutouts) == 6
    assert practice.concepts.tolist() == [0, 1, 2] * 2
    assert practice.styles.tolist() == [list(STYLES).index("cartoon")] * 3 + [-1] * 3
    assert gates.read_rules()["classifier"] == {
        "left_out_source": LEFT_OUT,
        "least_concept_accuracy": classifier.LEAST_ACCURACY,
    }


def test_without_cutouts_the_message_says_what_to_do(tmp_path) -> None:
    with pytest.raises(SystemExit, match="rasterise first"):
        Practice(tmp_path, SMALL)


def test_held_out_scales_are_never_practised() -> None:
    scales = practised_scales(10_000, seeded())
    assert SCALES[0] <= scales.min() < SCALES[0] + 0.01
    assert SCALES[1] - 0.01 < scales.max() <= SCALES[1]
    for low, high in HELD_SCALES:
        assert not ((scales > low) & (scales < high)).any()


def test_held_out_backgrounds_are_never_practised(work) -> None:
    practice = Practice(work, SMALL)
    concepts = torch.arange(400) % len(CONCEPTS)
    behind = practice._backgrounds(concepts, 4, seeded())
    plain = behind.flatten(2).std(2).sum(1) < 1e-4
    assert 0.6 < plain.float().mean() < 0.9
    named = nearest_colours(behind[plain][:, :, 0, 0].numpy() * 255)
    for concept, colour in zip(concepts[plain].tolist(), named.tolist(), strict=True):
        assert colour not in held_colours(concept)


def test_a_placement_is_where_the_scale_and_the_offset_say(monkeypatch) -> None:
    # Without wobble an object of scale s covers s² of the canvas: turning and shearing keep areas.
    monkeypatch.setattr(torch, "randn", lambda *size, generator: torch.zeros(size))
    at = placements(64, 96, seeded(3))
    scales = practised_scales(64, seeded(3))
    covered = (at.abs() < 1).all(-1).float().mean((1, 2))
    inside = covered > 0.97 * scales**2  # corners that were turned out of the canvas are lost
    assert inside.float().mean() > 0.6
    assert (covered < 1.03 * scales**2 + 0.01).all()


def test_recolouring_keeps_the_shape_and_stays_premultiplied() -> None:
    objects = torch.rand(32, 4, 8, 8, generator=seeded())
    objects[:, :3] *= objects[:, 3:]
    changed = recoloured(objects, seeded(1))
    assert torch.equal(changed[:, 3], objects[:, 3])
    assert (changed[:, :3] >= 0).all()
    assert (changed[:, :3] <= changed[:, 3:]).all()
    assert not torch.allclose(changed, objects)


def test_spoilt_pictures_are_pictures() -> None:
    pictures = torch.rand(16, 3, 40, 40, generator=seeded())
    result = spoilt(pictures.clone(), seeded(2))
    assert result.shape == pictures.shape
    assert result.min() >= 0
    assert result.max() <= 1


def test_a_batch_is_decided_by_its_number(work) -> None:
    first, again, other = (Practice(work, SMALL).batch(number) for number in (7, 7, 8))
    assert first[0].shape == (SMALL.batch, 3, SIDE, SIDE)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_a_training_that_was_stopped_goes_on_as_it_would_have(work, monkeypatch) -> None:
    monkeypatch.setattr(classifier, "SETTLING_BATCHES", 2)
    straight, _ = classifier._trained(work, SMALL)
    batch = Practice.batch

    def broken(practice: Practice, number: int, side: int = SIDE):
        if number == 3:
            raise KeyboardInterrupt
        return batch(practice, number, side)

    with monkeypatch.context() as patched:
        patched.setattr(Practice, "batch", broken)
        with pytest.raises(KeyboardInterrupt):
            classifier._trained(work, SMALL)
    assert (work / "classifier.unfinished.pt").exists()
    resumed, _ = classifier._trained(work, SMALL)
    assert not (work / "classifier.unfinished.pt").exists()
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_what_is_trained_is_kept_with_its_accuracies(work, monkeypatch) -> None:
    monkeypatch.setattr(classifier, "SETTLING_BATCHES", 2)
    report = train(work, SMALL)
    assert report["left_out_source"]["source"] == LEFT_OUT
    assert report["left_out_source"]["pictures"] == 12
    assert report["held_out_compositions"]["background"] == 1
    assert report == json.loads((work / "classifier.json").read_text())
    monkeypatch.setattr(classifier, "_trained", None)
    assert train(work, SMALL) == report
    pixels = np.full((50, 70, 3), BACKGROUNDS["teal"], dtype=np.uint8)
    (seen,) = Judge.open(work).look([pixels])
    assert seen.background == "teal"
    assert len(set(seen.concepts)) == 5


def test_the_judge_sees_each_picture_alone() -> None:
    judge = Judge(Network())
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40 + n, 64, 3), dtype=np.uint8) for n in range(3)]
    together = judge.look(pictures)
    assert together == [judge.look([pixels])[0] for pixels in pictures]
    assert to_input(pictures[0]).shape == (3, SIDE, SIDE)
