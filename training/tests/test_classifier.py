"""The classifier can be stopped and resumed, is kept with its accuracies, and judges one by one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linocut_training import classifier
from linocut_training.backbone import Backbone
from linocut_training.classifier import SIDE, Judge, Network, Plan, Student, to_input, train
from linocut_training.concepts import BACKGROUNDS, CONCEPTS
from linocut_training.practice import LEFT_OUT, NONE, Batch, Practice

SMALL = Plan(steps=4, batch=8, save_every=2, pretrained=False)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training folder with a square, a disc and a bar in three sources; one is left out."""
    monkeypatch.setattr(classifier, "SETTLING_BATCHES", 2)
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


def test_a_training_that_was_stopped_goes_on_as_it_would_have(work, monkeypatch) -> None:
    straight, _ = classifier._trained(work, SMALL)
    batch = Practice.batch

    def broken(practice: Practice, number: int, side: int) -> Batch:
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


def test_every_step_brings_the_labels_nearer() -> None:
    student = Student(Plan(steps=100, pretrained=False), 3)
    pictures = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = [torch.tensor([n] * 4 + [m] * 4) for n, m in ((5, NONE), (1, NONE), (NONE, 2))]
    losses = [student.learn(Batch(pictures, *labels), step)[0] for step in range(1, 9)]
    assert losses[-1] < 0.5 * losses[0]


def test_what_has_no_label_teaches_nothing() -> None:
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert classifier._loss(logits, torch.full((4,), NONE)) == 0
    some = classifier._loss(logits, torch.tensor([2, NONE, NONE, 6]), 0.1)
    alone = classifier._loss(logits[[0, 3]], torch.tensor([2, 6]), 0.1)
    assert torch.allclose(some, alone)


def test_the_judge_sees_each_picture_alone() -> None:
    judge = Judge(Network(Backbone()))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40 + n, 64, 3), dtype=np.uint8) for n in range(3)]
    together = judge.look(pictures)
    assert together == [judge.look([pixels])[0] for pixels in pictures]
    assert to_input(pictures[0]).shape == (3, SIDE, SIDE)
