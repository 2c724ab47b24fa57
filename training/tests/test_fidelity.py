"""What the autoencoder loses is measured on pictures it never saw, and as others measure it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from linocut_training import fidelity
from linocut_training.concepts import CONCEPTS, EXTRA_SOURCES, STYLES


class Coarse:
    """In the autoencoder's place: it gives every picture back a little darker."""

    def encode(self, picture: Tensor) -> Tensor:
        """The picture itself."""
        return picture

    def decode(self, latents: Tensor) -> Tensor:
        """Four of 255 darker, and never out of range."""
        return latents - 4 / 127.5


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A training folder with a disc from every source, the styles' own among them."""
    for source in (*EXTRA_SOURCES, *(style.source for style in STYLES.values())):
        for concept in CONCEPTS[:2]:
            file = tmp_path / "cutouts" / source / f"{concept.key}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (64, 64), (200, 120, 60, 255)).save(file)
    return tmp_path


def test_only_sources_that_it_never_saw_are_shown(work) -> None:
    shown = list(fidelity.pictures(work))
    assert [source for source, _ in shown] == [s for s in EXTRA_SOURCES for _ in range(2)]
    assert {pixels.shape for _, pixels in shown} == {(512, 512, 3)}
    again = list(fidelity.pictures(work))
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(shown, again, strict=True))


def test_psnr_is_that_of_the_bytes() -> None:
    pixels = np.random.default_rng(0).integers(10, 250, (32, 32, 3), dtype=np.uint8)
    assert fidelity.psnr(Coarse(), pixels) == pytest.approx(20 * math.log10(255 / 4), abs=1e-3)


@pytest.mark.parametrize(("least", "passed"), [(36.0, True), (36.2, False)])
def test_what_is_measured_is_written_down_with_its_gate(work, monkeypatch, least, passed) -> None:
    checkpoint = work / "checkpoint"
    checkpoint.mkdir()
    monkeypatch.setattr(fidelity, "open_checkpoint", lambda folder: folder)
    monkeypatch.setattr(fidelity, "load_autoencoder", lambda folder, device, dtype: Coarse())
    monkeypatch.setattr(fidelity.gates, "read_rules", lambda: {"autoencoder": {"psnr": least}})
    found = fidelity.measure(checkpoint, work)
    assert found == json.loads((work / "evaluation" / "fidelity.json").read_text())
    assert found["pictures"] == 2 * len(EXTRA_SOURCES)
    assert set(found["sources"]) == set(EXTRA_SOURCES)
    assert found["psnr"] == pytest.approx(20 * math.log10(255 / 4), abs=0.01)
    assert found["passed"] is passed
    assert torch.is_inference_mode_enabled() is False
