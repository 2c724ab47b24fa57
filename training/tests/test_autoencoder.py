"""What the autoencoder learns from, what it is punished for, and how it goes on and ends."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from linocut_training import autoencoder
from linocut_training.autoencoder import Plan, crops, loss_of, pack, train, trained

SMALL = Plan(steps=4, batch=2, save_every=2)


def icons(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Squares of any colour that leave a clear frame, whose invisible colour is green."""
    rng = np.random.default_rng(seed)
    result = np.zeros((count, side, side, 4), np.uint8)
    result[..., 1] = 255
    inside = slice(side // 4, side * 3 // 4)
    colours = rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    result[:, inside, inside, :3] = colours
    result[:, inside, inside, 3] = 255
    return result


@pytest.fixture
def work(tmp_path, toy, monkeypatch) -> Path:
    """A training folder whose arrays and crops are small."""
    monkeypatch.setattr(autoencoder, "CROP", 32)
    folder = tmp_path / "work"
    folder.mkdir()
    np.save(folder / "objects.npy", icons(12, 64))
    np.save(folder / "variety.npy", icons(12, 32, seed=1))
    return folder


def test_pictures_are_packed_in_the_order_of_their_names(tmp_path) -> None:
    for folder, name, colour in (("b", "x", 3), ("a", "y", 2), ("a/c", "z", 1)):
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        size = (8 * colour, 8 * colour)
        Image.new("RGBA", size, (colour, 0, 0, 255)).save(tmp_path / folder / f"{name}.png")
    target = pack([tmp_path / "b", tmp_path / "a"], tmp_path / "all.npy", side=16)
    packed = np.load(target)
    assert packed.shape == (3, 16, 16, 4)
    assert packed.dtype == np.uint8
    assert packed[:, 5, 5, 0].tolist() == [1, 2, 3]
    made = target.stat().st_mtime_ns
    assert pack([tmp_path / "b", tmp_path / "a"], target, side=16).stat().st_mtime_ns == made
    Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / "b" / "more.png")
    assert len(np.load(pack([tmp_path / "b", tmp_path / "a"], target, side=16))) == 4


def test_nothing_to_pack_is_said_in_words(tmp_path) -> None:
    with pytest.raises(SystemExit, match="rasterise first"):
        pack([tmp_path], tmp_path / "all.npy")


def test_crops_are_pictures_decided_by_the_generator() -> None:
    given = icons(4, 160)
    first, again, other = (crops(given, 6, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (6, 3, autoencoder.CROP, autoencoder.CROP)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= -1
    assert first.max() <= 1
    assert first.flatten(1).std(1).min() > 0


def test_invisible_colour_is_never_seen() -> None:
    clear = np.zeros((1, 160, 160, 4), np.uint8)
    clear[..., 1] = 255
    drawn = crops(clear, 24, np.random.default_rng(0))
    across = drawn.std(3)  # a backdrop is plain or runs from top to bottom
    assert across.max() < 1e-5
    white = (drawn == 1).flatten(1).all(1).float().mean()
    plain = (drawn.std(2).amax((1, 2)) < 1e-5).float().mean()
    assert 0.1 < white < plain < 1


def test_the_loss_is_nothing_for_the_right_picture_and_sees_edges() -> None:
    wanted = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0)) * 2 - 1
    assert loss_of(wanted, wanted) == 0
    shifted, noisy = wanted + 0.1, wanted.clone()
    noisy[..., ::2] += 0.1
    noisy[..., 1::2] -= 0.1
    assert loss_of(shifted, wanted) == pytest.approx(0.2, rel=1e-3)  # pixels and the blurred copy
    assert loss_of(noisy, wanted) > loss_of(shifted, wanted)


def test_training_lowers_the_loss_and_leaves_its_state(work, alone) -> None:
    plan = Plan(steps=21, batch=4, muon_rate=0.03, adam_rate=0.02, save_every=10)
    train(0, 1, work, plan)
    lines = [json.loads(line) for line in (work / "autoencoder.log").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 20]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert torch.load(work / "autoencoder.pt", weights_only=True)["step"] == 21


def test_a_training_goes_on_where_it_was_saved(work, alone, monkeypatch) -> None:
    seen: list[tuple[int, ...]] = []
    fresh = np.random.default_rng

    def watched(seed: tuple[int, ...]) -> np.random.Generator:
        seen.append(seed)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return fresh(seed)

    monkeypatch.setattr(np.random, "default_rng", watched)
    with pytest.raises(KeyboardInterrupt):
        train(0, 1, work, SMALL)
    saved = torch.load(work / "autoencoder.pt", weights_only=True)
    assert saved["step"] == 2
    train(0, 1, work, SMALL)
    assert [step for _, step, _ in seen] == [0, 1, 2, 3, 2, 3]
    done = torch.load(work / "autoencoder.pt", weights_only=True)
    assert done["step"] == 4
    assert any(
        not torch.equal(a, b) for a, b in zip(done["average"], saved["average"], strict=True)
    )
    train(0, 1, work, SMALL)
    assert len(seen) == 6


def test_latents_of_the_trained_one_look_like_noise(work, alone, monkeypatch) -> None:
    train(0, 1, work, SMALL)
    model = trained(work)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    state = torch.load(work / "autoencoder.pt", weights_only=True)
    for parameter, value in zip(model.parameters(), state["average"], strict=True):
        assert torch.equal(parameter, value)
    pictures = autoencoder._whole(icons(96, 64, seed=5), 96, np.random.default_rng(7))
    latents = model.encode(pictures).transpose(0, 1).flatten(1)
    assert latents.shape[0] == 8
    assert latents.mean(1).abs().max() < 0.3
    assert 0.7 < latents.std(1).min() <= latents.std(1).max() < 1.3
    again = model.decode(model.encode(pictures[:2]))
    assert again.shape == pictures[:2].shape
